/* SPDX-License-Identifier: 0BSD
 * Files mapped to be read, and room of zeros from the system.
 */
#ifndef BR_MAP_H
#define BR_MAP_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    const uint8_t *bytes;
    size_t count;
} br_map;

/* Maps a file; 0, or -1 (errno says why). An empty file has no bytes: NULL. */
int br_map_open(br_map *map, const char *path);
void br_map_close(br_map *map);

/* Zeros, at a multiple of a page; NULL if there is no such room. Pages cost nothing before they are written;
 * large ones are wished for, so that a first write may take 2 MiB. */
void *br_room(size_t bytes);
void br_room_back(void *room, size_t bytes);

#endif

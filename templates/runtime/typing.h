/* SPDX-License-Identifier: 0BSD
 * Text on its way to a reader, piece by piece: never half a UTF-8 character, and nothing of what may become a stop string.
 */
#ifndef BR_TYPING_H
#define BR_TYPING_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#define BR_STOPS 16
#define BR_STOP_BYTES 256 /* of the longest stop string */

typedef struct {
    const char *stops[BR_STOPS];
    size_t stop_count;
    char held[2 * BR_STOP_BYTES]; /* what has come and not gone */
    size_t held_count;
    int stopped; /* a stop string has come, or nobody listens: nothing goes any more */
    int (*out)(void *to, const char *text, size_t count); /* whole characters; not 0: nobody listens any more */
    void *to;
} br_typing;

/* Adds a stop string, which must live on; 0, or -1 if it is empty, too long, or one too many. */
int br_typing_stop(br_typing *typing, const char *text);

/* More text has come; what is certain goes out. */
void br_typing_put(br_typing *typing, const char *text, size_t count);

/* No more will come: what is held goes out, broken characters as U+FFFD. */
void br_typing_end(br_typing *typing);

#ifdef __cplusplus
}
#endif

#endif

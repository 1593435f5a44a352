/* SPDX-License-Identifier: 0BSD */
#if defined(_WIN32)
#error "needs POSIX: mmap; on Windows compile it in WSL"
#endif
#define _DEFAULT_SOURCE
#include "map.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#if !defined(MAP_ANONYMOUS)
#define MAP_ANONYMOUS MAP_ANON
#endif

int br_map_open(br_map *map, const char *path)
{
    struct stat about;
    const int file = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC); /* a pipe of this name is not waited for */
    *map = (br_map){NULL, 0};
    if (file < 0) {
        return -1;
    }
    if (fstat(file, &about) != 0) {
        close(file);
        return -1;
    }
    if (!S_ISREG(about.st_mode)) {
        close(file);
        errno = S_ISDIR(about.st_mode) ? EISDIR : EINVAL;
        return -1;
    }
    map->count = (size_t)about.st_size;
    void *const at = map->count == 0 ? NULL : mmap(NULL, map->count, PROT_READ, MAP_SHARED, file, 0);
    close(file);
    map->bytes = at == MAP_FAILED ? NULL : at;
    return at == MAP_FAILED ? -1 : 0;
}

void br_map_close(br_map *map)
{
    if (map->bytes != NULL) {
        munmap((void *)(uintptr_t)map->bytes, map->count);
    }
    *map = (br_map){NULL, 0};
}

void *br_room(size_t bytes)
{
    void *const at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) {
        return NULL;
    }
#if defined(MADV_HUGEPAGE)
    madvise(at, bytes, MADV_HUGEPAGE); /* long rows of caches are read: fewer addresses to look up. A mere wish */
#endif
    return at;
}

void br_room_back(void *room, size_t bytes)
{
    munmap(room, bytes);
}

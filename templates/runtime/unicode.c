/* SPDX-License-Identifier: 0BSD
 * Characters: see unicode.h. */
#include "unicode.h"

int br_kind(uint32_t code)
{
    static const uint8_t kinds[] = {BR_OTHER, BR_LETTER, BR_NUMBER, BR_PUNCTUATION, BR_SPACE};
    uint32_t low = 0, high = br_unicode_run_count; /* the run is in low … high - 1 */
    while (high - low > 1) {
        const uint32_t middle = low + (high - low) / 2;
        if (br_unicode_runs[middle] >> 3 <= code) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return kinds[br_unicode_runs[low] & 7u];
}

uint32_t br_utf8_read(const uint8_t *text, size_t at, size_t end, size_t *next)
{
    const uint8_t first = text[at];
    const size_t most = first < 0xE0 ? 1 : first < 0xF0 ? 2 : first < 0xF8 ? 3 : 4;
    const size_t more = first < 0x80 ? 0 : first < 0xC0 ? 4 : most;
    uint32_t code = more == 0 ? first : first & (0x3Fu >> more);
    *next = at + 1;
    if (more > 3 || more >= end - at) {
        return 0xFFFD;
    }
    for (size_t i = 1; i <= more; i++) {
        if ((text[at + i] & 0xC0) != 0x80) {
            return 0xFFFD;
        }
        code = code << 6 | (text[at + i] & 0x3Fu);
    }
    if (code > 0x10FFFF) {
        return 0xFFFD;
    }
    *next = at + 1 + more;
    return code;
}

size_t br_utf8_write(uint32_t code, uint8_t *to)
{
    const size_t bytes = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    if (to != NULL && bytes == 1) {
        to[0] = (uint8_t)code;
    } else if (to != NULL) {
        for (size_t i = bytes - 1; i > 0; i--, code >>= 6) {
            to[i] = (uint8_t)(0x80u | (code & 0x3Fu));
        }
        to[0] = (uint8_t)((0xF00u >> bytes & 0xF0u) | code);
    }
    return bytes;
}

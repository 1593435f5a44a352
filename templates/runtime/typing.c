/* SPDX-License-Identifier: 0BSD */
#include "typing.h"

#include <string.h>

int br_typing_stop(br_typing *typing, const char *text)
{
    const size_t count = strlen(text);
    if (count == 0 || count >= BR_STOP_BYTES || typing->stop_count == BR_STOPS) {
        return -1;
    }
    typing->stops[typing->stop_count++] = text;
    return 0;
}

/* Bytes of the character that begins here: 1 .. 4 if it is whole and good, 0 if more must come, -1 if it is broken.
 * (Unicode, table 3-7.) */
static int character(const unsigned char *at, size_t count)
{
    const unsigned char first = at[0];
    const int size = first < 0x80 ? 1 : first < 0xC2 ? -1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : first < 0xF5 ? 4 : -1;
    for (int i = 1; i < size && (size_t)i < count; i++) {
        const unsigned char low = i == 1 && first == 0xE0 ? 0xA0 : i == 1 && first == 0xF0 ? 0x90 : 0x80;
        const unsigned char high = i == 1 && first == 0xED ? 0x9F : i == 1 && first == 0xF4 ? 0x8F : 0xBF;
        if (at[i] < low || at[i] > high) {
            return -1;
        }
    }
    return size > 0 && (size_t)size > count ? 0 : size;
}

static void tell(br_typing *typing, const char *text, size_t count)
{
    if (count > 0 && typing->out(typing->to, text, count) != 0) {
        typing->stopped = 1;
    }
}

/* Sends the first `count` bytes held, good characters as they are; at the end also what is not whole. */
static void send(br_typing *typing, size_t count, int ended)
{
    size_t done = 0, good = 0; /* what has gone; characters behind it that can go */
    while (done + good < count) {
        const size_t at = done + good;
        const int size = character((const unsigned char *)typing->held + at, count - at);
        if (size == 0 && !ended) {
            break;
        }
        if (size > 0) {
            good += (size_t)size;
            continue;
        }
        tell(typing, typing->held + done, good);
        tell(typing, "\xEF\xBF\xBD", 3);
        done = size == 0 ? count : at + 1;
        good = 0;
    }
    tell(typing, typing->held + done, good);
    done += good;
    memmove(typing->held, typing->held + done, typing->held_count - done);
    typing->held_count -= done;
}

/* Where in what is held a stop string begins that is all there (`whole`) or that may yet come: the end where none does. */
static size_t stop_in(const br_typing *typing, int whole)
{
    for (size_t at = 0; at < typing->held_count; at++) {
        const size_t rest = typing->held_count - at;
        for (size_t i = 0; i < typing->stop_count; i++) {
            const size_t size = strlen(typing->stops[i]);
            if ((size <= rest) == whole && memcmp(typing->held + at, typing->stops[i], whole ? size : rest) == 0) {
                return at;
            }
        }
    }
    return typing->held_count;
}

/* What a whole stop string has before it goes, and is the last; else what no stop string can begin in. */
static void move_on(br_typing *typing)
{
    const size_t stop = stop_in(typing, 1);
    if (stop < typing->held_count) {
        send(typing, stop, 1);
        typing->held_count = 0;
        typing->stopped = 1;
    } else {
        send(typing, stop_in(typing, 0), 0);
    }
}

void br_typing_put(br_typing *typing, const char *text, size_t count)
{
    for (size_t i = 0; i < count && !typing->stopped; i++) {
        typing->held[typing->held_count++] = text[i];
        if (typing->held_count == sizeof typing->held || i + 1 == count || typing->stop_count > 0) {
            move_on(typing);
        }
    }
}

void br_typing_end(br_typing *typing)
{
    if (!typing->stopped) {
        send(typing, typing->held_count, 1);
    }
    typing->held_count = 0;
}

/* What a test program asks of the machine it runs on. Each simulator family implements it once, in
 * targets/<family>/sim/host_io; the calls between begin and end are what is measured.
 *
 *     br_host_open();
 *     while (br_host_read(x, sizeof x)) {
 *         br_host_begin(); brain_step(&brain, x, y); br_host_end();
 *         br_host_write(y, sizeof y);
 *     }
 *     br_host_close();
 *
 * br_host_open measures an empty bracket and one with a single mark: what they cost is taken off the
 * others, so a figure is that of the entry alone.
 */
#ifndef BR_HARNESS_H
#define BR_HARNESS_H

#include <stddef.h>
#include <stdint.h>

void br_host_open(void);
int br_host_read(void *to, size_t bytes);           /* 1: all bytes came; 0: the input is at its end */
void br_host_begin(void);                           /* the entry starts */
void br_host_end(void);                             /* the entry is over */
void br_host_mark(uint16_t node);                   /* inside: what ran since the last mark was this node */
void br_host_write(const void *from, size_t bytes);
void br_host_close(void);                           /* tells what was measured; the last call of all */

#endif

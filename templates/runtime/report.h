/* SPDX-License-Identifier: 0BSD
 * What a program tells of a text that was read and written: the text as it comes, or one JSON object.
 */
#ifndef BR_REPORT_H
#define BR_REPORT_H

#include "talk.h"

typedef struct {
    int json;
    double began, read; /* seconds */
    size_t count;       /* tokens read */
    br_end end;
} br_report;

br_report br_report_start(int json, const char *prompt);
void br_report_read(br_report *report, const br_talk *talk);
void br_report_written(const br_report *report, const br_talk *talk, const char *isa, int32_t threads);

/* Where a typing's text goes: `to` is the address of an int, whether it becomes a part of JSON. */
void br_report_out(void *to, const char *text, size_t count);

/* Rates as JSON: 512 tokens read, 128 written behind `depth` others, the medians of five. */
int br_report_measured(br_talk *talk, int32_t depth, const char *isa, int32_t threads);

#endif

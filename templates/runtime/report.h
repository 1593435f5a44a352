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
} br_report;

/* Seconds since some time. */
double br_report_now(void);

/* A prompt has been read, which began at `began`; its JSON begins. */
br_report br_report_read(int json, const char *prompt, size_t bytes, double began, const br_talk *talk);

/* What follows has been written; its JSON ends. */
void br_report_written(const br_report *report, const br_talk *talk, br_end end);

/* Where a typing's text goes: `to` is the address of an int, whether it becomes a part of JSON. */
int br_report_out(void *to, const char *text, size_t count);

/* Rates as JSON: 512 tokens read, 128 written behind `depth` others, the medians of five. 0, or -1: interrupted. */
int br_report_measured(br_talk *talk, int32_t depth);

#endif

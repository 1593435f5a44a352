/* SPDX-License-Identifier: 0BSD */
#define _POSIX_C_SOURCE 200809L

#include "report.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { READ = 512, WRITTEN = 128, TIMES = 5 };

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* UTF-8 as the inside of a JSON string. */
static void quoted(const char *text, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const unsigned char c = (unsigned char)text[i];
        if (c == '"' || c == '\\') {
            putchar('\\'), putchar(c);
        } else if (c == '\n') {
            fputs("\\n", stdout);
        } else if (c < 0x20 || c == 0x7F) {
            printf("\\u%04x", c);
        } else {
            putchar(c);
        }
    }
}

static void to_quoted(void *to, const char *text, size_t count)
{
    (void)to;
    quoted(text, count);
}

br_report br_report_start(int json, const char *prompt)
{
    const br_report report = {.json = json, .began = now()};
    if (json) {
        br_typing typing = {.out = to_quoted}; /* mends what is no UTF-8 */
        fputs("{\"prompt\": \"", stdout);
        br_typing_put(&typing, prompt, strlen(prompt));
        br_typing_end(&typing);
        fputs("\", \"text\": \"", stdout);
    }
    return report;
}

void br_report_read(br_report *report, const br_talk *talk)
{
    report->read = now();
    report->count = talk->count;
}

void br_report_out(void *to, const char *text, size_t count)
{
    if (*(const int *)to) {
        quoted(text, count);
    } else {
        fwrite(text, 1, count, stdout);
        fflush(stdout);
    }
}

static double rate(size_t count, double seconds)
{
    return seconds > 0.0 ? (double)count / seconds : 0.0;
}

void br_report_written(const br_report *report, const br_talk *talk, const char *isa, int32_t threads)
{
    static const char *const ends[] = {"done", "stop", "limit", "context", "interrupted"};
    const double written = now() - report->read;
    if (!report->json) {
        putchar('\n'), fflush(stdout);
        return;
    }
    fputs("\", \"tokens\": [", stdout);
    for (size_t i = 0; i < talk->count; i++) {
        printf("%s%" PRId32, i == 0 ? "" : ", ", talk->tokens[i]);
    }
    printf("], \"end\": \"%s\", \"prompt_tokens\": %zu, ", ends[report->end], report->count);
    printf("\"tokens_per_second\": {\"prefill\": %.1f, \"decode\": %.1f}, ",
           rate(report->count, report->read - report->began), rate(talk->count, written));
    printf("\"threads\": %" PRId32 ", \"isa\": \"%s\", \"hash\": \"%016" PRIx64 "\"}\n", threads, isa, talk->hash);
    fflush(stdout);
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Tokens of no text, read as a prompt. */
static void fill(br_talk *talk, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        talk->tokens[i] = (int32_t)((i * 7919 + 13) % (size_t)talk->model.tokens);
    }
    (void)talk->model.prefill(talk->model.brain, talk->tokens, count);
}

int br_report_measured(br_talk *talk, int32_t depth, const char *isa, int32_t threads)
{
    const br_model *const model = &talk->model;
    const size_t room = talk->capacity - 1, read = room < READ ? room : READ;
    const size_t deep = (size_t)depth < room - 1 ? (size_t)depth : room - 1;
    const size_t written = room - deep < WRITTEN ? room - deep : WRITTEN;
    double reading[TIMES], writing[TIMES];
    for (int i = 0; i < TIMES; i++) {
        model->forget(model->brain);
        double began = now();
        fill(talk, read);
        reading[i] = now() - began;
        model->forget(model->brain);
        fill(talk, deep);
        began = now();
        for (size_t j = 0; j < written; j++) {
            (void)model->decode(model->brain, (int32_t)(j * 31 % (size_t)model->tokens), NULL);
        }
        writing[i] = now() - began;
    }
    qsort(reading, TIMES, sizeof *reading, ascending);
    qsort(writing, TIMES, sizeof *writing, ascending);
    printf("{\"prefill\": {\"tokens\": %zu, \"tokens_per_second\": %.1f}, ", read, rate(read, reading[TIMES / 2]));
    printf("\"decode\": {\"tokens\": %zu, \"depth\": %zu, \"tokens_per_second\": %.1f}, ", written, deep,
           rate(written, writing[TIMES / 2]));
    printf("\"threads\": %" PRId32 ", \"isa\": \"%s\"}\n", threads, isa);
    return 0;
}

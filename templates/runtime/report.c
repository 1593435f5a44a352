/* SPDX-License-Identifier: 0BSD */
#define _POSIX_C_SOURCE 200809L

#include "report.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { READ = 512, WRITTEN = 128, TIMES = 5 };

double br_report_now(void)
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
            putchar('\\');
            putchar(c);
        } else if (c == '\n') {
            fputs("\\n", stdout);
        } else if (c < 0x20 || c == 0x7F) {
            printf("\\u%04x", c);
        } else {
            putchar(c);
        }
    }
}

int br_report_out(void *to, const char *text, size_t count)
{
    if (*(const int *)to) {
        quoted(text, count);
    } else {
        fwrite(text, 1, count, stdout);
        fflush(stdout);
    }
    return ferror(stdout);
}

br_report br_report_read(int json, const char *prompt, size_t bytes, double began, const br_talk *talk)
{
    if (json) {
        br_typing typing = {.out = br_report_out, .to = &json}; /* mends what is no UTF-8 */
        fputs("{\"prompt\": \"", stdout);
        br_typing_put(&typing, prompt, bytes);
        br_typing_end(&typing);
        fputs("\", \"text\": \"", stdout);
    }
    return (br_report){.json = json, .began = began, .read = br_report_now(), .count = talk->count};
}

static double rate(size_t count, double seconds)
{
    return seconds > 0.0 ? (double)count / seconds : 0.0;
}

void br_report_written(const br_report *report, const br_talk *talk, br_end end)
{
    static const char *const ends[] = {"done", "stop", "limit", "context", "interrupted"};
    const double written = br_report_now() - report->read;
    if (!report->json) {
        putchar('\n');
        fflush(stdout);
        return;
    }
    fputs("\", \"tokens\": [", stdout);
    for (size_t i = 0; i < talk->count; i++) {
        printf("%s%" PRId32, i == 0 ? "" : ", ", talk->tokens[i]);
    }
    printf("], \"end\": \"%s\", \"prompt_tokens\": %zu, ", ends[end], report->count);
    printf("\"tokens_per_second\": {\"prefill\": %.1f, \"decode\": %.1f}, ",
           rate(report->count, report->read - report->began), rate(talk->count, written));
    printf("\"threads\": %" PRId32 ", \"isa\": \"%s\", ", talk->model.threads, talk->model.isa);
    printf("\"hash\": \"%016" PRIx64 "\"}\n", talk->hash);
    fflush(stdout);
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Reads tokens of no text as a prompt. */
static void fill(br_talk *talk, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        talk->tokens[i] = (int32_t)((i * 7919 + 13) % (size_t)talk->model.tokens);
    }
    (void)talk->model.prefill(talk->model.brain, talk->tokens, count);
}

/* One measurement: seconds of reading `read` tokens, and of writing `written` behind `deep`. */
static void measure(br_talk *talk, size_t read, size_t deep, size_t written, double *reading, double *writing)
{
    const br_model *const model = &talk->model;
    model->forget(model->brain);
    double began = br_report_now();
    fill(talk, read);
    *reading = br_report_now() - began;
    model->forget(model->brain);
    fill(talk, deep);
    began = br_report_now();
    for (size_t i = 0; i < written && !*talk->interrupted; i++) {
        (void)model->decode(model->brain, (int32_t)(i * 31 % (size_t)model->tokens), NULL);
    }
    *writing = br_report_now() - began;
}

int br_report_measured(br_talk *talk, int32_t depth)
{
    const size_t room = (size_t)talk->model.context, read = room < READ ? room : READ;
    const size_t deep = (size_t)depth < room - 1 ? (size_t)depth : room - 1;
    const size_t written = room - deep < WRITTEN ? room - deep : WRITTEN;
    double reading[TIMES], writing[TIMES];
    for (int i = 0; i < TIMES; i++) {
        measure(talk, read, deep, written, &reading[i], &writing[i]);
        if (*talk->interrupted) {
            return -1;
        }
    }
    qsort(reading, TIMES, sizeof *reading, ascending);
    qsort(writing, TIMES, sizeof *writing, ascending);
    printf("{\"prefill\": {\"tokens\": %zu, \"tokens_per_second\": %.1f}, ", read, rate(read, reading[TIMES / 2]));
    printf("\"decode\": {\"tokens\": %zu, \"depth\": %zu, \"tokens_per_second\": %.1f}, ", written, deep,
           rate(written, writing[TIMES / 2]));
    printf("\"threads\": %" PRId32 ", \"isa\": \"%s\"}\n", talk->model.threads, talk->model.isa);
    return 0;
}

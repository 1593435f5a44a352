/* SPDX-License-Identifier: 0BSD */
#define _POSIX_C_SOURCE 200809L

#include "program.h"
#include "report.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LINE = 1 << 15, TEXT = 1 << 20, GOOD = 0, WRONG = 2, MACHINE = 3, INTERRUPTED = 130 };

static volatile sig_atomic_t interrupted;

static void interrupt(int number)
{
    (void)number;
    interrupted = 1;
}

static int complain(const br_program *program, int status, const char *what, const char *more)
{
    fprintf(stderr, "%s: %s%s%s\n", program->name, what, more[0] == '\0' ? "" : ": ", more);
    return status;
}

/* The weights beside the program. */
static const char *weights_of(const br_program *program, const char *self, char *path, size_t room)
{
    const char *const slash = strrchr(self, '/');
    const int folder = slash == NULL ? 0 : (int)(slash - self) + 1;
    snprintf(path, room, "%.*s%s.weights", folder, self, program->name);
    return path;
}

/* All memory that talking needs; the prompt's bytes decide how much. 0, or -1: there is not so much. */
static int equip(br_talk *talk, const br_program *program, size_t longest)
{
    talk->model = program->model;
    talk->capacity = (size_t)program->context(talk->model.brain) + 1;
    talk->room = br_tokenize_work(longest);
    talk->tokens = malloc(talk->capacity * sizeof *talk->tokens);
    talk->candidates = malloc((size_t)talk->model.tokens * sizeof *talk->candidates);
    talk->work = malloc(talk->room);
    talk->interrupted = &interrupted;
    talk->hash = 0xCBF29CE484222325u;
    return talk->tokens == NULL || talk->candidates == NULL || talk->work == NULL ? -1 : 0;
}

static int unread(const br_program *program, const br_talk *talk, int error)
{
    char numbers[96];
    if (error == BR_NO_WORK) {
        return complain(program, WRONG, "the text is too long", "");
    }
    snprintf(numbers, sizeof numbers, "%zu tokens, and %d positions are free", talk->count,
             (int)talk->model.left(talk->model.brain));
    return complain(program, WRONG, "the text does not fit into the context", numbers);
}

/* Continues a text. */
static int generate(const br_program *program, br_talk *talk, const br_options *options, const char *text)
{
    br_report report = br_report_start(options->json, text);
    int error = br_talk_read(talk, text, strlen(text), BR_ADD_ENDS | BR_PARSE_SPECIAL);
    if (error != BR_READ) {
        return unread(program, talk, error);
    }
    if (talk->count == 0) {
        return complain(program, WRONG, "there is no text to continue", "");
    }
    br_report_read(&report, talk);
    report.end = br_talk_write(talk, options->tokens > 0 ? (size_t)options->tokens : talk->capacity);
    br_typing_end(&talk->typing);
    br_report_written(&report, talk, program->isa(talk->model.brain), program->threads(talk->model.brain));
    return report.end == BR_INTERRUPTED ? INTERRUPTED : GOOD;
}

/* One line without its end; -1: there is none any more. */
static int line_of(char *line, size_t room)
{
    const int shown = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
    if (shown) {
        fputs("> ", stdout), fflush(stdout);
    }
    errno = 0;
    if (fgets(line, (int)room, stdin) == NULL) {
        if (shown) {
            putchar('\n');
        }
        return -1;
    }
    line[strcspn(line, "\r\n")] = '\0';
    return 0;
}

static char *trimmed(char *text, int trims)
{
    size_t count;
    while (trims && text[0] != '\0' && strchr(" \t\n", text[0]) != NULL) {
        text++;
    }
    for (count = strlen(text); trims && count > 0 && strchr(" \t\n", text[count - 1]) != NULL; count--) {
        text[count - 1] = '\0';
    }
    return text;
}

/* Line after line from the user, answer after answer. */
static int converse(const br_program *program, br_talk *talk, const br_options *options)
{
    static char line[LINE], before[LINE], space[3 * LINE];
    const br_chat *const chat = program->chat;
    const int told = options->system != NULL && chat->system_before != NULL;
    snprintf(before, sizeof before, "%s%s%s", told ? chat->system_before : chat->opening, told ? options->system : "",
             told ? chat->system_after : "");
    if (options->system != NULL && !told) {
        complain(program, GOOD, "this model knows no system prompt; it is left out", "");
    }
    while (line_of(line, sizeof line) == 0) {
        if (line[0] == '\0') {
            continue;
        }
        interrupted = 0;
        talk->typing.stopped = 0;
        br_report report = br_report_start(options->json, line);
        const int error = br_talk_turn(talk, before, trimmed(line, chat->trims), chat->after_user, space, sizeof space);
        if (error != BR_READ) {
            return unread(program, talk, error);
        }
        br_report_read(&report, talk);
        report.end = br_talk_write(talk, options->tokens > 0 ? (size_t)options->tokens : talk->capacity);
        br_typing_end(&talk->typing);
        br_report_written(&report, talk, program->isa(talk->model.brain), program->threads(talk->model.brain));
        if (report.end == BR_CONTEXT) {
            return complain(program, GOOD, "the context is full, and the conversation ends", "");
        }
        snprintf(before, sizeof before, "%s", chat->after_answer);
    }
    return interrupted ? INTERRUPTED : GOOD;
}

/* All of the standard input as a text. */
static char *text_of_input(void)
{
    char *const text = malloc(TEXT + 1);
    if (text != NULL) {
        text[fread(text, 1, TEXT, stdin)] = '\0';
    }
    return text;
}

static int run(const br_program *program, br_talk *talk, const br_options *options)
{
    const int talks = options->prompt == NULL && program->chat != NULL;
    const char *const text = talks || options->measure ? "" : options->prompt ? options->prompt : text_of_input();
    const size_t longest = talks ? 3 * LINE : text == NULL ? 0 : strlen(text);
    size_t bytes;
    const void *const section = program->vocabulary(program->model.brain, &bytes);
    if (text == NULL || equip(talk, program, longest) != 0) {
        return complain(program, MACHINE, "there is not enough memory", "");
    }
    if (section == NULL || br_vocabulary_open(&talk->vocabulary, section, bytes) != 0) {
        return complain(program, WRONG, "the file of weights has no vocabulary", "");
    }
    if (options->measure) {
        return br_report_measured(talk, options->depth, program->isa(talk->model.brain), program->threads(talk->model.brain));
    }
    for (size_t i = 0; i < options->stop_count; i++) {
        (void)br_typing_stop(&talk->typing, options->stops[i]);
    }
    talk->hashing = options->json;
    talk->typing.out = br_report_out;
    talk->typing.to = (void *)(uintptr_t)&options->json;
    br_sampler_start(&talk->sampler, &options->sampling);
    return talks ? converse(program, talk, options) : generate(program, talk, options, text);
}

int br_program_run(br_program program, int argc, char **argv)
{
    static br_talk talk;
    static char out[BUFSIZ], in[BUFSIZ]; /* else the C library takes them from the heap, later */
    br_options options = program.defaults;
    const char *wrong = "";
    char path[4096];
    if (br_options_read(&options, argc, argv, &wrong) != 0) {
        return complain(&program, WRONG, "cannot read the command line at", wrong);
    }
    if (options.help) {
        printf("%s: a language model\n\n%s", program.name, br_options_help);
        return GOOD;
    }
    setvbuf(stdout, out, _IOFBF, sizeof out), setvbuf(stdin, in, _IOFBF, sizeof in);
    const struct sigaction action = {.sa_handler = interrupt};
    sigaction(SIGINT, &action, NULL);
    const char *const weights = options.weights != NULL ? options.weights : weights_of(&program, argv[0], path, sizeof path);
    const int error = program.open(&program.model.brain, &options, weights);
    if (error != 0) {
        return complain(&program, MACHINE, program.error(error), weights);
    }
    if (options.isa == NULL && program.best != NULL && strcmp(program.isa(program.model.brain), program.best) != 0) {
        fprintf(stderr, "%s: this CPU has not all that %s needs: running the %s kernels\n", program.name, program.best,
                program.isa(program.model.brain));
    }
    const int status = run(&program, &talk, &options);
    program.close(program.model.brain);
    free(talk.tokens), free(talk.candidates), free(talk.work);
    return fflush(stdout) == 0 ? status : MACHINE;
}

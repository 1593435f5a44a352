/* SPDX-License-Identifier: 0BSD */
#define _XOPEN_SOURCE 700 /* POSIX of 2008, with realpath */

#include "program.h"
#include "report.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#if defined(__APPLE__)
#include <mach-o/dyld.h>
#endif

enum { LINE = 1 << 15, TEXT = 1 << 20, PATH = 1 << 12 }; /* bytes at most */
enum { GOOD = 0, WRONG = 2, MACHINE = 3, INTERRUPTED = 130 };

static volatile sig_atomic_t interrupted;

static void interrupt(int number)
{
    (void)number;
    interrupted = 1;
}

/* Pages of the file of weights are gone: somebody made it shorter while it is read. */
static void cut_off(int number)
{
    static const char told[] = "the file of weights was cut off while it was read\n";
    (void)number;
    (void)!write(STDERR_FILENO, told, sizeof told - 1);
    _exit(MACHINE);
}

static int complain(const br_program *program, int status, const char *what, const char *more)
{
    fprintf(stderr, "%s: %s%s%s\n", program->name, what, more[0] == '\0' ? "" : ": ", more);
    return status;
}

/* Why a text was not read. */
static int unread(const br_program *program, const br_talk *talk, br_reading why)
{
    char numbers[96];
    if (why != BR_TOO_LONG) {
        return complain(program, WRONG, why == BR_EMPTY ? "there is no text to continue" : "the text is too long", "");
    }
    snprintf(numbers, sizeof numbers, "%zu tokens, and %d positions are free", talk->count,
             (int)talk->model.left(talk->model.brain));
    return complain(program, WRONG, "the text does not fit into the context", numbers);
}

/* Writes what follows a text that was read. */
static br_end answer(br_talk *talk, const br_options *options, const char *text, size_t bytes, double began)
{
    const br_report report = br_report_read(options->json, text, bytes, began, talk);
    const br_end end = br_talk_write(talk, options->tokens > 0 ? (size_t)options->tokens : talk->capacity);
    br_typing_end(&talk->typing);
    br_report_written(&report, talk, end);
    return end;
}

/* Continues a text. */
static int generate(const br_program *program, br_talk *talk, const br_options *options, const char *text, size_t bytes)
{
    const double began = br_report_now();
    const br_reading found = br_talk_read(talk, text, bytes, BR_ADD_ENDS | BR_PARSE_SPECIAL);
    if (found != BR_READ) {
        return unread(program, talk, found);
    }
    const br_end end = answer(talk, options, text, bytes, began);
    if (end == BR_CONTEXT && !options->json) {
        complain(program, GOOD, "the context is full, and the text ends", "");
    }
    return end == BR_INTERRUPTED ? INTERRUPTED : GOOD;
}

/* One line without its end, and without zeros: its bytes, or `room` if it has as many or more; -1: there is none. */
static int line_of(char *line, int room)
{
    const int shown = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
    int count = 0, c = 0;
    if (shown) {
        fputs("> ", stdout);
        fflush(stdout);
    }
    while ((c = getchar()) != EOF && c != '\n') {
        if (count < room && c != '\0') {
            line[count++] = (char)c;
        }
    }
    if (c == EOF && (count == 0 || interrupted)) {
        if (shown) {
            putchar('\n');
        }
        return -1;
    }
    count -= count > 0 && count < room && line[count - 1] == '\r';
    line[count < room ? count : 0] = '\0';
    return count;
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

/* What stands before the first line of a conversation: 0, or -1: it is too long. */
static int open_chat(const br_program *program, const br_options *options, char *before, size_t room)
{
    const br_chat *const chat = program->chat;
    const int told = options->system != NULL && chat->system_before != NULL;
    if (options->system != NULL && !told) {
        complain(program, GOOD, "this model knows no system prompt; it is left out", "");
    }
    const int length = snprintf(before, room, "%s%s%s", told ? chat->system_before : chat->opening,
                                told ? options->system : "", told ? chat->system_after : "");
    return length >= 0 && (size_t)length < room ? 0 : -1;
}

/* Line after line from the user, answer after answer; a line that cannot be read is told, and left out. */
static int converse(const br_program *program, br_talk *talk, const br_options *options)
{
    static char line[LINE], before[LINE], space[3 * LINE];
    const br_chat *const chat = program->chat;
    int count, status = GOOD;
    if (open_chat(program, options, before, sizeof before) != 0) {
        return complain(program, WRONG, "the system prompt is too long", "");
    }
    while ((count = line_of(line, LINE)) >= 0) {
        const char *const said = trimmed(line, chat->trims);
        const double began = br_report_now();
        if (count == LINE) {
            status = complain(program, WRONG, "a line is too long, and left out", "");
        }
        if (said[0] == '\0') {
            continue;
        }
        const br_reading found = br_talk_turn(talk, before, said, chat->after_user, space, sizeof space);
        if (found != BR_READ) {
            status = unread(program, talk, found);
            continue;
        }
        if (answer(talk, options, said, strlen(said), began) == BR_CONTEXT) {
            return complain(program, GOOD, "the context is full, and the conversation ends", "");
        }
        if (ferror(stdout)) {
            return GOOD;
        }
        snprintf(before, sizeof before, "%s", chat->after_answer);
        interrupted = 0; /* that was the answer's end alone */
        talk->typing.stopped = 0;
    }
    if (ferror(stdin) && !interrupted) {
        return complain(program, MACHINE, "the text cannot be read", "");
    }
    return interrupted ? INTERRUPTED : status;
}

/* All memory that talking needs; the text's bytes decide how much. 0, or -1: there is not so much. */
static int equip(br_talk *talk, const br_model *model, const br_options *options, size_t longest)
{
    talk->model = *model;
    talk->typing = options->typing;
    talk->typing.out = br_report_out;
    talk->typing.to = (void *)(uintptr_t)&options->json;
    talk->hashing = options->json;
    talk->hash = 0xCBF29CE484222325u;
    talk->interrupted = &interrupted;
    talk->capacity = (size_t)model->context + 1;
    talk->room = br_tokenize_work(longest);
    talk->tokens = malloc(talk->capacity * sizeof *talk->tokens);
    talk->candidates = malloc((size_t)model->tokens * sizeof *talk->candidates);
    talk->work = malloc(talk->room);
    br_sampler_start(&talk->sampler, &options->sampling);
    return talk->tokens == NULL || talk->candidates == NULL || talk->work == NULL ? -1 : 0;
}

/* Talks, continues `text` (NULL: what comes in, which is read into `input`), or measures. */
static int run(const br_program *program, br_talk *talk, const br_model *model, const br_options *options, char *input)
{
    const int talks = options->prompt == NULL && !options->measure && program->chat != NULL;
    const char *const text = options->prompt != NULL ? options->prompt : input;
    size_t bytes = options->prompt != NULL ? strlen(text) : 0;
    if (options->prompt == NULL && !options->measure && !talks) {
        bytes = fread(input, 1, TEXT, stdin);
        if (ferror(stdin) && !interrupted) {
            return complain(program, MACHINE, "the text cannot be read", "");
        }
        if (interrupted || bytes == TEXT) {
            return interrupted ? INTERRUPTED : complain(program, WRONG, "the text is too long", "");
        }
    }
    if (equip(talk, model, options, talks ? 3 * LINE : bytes) != 0) {
        return complain(program, MACHINE, "there is not enough memory", "");
    }
    if (options->measure) {
        return br_report_measured(talk, options->depth) == 0 ? GOOD : INTERRUPTED;
    }
    if (br_vocabulary_open(&talk->vocabulary, model->vocabulary, model->vocabulary_bytes) != 0) {
        return complain(program, MACHINE, "the file of weights has no good vocabulary", "");
    }
    return talks ? converse(program, talk, options) : generate(program, talk, options, text, bytes);
}

/* Where this program lies, which may have been found by PATH or by a link; NULL if the system does not say. */
static const char *own_path(char real[PATH])
{
#if defined(__APPLE__)
    char called[PATH];
    uint32_t room = sizeof called;
    return _NSGetExecutablePath(called, &room) == 0 ? realpath(called, real) : NULL;
#else
    const ssize_t length = readlink("/proc/self/exe", real, PATH - 1);
    real[length > 0 ? length : 0] = '\0';
    return length > 0 ? real : NULL;
#endif
}

/* The weights beside the program. */
static const char *weights_of(const br_program *program, const char *called, char *path, size_t room)
{
    char real[PATH];
    const char *const own = own_path(real), *const self = own != NULL ? own : called;
    const char *const slash = self == NULL ? NULL : strrchr(self, '/');
    const int folder = slash == NULL ? 0 : (int)(slash - self) + 1;
    snprintf(path, room, "%.*s%s.weights", folder, folder == 0 ? "" : self, program->name);
    return path;
}

/* Why there is no brain, and what helps. */
static int unopened(const br_program *program, int error, const br_options *options, const char *weights)
{
    const char *const why = errno != 0 ? strerror(errno) : "";
    if (error == program->no_isa && options->isa != NULL) {
        fprintf(stderr, "%s: this CPU has not the instructions of %s: leave --isa out, or name one that it has\n",
                program->name, options->isa);
    } else if (error == program->no_weights || error == program->wrong_weights) {
        fprintf(stderr, "%s: %s%s%s (%s): build it once more, or name the file with --weights FILE\n", program->name,
                program->error(error), why[0] == '\0' ? "" : ": ", why, weights);
    } else {
        complain(program, MACHINE, program->error(error), why);
    }
    return MACHINE;
}

/* The brain, or an exit status that is not 0. */
static int open_brain(const br_program *program, br_model *model, const br_options *options, const char *weights)
{
    *model = program->model;
    errno = 0;
    const int error = program->open(model, options, weights);
    if (error != 0) {
        return unopened(program, error, options, weights);
    }
    if (options->isa == NULL && options->isas[1] != NULL && strcmp(model->isa, options->isas[0]) == 0) {
        fprintf(stderr, "%s: this CPU has not all that %s needs: running the %s kernels\n", program->name,
                options->isas[1], model->isa);
    }
    return GOOD;
}

/* The status, if all that was said could be. */
static int written(const br_program *program, int status)
{
    if (fflush(stdout) != 0 || ferror(stdout)) {
        return complain(program, MACHINE, "the text cannot be written", "");
    }
    return status;
}

int br_program_run(const br_program *program, int argc, char **argv)
{
    static br_talk talk;
    static char out[BUFSIZ], in[BUFSIZ]; /* else the C library takes them from the heap, later */
    static char input[TEXT];
    const struct sigaction stops = {.sa_handler = interrupt}, cut = {.sa_handler = cut_off};
    br_options options = program->defaults;
    br_model model;
    char wrong[256], path[PATH];
    if (br_options_read(&options, argc, argv, wrong, sizeof wrong) != 0) {
        return complain(program, WRONG, wrong, "");
    }
    if (options.help) {
        br_options_help(&program->defaults, program->name);
        return written(program, GOOD);
    }
    setvbuf(stdout, out, _IOFBF, sizeof out);
    setvbuf(stdin, in, _IOFBF, sizeof in);
    sigaction(SIGINT, &stops, NULL);
    sigaction(SIGBUS, &cut, NULL);
    const char *const weights = options.weights != NULL ? options.weights : weights_of(program, argv[0], path, sizeof path);
    int status = open_brain(program, &model, &options, weights);
    if (status != GOOD) {
        return status;
    }
    status = run(program, &talk, &model, &options, input);
    program->close(model.brain);
    free(talk.tokens);
    free(talk.candidates);
    free(talk.work);
    return written(program, status);
}

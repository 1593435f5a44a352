/* SPDX-License-Identifier: 0BSD */
#include "talk.h"

#include <string.h>

/* The tokens of a text at the end of those there are. */
static int add(br_talk *talk, const char *text, size_t bytes, int flags)
{
    const size_t free = talk->capacity - talk->count;
    const int32_t count = br_tokenize(&talk->vocabulary, text, bytes, flags, talk->work, talk->room,
                                      talk->tokens + talk->count, free);
    if (count < 0) {
        return BR_NO_WORK;
    }
    talk->count += (size_t)count;
    return (size_t)count <= free ? BR_READ : BR_TOO_LONG;
}

/* The model reads what is there. */
static int take(br_talk *talk)
{
    if (talk->count > (size_t)talk->model.left(talk->model.brain)) {
        return BR_TOO_LONG;
    }
    for (size_t i = 0; i < talk->count; i++) {
        br_sampler_note(&talk->sampler, talk->tokens[i]);
    }
    return talk->model.prefill(talk->model.brain, talk->tokens, talk->count);
}

int br_talk_read(br_talk *talk, const char *text, size_t bytes, int flags)
{
    talk->count = 0;
    const int error = add(talk, text, bytes, flags);
    return error != BR_READ ? error : take(talk);
}

/* Whether a text has something in it that looks like a control token. */
static int controls(br_talk *talk, const char *text)
{
    int32_t count[2];
    for (int i = 0; i < 2; i++) {
        count[i] = br_tokenize(&talk->vocabulary, text, strlen(text), i == 0 ? 0 : BR_PARSE_SPECIAL, talk->work,
                               talk->room, talk->tokens, talk->capacity);
    }
    return count[0] != count[1];
}

int br_talk_turn(br_talk *talk, const char *before, const char *said, const char *behind, char *space, size_t room)
{
    const char *const parts[3] = {before, said, behind};
    const int apart = controls(talk, said);
    int error = BR_READ;
    size_t bytes = 0;
    talk->count = 0;
    for (int i = 0; i < 3 && error == BR_READ; i++) {
        const size_t size = strlen(parts[i]);
        if (apart) {
            error = add(talk, parts[i], size, i == 1 ? 0 : BR_PARSE_SPECIAL);
        } else if (size <= room - bytes) {
            memcpy(space + bytes, parts[i], size);
            bytes += size;
        } else {
            error = BR_NO_WORK;
        }
    }
    if (!apart && error == BR_READ) {
        error = add(talk, space, bytes, BR_PARSE_SPECIAL);
    }
    return error != BR_READ ? error : take(talk);
}

/* FNV-1a over words of 32 bits. */
static uint64_t hashed(uint64_t hash, const float *logits, int32_t count)
{
    for (int32_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, logits + i, sizeof bits);
        hash = (hash ^ bits) * 0x100000001B3u;
    }
    return hash;
}

br_end br_talk_write(br_talk *talk, size_t most)
{
    const br_model *const model = &talk->model;
    const float *logits = model->logits(model->brain);
    talk->count = 0;
    while (talk->count < most && talk->count < talk->capacity) {
        char text[1024];
        talk->hash = talk->hashing ? hashed(talk->hash, logits, model->tokens) : talk->hash;
        const int32_t token = br_sample(&talk->sampler, logits, (size_t)model->tokens, talk->candidates);
        br_sampler_note(&talk->sampler, token);
        talk->tokens[talk->count++] = token;
        if (br_token_ends(&talk->vocabulary, token)) {
            return BR_DONE;
        }
        const size_t bytes = br_token_text(&talk->vocabulary, token, 0, text, sizeof text);
        br_typing_put(&talk->typing, text, bytes < sizeof text ? bytes : sizeof text);
        if (talk->typing.stopped) {
            return BR_STOP;
        }
        if (*talk->interrupted) {
            return BR_INTERRUPTED;
        }
        if (model->left(model->brain) == 0) {
            return BR_CONTEXT;
        }
        (void)model->decode(model->brain, token, &logits); /* the token is in the vocabulary, and there is room */
    }
    return BR_LIMIT;
}

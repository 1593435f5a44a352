/* SPDX-License-Identifier: 0BSD */
#include "talk.h"

#include <string.h>

enum { BLOCKS = 4 };

/* The tokens of a text behind those there are. */
static br_reading add(br_talk *talk, const char *text, size_t bytes, int flags)
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

/* The model reads what is there, a few blocks between two looks at the interrupt. */
static br_reading take(br_talk *talk)
{
    const br_model *const model = &talk->model;
    const size_t most = BLOCKS * (size_t)model->block;
    if (talk->count == 0 || talk->count > (size_t)model->left(model->brain)) {
        return talk->count == 0 ? BR_EMPTY : BR_TOO_LONG;
    }
    size_t done = 0;
    while (done < talk->count && !*talk->interrupted) {
        const size_t count = talk->count - done < most ? talk->count - done : most;
        (void)model->prefill(model->brain, talk->tokens + done, count); /* good tokens, and there is room */
        for (const size_t end = done + count; done < end; done++) {
            br_sampler_note(&talk->sampler, talk->tokens[done]);
        }
    }
    talk->count = done;
    return BR_READ;
}

br_reading br_talk_read(br_talk *talk, const char *text, size_t bytes, int flags)
{
    talk->count = 0;
    const br_reading found = add(talk, text, bytes, flags);
    return found != BR_READ ? found : take(talk);
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

br_reading br_talk_turn(br_talk *talk, const char *before, const char *said, const char *behind, char *space,
                        size_t room)
{
    const char *const parts[3] = {before, said, behind};
    const int apart = controls(talk, said);
    br_reading found = BR_READ;
    size_t bytes = 0;
    talk->count = 0;
    for (int i = 0; i < 3 && found == BR_READ; i++) {
        const size_t size = strlen(parts[i]);
        if (apart) {
            found = add(talk, parts[i], size, i == 1 ? 0 : BR_PARSE_SPECIAL);
        } else if (size <= room - bytes) {
            memcpy(space + bytes, parts[i], size);
            bytes += size;
        } else {
            found = BR_NO_WORK;
        }
    }
    if (!apart && found == BR_READ) {
        found = add(talk, space, bytes, BR_PARSE_SPECIAL);
    }
    return found != BR_READ ? found : take(talk);
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
        if (*talk->interrupted) {
            return BR_INTERRUPTED;
        }
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
        if (model->left(model->brain) == 0) {
            return BR_CONTEXT;
        }
        (void)model->decode(model->brain, token, &logits); /* a good token, and there is room */
    }
    return BR_LIMIT;
}

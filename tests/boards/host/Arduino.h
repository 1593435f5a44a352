/* Enough of an Arduino core to run a sketch on this machine: Serial is standard input and output. */
#pragma once

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROGMEM
#define F(text) (text)
#define HEX 16

static inline uint8_t pgm_read_byte(const void *at) { return *(const uint8_t *)at; }
static inline uint32_t micros(void) { return 0; }
static inline bool isHexadecimalDigit(int c) { return c > 0 && strchr("0123456789abcdefABCDEF", c) != nullptr; }

struct Port {
    int held = -1;
    void begin(long) {}
    explicit operator bool() const { return true; }
    int available() { return held >= 0 || (held = getchar()) >= 0 ? 1 : (exit(0), 0); }
    int read() { int c = held; held = -1; return c; }
    void print(const char *text) { fputs(text, stdout); }
    void print(int value, int) { printf("%X", (unsigned)value); }
    void print(uint32_t value) { printf("%u", (unsigned)value); }
    void println(const char *text = "") { printf("%s\r\n", text); fflush(stdout); }
};
static Port Serial;

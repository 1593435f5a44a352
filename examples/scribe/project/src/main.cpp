/* scribe on the serial line, 115200 baud. A line is the beginning of a text; the scribe goes on from there until a
 * key is pressed.
 *
 *     in the beginning     begins with these words; an empty line leaves the beginning to the scribe, too
 *     @seed 7              from a seed, a beginning and a temperature follows the same text on every machine;
 *                          after each text the seed is one more
 *     @temperature 70      in percent: 0 the likeliest letter always, 100 as the letters are likely, above: wild
 */
#include "scribe.h"    /* first: the core's macros have short names */

#include <Arduino.h>

static const char SYMBOLS[] PROGMEM = "\n !'(),-.:;?abcdefghijklmnopqrstuvwxyz";
static const uint8_t SPACE = 1, COUNT = sizeof SYMBOLS - 1;

static scribe_t brain;
static int32_t seed = 1, temperature = 45;    /* in 64ths */
static char line[81], last;

/* Its number; a space's if the scribe does not know it. */
static uint8_t number_of(char c)
{
    c += c >= 'A' && c <= 'Z' ? 'a' - 'A' : 0;
    for (uint8_t i = 0; i < COUNT; i++) {
        if ((char)pgm_read_byte(&SYMBOLS[i]) == c) { return i; }
    }
    return SPACE;
}

static void type(uint8_t symbol)
{
    const char text[] = {(char)pgm_read_byte(&SYMBOLS[symbol]), 0};
    Serial.print(*text == '\n' ? "\r\n" : text);
}

/* Reads a symbol and says which one it would write next. A start that is not 0 seeds the generator. */
static uint8_t step(int32_t symbol, int32_t start)
{
    int32_t next;
    scribe_step(&brain, &symbol, &temperature, &start, &next);
    return (uint8_t)next;
}

/* Has somebody typed? A line feed behind a carriage return is the same key. */
static bool typed(void)
{
    if (last == '\r' && Serial.peek() == '\n') { last = (char)Serial.read(); }
    return Serial.available() > 0;
}

static void read_line(void)
{
    uint8_t length = 0;
    for (;;) {
        while (!typed()) {}
        const char c = last = (char)Serial.read();
        if (c == '\n' || c == '\r') { break; }
        line[length] = c;
        length += length < sizeof line - 1;
    }
    line[length] = 0;
}

static void command(void)
{
    const int32_t value = atol(line + strcspn(line, "0123456789"));
    if (line[1] == 's') {
        seed = value;
    } else {
        temperature = (value * 64 + 50) / 100;
    }
}

static void write_text(void)
{
    scribe_init(&brain);
    uint8_t next = step(0, seed++);    /* every text begins after the end of a line */
    for (const char *c = line; *c; c++) {
        type(number_of(*c));
        next = step(number_of(*c), 0);
    }
    while (!typed()) {
        type(next);
        next = step(next, 0);
    }
    if (Serial.peek() < ' ') { last = (char)Serial.read(); }    /* it was only to stop; a letter begins a line */
    Serial.print("\r\n");
}

void setup(void)
{
    Serial.begin(115200);
    while (!Serial) {}    /* a board with a USB of its own: until somebody listens */
}

void loop(void)
{
    read_line();
    if (line[0] == '@') {
        command();
    } else {
        write_text();
    }
}

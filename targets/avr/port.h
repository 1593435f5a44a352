/* The port of the 8-bit AVR: 16-bit sizes, constants in flash, an eight-bit multiplier.
 *
 * Parts with more than 64 KB of flash read constants through far pointers (elpm), the others through
 * near ones (lpm); only this header knows.
 */
#include <avr/io.h>
#include <avr/pgmspace.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define BR_HAS_LEN
typedef uint16_t br_len; /* a size, or an index of an element */
typedef int16_t br_pos;  /* a row or column that may lie outside the picture */

#define BR_HAS_CP
#define BR_CONST(T, name, n) static const T name[n] PROGMEM
#ifdef __AVR_HAVE_ELPM__
#define BR_LPM "elpm"
#define BR_FAR(p) (RAMPZ = (uint8_t)((p) >> 16), (uint16_t)(p)) /* points Z at a constant; BR_NEAR after it */
#define BR_NEAR() (RAMPZ = 0)
#define BR_CP(T) uint_farptr_t
#define BR_CREF(symbol) pgm_get_far_address(symbol)
#define BR_CP_ADD(p, T, i) ((p) + (uint32_t)(i) * sizeof(T))
#define BR_LD_I8(p, i) ((int8_t)pgm_read_byte_far((p) + (uint16_t)(i)))
#define BR_LD_I16(p, i) ((int16_t)pgm_read_word_far((p) + 2UL * (uint16_t)(i)))
#define BR_LD_I32(p, i) ((int32_t)pgm_read_dword_far((p) + 4UL * (uint16_t)(i)))
#define BR_LD_F32(p, i) pgm_read_float_far((p) + 4UL * (uint16_t)(i))
#else
#define BR_LPM "lpm"
#define BR_FAR(p) ((uint16_t)(p))
#define BR_NEAR() ((void)0)
#define BR_CP(T) const T *
#define BR_CREF(symbol) (symbol)
#define BR_CP_ADD(p, T, i) ((p) + (i))
#define BR_LD_I8(p, i) ((int8_t)pgm_read_byte((p) + (i)))
#define BR_LD_I16(p, i) ((int16_t)pgm_read_word((p) + (i)))
#define BR_LD_I32(p, i) ((int32_t)pgm_read_dword((p) + (i)))
#define BR_LD_F32(p, i) pgm_read_float((p) + (i))
#endif

#define BR_HAS_COPY_FLASH
/* Bytes of a constant to RAM. */
static inline __attribute__((unused)) void br_copy_flash(void *to, BR_CP(void) from, br_len bytes)
{
#ifdef __AVR_HAVE_ELPM__
    memcpy_PF(to, from, bytes);
#else
    memcpy_P(to, from, bytes);
#endif
}

/* The port of Teensy 4: that of Cortex-M with DSP, but for constants, which stay in flash only where they ask for it. */
#define BR_HAS_CP
#define BR_CP(T) const T *
#define BR_CREF(symbol) (symbol)
#define BR_CP_ADD(p, T, i) ((p) + (i))
#define BR_LD_I8(p, i) ((p)[i])
#define BR_LD_I16(p, i) ((p)[i])
#define BR_LD_I32(p, i) ((p)[i])
#define BR_LD_F32(p, i) ((p)[i])
#define BR_CONST(T, name, n) static const T name[n] __attribute__((aligned(4), section(".progmem")))

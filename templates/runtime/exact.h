/* SPDX-License-Identifier: 0BSD
 * For C whose reals have the same bits on every machine: included first, it forbids what compilers do to reals by
 * themselves, and refuses flags that ask for it.
 */
#ifndef BR_EXACT_H
#define BR_EXACT_H

#include <float.h>

/* A product and a sum are rounded one after the other. Where the CPU can do both at once gcc does, unless it is told
 * -std=c99 or -ffp-contract=off; clang does within an expression, and everywhere if it is told -ffp-contract=fast, which
 * goes over this and cannot be seen from here. */
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=off")
#endif

#if defined(__FAST_MATH__) || (defined(__GCC_IEC_559) && __GCC_IEC_559 == 0)
#error "reals would not be those of IEEE 754: compile without -ffast-math and its kind"
#endif

#if FLT_EVAL_METHOD != 0 && FLT_EVAL_METHOD != 16 /* 16: only those of 16 bits are kept as they are */
#error "reals would be kept in more bits than they have: on 32-bit x86 compile with -msse2 -mfpmath=sse"
#endif

#endif

/* What the CPU at hand has, and its system lets programs use.
 */
#include <cpuid.h>

/* Old compilers cannot be asked for it by its name. */
static int br_cpu_f16c(void)
{
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C) != 0;
}

static int br_cpu_avx2(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && br_cpu_f16c();
}

static __attribute__((unused)) int br_cpu_avx512vnni(void)
{
    return br_cpu_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")
        && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
}

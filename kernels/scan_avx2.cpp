// 8 channels a vector.
#include "scan_table.h"
#if defined(__x86_64__)
#include <immintrin.h>
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx2,fma")
#endif
#define ISA_AVX2
#define W 8
#define NS rgbx_avx2
#include "scan_body.h"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif

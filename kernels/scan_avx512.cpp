// 16 channels a vector.
#include "scan_table.h"
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"   // GCC 12: its own AVX-512 header
#endif
#if defined(__x86_64__)
#include <immintrin.h>
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma")
#endif
#define ISA_AVX512
#define W 16
#define NS rgbx_avx512
#include "scan_body.h"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif

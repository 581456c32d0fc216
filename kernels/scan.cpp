// Entry points: choice of instruction set, threads, flush-to-zero.
#include "scan_table.h"
#include <ctime>
#include <initializer_list>
#if defined(_OPENMP)
#include <omp.h>
#endif
#if defined(__x86_64__)
#include <immintrin.h>
#endif
#if defined(__linux__)
#include <sys/mman.h>
#endif
#define API extern "C" __attribute__((visibility("default")))

namespace rgbx_generic { extern const RgbxKernels table; }
#if defined(__x86_64__)
namespace rgbx_avx2 { extern const RgbxKernels table; }
namespace rgbx_avx512 { extern const RgbxKernels table; }
#endif

static const char* names[] = {"generic", "avx2", "avx512"};
static int best() {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")) return 2;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return 1;
#endif
    return 0;
}
static int chosen = -1;
static const RgbxKernels& kernels() {
    if (chosen < 0) chosen = best();
#if defined(__x86_64__)
    if (chosen == 2) return rgbx_avx512::table;
    if (chosen == 1) return rgbx_avx2::table;
#endif
    return rgbx_generic::table;
}

API int64_t rgbx_abi_version() { return RGBX_SCAN_ABI; }
API const char* rgbx_isa() { kernels(); return names[chosen]; }
// 0 generic, 1 AVX2, 2 AVX-512; more than the processor has is refused (returns 0). For tests and benchmarks.
API int64_t rgbx_set_isa(int64_t isa) { if (isa < 0 || isa > best()) return 0; chosen = (int)isa; return 1; }
API int64_t rgbx_width() { return kernels().width; }
API int64_t rgbx_chunk() { return kernels().chunk; }

// Vector multiply-adds a second of this thread, for the benchmark's port bound.
API double rgbx_fma_rate() {
    const int64_t n = 2000000; volatile float sink; clock_t t = clock();
    sink = kernels().fma_loop(n); (void)sink;
    return 16.*n*CLOCKS_PER_SEC/(double)(clock() - t + 1);
}

// A decaying state ends in denormal numbers and stays there, where arithmetic is many times slower: flush them, in this scope only.
struct Flush {
#if defined(__x86_64__)
    unsigned old; Flush() : old(_mm_getcsr()) { _mm_setcsr(old | 0x8040); } ~Flush() { _mm_setcsr(old); }
#elif defined(__aarch64__)
    uint64_t old; Flush() { asm volatile("mrs %0, fpcr" : "=r"(old)); asm volatile("msr fpcr, %0" :: "r"(old | (1ull << 24))); }
    ~Flush() { asm volatile("msr fpcr, %0" :: "r"(old)); }
#else
    Flush() {} ~Flush() {}
#endif
};

// Fresh memory comes page by page, and the first touch of one costs a good part of computing what goes into it. As NumPy does, ask for pages
// of 2 MB inside buffers of 4 MB and more; where the system has none, or has them always, nothing changes.
static void big(const void* p, int64_t numbers) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    const uintptr_t page = 1 << 21, a = ((uintptr_t)p + page-1)/page*page, b = ((uintptr_t)p + numbers*4)/page*page;
    if (p && numbers >= 1 << 20 && b > a) madvise((void*)a, b - a, MADV_HUGEPAGE);
#endif
}

#if defined(_OPENMP)
static int thread() { return omp_get_thread_num(); }
#else
static int thread() { return 0; }
#endif
// Task i of n on some thread t; the tasks write to different places, so the result does not depend on who ran what.
template <class F> static void run(int64_t n, int64_t threads, F f) {
    if (threads <= 1 || n <= 1) { Flush flush; for (int64_t i = 0; i < n; i++) f(i, 0); return; }
    #pragma omp parallel num_threads((int)threads)
    {
        Flush flush; const int t = thread();
        #pragma omp for schedule(dynamic, 1)
        for (int64_t i = 0; i < n; i++) f(i, t);
    }
}

static const int64_t PACK = 512;
static void pack(const rgbx_scan_args& a, const RgbxKernels& k) {
    int64_t nb = (a.L + PACK-1)/PACK; big(a.bc, a.B*a.K*a.L*2*a.N);
    run(a.B*a.K*nb, a.threads, [&](int64_t i, int) { int64_t l = i % nb * PACK, g = i/nb; k.pack_bc(a, g/a.K, g%a.K, l, std::min(a.L, l + PACK)); });
}

// floats of the checkpoints: one state every chunk of L steps, channels in whole vectors
static int64_t marks(const RgbxKernels& k, int64_t groups, int64_t D, int64_t N, int64_t L) { return groups*((D + k.width-1)/k.width)*k.width*((L + k.chunk-1)/k.chunk)*N; }

API void rgbx_scan_forward(const rgbx_scan_args* p) {
    const rgbx_scan_args& a = *p; const RgbxKernels& k = kernels();
    big(a.y, a.B*a.K*a.D*a.L); big(a.saved, marks(k, a.B*a.K, a.D, a.N, a.L));
    pack(a, k);
    int64_t nt = (a.D + k.width-1)/k.width;
    run(a.B*a.K*nt, a.threads, [&](int64_t i, int) { k.scan_fwd(a, i/nt/a.K, i/nt%a.K, i%nt); });
}

API void rgbx_scan_backward(const rgbx_scan_args* p) {
    const rgbx_scan_args& a = *p; const RgbxKernels& k = kernels();
    for (float* g : {a.gu, a.gdelta}) big(g, a.B*a.K*a.D*a.L);
    for (float* g : {a.gB, a.gC}) big(g, a.B*a.K*a.N*a.L);
    big(a.gBC, a.groups*a.B*a.K*a.L*2*a.N);
    pack(a, k);
    run(a.B*a.K*a.groups, a.threads, [&](int64_t i, int) { int64_t g = i/a.groups; k.scan_bwd(a, g/a.K, g%a.K, i%a.groups); });
    run(a.B*a.K*2*a.N, a.threads, [&](int64_t i, int) { int64_t g = i/(2*a.N); k.reduce_bc(a, g/a.K, g%a.K, i%(2*a.N)); });
}

static void pack(const rgbx_ss2d_args& a, const RgbxKernels& k) {
    if (a.xpack == a.xdbl) return;                      // the caller's own: one direction in natural order
    int64_t nb = (a.P + PACK-1)/PACK; big(a.xpack, a.B*a.K*a.P*(a.R + 2*a.N));
    run(a.B*a.K*nb, a.threads, [&](int64_t i, int) { int64_t l = i % nb * PACK, g = i/nb; k.ss2d_pack(a, g/a.K, g%a.K, l, std::min(a.P, l + PACK)); });
}

API void rgbx_ss2d_forward(const rgbx_ss2d_args* p) {
    const rgbx_ss2d_args& a = *p; const RgbxKernels& k = kernels();
    big(a.y, a.B*a.P*a.D); big(a.saved, marks(k, a.B*a.K, a.D, a.N, a.P));
    pack(a, k);
    const int64_t nt = (a.D + k.width-1)/k.width;
    const int64_t each = 2*a.P*k.width, threads = std::max<int64_t>(1, std::min(a.threads, a.B*nt));     // floats a thread works in
    float* mem = (float*)aligned_alloc(64, (threads*each*4 + 63)/64*64);
    run(a.B*nt, threads, [&](int64_t i, int t) { k.ss2d_fwd(a, i/nt, i%nt, mem + t*each); });
    free(mem);
}

API void rgbx_ss2d_backward(const rgbx_ss2d_args* p) {
    const rgbx_ss2d_args& a = *p; const RgbxKernels& k = kernels(); const int64_t rows = a.B*a.K*a.P*(a.R + 2*a.N);
    big(a.gx, a.B*a.P*a.D); big(a.gxdbl, rows); big(a.gpart, a.groups*rows);
    pack(a, k);
    run(a.B*a.groups, a.threads, [&](int64_t i, int) { k.ss2d_bwd(a, i/a.groups, i%a.groups); });
    int64_t nb = (a.P + PACK-1)/PACK;
    run(a.B*a.K*nb, a.threads, [&](int64_t i, int) { int64_t l = i % nb * PACK, g = i/nb; k.ss2d_reduce(a, g/a.K, g%a.K, l, std::min(a.P, l + PACK)); });
}

API void rgbx_window_forward(const rgbx_window_args* p) {
    const rgbx_window_args& a = *p; const RgbxKernels& k = kernels(); const int64_t heads = a.B*a.heads;
    big(a.kplanes, heads*a.rows*a.C*a.pitch); big(a.vplanes, heads*a.rows*a.Cv*a.pitch);
    run(heads*a.rows*2, a.threads, [&](int64_t i, int) { const int64_t g = i/2/a.rows; k.window_pack(a, i%2, g/a.heads, g%a.heads, i/2%a.rows); });
    const int64_t Q = k.window_height, nb = (a.rows + Q-1)/Q, threads = std::max<int64_t>(1, std::min(a.threads, heads*nb));
    const int64_t each = Q*(a.C + a.Cv + (a.kh + Q-1)*(2*a.kw-1))*k.width;
    float* mem = (float*)aligned_alloc(64, (threads*each*4 + 63)/64*64);
    run(heads*nb, threads, [&](int64_t i, int t) { const int64_t g = i/nb; k.window_rows(a, g/a.heads, g%a.heads, i%nb*Q, mem + t*each); });
    free(mem);
}

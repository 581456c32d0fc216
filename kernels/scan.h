// Plain C interface of the selective-scan kernels. No torch, no Python headers.
#pragma once
#include <cstdint>

#define RGBX_SCAN_ABI 2

enum { RGBX_F32 = 0, RGBX_BF16 = 1, RGBX_F16 = 2 };

// A vector along L of channel c in batch b starts at p + b*sb + c*sc (in elements) and has unit stride.
struct rgbx_rows { const void* p; int64_t sb, sc; int64_t type; };
// Element (b, k, n, l) of B or C is at p + b*sb + k*sk + n*sn + l*sl.
struct rgbx_bc { const void* p; int64_t sb, sk, sn, sl; int64_t type; };

// y = selective scan of u [B, K*D, L]; A [K*D, N], Ds and bias [K*D], h0 and last [B, K*D, N], all float32 and contiguous.
struct rgbx_scan_args {
    rgbx_rows u, delta;
    rgbx_bc Bm, Cm;
    const float *A, *Ds, *bias, *h0;
    float *bc;                          // scratch [B, K, L, 2N]: B and C of a step next to each other
    float *y, *last, *saved;            // saved: checkpoints of h, or null
    int64_t B, K, D, N, L;
    int64_t softplus, threads;
    // backward only: gradient of y and of the last state (or null), and where the gradients go
    const float *gy, *glast;
    float *gu, *gdelta;                 // [B, K*D, L]
    float *gBC;                         // scratch [groups, B, K, chunks, 2N, steps of a chunk]: partial sums
    float *gB, *gC;                     // [B, K, N, L]
    float *gA, *gD, *gbias, *gh0;       // gA, gh0 [B, K*D, N]; gD, gbias [B, K*D]: one per batch, summed by the caller in a fixed order
    int64_t groups;
};

// The fused core of SS2D, channels last. x [B, P, D], xdbl [B, P, K, R+2N], dtw [K, D, R], pos [K, P] int32: step l of direction k reads
// position pos[k][l]; y [B, P, D] is the sum over directions.
struct rgbx_ss2d_args {
    const float *x, *xdbl, *dtw, *A, *Ds, *bias;
    const int32_t *pos;
    float *xpack;                       // scratch [B, K, P, R+2N]: x_dbl in the order of each path, which every tile then reads in one stream
    float *y, *saved;
    int64_t B, P, D, K, R, N, threads;
    const float *gy;
    float *gx;                          // [B, P, D]
    float *gpart;                       // scratch [groups, B, K, P, R+2N]: partial sums, in the order of each path
    float *gxdbl;                       // [B, P, K, R+2N]
    float *gdtw, *gA, *gD, *gbias;      // [B, K, D, R], [B, K*D, N], [B, K*D], [B, K*D]
    int64_t groups;
};

// Attention to a window: q, k [B, heads, rows, columns, C], v [.., Cv], all with strides of the first four axes and channels side by side;
// bias [heads, 2kh-1, 2kw-1] or null; y [B, rows, columns, heads, Cv]. Windows are odd, held back by the border, cut where the map is smaller.
struct rgbx_window_args {
    const float *q, *k, *v, *bias;
    float *kplanes, *vplanes;           // scratch [B, heads, rows, C (Cv), pitch], pitch >= columns + 2*(kw-1) + 2*16
    float *y;
    int64_t qs[4], ks[4], vs[4];
    int64_t B, heads, rows, columns, C, Cv, kh, kw, pitch, threads;
};

// Attention to a window around every pixel; part of scan_body.h. Lanes are W queries of one row, so keys and values of a row lie as one line a
// channel (planes), and the keys dx columns away from W queries are one load. Where the window is held back by the border, its lanes are masked.
// Q rows of queries go together: a line of keys is loaded once for all of them.
enum { Q = 4,
#if defined(ISA_AVX512)
       G = 6 };
#else
       G = 2 };
#endif
static const float MASKED = -1e30f, LOG2E = 1.44269504f;

// Planes of one row of an image: channel c at to + c*pitch, columns from left on; zeros around them.
static void window_pack(const rgbx_window_args& a, bool values, int64_t b, int64_t h, int64_t row) {
    const int64_t *s = values ? a.vs : a.ks, C = values ? a.Cv : a.C, left = a.kw-1;
    const float* p = (values ? a.v : a.k) + b*s[0] + h*s[1] + row*s[2];
    float* to = (values ? a.vplanes : a.kplanes) + ((b*a.heads + h)*a.rows + row)*C*a.pitch;
    memset(to, 0, C*a.pitch*4);
    for (int64_t x = 0; x < a.columns; x += W) for (int64_t c = 0; c < C; c += W) {
        vf t[W];
        const int64_t pixels = std::min<int64_t>(W, a.columns - x); const int lanes = (int)std::min<int64_t>(W, C - c);
        for (int i = 0; i < W; i++) t[i] = i < pixels ? load_lanes(p + (x+i)*s[3] + c, lanes) : vf{};
        transpose(t);
        for (int i = 0; i < lanes; i++) st(to + (c+i)*a.pitch + left + x, t[i]);
    }
}

// scores of R rows of queries with n <= G columns of keys: q [C][W] a row, qstep apart; scores sstep apart
template <int R, int N> static void window_scores(const float* q, int64_t qstep, const float* k, int64_t pitch, int64_t C, float* s, int64_t sstep) {
    vf acc[R][N] = {};
    for (int64_t c = 0; c < C; c++) {
        vf query[R];
#pragma GCC unroll 4
        for (int r = 0; r < R; r++) query[r] = ld(q + r*qstep + c*W);
#pragma GCC unroll 6
        for (int n = 0; n < N; n++) {
            const vf key = ld(k + c*pitch + n);
#pragma GCC unroll 4
            for (int r = 0; r < R; r++) acc[r][n] = fma_(query[r], key, acc[r][n]);
        }
    }
#pragma GCC unroll 4
    for (int r = 0; r < R; r++) for (int n = 0; n < N; n++) st(s + r*sstep + n*W, acc[r][n]);
}
// sums of R rows of queries over n columns, N <= G channels: y [Cv][W] a row, ystep apart
template <int R, int N> static void window_values(const float* p, int64_t pstep, const float* v, int64_t pitch, int64_t n, float* y, int64_t ystep) {
    vf acc[R][N];
#pragma GCC unroll 4
    for (int r = 0; r < R; r++) for (int c = 0; c < N; c++) acc[r][c] = ld(y + r*ystep + c*W);
    for (int64_t x = 0; x < n; x++) {
        vf weight[R];
#pragma GCC unroll 4
        for (int r = 0; r < R; r++) weight[r] = ld(p + r*pstep + x*W);
#pragma GCC unroll 6
        for (int c = 0; c < N; c++) {
            const vf value = ld(v + c*pitch + x);
#pragma GCC unroll 4
            for (int r = 0; r < R; r++) acc[r][c] = fma_(weight[r], value, acc[r][c]);
        }
    }
#pragma GCC unroll 4
    for (int r = 0; r < R; r++) for (int c = 0; c < N; c++) st(y + r*ystep + c*W, acc[r][c]);
}
typedef void (*WindowPart)(const float*, int64_t, const float*, int64_t, int64_t, float*, int64_t);
#if defined(ISA_AVX512)
#define PARTS(f, R) { f<R,1>, f<R,2>, f<R,3>, f<R,4>, f<R,5>, f<R,6> }
#else
#define PARTS(f, R) { f<R,1>, f<R,2> }
#endif
static const WindowPart SCORES[Q][G] = { PARTS(window_scores, 1), PARTS(window_scores, 2), PARTS(window_scores, 3), PARTS(window_scores, 4) };
static const WindowPart VALUES[Q][G] = { PARTS(window_values, 1), PARTS(window_values, 2), PARTS(window_values, 3), PARTS(window_values, 4) };
#undef PARTS

INL int64_t window_start(int64_t x, int64_t window, int64_t size) { return std::max<int64_t>(0, std::min(x - window/2, size - window)); }

// The largest of n vectors and the sum of their exponentials, which take their place.
static vf window_softmax(float* s, int64_t n) {
    vf most = ld(s), sum = {};
    for (int64_t i = 1; i < n; i++) most = maxf(most, ld(s + i*W));
    int64_t i = 0;
    for (; i + U <= n; i += U) {
        vf d[U], e[U];
#pragma GCC unroll 4
        for (int j = 0; j < U; j++) d[j] = maxf(splat(-100.f), ld(s + (i+j)*W) - most);
        decays(e, d, splat(LOG2E));
#pragma GCC unroll 4
        for (int j = 0; j < U; j++) { st(s + (i+j)*W, e[j]); sum += e[j]; }
    }
    for (; i < n; i++) { const vf e = decay(maxf(splat(-100.f), ld(s + i*W) - most), splat(LOG2E)); st(s + i*W, e); sum += e; }
    return sum;
}

// Q rows of queries of one head from row y0 on. work: Q*(C + Cv + (kh+Q-1)*(2kw-1)) vectors.
static void window_rows(const rgbx_window_args& a, int64_t b, int64_t h, int64_t y0, float* work) {
    const int64_t C = a.C, Cv = a.Cv, left = a.kw-1, R = std::min<int64_t>(Q, a.rows - y0), wide = 2*a.kw-1;
    const int64_t qstep = C*W, ystep = Cv*W, first = window_start(y0, a.kh, a.rows);
    const int64_t last = std::min(a.rows, window_start(y0+R-1, a.kh, a.rows) + a.kh);                          // rows of keys: first..last-1
    float *q = work, *y = q + Q*qstep, *s = y + Q*ystep;
    const float* planes_k = a.kplanes + (b*a.heads + h)*a.rows*C*a.pitch;
    const float* planes_v = a.vplanes + (b*a.heads + h)*a.rows*Cv*a.pitch;
    const float* bias = a.bias ? a.bias + h*(2*a.kh-1)*wide : nullptr;
    for (int64_t at = 0; at < a.columns; at += W) {
        const int64_t x0 = std::max<int64_t>(0, std::min(at, a.columns - W)), pixels = std::min<int64_t>(W, a.columns - x0);
        int64_t lo = a.kw, hi = -a.kw; int32_t from[W], to[W];                                                  // columns of keys, relative to each lane
        for (int i = 0; i < W; i++) {
            const int64_t x = x0 + i, start = window_start(x, a.kw, a.columns);
            from[i] = (int32_t)(start - x); to[i] = (int32_t)(std::min(start + a.kw, a.columns) - x);
            if (i >= pixels) { from[i] = -(int32_t)a.kw; to[i] = (int32_t)a.kw; continue; }
            lo = std::min<int64_t>(lo, from[i]); hi = std::max<int64_t>(hi, to[i]-1);
        }
        const int64_t n = hi-lo+1, sstep = (last - first)*n*W; const bool inside = n == std::min(a.kw, a.columns);
        vi begin, end; memcpy(&begin, from, sizeof(vi)); memcpy(&end, to, sizeof(vi));
        for (int64_t r = 0; r < R; r++) for (int64_t c = 0; c < C; c += W) {
            vf t[W]; const int lanes = (int)std::min<int64_t>(W, C - c);
            const float* p = a.q + b*a.qs[0] + h*a.qs[1] + (y0+r)*a.qs[2] + x0*a.qs[3] + c;
            for (int i = 0; i < W; i++) t[i] = i < pixels ? load_lanes(p + i*a.qs[3], lanes) : vf{};
            transpose(t);
            for (int i = 0; i < lanes; i++) st(q + r*qstep + (c+i)*W, t[i]);
        }
        int64_t top[Q];
        for (int64_t r = 0; r < R; r++) top[r] = window_start(y0+r, a.kh, a.rows);
        const int64_t tall = std::min(a.kh, a.rows);
        for (int64_t row = first; row < last; row++) {
            int64_t r0 = 0, r1 = R;                                                                                // queries that see this row
            while (top[r0] + tall <= row) r0++;
            while (top[r1-1] > row) r1--;
            const float* k = planes_k + row*C*a.pitch + left + x0 + lo;
            float* out = s + r0*sstep + (row - first)*n*W;
            const int64_t groups = (n + G-1)/G;
            for (int64_t g = 0; g < groups; g++) {
                const int64_t x = g*n/groups, m = (g+1)*n/groups - x;
                SCORES[r1-r0-1][m-1](q + r0*qstep, qstep, k + x, a.pitch, C, out + x*W, sstep);
            }
            for (int64_t r = r0; r < r1; r++) {
                const float* table = bias ? bias + (row - y0-r + a.kh-1)*wide + lo + a.kw-1 : nullptr;
                float* p = s + r*sstep + (row - first)*n*W;
                if (table) for (int64_t x = 0; x < n; x++) st(p + x*W, ld(p + x*W) + splat(table[x]));
                if (!inside) for (int64_t x = 0; x < n; x++) {
                    const vi dx = splati((int32_t)(lo + x)), seen = (vi)(dx >= begin) & (vi)(dx < end);
                    st(p + x*W, pick(seen, ld(p + x*W), splat(MASKED)));
                }
            }
        }
        vf sum[Q];
        for (int64_t r = 0; r < R; r++) sum[r] = window_softmax(s + r*sstep + (top[r] - first)*n*W, tall*n);
        memset(y, 0, R*ystep*4);
        for (int64_t row = first; row < last; row++) {
            int64_t r0 = 0, r1 = R;
            while (top[r0] + tall <= row) r0++;
            while (top[r1-1] > row) r1--;
            const float* v = planes_v + row*Cv*a.pitch + left + x0 + lo;
            const int64_t groups = (Cv + G-1)/G;
            for (int64_t g = 0; g < groups; g++) {
                const int64_t c = g*Cv/groups, m = (g+1)*Cv/groups - c;
                VALUES[r1-r0-1][m-1](s + r0*sstep + (row - first)*n*W, sstep, v + c*a.pitch, a.pitch, n, y + r0*ystep + c*W, ystep);
            }
        }
        for (int64_t r = 0; r < R; r++) {
            const vf scale = splat(1.f)/sum[r];
            float* to = a.y + (((b*a.rows + y0+r)*a.columns + x0)*a.heads + h)*Cv;
            for (int64_t c = 0; c < Cv; c += W) {
                vf t[W]; const int lanes = (int)std::min<int64_t>(W, Cv - c);
                for (int i = 0; i < W; i++) t[i] = i < lanes ? ld(y + r*ystep + (c+i)*W)*scale : vf{};
                transpose(t);
                for (int i = 0; i < pixels; i++) store_lanes(to + i*a.heads*Cv + c, t[i], lanes);
            }
        }
    }
}

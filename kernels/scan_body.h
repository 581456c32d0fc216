// The kernels, written once for vectors of W floats and compiled once per instruction set (scan_*.inc sets W, NS and the target).
// Vectorised over channels: lane i of every vector is channel i of a tile of W channels. The time loop is sequential.
namespace NS {

typedef float   vf  __attribute__((vector_size(W*4)));
typedef int32_t vi  __attribute__((vector_size(W*4)));
typedef float   vfu __attribute__((vector_size(W*4), aligned(4), may_alias));
typedef uint16_t vhu __attribute__((vector_size(W*2), aligned(2), may_alias));
#define INL static inline __attribute__((always_inline))

#define ALWAYS __attribute__((always_inline))
#define INL_M inline ALWAYS
enum { BL = 16, CK = 32 };              // steps per block, steps between checkpoints

INL vf ld(const float* p) { return *(const vfu*)p; }
INL void st(float* p, vf v) { *(vfu*)p = v; }
INL vf splat(float x) { return x - vf{}; }
INL vi splati(int32_t x) { return x - vi{}; }
#if defined(ISA_AVX512)
INL vf fma_(vf a, vf b, vf c) { return (vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c); }
INL vf fms_(vf a, vf b, vf c) { return (vf)_mm512_fmsub_ps((__m512)a, (__m512)b, (__m512)c); }
INL vi maxi(vi a, vi b) { return (vi)_mm512_max_epi32((__m512i)a, (__m512i)b); }
INL vi mini(vi a, vi b) { return (vi)_mm512_min_epi32((__m512i)a, (__m512i)b); }
INL vf maxf(vf a, vf b) { return (vf)_mm512_max_ps((__m512)a, (__m512)b); }   // b where one is NaN
INL vf minf(vf a, vf b) { return (vf)_mm512_min_ps((__m512)a, (__m512)b); }
#elif defined(ISA_AVX2)
INL vf fma_(vf a, vf b, vf c) { return (vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c); }
INL vf fms_(vf a, vf b, vf c) { return (vf)_mm256_fmsub_ps((__m256)a, (__m256)b, (__m256)c); }
INL vi maxi(vi a, vi b) { return (vi)_mm256_max_epi32((__m256i)a, (__m256i)b); }
INL vi mini(vi a, vi b) { return (vi)_mm256_min_epi32((__m256i)a, (__m256i)b); }
INL vf maxf(vf a, vf b) { return (vf)_mm256_max_ps((__m256)a, (__m256)b); }
INL vf minf(vf a, vf b) { return (vf)_mm256_min_ps((__m256)a, (__m256)b); }
#else
INL vf fma_(vf a, vf b, vf c) { return a*b + c; }
INL vf fms_(vf a, vf b, vf c) { return a*b - c; }
INL vi maxi(vi a, vi b) { return a > b ? a : b; }
INL vi mini(vi a, vi b) { return a < b ? a : b; }
INL vf maxf(vf a, vf b) { return a > b ? a : b; }
INL vf minf(vf a, vf b) { return a < b ? a : b; }
#endif

INL vf pick(vi m, vf a, vf b) { return (vf)(((vi)a & m) | ((vi)b & ~m)); }
INL vf max_nan(vf z) { return maxf(vf{}, z); }      // max(z, 0) that passes a NaN on: the second operand wins

// ---- 2^x = 2^n 2^r with n the nearest multiple of a unit and r = x - n; 2^r = 1 + r p(r), exact at 0, so that slow states (decay near 1)
// see no systematic error. From above x is at most 127 by the clamp of the step size.
// The chains below are long, so U of them go side by side.
enum { U = 4 };
#define EACH _Pragma("GCC unroll 4") for (int i = 0; i < U; i++)

#if defined(ISA_AVX512)
// With 16 lanes a register holds a table of 16 numbers, and an instruction looks all lanes up at once. So n counts sixteenths here and
// 2^x = 2^floor(n) 2^(j/16) 2^r with j the low bits of 16 n (those of t = n + 1.5*2^19) and |r| <= 1/32, where three terms are enough:
// 2^r = 1 + r p(r), p = c ((r + alpha)^2 + beta), relative error 1e-7, exact at 0 again; the table EC has c in it. The square takes a
// multiply-add and an addition, which has units of its own: 5 multiply-adds instead of 6 or 7.
static const float E2[] = {1.f, 1.04427373f, 1.09050775f, 1.13878858f, 1.18920708f, 1.24185777f, 1.29683959f, 1.35425556f, 1.41421354f, 1.47682619f, 1.54221082f, 1.61049032f, 1.68179286f, 1.75625217f, 1.8340081f, 1.91520655f};
static const float EC[] = {0.055504106f, 0.0579614826f, 0.0605276562f, 0.0632074475f, 0.0660058782f, 0.0689282045f, 0.0719799176f, 0.075166747f, 0.0784946606f, 0.0819699168f, 0.085599035f, 0.089388825f, 0.0933464095f, 0.0974792093f, 0.10179498f, 0.106301829f};
static const float SIXTEENTHS = 786432.f, ALPHA = 2.16410613f, BETA = 7.80485916f;
INL vf look(const float* table, vf t) { return (vf)_mm512_permutexvar_ps((__m512i)t, (__m512)ld(table)); }
INL vf scale2(vf p, vf n) { return (vf)_mm512_scalef_ps((__m512)p, (__m512)n); }
#define EXP2(a, x, y)                   /* a = 2^(x y), as decay below */ \
    EACH t[i] = fma_(x, y, splat(SIXTEENTHS)); \
    EACH n[i] = t[i] - splat(SIXTEENTHS); \
    EACH r[i] = fms_(x, y, n[i]); \
    EACH p[i] = r[i] + splat(ALPHA); \
    EACH p[i] = fma_(p[i], p[i], splat(BETA)); \
    EACH r[i] = r[i] * look(EC, t[i]); \
    EACH a = scale2(fma_(r[i], p[i], look(E2, t[i])), n[i]);
INL vf decay(vf d, vf A2) {             // 2^(d A2); from -2^18 down the table is misread, but 2^n is 0 there
    vf t = fma_(d, A2, splat(SIXTEENTHS)), n = t - splat(SIXTEENTHS), r = fms_(d, A2, n), p = r + splat(ALPHA);
    return scale2(fma_(r*look(EC, t), fma_(p, p, splat(BETA)), look(E2, t)), n);
}
INL void decays(vf* a, const vf* d, vf A2) { vf t[U], n[U], r[U], p[U]; EXP2(a[i], d[i], A2) }
// softplus(z) = max(z, 0) + log1p(e), e = exp(-|z|) in (0, 1]. With j the nearest to 15 e and I = 1/(1 + j/15), log1p(e) = -log I + r q(r),
// r = e I + (I - 1), |r| <= 1/30: no cancellation, and for small e it is e q(e). Also its derivative.
static const float LI[] = {1.f, 0.9375f, 0.882352948f, 0.833333313f, 0.789473712f, 0.75f, 0.714285731f, 0.681818187f, 0.652173936f, 0.625f, 0.600000024f, 0.576923072f, 0.555555582f, 0.535714269f, 0.517241359f, 0.5f};
static const float LL[] = {0.f, 0.0645385236f, 0.125163138f, 0.182321578f, 0.236388743f, 0.287682086f, 0.336472213f, 0.382992238f, 0.427443981f, 0.470003635f, 0.510825574f, 0.550046325f, 0.587786615f, 0.624154329f, 0.65924567f, 0.693147182f};
static const float LQ[] = {-0.24937686f, 0.33354052f, -0.50000038f, 0.99999997f};                         // 3e-8
template <bool GRAD> INL void softplus(vf* z, vf* sigmoid) {
    vf x[U], e[U], t[U], n[U], r[U], p[U];
    EACH x[i] = minf(splat(87.33f), (vf)((vi)z[i] & splati(0x7fffffff)));
    EXP2(e[i], x[i], splat(-1.44269504f))
    EACH t[i] = fma_(e[i], splat(15.f), splat(12582912.f));
    EACH n[i] = look(LI, t[i]);
    EACH r[i] = fma_(e[i], n[i], n[i] - splat(1.f));
    EACH p[i] = fma_(splat(LQ[0]), r[i], splat(LQ[1]));
    EACH p[i] = fma_(p[i], r[i], splat(LQ[2]));
    EACH p[i] = fma_(p[i], r[i], splat(LQ[3]));
    if (GRAD) EACH sigmoid[i] = pick(z[i] > 0, splat(1.f), e[i]) / (e[i] + splat(1.f));
    EACH z[i] = fma_(p[i], r[i], max_nan(z[i]) + look(LL, t[i]));
}
#else
// The unit is 1: |r| <= 1/2. n stays in the low bits of x + 1.5*2^23, which scale2 adds to the exponent, held at -126 from below.
static const float MAGIC = 12582912.f;
static const int32_t MAGIC_I = 0x4B400000;
INL vf split(vf& x) { vf t = x + splat(MAGIC), r = x - (t - splat(MAGIC)); x = t; return r; }
INL vf scale2(vf p, vf t) { return (vf)((vi)p + (maxi((vi)t, splati(MAGIC_I - 126)) << 23)); }
static const float P5[] = {1.3264727e-3f, 9.6715129e-3f, 5.55073375e-2f, 2.402224208e-1f, 6.931469776e-1f};               // relative error 9e-8
static const float P6[] = {1.535336e-4f, 1.3398875e-3f, 9.6184374e-3f, 5.55033247e-2f, 2.402264791e-1f, 6.931472029e-1f};   // 2e-9
INL vf poly5(vf r) {
    vf p = fma_(splat(P5[0]), r, splat(P5[1]));
    p = fma_(p, r, splat(P5[2]));
    p = fma_(p, r, splat(P5[3]));
    p = fma_(p, r, splat(P5[4]));
    return fma_(p, r, splat(1.f));
}
INL vf decay(vf d, vf A2) {             // 2^(d A2)
    vf x = d*A2, r = split(x);
    return scale2(poly5(r), x);
}
INL void decays(vf* a, const vf* d, vf A2) {
    vf x[U], r[U], p[U];
    EACH x[i] = d[i]*A2;
    EACH r[i] = split(x[i]);
    EACH p[i] = fma_(splat(P5[0]), r[i], splat(P5[1]));
    EACH p[i] = fma_(p[i], r[i], splat(P5[2]));
    EACH p[i] = fma_(p[i], r[i], splat(P5[3]));
    EACH p[i] = fma_(p[i], r[i], splat(P5[4]));
    EACH p[i] = fma_(p[i], r[i], splat(1.f));
    EACH a[i] = scale2(p[i], x[i]);
}

// softplus(z) = max(z, 0) + log1p(e), e = exp(-|z|) in (0, 1], with log1p(e) = e q(e): no cancellation anywhere. Also its derivative.
static const float LG[] = {-3.244013758e-03f, 1.985141076e-02f, -5.695943534e-02f, 1.060364470e-01f, -1.530558616e-01f, 1.967593729e-01f, -2.495413274e-01f, 3.332996368e-01f, -4.999990165e-01f, 1.000000000e+00f};    // 2e-8
template <bool GRAD> INL void softplus(vf* z, vf* sigmoid) {
    vf x[U], e[U], p[U];
    EACH x[i] = maxf((vf)((vi)z[i] | splati((int32_t)0x80000000)) * splat(1.44269504f), splat(-126.f));
    EACH e[i] = split(x[i]);
    EACH p[i] = fma_(splat(P6[0]), e[i], splat(P6[1]));
    EACH p[i] = fma_(p[i], e[i], splat(P6[2]));
    EACH p[i] = fma_(p[i], e[i], splat(P6[3]));
    EACH p[i] = fma_(p[i], e[i], splat(P6[4]));
    EACH p[i] = fma_(p[i], e[i], splat(P6[5]));
    EACH p[i] = fma_(p[i], e[i], splat(1.f));
    EACH e[i] = scale2(p[i], x[i]);
    EACH p[i] = fma_(splat(LG[0]), e[i], splat(LG[1]));
    EACH p[i] = fma_(p[i], e[i], splat(LG[2]));
    EACH p[i] = fma_(p[i], e[i], splat(LG[3]));
    EACH p[i] = fma_(p[i], e[i], splat(LG[4]));
    EACH p[i] = fma_(p[i], e[i], splat(LG[5]));
    EACH p[i] = fma_(p[i], e[i], splat(LG[6]));
    EACH p[i] = fma_(p[i], e[i], splat(LG[7]));
    EACH p[i] = fma_(p[i], e[i], splat(LG[8]));
    EACH p[i] = fma_(p[i], e[i], splat(LG[9]));
    if (GRAD) EACH sigmoid[i] = pick(z[i] > 0, splat(1.f), e[i]) / (e[i] + splat(1.f));
    EACH z[i] = fma_(p[i], e[i], max_nan(z[i]));
}
#endif

// ---- transposes and lane sums, from the shuffles that every instruction set has in one instruction. A quad is 4 lanes.
enum { PAIRS, TWOS, QUADS };            // a0 b0 a1 b1 | a2 b2 a3 b3;  a0 a1 b0 b1 | a2 a3 b2 b3;  even quads of a, then of b | odd ones
constexpr int from(int kind, bool hi, int i) {
    const int base = i & ~3, k = i & 3, h = hi ? 2 : 0;
    if (kind == PAIRS) return (k & 1 ? W : 0) + base + h + k/2;
    if (kind == TWOS) return (k & 2 ? W : 0) + base + h + (k & 1);
    return W == 4 ? i : (i >= W/2 ? W : 0) + (i % (W/2))/4*8 + (hi ? 4 : 0) + k;
}
typedef std::make_integer_sequence<int, W> Seq;
#if defined(__clang__) || __GNUC__ >= 12
template <int K, bool H, int... I> INL vf mix_(vf a, vf b, std::integer_sequence<int, I...>) { return __builtin_shufflevector(a, b, from(K, H, I)...); }
#else
template <int K, bool H, int... I> INL vf mix_(vf a, vf b, std::integer_sequence<int, I...>) { return __builtin_shuffle(a, b, vi{from(K, H, I)...}); }
#endif
template <int K> INL vf lo(vf a, vf b) { return mix_<K, false>(a, b, Seq()); }
template <int K> INL vf hi(vf a, vf b) { return mix_<K, true>(a, b, Seq()); }

INL void transpose(vf* v) {             // W x W in registers
    vf c[W];
#pragma GCC unroll 4
    for (int g = 0; g < W; g += 4) {
        vf t0 = lo<PAIRS>(v[g], v[g+1]), t1 = hi<PAIRS>(v[g], v[g+1]), t2 = lo<PAIRS>(v[g+2], v[g+3]), t3 = hi<PAIRS>(v[g+2], v[g+3]);
        c[g] = lo<TWOS>(t0, t2); c[g+1] = hi<TWOS>(t0, t2); c[g+2] = lo<TWOS>(t1, t3); c[g+3] = hi<TWOS>(t1, t3);
    }
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
#if W == 16
        vf s0 = lo<QUADS>(c[j], c[4+j]), s1 = hi<QUADS>(c[j], c[4+j]), s2 = lo<QUADS>(c[8+j], c[12+j]), s3 = hi<QUADS>(c[8+j], c[12+j]);
        v[j] = lo<QUADS>(s0, s2); v[4+j] = lo<QUADS>(s1, s3); v[8+j] = hi<QUADS>(s0, s2); v[12+j] = hi<QUADS>(s1, s3);
#elif W == 8
        v[j] = lo<QUADS>(c[j], c[4+j]); v[4+j] = hi<QUADS>(c[j], c[4+j]);
#else
        v[j] = c[j];
#endif
    }
}
// For M families of W vectors, the sums over their lanes: lane i of o.v[m] = sum of the lanes of f(i).v[m]. DESC calls f(W-1) first, else f(0).
template <int M> struct Vs { vf v[M]; };
template <int S, bool DESC, int M, class F> INL Vs<M> lanesum(F& f, int i0) {
    if constexpr (S == 0) return f(i0);
    else {
        Vs<M> a, b, o;
        if (DESC) { b = lanesum<S/2, DESC, M>(f, i0 + S); a = lanesum<S/2, DESC, M>(f, i0); }
        else      { a = lanesum<S/2, DESC, M>(f, i0); b = lanesum<S/2, DESC, M>(f, i0 + S); }
        constexpr int K = S == 1 ? PAIRS : S == 2 ? TWOS : QUADS;
#pragma GCC unroll 4
        for (int m = 0; m < M; m++) o.v[m] = lo<K>(a.v[m], b.v[m]) + hi<K>(a.v[m], b.v[m]);
        return o;
    }
}

// ---- loading tiles
INL vf half_to_float(const uint16_t* p, int64_t type) {
    vi h = __builtin_convertvector(*(const vhu*)p, vi);
    if (type == RGBX_BF16) return (vf)(h << 16);
    vi sign = (h & 0x8000) << 16, mag = h & 0x7fff;
    vi norm = (mag << 13) + (112 << 23), inf = (mag << 13) + (224 << 23);
    vf sub = __builtin_convertvector(mag, vf) * splat(5.9604644775390625e-8f);
    vi small = mag < 0x400, big = mag >= 0x7c00;
    vi out = (norm & ~small & ~big) | ((vi)sub & small) | (inf & big);
    return (vf)(out | sign);
}
INL float half_scalar(uint16_t h, int64_t type) {
    uint32_t u; float f;
    if (type == RGBX_BF16) u = (uint32_t)h << 16;
    else {
        uint32_t sign = (uint32_t)(h & 0x8000) << 16, mag = h & 0x7fff;
        if (mag < 0x400) { f = mag * 5.9604644775390625e-8f; memcpy(&u, &f, 4); u |= sign; }
        else u = sign | ((mag << 13) + ((mag >= 0x7c00 ? 224u : 112u) << 23));
    }
    memcpy(&f, &u, 4); return f;
}
INL float load1(const void* p, int64_t i, int64_t type) { return type == RGBX_F32 ? ((const float*)p)[i] : half_scalar(((const uint16_t*)p)[i], type); }

// the first c numbers at p, the rest 0; and their store
#if defined(ISA_AVX512)
INL vf ld_part(const float* p, int c) { return (vf)_mm512_maskz_loadu_ps((__mmask16)((1u << c) - 1), p); }
INL void st_part(float* p, vf v, int c) { _mm512_mask_storeu_ps(p, (__mmask16)((1u << c) - 1), (__m512)v); }
#elif defined(ISA_AVX2)
INL __m256i part_mask(int c) { return _mm256_cmpgt_epi32(_mm256_set1_epi32(c), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)); }
INL vf ld_part(const float* p, int c) { return (vf)_mm256_maskload_ps(p, part_mask(c)); }
INL void st_part(float* p, vf v, int c) { _mm256_maskstore_ps(p, part_mask(c), (__m256)v); }
#else
INL vf ld_part(const float* p, int c) { vf v = {}; for (int i = 0; i < c; i++) v[i] = p[i]; return v; }
INL void st_part(float* p, vf v, int c) { for (int i = 0; i < c; i++) p[i] = v[i]; }
#endif
INL int within(int x) { return x < 0 ? 0 : x > W ? W : x; }

// BL steps from l0 (cnt of them exist, the rest become 0) of `lanes` channels; v[i] = step l0 + i
INL void load_tile(vf* v, const void* base, int64_t type, int64_t sc, int64_t l0, int cnt, int lanes) {
    if (cnt == BL && lanes == W) {
        for (int j = 0; j < BL; j += W) {
            vf t[W];
            if (type == RGBX_F32) for (int i = 0; i < W; i++) t[i] = ld((const float*)base + i*sc + l0 + j);
            else for (int i = 0; i < W; i++) t[i] = half_to_float((const uint16_t*)base + i*sc + l0 + j, type);
            transpose(t);
            for (int i = 0; i < W; i++) v[j+i] = t[i];
        }
    } else if (type == RGBX_F32) {
        for (int j = 0; j < BL; j += W) {
            vf t[W];
            for (int i = 0; i < W; i++) t[i] = i < lanes ? ld_part((const float*)base + i*sc + l0 + j, within(cnt - j)) : vf{};
            transpose(t);
            for (int i = 0; i < W; i++) v[j+i] = t[i];
        }
    } else {
        float* o = (float*)v;
        memset(o, 0, BL*W*4);
        for (int i = 0; i < lanes; i++) for (int j = 0; j < cnt; j++) o[j*W + i] = load1(base, i*sc + l0 + j, type);
    }
}
INL void store_tile(const vf* v, float* base, int64_t sc, int64_t l0, int cnt, int lanes) {
    if (cnt == BL && lanes == W) {
        for (int j = 0; j < BL; j += W) {
            vf t[W];
            for (int i = 0; i < W; i++) t[i] = v[j+i];
            transpose(t);
            for (int i = 0; i < W; i++) st(base + i*sc + l0 + j, t[i]);
        }
    } else for (int j = 0; j < cnt; j += W) {
        vf t[W];
        for (int i = 0; i < W; i++) t[i] = v[j+i];
        transpose(t);
        for (int i = 0; i < lanes; i++) st_part(base + i*sc + l0 + j, t[i], within(cnt - j));
    }
}
INL vf load_lanes(const float* p, int lanes) {
    return lanes == W ? ld(p) : ld_part(p, lanes);
}
// a store of a whole line, aligned, that goes past the caches: what does not fit there need not be read first
#if defined(ISA_AVX512)
INL void stream(float* p, vf v) { _mm512_stream_ps(p, (__m512)v); }
INL void stream_end() { _mm_sfence(); }
#else
INL void stream(float* p, vf v) { st(p, v); }
INL void stream_end() {}
#endif
INL void store_lanes(float* p, vf v, int lanes) { if (lanes == W) st(p, v); else st_part(p, v, lanes); }
// rows c0 .. c0+lanes of a matrix [.., N] as N vectors, and back
INL void load_cols(vf* o, const float* p, int64_t c0, int lanes, int64_t N) {
    int64_t n = 0;
    if (lanes == W) for (; n + W <= N; n += W) {
        for (int i = 0; i < W; i++) o[n+i] = ld(p + (c0+i)*N + n);
        transpose(o + n);
    }
    float* f = (float*)o;
    for (; n < N; n++) for (int i = 0; i < W; i++) f[n*W + i] = i < lanes ? p[(c0+i)*N + n] : 0.f;
}
INL void store_cols(const vf* v, float* p, int64_t c0, int lanes, int64_t N) {
    int64_t n = 0;
    if (lanes == W) for (; n + W <= N; n += W) {
        vf t[W];
        for (int i = 0; i < W; i++) t[i] = v[n+i];
        transpose(t);
        for (int i = 0; i < W; i++) st(p + (c0+i)*N + n, t[i]);
    }
    const float* f = (const float*)v;
    for (; n < N; n++) for (int i = 0; i < lanes; i++) p[(c0+i)*N + n] = f[n*W + i];
}

// per-channel parameters of one tile, padded to W lanes
struct Tile {
    vf *A2, *A;                         // [N] each: A log2(e), A
    vf Ds, bias, low, lim;              // low, lim: between these the step size matters for the decay (keeps 2^x's argument in range)
};
INL void load_params(Tile& t, const float* A, const float* Ds, const float* bias, int64_t c0, int lanes, int N) {
    load_cols(t.A, A, c0, lanes, N);
    vf top = {}, up = {};
    for (int n = 0; n < N; n++) {
        t.A2[n] = t.A[n] * splat(1.44269504088896341f);
        up = maxf(up, t.A2[n]); top = maxf(top, maxf(t.A2[n], -t.A2[n]));
    }
    t.low = splat(-127.f) / maxf(top, splat(1e-30f));
    t.lim = pick(up > 0, splat(127.f), splat(2097152.f)) / maxf(top, splat(1e-30f));
    t.Ds = Ds ? load_lanes(Ds + c0, lanes) : vf{};
    t.bias = bias ? load_lanes(bias + c0, lanes) : vf{};
}
INL vf clampd(vf dt, const Tile& t) { return maxf(minf(dt, t.lim), t.low); }
// steps d of a block for the decay, and dt*u, from the raw steps; steps from cnt on become neutral (dt = 0)
template <class Io> INL void block_steps(vf* d, vf* du, const Io& io, const Tile& t, int cnt, bool soft) {
    for (int l = 0; l < BL; l += U) {
        vf z[U];
        EACH z[i] = t.bias;
        io.raw(z, l);
        if (soft) softplus<false>(z, nullptr);
        if (l + U > cnt) for (int i = 0; i < U; i++) if (l + i >= cnt) z[i] = vf{};
        EACH d[l+i] = clampd(z[i], t);
        EACH du[l+i] = z[i]*io.u(l+i);
    }
}

// ---- forward, NB states of one tile over BL steps. br[l] -> B (N numbers) then C (N numbers) of step l. Io knows where the numbers of a step are:
// raw(z, l) adds the raw steps l to l+U-1 to z; u(l), start(l) (what y is before this scan), y(l) (where it goes); io.ahead(l) asks for what a later block needs, 2 or 3 lines a step,
// because a burst of them would fill the queue of misses and hold up everything behind it.
template <int NB, bool FIRST, class Io> INL void fwd_states(const vf* d, const vf* du, vf* h_, const vf* A2_, const float* const* br, int n0, int N, const Io& io) {
    vf h[NB], A2[NB];
#pragma GCC unroll 8
    for (int n = 0; n < NB; n++) { h[n] = h_[n0+n]; A2[n] = A2_[n0+n]; }
#pragma GCC unroll 2
    for (int l = 0; l < BL; l++) {
        vf dl = d[l], x = du[l], s = FIRST ? io.start(l) : io.y(l);
        const float *b = br[l] + n0, *c = b + N;
        if (FIRST) io.ahead(l);
#pragma GCC unroll 8
        for (int n = 0; n < NB; n++) {
            h[n] = fma_(decay(dl, A2[n]), h[n], x * splat(b[n]));
            s = fma_(h[n], splat(c[n]), s);
        }
        io.y(l) = s;
    }
#pragma GCC unroll 8
    for (int n = 0; n < NB; n++) h_[n0+n] = h[n];
}
template <bool FIRST, class Io> INL void fwd_one(const vf* d, const vf* du, vf* h_, const vf* A2, const float* const* br, int n, int N, const Io& io) {
    vf h = h_[n], k = A2[n];
    for (int l = 0; l < BL; l += U) {
        vf a[U], x[U];
        if (FIRST) EACH io.ahead(l+i);
        decays(a, d + l, k);
        EACH x[i] = du[l+i] * splat(br[l+i][n]);
        EACH { h = fma_(a[i], h, x[i]); x[i] = h; }
        EACH io.y(l+i) = fma_(x[i], splat(br[l+i][N+n]), FIRST ? io.start(l+i) : io.y(l+i));
    }
    h_[n] = h;
}
template <int NB, class Io> INL int fwd_more(int n, const vf* d, const vf* du, vf* h, const vf* A2, const float* const* br, int N, const Io& io) {
    if (n == 0 && N >= NB) { fwd_states<NB, true>(d, du, h, A2, br, 0, N, io); n = NB; }
    for (; n + NB <= N; n += NB) fwd_states<NB, false>(d, du, h, A2, br, n, N, io);
    return n;
}
template <class Io> static __attribute__((noinline)) void fwd_block(const vf* d, const vf* du, vf* h, const vf* A2, const float* const* br, int N, const Io& io) {
    int n = 0;
#if W == 16
    n = fwd_more<8>(n, d, du, h, A2, br, N, io);
#endif
    n = fwd_more<4>(n, d, du, h, A2, br, N, io);
    if (n == 0) fwd_one<true>(d, du, h, A2, br, n++, N, io);
    for (; n < N; n++) fwd_one<false>(d, du, h, A2, br, n, N, io);
}

// ---- backward, NB states of one tile over CK steps, from their checkpoint. q: what crosses the chunk's end on entry, its start on return.
struct Chunk {
    vf d[CK], dt[CK], sg[CK], du[CK], u[CK], gy[CK], s[CK], gd[CK], a[2][CK], h[2][CK+1];
    const float* br[CK];
};
template <int NB, bool FIRST, class P> INL void bwd_some(Chunk& w, const float* ck, const Tile& t, vf* q_, vf* gA_, int n, int N, int end, float* gB, float* gC, int64_t row, bool add, const P& ahead) {
    vf q[NB], gA[NB], A[NB];
#pragma GCC unroll 2
    for (int m = 0; m < NB; m++) {
        vf h = ld(ck + (n+m)*W), A2 = t.A2[n+m];
        w.h[m][0] = h; q[m] = q_[n+m]; gA[m] = vf{}; A[m] = t.A[n+m];
        for (int l = 0; l < end; l += U) {
            vf a[U], x[U];
            if (n + m == 0) EACH ahead.in(l+i);
            if (n + m == N-1) EACH ahead.out(l+i);
            decays(a, w.d + l, A2);
            EACH x[i] = w.du[l+i] * splat(w.br[l+i][n+m]);
            EACH { h = fma_(a[i], h, x[i]); w.h[m][l+i+1] = h; }
            EACH w.a[m][l+i] = a[i];
        }
    }
    for (int j = end-W; j >= 0; j -= W) {
        auto fc = [&](int i) ALWAYS {
            Vs<NB> o; vf y = w.gy[j+i];
#pragma GCC unroll 2
            for (int m = 0; m < NB; m++) o.v[m] = y * w.h[m][j+i+1];
            return o;
        };
        auto fb = [&](int i) ALWAYS {
            const int l = j + i;
            Vs<NB> o; vf y = w.gy[l], s = FIRST ? vf{} : w.s[l], gd = FIRST ? vf{} : w.gd[l], dt = w.dt[l], du = w.du[l];
            const float *b = w.br[l] + n, *c = b + N;
#pragma GCC unroll 2
            for (int m = 0; m < NB; m++) {
                vf g = fma_(y, splat(c[m]), q[m]);
                q[m] = g * w.a[m][l];
                vf x = q[m] * w.h[m][l];    // g a h(l-1)
                s = fma_(g, splat(b[m]), s);
                gd = fma_(A[m], x, gd);
                gA[m] = fma_(dt, x, gA[m]);
                o.v[m] = g * du;
            }
            w.s[l] = s; w.gd[l] = gd;
            return o;
        };
        Vs<NB> c = lanesum<W/2, false, NB>(fc, 0), b = lanesum<W/2, true, NB>(fb, 0);
#pragma GCC unroll 2
        for (int m = 0; m < NB; m++) {
            float *pb = gB + (n+m)*row + j, *pc = gC + (n+m)*row + j;
            st(pb, add ? b.v[m] + ld(pb) : b.v[m]); st(pc, add ? c.v[m] + ld(pc) : c.v[m]);
        }
    }
#pragma GCC unroll 2
    for (int m = 0; m < NB; m++) { q_[n+m] = q[m]; gA_[n+m] += gA[m]; }    // chunk by chunk: sums in two levels lose less
}
template <bool FULL, class P> static __attribute__((noinline)) void bwd_states_(Chunk& w, const float* ck, const Tile& t, vf* q, vf* gA, int N, int cnt, float* gB, float* gC, int64_t row, bool add, const P& ahead) {
    const int end = FULL ? CK : (cnt+W-1)/W*W;      // the steps from cnt on are neutral
    if (N == 1) return bwd_some<1, true>(w, ck, t, q, gA, 0, N, end, gB, gC, row, add, ahead);
    bwd_some<2, true>(w, ck, t, q, gA, 0, N, end, gB, gC, row, add, ahead);
    int n = 2;
    for (; n + 2 <= N; n += 2) bwd_some<2, false>(w, ck, t, q, gA, n, N, end, gB, gC, row, add, ahead);
    if (n < N) bwd_some<1, false>(w, ck, t, q, gA, n, N, end, gB, gC, row, add, ahead);
}
// a whole chunk, whose loops have a known end, is a fifth faster
template <class P> INL void bwd_states(Chunk& w, const float* ck, const Tile& t, vf* q, vf* gA, int N, int cnt, float* gB, float* gC, int64_t row, bool add, const P& ahead) {
    if (cnt == CK) bwd_states_<true>(w, ck, t, q, gA, N, cnt, gB, gC, row, add, ahead);
    else bwd_states_<false>(w, ck, t, q, gA, N, cnt, gB, gC, row, add, ahead);
}

// steps, sigmoid and products of a chunk: u and z (in dt) are there; the steps from cnt to CK become neutral
INL void chunk_steps(Chunk& w, const Tile& t, int cnt, bool soft) {
    for (int l = cnt; l < CK; l++) w.dt[l] = w.u[l] = w.gy[l] = vf{};
    for (int l = 0; l < CK; l += U) {
        vf z[U], sg[U];
        EACH z[i] = w.dt[l+i] + t.bias;
        EACH sg[i] = splat(1.f);
        if (soft) softplus<true>(z, sg);
        if (l + U > cnt) for (int i = 0; i < U; i++) if (l + i >= cnt) z[i] = sg[i] = vf{};
        EACH w.dt[l+i] = z[i];
        EACH w.sg[l+i] = sg[i];
        EACH w.d[l+i] = clampd(z[i], t);
        EACH w.du[l+i] = z[i]*w.u[l+i];
    }
}
// after all states: gradient of u into s, of z into gd
INL void chunk_finish(Chunk& w, const Tile& t, int cnt, vf& gD, vf& gbias) {
    vf sd = {}, sb = {};
    for (int l = 0; l < cnt; l++) {
        vf gz = fma_(w.u[l], w.s[l], w.gd[l]) * w.sg[l];
        w.s[l] = fma_(w.dt[l], w.s[l], t.Ds * w.gy[l]);
        w.gd[l] = gz; sb += gz; sd = fma_(w.gy[l], w.u[l], sd);
    }
    gbias += sb; gD += sd;
    for (int l = cnt; l < CK; l++) w.gd[l] = vf{};
}

struct Mem {                            // 64-byte aligned scratch that frees itself
    char* p; size_t at = 0;
    explicit Mem(size_t bytes) { p = (char*)aligned_alloc(64, (bytes + 4096 + 63)/64*64); }
    ~Mem() { free(p); }
    template <class T> T* get(size_t n) { T* r = (T*)(p + at); at += (n*sizeof(T) + 63)/64*64; return r; }
};
INL int64_t esize(int64_t type) { return type == RGBX_F32 ? 4 : 2; }
INL void load_state(vf* h, const float* p, int64_t c0, int lanes, int N) {
    if (p) load_cols(h, p, c0, lanes, N); else memset((void*)h, 0, N*sizeof(vf));
}

// ---- tasks on the [B, K*D, L] layout
// B and C of a step next to each other: [B, K, L, 2N]
static void pack_bc(const rgbx_scan_args& a, int64_t b, int64_t k, int64_t l0, int64_t l1) {
    const int64_t N = a.N;
    for (int64_t s = l0; s < l1; s += 32) for (int half = 0; half < 2; half++) {    // 32 steps at a time stay in the first cache
        const rgbx_bc& m = half ? a.Cm : a.Bm;
        float* o = a.bc + ((b*a.K + k)*a.L)*2*N + half*N;
        const int64_t at = b*m.sb + k*m.sk, e = std::min(l1, s + 32);
        int64_t n = 0;
        if (m.type == RGBX_F32 && m.sl == 1 && e - s == 32) for (; n + W <= N; n += W) for (int64_t l = s; l < e; l += W) {
            vf t[W];
            for (int i = 0; i < W; i++) t[i] = ld((const float*)m.p + at + (n+i)*m.sn + l);
            transpose(t);
            for (int i = 0; i < W; i++) st(o + (l+i)*2*N + n, t[i]);
        }
        for (; n < N; n++) {
            if (m.type == RGBX_F32) for (int64_t l = s; l < e; l++) o[l*2*N + n] = ((const float*)m.p)[at + n*m.sn + l*m.sl];
            else for (int64_t l = s; l < e; l++) o[l*2*N + n] = load1(m.p, at + n*m.sn + l*m.sl, m.type);
        }
    }
}

struct RowsIo {
    const vf *u_, *z_; vf Ds, *y_; const char *up; int64_t us; const char *zp; int64_t zs; const float *yp; int64_t ys;
    INL_M void raw(vf* z, int l) const { EACH z[i] += z_[l+i]; }
    INL_M vf u(int l) const { return u_[l]; }
    INL_M vf start(int l) const { return Ds*u_[l]; }
    INL_M vf& y(int l) const { return y_[l]; }
    INL_M void ahead(int l) const { __builtin_prefetch(up + l*us); __builtin_prefetch(zp + l*zs); __builtin_prefetch(yp + l*ys, 1); }
};
static void scan_fwd(const rgbx_scan_args& a, int64_t b, int64_t k, int64_t tile) {
    const int N = (int)a.N; const int64_t nt = (a.D + W-1)/W, nc = (a.L + CK-1)/CK, c0 = k*a.D + tile*W, KD = a.K*a.D;
    const int lanes = (int)std::min<int64_t>(W, a.D - tile*W);
    Mem mem(3*N*sizeof(vf) + 512);
    Tile t; t.A2 = mem.get<vf>(N); t.A = mem.get<vf>(N); vf* h = mem.get<vf>(N);
    load_params(t, a.A, a.Ds, a.bias, c0, lanes, N);
    load_state(h, a.h0 ? a.h0 + b*KD*N : nullptr, c0, lanes, N);
    const char* up = (const char*)a.u.p + (b*a.u.sb + c0*a.u.sc)*esize(a.u.type);
    const char* zp = (const char*)a.delta.p + (b*a.delta.sb + c0*a.delta.sc)*esize(a.delta.type);
    const int64_t es = esize(a.u.type), ez = esize(a.delta.type), us = a.u.sc*es, zs = a.delta.sc*ez;
    float* yp = a.y + (b*KD + c0)*a.L;
    const float* bc = a.bc + (b*a.K + k)*a.L*2*N;
    vf u[BL], d[BL], du[BL], y[BL]; const float* br[BL];
    for (int64_t l0 = 0; l0 < a.L; l0 += BL) {
        const int cnt = (int)std::min<int64_t>(BL, a.L - l0);
        if (a.saved && l0 % CK == 0) {
            float* o = a.saved + ((((b*a.K + k)*nt + tile)*nc + l0/CK)*N)*W;
            for (int n = 0; n < N; n++) st(o + n*W, h[n]);
        }
        load_tile(u, up, a.u.type, a.u.sc, l0, cnt, lanes);
        load_tile(d, zp, a.delta.type, a.delta.sc, l0, cnt, lanes);
        for (int l = 0; l < BL; l++) br[l] = bc + (l0 + std::min(l, cnt-1))*2*N;
        // the rows of a tile are more streams than the processor follows by itself; at their end come the first steps of the next tile
        const auto later = [&](int64_t l) { return l < a.L ? std::make_pair<int64_t>(0, l) : std::make_pair<int64_t>(W, std::min(l - a.L, a.L-1)); };
        const auto in = later(l0 + 4*BL), out = later(l0 + 2*BL);   // how many rows further on, which step
        const RowsIo io { u, d, t.Ds, y, up + in.first*us + in.second*es, us, zp + in.first*zs + in.second*ez, zs, yp + out.first*a.L + out.second, a.L };
        block_steps(d, du, io, t, cnt, a.softplus);
        fwd_block(d, du, h, t.A2, br, N, io);
        store_tile(y, yp, a.L, l0, cnt, lanes);
    }
    store_cols(h, a.last + b*KD*N, c0, lanes, N);
}

struct ChunkRows {
    const char *u; int64_t us; const char *z; int64_t zs, es, ez; const float *gy, *gu, *gz; int64_t L;
    INL_M void out(int l) const { const int64_t i = l % W*L + l/W*W; __builtin_prefetch(gu + i, 1); __builtin_prefetch(gz + i, 1); }
    INL_M void in(int l) const { const int i = l % W, j = l/W*W; __builtin_prefetch(u + i*us + j*es, 0, 2); __builtin_prefetch(z + i*zs + j*ez, 0, 2); __builtin_prefetch(gy + i*L + j, 0, 2); }
};
static void scan_bwd(const rgbx_scan_args& a, int64_t b, int64_t k, int64_t g) {
    const int N = (int)a.N; const int64_t nt = (a.D + W-1)/W, nc = (a.L + CK-1)/CK, KD = a.K*a.D, Lp = nc*CK;
    const int64_t t0 = nt*g/a.groups, t1 = nt*(g+1)/a.groups;
    Mem mem(4*N*sizeof(vf) + sizeof(Chunk) + 1024);
    Tile t; t.A2 = mem.get<vf>(N); t.A = mem.get<vf>(N); vf *q = mem.get<vf>(N), *gA = mem.get<vf>(N); Chunk& w = *mem.get<Chunk>(1);
    float* gbc = a.gBC + ((g*a.B + b)*a.K + k)*2*N*Lp;
    const float* bc = a.bc + (b*a.K + k)*a.L*2*N;
    for (int64_t tile = t0; tile < t1; tile++) {
        const int64_t c0 = k*a.D + tile*W; const int lanes = (int)std::min<int64_t>(W, a.D - tile*W);
        load_params(t, a.A, a.Ds, a.bias, c0, lanes, N);
        load_state(q, a.glast ? a.glast + b*KD*N : nullptr, c0, lanes, N);
        for (int n = 0; n < N; n++) gA[n] = vf{};
        vf gD = {}, gbias = {};
        const char* up = (const char*)a.u.p + (b*a.u.sb + c0*a.u.sc)*esize(a.u.type);
        const char* zp = (const char*)a.delta.p + (b*a.delta.sb + c0*a.delta.sc)*esize(a.delta.type);
        const int64_t es = esize(a.u.type), ez = esize(a.delta.type), us = a.u.sc*es, zs = a.delta.sc*ez, o = (b*KD + c0)*a.L;
        const float* gyp = a.gy + o;
        for (int64_t c = nc-1; c >= 0; c--) {
            const int64_t l0 = c*CK; const int cnt = (int)std::min<int64_t>(CK, a.L - l0);
            for (int j = 0; j < CK; j += BL) {
                int m = std::max(0, std::min<int>(BL, cnt - j));
                load_tile(w.u + j, up, a.u.type, a.u.sc, l0 + j, m, lanes);
                load_tile(w.dt + j, zp, a.delta.type, a.delta.sc, l0 + j, m, lanes);
                load_tile(w.gy + j, gyp, RGBX_F32, a.L, l0 + j, m, lanes);
            }
            for (int l = 0; l < CK; l++) w.br[l] = bc + (l0 + std::min(l, cnt-1))*2*N;
            chunk_steps(w, t, cnt, a.softplus);
            const float* ck = a.saved + ((((b*a.K + k)*nt + tile)*nc + c)*N)*W;
            // the chunk before this one, or the last one of the next tile
            const int64_t r = c ? 0 : W, l = c ? l0 - CK : (nc-1)*CK;
            bwd_states(w, ck, t, q, gA, N, cnt, gbc + c*2*N*CK, gbc + (c*2 + 1)*N*CK, CK, tile > t0,
                ChunkRows { up + r*us + l*es, us, zp + r*zs + l*ez, zs, es, ez, gyp + r*a.L + l, a.gu + o + l0, a.gdelta + o + l0, a.L });
            chunk_finish(w, t, cnt, gD, gbias);
            for (int j = 0; j < cnt; j += BL) {
                int m = std::min<int>(BL, cnt - j);
                store_tile(w.s + j, a.gu + o, a.L, l0 + j, m, lanes);
                store_tile(w.gd + j, a.gdelta + o, a.L, l0 + j, m, lanes);
            }
        }
        store_cols(gA, a.gA + b*KD*N, c0, lanes, N);
        store_cols(q, a.gh0 + b*KD*N, c0, lanes, N);
        store_lanes(a.gD + b*KD + c0, gD, lanes); store_lanes(a.gbias + b*KD + c0, gbias, lanes);
    }
}

// gB and gC: the partial sums of the groups, added in order
static void reduce_bc(const rgbx_scan_args& a, int64_t b, int64_t k, int64_t n) {
    const int64_t nc = (a.L + CK-1)/CK, part = 2*a.N*CK, step = a.B*a.K*nc*part;
    const float* p = a.gBC + ((b*a.K + k)*nc*2*a.N + n)*CK;
    float* o = (n < a.N ? a.gB : a.gC) + ((b*a.K + k)*a.N + n % a.N)*a.L;
    for (int64_t c = 0; c < nc; c++, p += part, o += CK) {
        const int64_t cnt = std::min<int64_t>(CK, a.L - c*CK);
        memcpy(o, p, cnt*4);
        for (int64_t g = 1; g < a.groups; g++) for (int64_t l = 0; l < cnt; l++) o[l] += p[g*step + l];
    }
}

// ---- the fused core of SS2D, channels last
// z[l] = sum over r of dt[l][r] * wt[r], S steps at a time
template <int S> INL void expand(vf* z, const float* const* row, const vf* wt, int R) {
    for (int l = 0; l < BL; l += S) {
        vf acc[S];
#pragma GCC unroll 16
        for (int i = 0; i < S; i++) acc[i] = vf{};
        for (int r = 0; r < R; r++) {
            vf v = wt[r];
#pragma GCC unroll 16
            for (int i = 0; i < S; i++) acc[i] = fma_(v, splat(row[l+i][r]), acc[i]);
        }
#pragma GCC unroll 16
        for (int i = 0; i < S; i++) z[l+i] = acc[i];
    }
}
static __attribute__((noinline)) void expand_block(vf* z, const float* const* row, const vf* wt, int R) { expand<(W == 16 ? 16 : 8)>(z, row, wt, R); }
// x_dbl along the path: steps l0 to l1 of direction k
static void ss2d_pack(const rgbx_ss2d_args& a, int64_t b, int64_t k, int64_t l0, int64_t l1) {
    const int64_t M = a.R + 2*a.N; const int32_t* pos = a.pos + k*a.P;
    const float* x = a.xdbl + (b*a.P*a.K + k)*M; float* o = a.xpack + (b*a.K + k)*a.P*M;
    for (int64_t l = l0; l < l1; l++) {
        __builtin_prefetch(x + pos[std::min(l1 - 1, l + 12)]*a.K*M);
        memcpy(o + l*M, x + pos[l]*a.K*M, M*4);
    }
}
// gradient of x_dbl: the partial sums of the groups, added in order, back in natural order
static void ss2d_reduce(const rgbx_ss2d_args& a, int64_t b, int64_t k, int64_t l0, int64_t l1) {
    const int64_t M = a.R + 2*a.N, step = a.B*a.K*a.P*M; const int32_t* pos = a.pos + k*a.P;
    for (int64_t l = l0; l < l1; l++) {
        const float* p = a.gpart + ((b*a.K + k)*a.P + l)*M; float* o = a.gxdbl + ((b*a.P + pos[l])*a.K + k)*M;
        memcpy(o, p, M*4);
        for (int64_t g = 1; g < a.groups; g++) { p += step; for (int64_t m = 0; m < M; m++) o[m] += p[m]; }
    }
}

// One tile over all directions. Its part of x is first brought together (W channels of every position, one after the other), and its part
// of y is summed in the same form: both stay in the cache, and a column is no longer a walk over thousands of pages.
struct CellsIo {
    const float* const* row_; const vf* wt; int R; const vf* const* u_; vf* const* y_; const vf *xt, *yt; const int32_t* p; int last; const float* row; int64_t M;
    INL_M void raw(vf* z, int l) const { for (int r = 0; r < R; r++) { const vf v = wt[r]; EACH z[i] = fma_(v, splat(row_[l+i][r]), z[i]); } }
    INL_M vf u(int l) const { return *u_[l]; }
    INL_M vf start(int l) const { return *y_[l]; }
    INL_M vf& y(int l) const { return *y_[l]; }
    INL_M void ahead(int l) const {
        const int32_t i = p[std::min(l, last)]; const float* q = row + l*M;
        __builtin_prefetch(xt + i); __builtin_prefetch(yt + i, 1); __builtin_prefetch(q); __builtin_prefetch(q + 16); __builtin_prefetch(q + 32);
    }
};
static void ss2d_fwd(const rgbx_ss2d_args& a, int64_t b, int64_t tile, float* both) {
    const int N = (int)a.N, R = (int)a.R;
    const int64_t nt = (a.D + W-1)/W, nc = (a.P + CK-1)/CK, M = R + 2*N, c = tile*W;
    const int lanes = (int)std::min<int64_t>(W, a.D - c);
    Mem mem((3*N + R)*sizeof(vf) + 2048);
    Tile t; t.A2 = mem.get<vf>(N); t.A = mem.get<vf>(N);
    vf *h = mem.get<vf>(N), *wt = mem.get<vf>(R), *xt = (vf*)both, *yt = xt + a.P;
    const float* x = a.x + b*a.P*a.D + c; vf Ds = {};            // of all directions at once
    if (a.Ds) for (int64_t k = 0; k < a.K; k++) Ds += load_lanes(a.Ds + k*a.D + c, lanes);
    for (int64_t p = 0; p < a.P; p++) { __builtin_prefetch(x + std::min(a.P - 1, p + 24)*a.D); vf v = load_lanes(x + p*a.D, lanes); xt[p] = v; yt[p] = Ds*v; }
    vf d[BL], du[BL], none = {}; const float *row[BL], *br[BL]; const vf* u[BL]; vf* y[BL];
    for (int64_t j = 0; j < a.K; j++) {
        const int64_t k = a.K == 4 ? (j & 1) * 2 + j / 2 : j;   // 0, 2, 1, 3: a direction and its reverse share what is still in the cache
        const int64_t c0 = k*a.D + c;
        load_params(t, a.A, a.Ds, a.bias, c0, lanes, N);
        load_cols(wt, a.dtw, c0, lanes, R);
        memset((void*)h, 0, N*sizeof(vf));
        const int32_t* pos = a.pos + k*a.P; const float* xp = a.xpack + (b*a.K + k)*a.P*M;
        for (int64_t l0 = 0; l0 < a.P; l0 += BL) {
            const int cnt = (int)std::min<int64_t>(BL, a.P - l0);
            const int32_t* p = pos + l0; const int64_t next = std::min(a.P - 1, l0 + BL);
            if (a.saved && l0 % CK == 0) {
                float* o = a.saved + ((((b*a.K + k)*nt + tile)*nc + l0/CK)*N)*W;
                for (int n = 0; n < N; n++) st(o + n*W, h[n]);
            }
            for (int l = 0; l < BL; l++) {
                row[l] = xp + (l0 + std::min(l, cnt-1))*M; br[l] = row[l] + R;
                u[l] = xt + p[std::min(l, cnt-1)]; y[l] = l < cnt ? yt + p[l] : &none;
            }
            const CellsIo io { row, wt, R, u, y, xt, yt, pos + next, (int)std::min<int64_t>(BL, a.P - next) - 1, xp + std::max<int64_t>(0, std::min(a.P - BL, l0 + BL))*M, M };
            block_steps(d, du, io, t, cnt, true);
            fwd_block(d, du, h, t.A2, br, N, io);
        }
    }
    float* o = a.y + b*a.P*a.D + c;
    if (lanes == W && ((uintptr_t)o | a.D*4) % (W*4) == 0 && a.B*a.P*a.D >= 1 << 20) { for (int64_t p = 0; p < a.P; p++) stream(o + p*a.D, yt[p]); stream_end(); }
    else for (int64_t p = 0; p < a.P; p++) { __builtin_prefetch(o + std::min(a.P - 1, p + 24)*a.D, 1); store_lanes(o + p*a.D, yt[p], lanes); }
}

struct ChunkCells {
    const float *x, *gy, *gx; const int64_t *next, *now;
    INL_M void in(int l) const { __builtin_prefetch(x + next[l]); __builtin_prefetch(gy + next[l]); }
    INL_M void out(int l) const { __builtin_prefetch(gx + now[l], 1); }
};
static void ss2d_bwd(const rgbx_ss2d_args& a, int64_t b, int64_t g) {
    const int N = (int)a.N, R = (int)a.R, Rp = (R + W-1)/W*W;
    const int64_t nt = (a.D + W-1)/W, nc = (a.P + CK-1)/CK, M = R + 2*N;
    const int64_t t0 = nt*g/a.groups, t1 = nt*(g+1)/a.groups; const int T = (int)(t1 - t0);
    Mem mem(T*((4*N + 2*R + 2)*sizeof(vf) + W*Rp*4 + sizeof(Tile) + 1024) + sizeof(Chunk) + (2*N + Rp)*CK*4 + 4096);
    Tile* t = mem.get<Tile>(T);
    for (int i = 0; i < T; i++) { t[i].A2 = mem.get<vf>(N); t[i].A = mem.get<vf>(N); }
    vf *q = mem.get<vf>(T*N), *gA = mem.get<vf>(T*N), *wt = mem.get<vf>(T*R), *gW = mem.get<vf>(T*R), *gD = mem.get<vf>(T), *gbias = mem.get<vf>(T);
    float *wr = mem.get<float>(T*W*Rp), *gbc = mem.get<float>(2*N*CK), *gdt = mem.get<float>(CK*Rp);
    Chunk& w = *mem.get<Chunk>(1);
    const float* row[CK]; int64_t p[CK], next[CK];
    for (int64_t j = 0; j < a.K; j++) {
        const int64_t k = a.K == 4 ? (j & 1) * 2 + j / 2 : j;
        for (int i = 0; i < T; i++) {
            const int lanes = (int)std::min<int64_t>(W, a.D - (t0+i)*W); const int64_t c0 = k*a.D + (t0+i)*W;
            load_params(t[i], a.A, a.Ds, a.bias, c0, lanes, N);
            load_cols(wt + i*R, a.dtw, c0, lanes, R);
            memset((void*)(wr + i*W*Rp), 0, W*Rp*4);
            for (int c = 0; c < lanes; c++) memcpy(wr + (i*W + c)*Rp, a.dtw + (c0+c)*R, R*4);
            gD[i] = gbias[i] = vf{};
        }
        memset((void*)q, 0, T*N*sizeof(vf)); memset((void*)gA, 0, T*N*sizeof(vf)); memset((void*)gW, 0, T*R*sizeof(vf));
        const int32_t* pos = a.pos + k*a.P; const float* xp = a.xpack + (b*a.K + k)*a.P*M;
        for (int64_t c = nc-1; c >= 0; c--) {
            const int64_t l0 = c*CK; const int cnt = (int)std::min<int64_t>(CK, a.P - l0);
            for (int l = 0; l < CK; l++) {
                p[l] = (b*a.P + pos[l0 + std::min(l, cnt-1)])*a.D; next[l] = (b*a.P + pos[std::max<int64_t>(0, l0 - CK + l)])*a.D;
                row[l] = xp + (l0 + std::min(l, cnt-1))*M; w.br[l] = row[l] + R;
            }
            memset(gdt, 0, CK*Rp*4);
            for (int i = 0; i < T; i++) {
                const int lanes = (int)std::min<int64_t>(W, a.D - (t0+i)*W); const int64_t ch = (t0+i)*W;
                for (int l = 0; l < CK; l += BL) expand_block(w.dt + l, row + l, wt + i*R, R);
                for (int l = 0; l < cnt; l++) { w.u[l] = load_lanes(a.x + p[l] + ch, lanes); w.gy[l] = load_lanes(a.gy + p[l] + ch, lanes); }
                chunk_steps(w, t[i], cnt, true);
                const float* ck = a.saved + ((((b*a.K + k)*nt + t0+i)*nc + c)*N)*W;
                bwd_states(w, ck, t[i], q + i*N, gA + i*N, N, cnt, gbc, gbc + N*CK, CK, i > 0, ChunkCells { a.x + ch, a.gy + ch, a.gx + ch, next, p });
                chunk_finish(w, t[i], cnt, gD[i], gbias[i]);
                if (j == 0) for (int l = 0; l < cnt; l++) store_lanes(a.gx + p[l] + ch, w.s[l], lanes);
                else for (int l = 0; l < cnt; l++) store_lanes(a.gx + p[l] + ch, w.s[l] + load_lanes(a.gx + p[l] + ch, lanes), lanes);
                for (int r = 0; r < R; r++) {
                    vf s0 = {}, s1 = {};
                    for (int l = 0; l < CK; l += 2) { s0 = fma_(w.gd[l], splat(row[l][r]), s0); s1 = fma_(w.gd[l+1], splat(row[l+1][r]), s1); }
                    gW[i*R + r] += s0 + s1;
                }
                const float *gz = (const float*)w.gd, *wi = wr + i*W*Rp;
                for (int r = 0; r < Rp; r += W) for (int l = 0; l < CK; l += 8) {
                    vf acc[8];
#pragma GCC unroll 8
                    for (int m = 0; m < 8; m++) acc[m] = ld(gdt + (l+m)*Rp + r);
                    for (int ch2 = 0; ch2 < W; ch2++) {
                        vf v = ld(wi + ch2*Rp + r);
#pragma GCC unroll 8
                        for (int m = 0; m < 8; m++) acc[m] = fma_(v, splat(gz[(l+m)*W + ch2]), acc[m]);
                    }
#pragma GCC unroll 8
                    for (int m = 0; m < 8; m++) st(gdt + (l+m)*Rp + r, acc[m]);
                }
            }
            float* gp = a.gpart + (((g*a.B + b)*a.K + k)*a.P + l0)*M;
            for (int l = 0; l < cnt; l++) {
                memcpy(gp + l*M, gdt + l*Rp, R*4);
                for (int n = 0; n < 2*N; n++) gp[l*M + R + n] = gbc[n*CK + l];
            }
        }
        for (int i = 0; i < T; i++) {
            const int lanes = (int)std::min<int64_t>(W, a.D - (t0+i)*W); const int64_t c0 = k*a.D + (t0+i)*W, KD = a.K*a.D;
            store_cols(gA + i*N, a.gA + b*KD*N, c0, lanes, N);
            store_cols(gW + i*R, a.gdtw + b*KD*R, c0, lanes, R);
            store_lanes(a.gD + b*KD + c0, gD[i], lanes); store_lanes(a.gbias + b*KD + c0, gbias[i], lanes);
        }
    }
}

#include "window_body.h"

// Vector multiply-adds a second can be counted with this: 16 n of them, independent enough to fill the ports.
static __attribute__((noinline)) float fma_loop(int64_t n) {
    vf a[16], m = splat(.999f), c = splat(.001f);
    for (int i = 0; i < 16; i++) a[i] = splat((float)i);
    for (int64_t k = 0; k < n; k++) {
#pragma GCC unroll 16
        for (int i = 0; i < 16; i++) a[i] = fma_(a[i], m, c);
    }
    float s = 0; for (int i = 0; i < 16; i++) s += a[i][0];
    return s;
}

extern const RgbxKernels table;
const RgbxKernels table = { W, CK, pack_bc, scan_fwd, scan_bwd, reduce_bc, ss2d_pack, ss2d_fwd, ss2d_bwd, ss2d_reduce, window_pack, window_rows, Q, fma_loop };

}  // namespace NS

// The fused 2-D scan as an operator of onnxruntime: `SessionOptions.register_custom_ops_library` with the path of this library.
#include "onnx_api.h"
#include "scan.h"
#include <cstdlib>
#include <vector>
#if defined(_OPENMP)
#include <omp.h>
#endif
#define API extern "C" __attribute__((visibility("default")))

API void rgbx_ss2d_forward(const rgbx_ss2d_args* p);

// Threads of the operator: those of OpenMP (OMP_NUM_THREADS), or what was asked for.
static int64_t wanted = 0;
API void rgbx_onnx_threads(int64_t n) { wanted = n; }
static int64_t threads() {
#if defined(_OPENMP)
    return wanted > 0 ? wanted : omp_get_max_threads();
#else
    return 1;
#endif
}

// The routes of nbs/ops/20_routes, by their place in `ROUTES`.
enum { CROSS2D, UNIDI, BIDI, ROT90, ROW, TWO_WAY, ROUTES };
static const int64_t DIRECTIONS[ROUTES] = {4, 4, 4, 4, 1, 2};

// Position of step l of direction k on a grid of H rows and W columns.
static int32_t position(int64_t route, int64_t k, int64_t l, int64_t H, int64_t W) {
    const int64_t back = H*W - 1 - l;
    switch (route) {
        case CROSS2D: { const int64_t s = k < 2 ? l : back; return (int32_t)(k % 2 ? s % H*W + s/H : s); }
        case BIDI: return (int32_t)(k < 2 ? l : back);
        case ROT90:
            if (k % 2 == 0) return (int32_t)(k ? back : l);
            return (int32_t)(k == 1 ? l % H*W + W-1 - l/H : (H-1 - l % H)*W + l/H);
        case TWO_WAY: return (int32_t)(k ? back : l);
        default: return (int32_t)l;
    }
}

struct Kernel { OrtApi api; int64_t route; };
struct Tensor { const float* p; std::vector<int64_t> s; };

static OrtStatus* read(OrtApi api, OrtKernelContext* context, size_t i, Tensor& t) {
    const OrtValue* value; OrtTensorInfo* info; size_t n; void* p;
    if (OrtStatus* e = ort::input(api, context, i, &value)) return e;
    if (OrtStatus* e = ort::info(api, value, &info)) return e;
    OrtStatus* e = ort::rank(api, info, &n);
    if (!e) { t.s.resize(n); e = ort::sizes(api, info, t.s.data(), n); }
    ort::release(api, info);
    if (!e) e = ort::data(api, value, &p);
    if (!e) t.p = (const float*)p;
    return e;
}

static OrtStatus* create(const OrtCustomOp*, OrtApi api, const OrtKernelInfo* info, void** kernel) {
    int64_t route;
    if (OrtStatus* e = ort::integer(api, info, "route", &route)) return e;
    if (route < 0 || route >= ROUTES) return ort::error(api, "rgbx_seg::ss2d: an unknown route");
    *kernel = new Kernel{api, route};
    return nullptr;
}

static OrtStatus* compute(void* kernel, OrtKernelContext* context) {
    const OrtApi api = ((Kernel*)kernel)->api; const int64_t route = ((Kernel*)kernel)->route, K = DIRECTIONS[route];
    Tensor x, xdbl, dtw, A, D, bias;
    Tensor* const all[] = {&x, &xdbl, &dtw, &A, &D, &bias};
    for (size_t i = 0; i < 6; i++) if (OrtStatus* e = read(api, context, i, *all[i])) return e;
    if (x.s.size() != 4 || dtw.s.size() != 3 || A.s.size() != 2) return ort::error(api, "rgbx_seg::ss2d: x (B, H, W, D), dt_w (K, D, R) and A (K*D, N) expected");
    const int64_t B = x.s[0], H = x.s[1], W = x.s[2], C = x.s[3], P = H*W, R = dtw.s[2], N = A.s[1];
    typedef std::vector<int64_t> Sizes;
    if (dtw.s != Sizes{K, C, R} || A.s != Sizes{K*C, N} || xdbl.s != Sizes{B, P, K, R+2*N} || D.s != Sizes{K*C} || bias.s != Sizes{K, C})
        return ort::error(api, "rgbx_seg::ss2d: shapes that do not fit each other and the route");
    OrtValue* out; void* y;
    if (OrtStatus* e = ort::output(api, context, 0, x.s.data(), 4, &out)) return e;
    if (OrtStatus* e = ort::data(api, out, &y)) return e;
    if (!B || !P || !C) return nullptr;
    std::vector<int32_t> places(K*P);
    for (int64_t k = 0; k < K; k++) for (int64_t l = 0; l < P; l++) places[k*P+l] = position(route, k, l, H, W);
    float* pack = route == ROW ? const_cast<float*>(xdbl.p) : (float*)malloc(sizeof(float)*B*K*P*(R+2*N));
    if (!pack) return ort::error(api, "rgbx_seg::ss2d: out of memory");
    rgbx_ss2d_args a = {};
    a.x = x.p; a.xdbl = xdbl.p; a.dtw = dtw.p; a.A = A.p; a.Ds = D.p; a.bias = bias.p; a.pos = places.data(); a.xpack = pack; a.y = (float*)y;
    a.B = B; a.P = P; a.D = C; a.K = K; a.R = R; a.N = N; a.threads = threads();
    rgbx_ss2d_forward(&a);
    if (pack != xdbl.p) free(pack);
    return nullptr;
}

static OrtCustomOp describe() {
    OrtCustomOp op = {};
    op.version = 16;
    op.GetName = [](const OrtCustomOp*) { return "ss2d"; };
    op.GetExecutionProviderType = [](const OrtCustomOp*) -> const char* { return nullptr; };     // the CPU
    op.GetInputType = op.GetOutputType = [](const OrtCustomOp*, size_t) { return 1; };             // float32
    op.GetInputTypeCount = [](const OrtCustomOp*) { return (size_t)6; };
    op.GetOutputTypeCount = [](const OrtCustomOp*) { return (size_t)1; };
    op.GetInputCharacteristic = op.GetOutputCharacteristic = op.GetInputMemoryType = [](const OrtCustomOp*, size_t) { return 0; };
    op.GetVariadicInputMinArity = op.GetVariadicInputHomogeneity = op.GetVariadicOutputMinArity =
        op.GetVariadicOutputHomogeneity = [](const OrtCustomOp*) { return 1; };
    op.KernelDestroy = [](void* kernel) { delete (Kernel*)kernel; };
    op.CreateKernelV2 = create;
    op.KernelComputeV2 = compute;
    return op;
}

API OrtStatus* RegisterCustomOps(OrtSessionOptions* options, const OrtApiBase* base) {
    static const OrtCustomOp op = describe();
    const OrtApi api = base->GetApi(16);
    if (!api) return nullptr;                                       // older than the struct: the session then does not know the operator
    OrtDomain* domain;                                              // lives as long as the process, like the operator
    if (OrtStatus* e = ort::domain(api, "rgbx_seg", &domain)) return e;
    if (OrtStatus* e = ort::add(api, domain, &op)) return e;
    return ort::add(api, options, domain);
}

// The part of onnxruntime's C interface that a custom operator needs, declared here so that nothing of onnxruntime is needed to build.
// Functions stand at fixed places of a table that only grows: those used are of its first version. The operator's own struct is that of
// version 16; what later versions added behind it stays null.
#pragma once
#include <cstddef>
#include <cstdint>

struct OrtStatus; struct OrtValue; struct OrtKernelInfo; struct OrtKernelContext; struct OrtTensorInfo; struct OrtSessionOptions; struct OrtDomain;
typedef const void* const* OrtApi;                                      // the table
struct OrtApiBase { OrtApi (*GetApi)(uint32_t version); const char* (*GetVersionString)(); };

struct OrtCustomOp {
    uint32_t version;
    void* (*CreateKernel)(const OrtCustomOp*, OrtApi, const OrtKernelInfo*);
    const char* (*GetName)(const OrtCustomOp*);
    const char* (*GetExecutionProviderType)(const OrtCustomOp*);
    int (*GetInputType)(const OrtCustomOp*, size_t);
    size_t (*GetInputTypeCount)(const OrtCustomOp*);
    int (*GetOutputType)(const OrtCustomOp*, size_t);
    size_t (*GetOutputTypeCount)(const OrtCustomOp*);
    void (*KernelCompute)(void*, OrtKernelContext*);
    void (*KernelDestroy)(void*);
    int (*GetInputCharacteristic)(const OrtCustomOp*, size_t);
    int (*GetOutputCharacteristic)(const OrtCustomOp*, size_t);
    int (*GetInputMemoryType)(const OrtCustomOp*, size_t);
    int (*GetVariadicInputMinArity)(const OrtCustomOp*);
    int (*GetVariadicInputHomogeneity)(const OrtCustomOp*);
    int (*GetVariadicOutputMinArity)(const OrtCustomOp*);
    int (*GetVariadicOutputHomogeneity)(const OrtCustomOp*);
    OrtStatus* (*CreateKernelV2)(const OrtCustomOp*, OrtApi, const OrtKernelInfo*, void**);
    OrtStatus* (*KernelComputeV2)(void*, OrtKernelContext*);
    void* later[16];
};

namespace ort {
template <class F> F at(OrtApi api, int place) { return reinterpret_cast<F>(const_cast<void*>(api[place])); }
inline OrtStatus* error(OrtApi a, const char* text) { return at<OrtStatus* (*)(int, const char*)>(a, 0)(2, text); }              // CreateStatus, an invalid argument
inline OrtStatus* domain(OrtApi a, const char* name, OrtDomain** d) { return at<OrtStatus* (*)(const char*, OrtDomain**)>(a, 26)(name, d); }
inline OrtStatus* add(OrtApi a, OrtDomain* d, const OrtCustomOp* op) { return at<OrtStatus* (*)(OrtDomain*, const OrtCustomOp*)>(a, 27)(d, op); }
inline OrtStatus* add(OrtApi a, OrtSessionOptions* o, OrtDomain* d) { return at<OrtStatus* (*)(OrtSessionOptions*, OrtDomain*)>(a, 28)(o, d); }
inline OrtStatus* data(OrtApi a, const OrtValue* v, void** p) { return at<OrtStatus* (*)(const OrtValue*, void**)>(a, 51)(v, p); }
inline OrtStatus* rank(OrtApi a, const OrtTensorInfo* i, size_t* n) { return at<OrtStatus* (*)(const OrtTensorInfo*, size_t*)>(a, 61)(i, n); }
inline OrtStatus* sizes(OrtApi a, const OrtTensorInfo* i, int64_t* s, size_t n) { return at<OrtStatus* (*)(const OrtTensorInfo*, int64_t*, size_t)>(a, 62)(i, s, n); }
inline OrtStatus* info(OrtApi a, const OrtValue* v, OrtTensorInfo** i) { return at<OrtStatus* (*)(const OrtValue*, OrtTensorInfo**)>(a, 65)(v, i); }
inline OrtStatus* integer(OrtApi a, const OrtKernelInfo* k, const char* name, int64_t* v) { return at<OrtStatus* (*)(const OrtKernelInfo*, const char*, int64_t*)>(a, 86)(k, name, v); }
inline OrtStatus* input(OrtApi a, OrtKernelContext* c, size_t i, const OrtValue** v) { return at<OrtStatus* (*)(OrtKernelContext*, size_t, const OrtValue**)>(a, 90)(c, i, v); }
inline OrtStatus* output(OrtApi a, OrtKernelContext* c, size_t i, const int64_t* s, size_t n, OrtValue** v) {
    return at<OrtStatus* (*)(OrtKernelContext*, size_t, const int64_t*, size_t, OrtValue**)>(a, 91)(c, i, s, n, v); }
inline void release(OrtApi a, OrtTensorInfo* i) { at<void (*)(OrtTensorInfo*)>(a, 99)(i); }
}

// The selective scan with the sequence across threads, as a yardstick for kernels that put channels across lanes.
// Written from the mathematics: h_l = exp(dt_l A) h_{l-1} + dt_l B_l u_l,  y_l = sum_n C_l h_l + D u_l,  dt = softplus(delta + bias).
// One block takes one (batch, channel). A thread owns STEPS steps in registers; for each state the pairs (a, b) of the
// recurrence h -> a h + b are scanned in a thread, across a warp by shuffles, across warps by one word each in shared memory.
// Tensors are (batch, K*D, L) and (batch, K, N, L), float32, contiguous. `last` keeps the carry at every chunk of
// THREADS*STEPS steps: (batch, K*D, chunks, N). Plain C entry points, no torch headers.
// Build: nvcc -O3 -arch=sm_90 -std=c++17 --use_fast_math -shared -Xcompiler -fPIC anchor_scan.cu -o anchor_scan.so
#include <cuda_runtime.h>

constexpr int STEPS = 16, WARP = 32, MOST_WARPS = 4;

struct Sizes { int batch, groups, channels, states, length; };  // channels of one group

struct Inputs { const float *u, *delta, *A, *B, *C, *D, *bias; };

struct Pair { float a, b; };                                     // h -> a h + b
__device__ Pair after(Pair first, Pair then) { return {then.a*first.a, then.a*first.b+then.b}; }

__device__ float softplus(float z) { return z>20.f ? z : log1pf(__expf(z)); }

// Exclusive scan over the threads of a block; `total` is the pair of all of them. REVERSE: from the last thread.
template<bool REVERSE> __device__ Pair scan_block(Pair mine, Pair *shared, Pair &total) {
    int thread = REVERSE ? blockDim.x-1-threadIdx.x : threadIdx.x, lane = threadIdx.x%WARP, warp = threadIdx.x/WARP;
    int order = thread/WARP, warps = blockDim.x/WARP;
    Pair all = mine;
    for (int d = 1; d<WARP; d *= 2) {
        Pair other = REVERSE ? Pair{__shfl_down_sync(~0u, all.a, d), __shfl_down_sync(~0u, all.b, d)}
                             : Pair{__shfl_up_sync(~0u, all.a, d), __shfl_up_sync(~0u, all.b, d)};
        if (REVERSE ? lane+d<WARP : lane>=d) all = after(other, all);
    }
    __syncthreads();
    if (lane==(REVERSE ? 0 : WARP-1)) shared[order] = all;
    __syncthreads();
    Pair before = {1.f, 0.f}, sum = {1.f, 0.f};
    for (int w = 0; w<warps; w++) { if (w==order) before = sum; sum = after(sum, shared[w]); }
    total = sum;
    Pair up = REVERSE ? Pair{__shfl_down_sync(~0u, all.a, 1), __shfl_down_sync(~0u, all.b, 1)}
                      : Pair{__shfl_up_sync(~0u, all.a, 1), __shfl_up_sync(~0u, all.b, 1)};
    if (lane==(REVERSE ? WARP-1 : 0)) up = {1.f, 0.f};
    (void)warp;
    return after(before, up);
}

__device__ void load(const float *from, int length, int at, float *to) {
    if (length%4==0 && at+STEPS<=length)
        for (int i = 0; i<STEPS; i += 4) *reinterpret_cast<float4 *>(to+i) = *reinterpret_cast<const float4 *>(from+at+i);
    else for (int i = 0; i<STEPS; i++) to[i] = at+i<length ? from[at+i] : 0.f;
}

__device__ void store(float *to, int length, int at, const float *from) {
    for (int i = 0; i<STEPS; i++) if (at+i<length) to[at+i] = from[i];
}

struct Place { size_t row, group; int channel, chunk, at; };
__device__ Place place(const Sizes &s, int chunk) {
    int channel = blockIdx.x, all = s.groups*s.channels;
    return {((size_t)blockIdx.y*all+channel)*s.length, ((size_t)blockIdx.y*s.groups+channel/s.channels)*s.states*s.length,
            channel, chunk, (chunk*(int)blockDim.x+(int)threadIdx.x)*STEPS};
}

__device__ void step_sizes(const Inputs &in, const Sizes &s, const Place &p, float *u, float *dt, float *z) {
    load(in.u+p.row, s.length, p.at, u);
    load(in.delta+p.row, s.length, p.at, z);
    for (int i = 0; i<STEPS; i++) { z[i] += in.bias[p.channel]; dt[i] = p.at+i<s.length ? softplus(z[i]) : 0.f; }
}

__global__ void forward(Inputs in, float *y, float *last, Sizes s) {
    __shared__ Pair shared[MOST_WARPS];
    extern __shared__ float carry[];                             // the states' carries
    int chunks = (s.length+blockDim.x*STEPS-1)/(blockDim.x*STEPS), all = s.groups*s.channels;
    for (int n = threadIdx.x; n<s.states; n += blockDim.x) carry[n] = 0.f;
    for (int chunk = 0; chunk<chunks; chunk++) {
        Place p = place(s, chunk);
        float u[STEPS], dt[STEPS], o[STEPS], m[STEPS];
        step_sizes(in, s, p, u, dt, m);
        for (int i = 0; i<STEPS; i++) o[i] = in.D[p.channel]*u[i];
        __syncthreads();
        for (int n = 0; n<s.states; n++) {
            float A = in.A[(size_t)p.channel*s.states+n], start = carry[n];
            load(in.B+p.group+(size_t)n*s.length, s.length, p.at, m);
            Pair mine = {1.f, 0.f}, total;
            for (int i = 0; i<STEPS; i++) mine = after(mine, {__expf(dt[i]*A), dt[i]*u[i]*m[i]});
            Pair before = scan_block<false>(mine, shared, total);
            float h = before.a*start+before.b;
            float c[STEPS];
            load(in.C+p.group+(size_t)n*s.length, s.length, p.at, c);
            for (int i = 0; i<STEPS; i++) { h = __expf(dt[i]*A)*h+dt[i]*u[i]*m[i]; o[i] += h*c[i]; }
            if (threadIdx.x==0) {
                last[(((size_t)blockIdx.y*all+p.channel)*chunks+chunk)*s.states+n] = start;
                carry[n] = total.a*start+total.b;
            }
        }
        store(y+p.row, s.length, p.at, o);
        __syncthreads();
    }
}

struct Gradients { float *u, *delta, *A, *B, *C, *D, *bias; };  // those of A, B, C, D, bias are added to

__device__ void add_over_block(float v, float *to, Pair *shared) {
    for (int d = WARP/2; d; d /= 2) v += __shfl_down_sync(~0u, v, d);
    if (threadIdx.x%WARP==0) atomicAdd(to, v);
}

__global__ void backward(Inputs in, const float *gy, const float *last, Gradients g, Sizes s) {
    __shared__ Pair shared[MOST_WARPS];
    extern __shared__ float carry[];                             // adjoints that come back from the right
    int chunks = (s.length+blockDim.x*STEPS-1)/(blockDim.x*STEPS), all = s.groups*s.channels;
    for (int n = threadIdx.x; n<s.states; n += blockDim.x) carry[n] = 0.f;
    float gD = 0.f, gbias = 0.f;
    for (int chunk = chunks-1; chunk>=0; chunk--) {
        Place p = place(s, chunk);
        float u[STEPS], dt[STEPS], z[STEPS], go[STEPS], gu[STEPS], gdt[STEPS];
        step_sizes(in, s, p, u, dt, z);
        load(gy+p.row, s.length, p.at, go);
        for (int i = 0; i<STEPS; i++) { gu[i] = in.D[p.channel]*go[i]; gdt[i] = 0.f; gD += go[i]*u[i]; }
        __syncthreads();
        for (int n = 0; n<s.states; n++) {
            size_t row = p.group+(size_t)n*s.length;
            float A = in.A[(size_t)p.channel*s.states+n], gA = 0.f, b[STEPS], c[STEPS], h[STEPS], old[STEPS];
            load(in.B+row, s.length, p.at, b);
            load(in.C+row, s.length, p.at, c);
            Pair mine = {1.f, 0.f}, total;
            for (int i = 0; i<STEPS; i++) mine = after(mine, {__expf(dt[i]*A), dt[i]*u[i]*b[i]});
            Pair before = scan_block<false>(mine, shared, total);
            float x = before.a*last[(((size_t)blockIdx.y*all+p.channel)*chunks+chunk)*s.states+n]+before.b;
            for (int i = 0; i<STEPS; i++) { old[i] = __expf(dt[i]*A)*x; x = old[i]+dt[i]*u[i]*b[i]; h[i] = x; }
            mine = {1.f, 0.f};                                   // q -> a (q + gy C), from the right
            for (int i = STEPS-1; i>=0; i--) { float a = __expf(dt[i]*A); mine = after(mine, {a, a*go[i]*c[i]}); }
            before = scan_block<true>(mine, shared, total);
            float q = before.a*carry[n]+before.b;
            for (int i = STEPS-1; i>=0; i--) {
                float adjoint = q+go[i]*c[i];
                if (p.at+i<s.length) {
                    atomicAdd(g.C+row+p.at+i, go[i]*h[i]);
                    atomicAdd(g.B+row+p.at+i, adjoint*dt[i]*u[i]);
                }
                gu[i] += dt[i]*adjoint*b[i];
                gdt[i] += u[i]*adjoint*b[i]+A*adjoint*old[i];
                gA += dt[i]*adjoint*old[i];
                q = __expf(dt[i]*A)*adjoint;
            }
            add_over_block(gA, g.A+(size_t)p.channel*s.states+n, shared);
            __syncthreads();
            if (threadIdx.x==0) carry[n] = total.a*carry[n]+total.b;
        }
        for (int i = 0; i<STEPS; i++) {
            gdt[i] = p.at+i<s.length ? gdt[i]/(1.f+__expf(-z[i])) : 0.f;
            gbias += gdt[i];
        }
        store(g.u+p.row, s.length, p.at, gu);
        store(g.delta+p.row, s.length, p.at, gdt);
        __syncthreads();
    }
    add_over_block(gD, g.D+blockIdx.x, shared);
    add_over_block(gbias, g.bias+blockIdx.x, shared);
}

static int threads(int length) { return length<=512 ? 32 : length<=1024 ? 64 : 128; }

extern "C" {
int anchor_chunks(int length) { return (length+threads(length)*STEPS-1)/(threads(length)*STEPS); }

int anchor_forward(const Inputs *in, float *y, float *last, const Sizes *s, cudaStream_t stream) {
    dim3 grid(s->groups*s->channels, s->batch);
    forward<<<grid, threads(s->length), s->states*sizeof(float), stream>>>(*in, y, last, *s);
    return cudaGetLastError();
}

int anchor_backward(const Inputs *in, const float *gy, const float *last, const Gradients *g, const Sizes *s, cudaStream_t stream) {
    dim3 grid(s->groups*s->channels, s->batch);
    backward<<<grid, threads(s->length), s->states*sizeof(float), stream>>>(*in, gy, last, *g, *s);
    return cudaGetLastError();
}
}

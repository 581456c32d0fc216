"""The native selective scan against `ssm_scan` of ggml, the library under llama.cpp and whisper.cpp, in one process.

    pip install pywhispercpp      # a wheel that carries ggml's libraries; an environment of its own is kinder
    python kernels/bench_ggml.py [--rounds 5] [--out FILE]

Both see the same numbers, each in its own layout (ggml keeps a time step's channels side by side), and take turns; time is CPU time of
one thread, the median of the rounds. ggml adds neither the bias of the step sizes nor the skip D u: the bias is added before the clock
starts, and ours gets neither. Every output is checked against a float64 loop.
"""
import ctypes, importlib.metadata as metadata, os, sys
from pathlib import Path

os.environ['OMP_NUM_THREADS'] = '1'
sys.path.insert(0, str(Path(__file__).resolve().parent))
import numpy as np, torch
from bench import SHAPES, beside_row, inputs, interleave, scan, write_beside

F32,I32 = 0,26            # ggml's numbers of these types

class Params(ctypes.Structure):
    _fields_ = [('mem_size', ctypes.c_size_t), ('mem_buffer', ctypes.c_void_p), ('no_alloc', ctypes.c_bool)]

def libraries():
    "ggml's two libraries and the version of the package that carries them."
    try: package = metadata.distribution('pywhispercpp')
    except metadata.PackageNotFoundError: sys.exit('no ggml here: see the first lines of this file')
    def find(name):
        return ctypes.CDLL(str(next(package.locate_file(f) for f in package.files if f.name.startswith(name))), ctypes.RTLD_GLOBAL)
    base,cpu = find('libggml-base-'),find('libggml-cpu-')
    for function in ('ggml_init', 'ggml_new_tensor_4d', 'ggml_ssm_scan', 'ggml_get_data', 'ggml_new_graph'):
        getattr(base, function).restype = ctypes.c_void_p
    base.ggml_version.restype = ctypes.c_char_p
    base.ggml_new_tensor_4d.argtypes = [ctypes.c_void_p, ctypes.c_int]+4*[ctypes.c_int64]
    base.ggml_ssm_scan.argtypes = 8*[ctypes.c_void_p]
    base.ggml_build_forward_expand.argtypes = 2*[ctypes.c_void_p]
    for function in ('ggml_get_data', 'ggml_new_graph', 'ggml_free'): getattr(base, function).argtypes = [ctypes.c_void_p]
    cpu.ggml_graph_compute_with_ctx.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int]
    return base,cpu

def by_step(tensor, *sizes): # (1, ..., L) -> (1, L, *sizes), four axes in all
    "A time step's values side by side."
    values = tensor.movedim(-1, 1).numpy()
    return values.reshape(*[1]*(2-len(sizes)), *values.shape[:2], *sizes)

class GgmlScan:
    "One graph of one `ssm_scan`; channels are its heads of size one, the directions its groups."
    def __init__(self, base, cpu, u, step, A, B, C):
        self.base,self.cpu = base,cpu
        (_,channels,length),(_,groups,states,_) = u.shape,B.shape
        self.shape = (length,channels)
        room = 4*(3*u.numel()+2*B.numel()+4*A.numel())+2**24
        self.context = base.ggml_init(Params(room, None, False))
        state = np.zeros((1,channels,1,states), np.float32)
        values = [state, by_step(u, channels, 1), by_step(step, channels), A.numpy()[None,None], by_step(B, groups, states),
                  by_step(C, groups, states), np.zeros((1,1,1,1), np.int32)]
        out = base.ggml_ssm_scan(self.context, *[self.tensor(value) for value in values])
        self.graph,self.out = base.ggml_new_graph(self.context),base.ggml_get_data(out)
        base.ggml_build_forward_expand(self.graph, out)
    def tensor(self, values): # sizes innermost first, as ggml counts them
        made = self.base.ggml_new_tensor_4d(self.context, I32 if values.dtype==np.int32 else F32, *values.shape[::-1])
        values = np.ascontiguousarray(values)
        ctypes.memmove(self.base.ggml_get_data(made), values.ctypes.data, values.nbytes)
        return made
    def __call__(self): self.cpu.ggml_graph_compute_with_ctx(self.context, self.graph, 1)
    def result(self): # (1, channels, L)
        count = self.shape[0]*self.shape[1]
        flat = np.ctypeslib.as_array(ctypes.cast(self.out, ctypes.POINTER(ctypes.c_float)), (count,))
        return torch.from_numpy(flat.reshape(self.shape).T.copy())[None]
    def close(self): self.base.ggml_free(self.context)

def rows(rounds, base, cpu):
    "A row for each shape of Sigma-T: stages at 480x640, then at 96x128."
    for shape in SHAPES.items():
        u,delta,A,B,C,_,bias = inputs(*shape[1], 16)
        step = delta+bias[:,None]
        theirs = GgmlScan(base, cpu, u, step, A, B, C)
        def native(): return scan.selective_scan(u, step, A, B, C, delta_softplus=True, backend='native')
        with torch.no_grad():
            times,results = interleave(dict(ggml=theirs, native=native), rounds)
            results['ggml'] = theirs.result()
            truth = scan.scan_reference(*[t.double() for t in (u, step, A, B, C)], delta_softplus=True)[0]
        theirs.close()
        yield beside_row(shape, 'ggml', times, results, truth)

if __name__ == '__main__':
    base,cpu = libraries()
    versions = f'ggml {base.ggml_version().decode()} of pywhispercpp {metadata.version("pywhispercpp")}'
    write_beside(__file__, __doc__, 'ggml', 'The scan of ggml', versions, lambda rounds: rows(rounds, base, cpu))

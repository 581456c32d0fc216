"""Benchmark of the GPU kernels: one command, ten minutes, a bare machine (torch, triton, timm, einops, numpy).

    python kernels/bench_gpu.py [--budget 540] [--sections machine,scan,fused,attention,models,host,tune] [--out DIR]
                                [--resume] [--dry] [--table FILE ...]

Times are CUDA events: three calls to warm up, then 8 to 60 rounds in which the contenders take turns; between two calls a buffer
larger than the cache is written. Median, 10th and 90th percentile. Every row is one JSON line, appended to DIR/gpu.jsonl at once;
`--resume` skips rows that are there; `--table` makes the Markdown table of any number of such files. Each section runs in a process
of its own: an illegal address or 45 silent seconds cost one row. Everything ends at `--budget` seconds, also on SIGTERM.
`--dry` walks the same code on the CPU with toy shapes and a wall clock: its numbers mean nothing and the table says so.
"""
import argparse, ctypes, json, math, os, shutil, signal, statistics, subprocess, sys, time
from pathlib import Path

os.environ['TRITON_INTERPRET'] = '0'
HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import torch

SECTIONS = 'machine scan fused attention models host tune'.split()
QUOTA = dict(machine=10, scan=120, fused=90, attention=70, models=110, host=20, tune=60)     # seconds; unused time flows on
SHAPES = dict(s1=(192,120,160,6), s2=(384,60,80,12), s3=(768,30,40,24), s4=(1536,15,20,48),  # D, H, W, rank
              c1=(192,24,32,6), g1=(80,128,128,5), g2=(160,64,64,10), g3=(364,32,32,23), md=(192,64,64,12))
TOYS = dict(s1=(5,3,4,2), g1=(3,2,3,1))
WINDOWS = ((2,128,11), (4,64,9), (8,32,7))
POINTS = ((((64,64),),21504), (((128,128),(64,64),(32,32)),4096))


class Bench:
    "What a section needs: device, clock, deadline, and where rows go."
    def __init__(self, args):
        self.args,self.dry = args,args.dry
        self.device = 'cpu' if args.dry else 'cuda'
        self.ours = 'blocked' if args.dry else 'triton'
        self.deadline = args.deadline
        self.file = Path(args.out)/'gpu.jsonl'
        self.done = {(r['section'], r['row']) for r in read_lines([self.file])} if args.resume or args.skip else set()
        self.cache = None if args.dry else torch.empty(2**26, device='cuda')                   # 256 MiB
        self.stamp = dict(device='dry run' if args.dry else torch.cuda.get_device_name(), torch=torch.__version__,
                          commit=commit(), dry=args.dry)

    def write(self, section, row, **numbers):
        line = json.dumps(dict(section=section, row=row, **numbers, **self.stamp))
        with open(self.file, 'a') as f:
            f.write(line+'\n')
            f.flush()
            os.fsync(f.fileno())
        print(line[:200], flush=True)

    def once(self, call):
        if self.dry:
            start = time.perf_counter()
            call()
            return 1e3*(time.perf_counter()-start)
        self.cache.zero_()
        first,last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        first.record()
        call()
        last.record()
        last.synchronize()
        return first.elapsed_time(last)

    def times(self, calls):
        "{name: (median, 10th, 90th percentile)} in ms; a contender that fails has its reason instead."
        out,alive = {},{}
        for name,call in calls.items():
            try:
                for _ in range(1 if self.dry else 3): guess = self.once(call)
                alive[name] = call,guess
            except Exception as e: out[name] = f'{type(e).__name__}: {str(e)[:120]}'
        runs = {name: [] for name in alive}
        rounds = {n: 2 if self.dry else 3 if t>100 else min(60, max(8, int(120/max(t, 1e-3)))) for n,(_,t) in alive.items()}
        for i in range(max(rounds.values(), default=0)):
            for name,(call,_) in alive.items():
                if i<rounds[name]: runs[name].append(self.once(call))
        for name,ms in runs.items():
            ms.sort()
            out[name] = [round(x, 5) for x in (statistics.median(ms), ms[len(ms)//10], ms[-1-len(ms)//10])]
        return out

    def row(self, section, name, make):
        "Time one row, unless it is done or there is no time left. `make()` gives the contenders and further numbers."
        if (section, name) in self.done: return
        self.write('begin', f'{section} {name}')               # a row that kills the process is skipped by the next one
        if time.time()+2>self.deadline: return self.write(section, name, failed='no time left')
        try:
            if not self.dry: torch.cuda.reset_peak_memory_stats()
            calls,more = make()
            before = 0 if self.dry else torch.cuda.memory_allocated()
            times = self.times(calls)
            if not self.dry: more['scratch_MB'] = round((torch.cuda.max_memory_allocated()-before)/2**20, 1)
            self.write(section, name, times=times, **more)
        except torch.cuda.OutOfMemoryError: self.write(section, name, failed='out of memory')
        if not self.dry: torch.cuda.empty_cache()


def commit():
    r = subprocess.run(['git', '-C', str(HERE), 'rev-parse', '--short', 'HEAD'], capture_output=True, text=True)
    return r.stdout.strip()

def read_lines(files):
    rows = []
    for file in files:
        if not Path(file).exists(): continue
        for line in Path(file).read_text().splitlines():
            try: rows.append(json.loads(line))
            except ValueError: pass                            # cut off in the middle
    return rows

def shapes(bench, names=None):
    table = TOYS if bench.dry else SHAPES
    return {n: table[n] for n in table if names is None or n in names}


class Anchor:
    "The CUDA stand-in of anchor_scan.cu, compiled by nvcc and called through ctypes; None where that is not possible."
    def __init__(self, folder):
        library = Path(folder)/'anchor_scan.so'
        nvcc = shutil.which('nvcc') or '/usr/local/cuda/bin/nvcc'
        if not library.exists():
            arch = ''.join(map(str, torch.cuda.get_device_capability()))
            subprocess.run([nvcc, '-O3', f'-arch=sm_{arch}', '-std=c++17', '--use_fast_math', '-shared', '-Xcompiler',
                            '-fPIC', str(HERE/'anchor_scan.cu'), '-o', str(library)], check=True, capture_output=True)
        self.lib = ctypes.CDLL(str(library))

    def _call(self, name, *args):
        pointers = [(ctypes.c_void_p*len(a))(*a) if isinstance(a, list) else ctypes.c_void_p(a) for a in args[:-1]]
        stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
        error = getattr(self.lib, name)(*pointers, (ctypes.c_int*5)(*args[-1]), stream)
        if error: raise RuntimeError(f'CUDA error {error}')

    def forward(self, u, delta, A, B, C, D, bias):
        (b,kd,L),(k,n) = u.shape,B.shape[1:3]
        self.sizes = (b, k, kd//k, n, L)
        y,self.last = torch.empty_like(u),u.new_empty(b, kd, self.lib.anchor_chunks(L), n)
        self.inputs = [t.data_ptr() for t in (u, delta, A, B, C, D, bias)]
        self._call('anchor_forward', self.inputs, y.data_ptr(), self.last.data_ptr(), self.sizes)
        return y

    def both(self, gy, *ts):
        y = self.forward(*ts)
        g = [torch.empty_like(t) for t in ts[:2]]+[torch.zeros_like(t) for t in ts[2:]]
        self._call('anchor_backward', self.inputs, gy.data_ptr(), self.last.data_ptr(), [t.data_ptr() for t in g], self.sizes)
        return y,g

def scan_inputs(D, L, N, batch, dtype, device, K=4):
    g = torch.Generator().manual_seed(0)
    def r(*s): return torch.randn(*s, generator=g)
    dt = torch.exp(torch.rand(K*D, generator=g)*math.log(100)+math.log(1e-3))
    u,delta,B,C = (t.to(device, dtype) for t in (r(batch,K*D,L), .5*r(batch,K*D,L), r(batch,K,N,L), r(batch,K,N,L)))
    A,Ds,bias = (t.to(device) for t in (-torch.arange(1.,N+1)*torch.exp(.1*r(K*D,N)), r(K*D), dt+torch.log(-torch.expm1(-dt))))
    return u,delta,A,B,C,Ds,bias

def last_axis(t): return t.detach().transpose(1,2).contiguous().transpose(1,2)               # the same numbers, channels last

def error_of(run, ts, channels=64):
    "Largest error against the float64 loop, on the first channels of the first group."
    u,delta,A,B,C,Ds,bias = ts
    n = min(channels, u.shape[1]//B.shape[1])
    some = (u[:1,:n], delta[:1,:n], A[:n], B[:1,:1], C[:1,:1], Ds[:n], bias[:n])
    from rgbx_seg.ops.scan import selective_scan
    want = selective_scan(*(t.double() for t in some), delta_softplus=True, backend='blocked')
    got = run(*(t.contiguous() for t in some))
    return ((got.double()-want).abs().max()/want.abs().max()).item()

def grads(f, ts, gy):
    y = f(*ts)
    return torch.autograd.grad(y, ts, gy.to(y))

def machine(bench):
    n = 2**16 if bench.dry else 2**28
    def copies():
        a,b = torch.empty(n, device=bench.device),torch.empty(n, device=bench.device)
        small,back = a[:n//50],b[:n//50]
        return {'1 GiB': lambda: b.copy_(a), '20 MiB': lambda: back.copy_(small), 'empty launch': lambda: a[:1].add_(0)},dict(
            bytes={'1 GiB': 8*n, '20 MiB': 8*(n//50)})
    def products():
        m = 64 if bench.dry else 4096
        a,h = torch.randn(m, m, device=bench.device),torch.randn(m, m, device=bench.device, dtype=torch.bfloat16)
        return {'float32': lambda: a@a, 'bfloat16': lambda: h@h},dict(flop=2*m**3)
    bench.row('machine', 'copy', copies)
    bench.row('machine', 'products', products)

def scan(bench):
    from rgbx_seg.ops.scan import selective_scan
    def ours(*t): return selective_scan(*t, delta_softplus=True, backend=bench.ours)
    def blocked(*t): return selective_scan(*t, delta_softplus=True, backend='blocked')
    try: anchor = None if bench.dry else Anchor(bench.args.out)
    except Exception as e: anchor = bench.write('note', 'CUDA stand-in absent', reason=str(e)[:150])
    def make(D, H, W, N, batch, dtype, both):
        x = scan_inputs(D, H*W, N, batch, dtype, bench.device)
        x2 = (last_axis(x[0]),last_axis(x[1]),*x[2:])
        more = dict(bytes=sum(t.numel()*t.element_size() for t in (x[0],x[1],x[3],x[4]))+4*x[0].numel())
        if not both:
            calls = {'ours, channels last': lambda: ours(*x2), 'ours, published layout': lambda: ours(*x)}
            if batch==1: calls['PyTorch'] = lambda: blocked(*x)
            if anchor and dtype==torch.float32:
                more['error of the stand-in'] = error_of(anchor.forward, x)
                calls['CUDA stand-in'] = lambda: anchor.forward(*x)
            return calls,more|dict(error=error_of(ours, x))
        v,v2 = ([t.detach().requires_grad_() for t in o] for o in (x,x2))
        gy = torch.randn_like(x[0], dtype=torch.float32)
        gy2 = last_axis(gy)
        calls = {'ours, channels last': lambda: grads(ours, v2, gy2), 'ours, published layout': lambda: grads(ours, v, gy)}
        if anchor and dtype==torch.float32: calls['CUDA stand-in'] = lambda: anchor.both(gy, *x)
        return calls,more
    for batch,N,dtype in ((1,16,torch.float32), (4,16,torch.float32), (1,4,torch.float32), (1,1,torch.float32), (1,16,torch.bfloat16)):
        for name,(D,H,W,_) in shapes(bench, ('s1','s2','s3','s4','g1','md') if N==16 else ('s1','s3','g1','g3')).items():
            for both in (False, True):
                row = f"{name} B {batch} N {N} {str(dtype)[6:]} {'forward + backward' if both else 'forward'}"
                def rows(D=D, H=H, W=W, both=both):
                    with torch.set_grad_enabled(both): return make(D, H, W, N, batch, dtype, both)
                bench.row('scan', row, rows)

def fused(bench):
    from rgbx_seg.ops.ss2d import ss2d, ss2d_inputs, ss2d_unfused
    def make(D, H, W, R, N, batch, both):
        p = {k: t.to(bench.device) for k,t in ss2d_inputs(batch, H, W, D, R, N).items()}
        one,two = (lambda **q: ss2d(**q, backend=bench.ours)),(lambda **q: ss2d_unfused(**q, backend=bench.ours))
        more = dict(bytes=4*(2*p['x'].numel()+p['x_dbl'].numel()))
        if not both: return dict(fused=lambda: one(**p), steps=lambda: two(**p)),more
        v,gy = {k: t.requires_grad_() for k,t in p.items()},torch.randn_like(p['x'])
        def run(f): return torch.autograd.grad(f(**v), list(v.values()), gy)
        return dict(fused=lambda: run(one), steps=lambda: run(two)),more
    for batch,N in ((1,16), (4,16), (1,4), (1,1), (4,1)):
        for name,(D,H,W,R) in shapes(bench, ('g1','g2','g3') if N==1 else ('s1','s2','s3','s4','c1')).items():
            for both in (False, True):
                row = f"{name} B {batch} N {N} {'forward + backward' if both else 'forward'}"
                bench.row('fused', row, lambda D=D, H=H, W=W, R=R, both=both: make(D, H, W, R, N, batch, both))

def attention(bench):
    from rgbx_seg.ops.deform_attention import deform_attention
    from rgbx_seg.ops.window_attention import neighborhood_attention
    def timed(f, ts, both):
        if not both: return f
        def run():
            y = f()
            return torch.autograd.grad(y, ts, torch.ones_like(y))
        return run
    def window(heads, n, k, dtype, both):
        ts = [torch.randn(1, heads, n, n, 32, device=bench.device, dtype=dtype, requires_grad=both) for _ in range(3)]
        ts.append(torch.randn(heads, 2*k-1, 2*k-1, device=bench.device, dtype=dtype, requires_grad=both))
        names = ['tiles'] if bench.dry else ['triton','tiles']
        calls = {b: timed(lambda b=b: neighborhood_attention(*ts[:3], k, 1, ts[3], backend=b), ts, both) for b in names}
        flat = [t.flatten(2,3) for t in ts[:3]]
        if n<=64: calls['dense SDPA, no window'] = timed(lambda: torch.nn.functional.scaled_dot_product_attention(*flat), ts[:3], both)
        return calls,{}
    def points(levels, Q, both):
        S,M,c = sum(h*w for h,w in levels),2 if bench.dry else 16,8 if bench.dry else 32
        ts = [t.to(bench.device).requires_grad_(both) for t in
              (torch.randn(1,S,M,c), torch.rand(1,Q,M,len(levels),4,2), torch.rand(1,Q,M,len(levels),4))]
        return {b: timed(lambda b=b: deform_attention(ts[0], levels, *ts[1:], backend=b), ts, both)
                for b in (['grid'] if bench.dry else ['triton','grid'])},{}
    for both in (False, True):
        what = 'forward + backward' if both else 'forward'
        for heads,n,k in (((1,6,3),) if bench.dry else WINDOWS):
            for dtype in (torch.float32, torch.bfloat16):
                name = f'neighbourhood {n} x {n}, {heads} heads, window {k}, {str(dtype)[6:]}, {what}'
                bench.row('attention', name, lambda n=n, k=k, heads=heads, dtype=dtype, both=both: window(heads, n, k, dtype, both))
        for levels,Q in (((((3,4),),5),) if bench.dry else POINTS):
            name = f'deformable {len(levels)} maps, {Q} queries, {what}'
            bench.row('attention', name, lambda levels=levels, Q=Q, both=both: points(levels, Q, both))

def models(bench):
    from rgbx_seg.models.create import create_model
    def make(name, size, batch, half):
        model = create_model(name, num_classes=9).to(bench.device)
        n = len(model.modalities)
        images = [torch.randn(batch, 3, *size, device=bench.device) for _ in range(n)]
        labels = torch.randint(9, (batch, *size), device=bench.device)
        def cast(): return torch.autocast(bench.device, torch.bfloat16, enabled=half)
        def forward():
            with torch.no_grad(),cast(): return model.eval()(*images)
        def step():
            model.train().zero_grad(set_to_none=True)
            with cast(): out = model(*images)
            out = out[0] if isinstance(out, (tuple, list)) else out
            torch.nn.functional.cross_entropy(out.float(), labels).backward()
        calls = dict(forward=forward)
        if batch>1 or not name.startswith('segman'): calls['training step'] = step
        if not bench.dry:
            forward()
            graph = torch.cuda.CUDAGraph()
            try:
                with torch.cuda.graph(graph): held = forward()
                calls['forward, CUDA graph'] = lambda: (graph.replay(), held)
            except Exception as e: bench.write('note', f'{name}: no CUDA graph', reason=str(e)[:150])
        return calls,dict(images=batch)
    rows = (('sigma_nano',(32,32),1),) if bench.dry else (('sigma_tiny',(480,640),1), ('sigma_tiny',(480,640),4),
                                                         ('segman_b',(512,512),1), ('segman_b',(512,512),4))
    for half in (False, True):
        for name,size,batch in rows:
            row = f"{name} {size[0]} x {size[1]} B {batch} {'bf16 autocast' if half else 'float32'}"
            bench.row('models', row, lambda name=name, size=size, batch=batch, half=half: make(name, size, batch, half))

def host(bench):
    "Microseconds of Python a call, and does a CUDA graph replay to the same bits?"
    from rgbx_seg.ops.ss2d import ss2d, ss2d_inputs
    def make():
        p = {k: t.to(bench.device) for k,t in ss2d_inputs(1, 3, 4, 32, 2, 4).items()}
        v = {k: t.clone().requires_grad_() for k,t in p.items()}
        def step(): return torch.autograd.grad(ss2d(**v, backend=bench.ours).square().sum(), list(v.values()))
        want = step()
        for _ in range(3): step()
        if not bench.dry: torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(20): ss2d(**p, backend=bench.ours)
        more = dict(python_us=round(5e4*(time.perf_counter()-start), 1))
        if not bench.dry:
            torch.cuda.set_sync_debug_mode('error')
            step()
            torch.cuda.set_sync_debug_mode('default')
            graph,stream = torch.cuda.CUDAGraph(),torch.cuda.Stream()
            with torch.cuda.graph(graph, stream=stream): kept = step()
            for _ in range(3): graph.replay()
            torch.cuda.synchronize()
            more['graph equal'] = all(torch.equal(a, b) for a,b in zip(kept, want))
        return {'fused step': step},more
    bench.row('host', 'ss2d', make)

def tune(bench):
    "The options of each Sigma stage; the choices go to DIR/triton_choices.json."
    from rgbx_seg.ops.ss2d import ss2d, ss2d_inputs
    os.environ |= dict(RGBX_SEG_TUNE='1', RGBX_SEG_CACHE=str(Path(bench.args.out).resolve()))
    for batch in (1, 4):
        for name,(D,H,W,R) in shapes(bench, ('s1','s2','s3','s4','g1','g3')).items():
            def make():
                N = 1 if name[0]=='g' else 16
                v = {k: t.to(bench.device).requires_grad_() for k,t in ss2d_inputs(batch, H, W, D, R, N).items()}
                return dict(chosen=lambda: ss2d(**v, backend=bench.ours).sum().backward()),{}
            bench.row('tune', f'{name} B {batch}', make)

def compile_first(args):
    "All kernels of the models and rows, in a pool, into DIR/cache."
    from rgbx_seg.models.create import create_model
    from rgbx_seg.ops.triton_compile import compile_launches, launches_of, on_meta
    start,cpu = time.time(),0.
    names = (('sigma_nano',(32,32),1),) if args.dry else (('sigma_tiny',(480,640),1), ('segman_b',(512,512),2))
    found = []
    for name,size,batch in names:
        model = on_meta(create_model(name, num_classes=9)).train()
        def step():
            out = model(*[torch.empty(batch, 3, *size, device='meta') for _ in model.modalities])
            (out[0] if isinstance(out, (tuple, list)) else out).sum().backward()
        found += launches_of(step)
    found = list(dict.fromkeys(found))
    if not args.dry: cpu = sum(r['seconds'] for r in compile_launches(found, 'the benchmark', workers=min(16, os.cpu_count() or 1)))
    line = dict(section='compile', row='kernels', kernels=len(found), cpu_s=round(cpu, 1), wall_s=round(time.time()-start, 1))
    with open(Path(args.out)/'gpu.jsonl', 'a') as f: f.write(json.dumps(line)+'\n')
    print(line, flush=True)

def cell(value): return value if isinstance(value, str) else f'{value[0]:.3f} ({value[1]:.3f}-{value[2]:.3f})'

def table(files):
    "Markdown of all lines; the last line of a row counts."
    rows,out = {},[]
    for r in read_lines(files): rows[r['section'], r['row']] = r
    device = next((r['device'] for r in rows.values() if 'device' in r), '')
    out.append(f'# GPU kernels on {device}\n\nMilliseconds: median (10th to 90th percentile).')
    if any(r.get('dry') for r in rows.values()): out.append('A dry run on a CPU with toy shapes: **the numbers mean nothing**.')
    rate = rows.get(('machine','copy'), {})
    copy = rate['bytes']['1 GiB']/rate['times']['1 GiB'][0]/1e6 if 'times' in rate else 0
    for section in ['compile']+SECTIONS:
        some = [r for (s,_),r in rows.items() if s==section]
        if not some: continue
        out.append(f'## {section}\n')
        for r in some:
            parts = [f'{k} {cell(v)}' for k,v in r.get('times', {}).items()]
            best = next(iter(r.get('times', {}).values()), '')
            if copy and isinstance(r.get('bytes'), int) and isinstance(best, list): parts.append(f"{r['bytes']/best[0]/1e6/copy:.0%} of the copy")
            parts += [f'{k} {r[k]}' for k in ('error','error of the stand-in','scratch_MB','python_us','graph equal','kernels','cpu_s','wall_s','failed') if k in r]
            out.append(f"- {r['row']}: {'; '.join(parts)}")
    return '\n'.join(out)+'\n'

def child(args):
    bench = Bench(args)
    if args.dry: torch.set_num_threads(1)
    globals()[args.child](bench)

def section(args, name, quota):
    "One section in a process that is watched; it is started again behind a row that killed it."
    file = Path(args.out)/'gpu.jsonl'
    end = min(args.deadline, time.time()+quota)
    for _ in range(4):
        command = [sys.executable, __file__, '--child', name, '--out', args.out, '--deadline', str(end)]
        process = subprocess.Popen(command+['--dry']*args.dry+['--resume']*args.resume+['--skip']*(_>0))
        silent = 0.
        while process.poll() is None and time.time()<end+15 and silent<45:
            time.sleep(.1 if args.dry else .5)
            silent = time.time()-max(file.stat().st_mtime, args.started) if file.exists() else 0.
        hung = process.poll() is None
        if hung: process.kill()
        process.wait()
        if process.returncode==0 or time.time()>end: return
        begun = [r['row'].split(' ', 1) for r in read_lines([file]) if r['section']=='begin']
        rows = {(r['section'], r['row']) for r in read_lines([file])}
        if not begun or tuple(begun[-1]) in rows: return
        with open(file, 'a') as f:
            f.write(json.dumps(dict(section=begun[-1][0], row=begun[-1][1], failed='hung' if hung else f'exit {process.returncode}'))+'\n')

def main(argv=None):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--budget', type=float, default=540)
    p.add_argument('--sections', default=','.join(SECTIONS))
    p.add_argument('--out', default='gpu_bench')
    p.add_argument('--table', nargs='*')
    for flag in ('--resume', '--dry', '--skip'): p.add_argument(flag, action='store_true')
    p.add_argument('--child', default='', help=argparse.SUPPRESS)
    p.add_argument('--deadline', type=float, default=0, help=argparse.SUPPRESS)
    args = p.parse_args(argv)
    if args.table: return print(table(args.table))
    if args.child: return child(args)
    if not args.dry and not torch.cuda.is_available(): sys.exit('no CUDA device; --dry walks the code without one')
    Path(args.out).mkdir(parents=True, exist_ok=True)
    if not args.resume: (Path(args.out)/'gpu.jsonl').unlink(missing_ok=True)
    os.environ.setdefault('TRITON_CACHE_DIR', str(Path(args.out).resolve()/'cache'))
    args.started = time.time()
    args.deadline = args.started+args.budget
    def stop(*_): raise KeyboardInterrupt
    signal.signal(signal.SIGTERM, stop)
    names = [n for n in args.sections.split(',') if n]
    try:
        if {'models','scan','fused'}&set(names): compile_first(args)
        for i,name in enumerate(names):
            left = sum(QUOTA[n] for n in names[i:])
            section(args, name, (args.deadline-time.time())*QUOTA[name]/left)
    except KeyboardInterrupt: print('stopped', flush=True)
    text = table([Path(args.out)/'gpu.jsonl'])
    (Path(args.out)/'gpu.md').write_text(text)
    print(text)

if __name__=='__main__': main()

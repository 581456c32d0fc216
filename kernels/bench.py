"""Benchmark of the selective scan: every backend of ours and the anchors others use, side by side in one run.

    python kernels/bench.py [--quick] [--rounds 5] [--no-compile] [--out FILE] [--dry]

All contenders see the same tensors and take turns, round by round; time is CPU time of the process with one thread, median of the rounds
(contenders that take longer than 4 s run once). Every output is checked against a float64 loop in the same run. Writes kernels/results/.
Where CUDA is there, bench_gpu.py runs first; `--dry` walks that part alone, without a GPU, with toy shapes.
The anchors are written from their formulas here, except pscan, which is imported from the package `mambapy` if it is installed.
"""
import argparse, contextlib, ctypes, gc, json, math, os, platform, re, statistics, subprocess, sys, time, warnings
from pathlib import Path

os.environ.setdefault('OMP_NUM_THREADS', '2')
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
warnings.filterwarnings('ignore', category=FutureWarning)
import torch, torch._dynamo
import torch.nn.functional as F
from rgbx_seg.ops import routes, scan, scan_native, ss2d

SHAPES = dict(s1=(192,19200), s2=(384,4800), s3=(768,1200), s4=(1536,300), c1=(192,768), c2=(384,192), c3=(768,48), c4=(1536,12))
GRIDS = dict(s1=(192,120,160), s2=(384,60,80), s3=(768,30,40), s4=(1536,15,20), c1=(192,24,32), c2=(384,12,16))
NAMES = ('u','delta','A','B','C','D','delta_bias')

def inputs(D, L, N, K=4, seed=0, dtype=torch.float32):
    "Realistic step sizes: the bias is the inverse softplus of steps between 1e-3 and 1e-1."
    g = torch.Generator().manual_seed(seed); r = lambda *s: torch.randn(*s, generator=g)
    dt = torch.exp(torch.rand(K*D, generator=g)*math.log(100)+math.log(1e-3))
    t = (r(1,K*D,L), .5*r(1,K*D,L), -torch.arange(1.,N+1)*torch.exp(.1*r(K*D,N)), r(1,K,N,L), r(1,K,N,L), r(K*D), dt+torch.log(-torch.expm1(-dt)))
    return tuple(x.to(dtype) for x in t)

# ---- the anchors

def reference_loop(u, delta, A, B, C, D, bias):
    "The published reference: all decays and inputs in memory, one slice of them a step."
    rep = u.shape[1]//B.shape[1]
    B,C = B.repeat_interleave(rep, 1),C.repeat_interleave(rep, 1)
    dt = F.softplus(delta+bias[:,None])
    a = torch.exp(torch.einsum('bdl,dn->bdln', dt, A))
    b = torch.einsum('bdl,bdnl,bdl->bdln', dt, B, u)
    h,ys = u.new_zeros(u.shape[0], u.shape[1], A.shape[1]),[]
    for i in range(u.shape[2]):
        h = a[:,:,i]*h+b[:,:,i]
        ys.append(torch.einsum('bdn,bdn->bd', h, C[:,:,:,i]))
    return torch.stack(ys, 2)+u*D[:,None]

def _fold(u, delta, A, B, C, bias):
    "Groups into the batch: what code without groups has to do."
    k = B.shape[1]; f = lambda t: t.reshape(k, -1, t.shape[-1])
    return f(u),F.softplus(f(delta)+bias.view(k,-1,1)),A.view(k,-1,A.shape[1]),B[0],C[0]

def hf_slow(u, delta, A, B, C, D, bias):
    "The sequential path of Hugging Face's Mamba: decays per step in memory, a small matrix product a step."
    x,dt,A,B,C = _fold(u, delta, A, B, C, bias)
    a = torch.exp(A[:,:,None,:]*dt[:,:,:,None])
    b = dt[:,:,:,None]*B.transpose(1,2)[:,None]*x[:,:,:,None]
    C = C.transpose(1,2)
    h,ys = torch.zeros_like(a[:,:,0]),[]
    for i in range(x.shape[2]):
        h = a[:,:,i]*h+b[:,:,i]
        ys.append(torch.matmul(h, C[:,i].unsqueeze(-1))[:,:,0])
    return torch.stack(ys, -1).view_as(u)+u*D[:,None]

def mambapy_pscan(u, delta, A, B, C, D, bias):
    "The parallel scan of mambapy (Blelloch's), on tensors (batch, L, D, N)."
    from mambapy.pscan import pscan
    x,dt,A,B,C = _fold(u, delta, A, B, C, bias)
    a = torch.exp(dt.transpose(1,2)[...,None]*A[:,None])
    b = (dt*x).transpose(1,2)[...,None]*B.transpose(1,2)[:,:,None]
    h = pscan(a, b)
    return (h @ C.transpose(1,2)[...,None])[...,0].transpose(1,2).reshape(u.shape)+u*D[:,None]

def chunk_cumsum(u, delta, A, B, C, D, bias, T=16):
    "h = P cumsum(b / P) within chunks of 16 steps: divides by decays, so it overflows for large steps."
    x,dt,A,B,C = _fold(u, delta, A, B, C, bias)
    h,ys = None,[]
    for xs,ds,bs,cs in zip(x.split(T,2), dt.split(T,2), B.split(T,2), C.split(T,2)):
        P = torch.exp(ds.cumsum(2)[:,:,None]*A[...,None])                       # (K, D, N, T)
        v = (((ds*xs)[:,:,None]*bs[:,None])/P).cumsum(3)
        hs = P*(v if h is None else v+h[...,None])
        ys.append(torch.einsum('kdnt,knt->kdt', hs, cs)); h = hs[...,-1]
    return torch.cat(ys, 2).reshape(u.shape)+u*D[:,None]

def _steps(h, dt, x, A, B, C):
    ys = []
    for i in range(dt.shape[2]):
        h = torch.exp(dt[:,:,i,None]*A)*h+(dt[:,:,i]*x[:,:,i])[...,None]*B[:,None,:,i]
        ys.append((h*C[:,None,:,i]).sum(-1))
    return h,torch.stack(ys, 2)

torch._dynamo.config.recompile_limit = 1000
_compiled = {}
def compiled_chunk(u, delta, A, B, C, D, bias, T=16):
    "torch.compile of 16 unrolled steps with the state carried between calls: the strongest plain-PyTorch forward."
    x,dt,A,B,C = _fold(u, delta, A, B, C, bias)
    L = x.shape[2]; p = -L%T
    if p: x,dt,B,C = (F.pad(t, (0,p)) for t in (x,dt,B,C))
    key = (tuple(x.shape[:2]), B.shape[1], u.requires_grad)
    f = _compiled.setdefault(key, torch.compile(_steps, dynamic=False, fullgraph=True))
    h,ys = x.new_zeros(*x.shape[:2], B.shape[1]),[]
    for xs,ds,bs,cs in zip(x.split(T,2), dt.split(T,2), B.split(T,2), C.split(T,2)):
        h,y = f(h, ds, xs, A, bs, cs); ys.append(y)
    return torch.cat(ys, 2)[...,:L].reshape(u.shape)+u*D[:,None]

def ours(backend): return lambda *t: scan.selective_scan(*t, delta_softplus=True, backend=backend)

ALL = {'reference loop':reference_loop, 'HF slow path':hf_slow, 'mambapy pscan':mambapy_pscan, 'chunk-cumsum 16 (unsafe)':chunk_cumsum,
       'compiled 16-step chunk':compiled_chunk, 'blocked (ours)':ours('blocked'), 'native (ours)':ours('native')}
SHORT = {'ref':'reference loop', 'hf':'HF slow path', 'pscan':'mambapy pscan', 'cumsum':'chunk-cumsum 16 (unsafe)', 'comp':'compiled 16-step chunk',
         'blocked':'blocked (ours)', 'native':'native (ours)'}
FWD = dict(s1='ref comp blocked', s2='ref cumsum comp blocked', s3='ref hf cumsum comp blocked', s4='ref hf pscan cumsum comp blocked',
           c1='ref hf pscan cumsum comp blocked', c2='ref hf pscan cumsum comp blocked', c3='ref hf pscan cumsum blocked', c4='ref hf pscan cumsum blocked')
BWD = dict(s1='blocked', s2='blocked', s3='blocked', s4='pscan cumsum comp blocked', c1='ref pscan cumsum comp blocked',
           c2='ref hf pscan cumsum comp blocked', c3='ref hf pscan cumsum blocked', c4='ref hf pscan cumsum blocked')
# how many times faster native has to be: {(direction, shape): {contender: factor}}; blocked against the reference loop under 'blocked/ref'
TARGETS = {'fwd':dict(ref=dict(s1=150, s2=150, s3=150, c1=80, c2=60), hf=dict(s3=70, c1=50), pscan=dict(s4=200, c1=150), cumsum=dict(s2=25, s3=25, s4=25, c1=25, c2=25),
                      comp=dict(s1=5, s2=5, s3=5, s4=5, c1=5, c2=5), blocked=dict(s1=8, s2=8, s3=8, s4=8, c1=8)),
           'bwd':dict(ref=dict(c2=400, c3=80), hf=dict(c2=200), pscan=dict(s4=100, c1=100), cumsum=dict(s4=20, c1=20, c2=20), comp=dict(s4=5, c1=5, c2=5),
                      blocked=dict(s1=7, s2=7, s3=7, s4=7, c1=7))}
FALLBACK = {'fwd':dict(s1=8, s2=8, s3=8, c1=8), 'bwd':dict(c2=40)}

# ---- measuring

def clock(f, least=.2):
    "Seconds of one call and its result; of short calls the median over `least` seconds of them."
    gc.collect(); gc.disable(); ts = []
    while sum(ts)<least or not ts:
        r = None; t = time.process_time(); r = f(); ts.append(time.process_time()-t)
    gc.enable(); return statistics.median(ts),r

def interleave(fs:dict, rounds:int, slow:float=4.): # {name: f} -> {name: [seconds]} and {name: first result}
    times,res,first = {k:[] for k in fs},{},{}
    for k,f in fs.items():                          # warm-up outside the clock; of slow ones the only run
        if k=='comp': f()                           # compile first
        first[k],res[k] = clock(f)
        if first[k]>slow: times[k] = [first[k]]
    for _ in range(rounds):
        for k,f in fs.items():
            if first[k]>slow: continue
            if first[k]<1: f()                      # caches and free memory as after itself, not as after the contender before
            times[k].append(clock(f)[0])
    return times,res

def med(ts): return statistics.median(ts)*1e3
def error(a, b): return ((a.double()-b).abs().max()/b.abs().max()).item() if torch.isfinite(a).all() else float('nan')
def fmt(ms): return f'{ms:.0f}' if ms>=100 else f'{ms:.1f}' if ms>=10 else f'{ms:.2f}'

class Table:
    def __init__(self, *head): self.rows = [head]
    def add(self, *row): self.rows.append(tuple(map(str, row))); print('  '.join(f'{c:>10}' for c in self.rows[-1]), flush=True)
    def __str__(self): return '\n'.join(['| '+' | '.join(self.rows[0])+' |', '|'+' --- |'*len(self.rows[0])]+['| '+' | '.join(r)+' |' for r in self.rows[1:]])

def beside_row(shape, other, times, results, truth):
    "A row of `write_beside`: both in milliseconds, how many times as fast ours is, and how far both are off."
    name,(width,length) = shape
    theirs,mine = med(times[other]),med(times['native'])
    errors = [f'{error(results[key], truth):.0e}' for key in (other, 'native')]
    return name,f'{4*width} x {length}',fmt(theirs),fmt(mine),f'{theirs/mine:.1f}x',*errors

def write_beside(script, doc, other, title, versions, rows):
    "The table of another library's scan beside ours, from the command line of `script`; `rows(rounds)` gives its rows."
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--out', default=str(Path(__file__).parent/'results'/f'{other.lower()}.md'))
    args = parser.parse_args()
    torch.set_num_threads(1)
    table = Table('shape','K D x L',f'{other} ms','native ms','native is faster by',f'error of {other}','error of native')
    for row in rows(args.rounds): table.add(*row)
    head = (f'# {title}\n\n{cpu_name()}, one thread, CPU time, float32, batch 1, K = 4, N = 16; torch {torch.__version__}, {versions}. '
            f'`python kernels/{Path(script).name}`.\n\n')
    Path(args.out).write_text(f'{head}{table}\n')

def verdict(target, ratio): return '' if target is None else f'>= {target:g}x', '' if target is None else 'reached' if ratio>=target else '**not reached**'

def grads(f, ts, gy):
    y = f(*ts); return (y.detach(), *torch.autograd.grad(y, ts, gy.to(y.dtype)))

def scan_tables(shapes, rounds, compile, results, order=16):
    for mode,which in (('fwd',FWD),('bwd',BWD)):
        title = 'Forward' if mode=='fwd' else 'Forward + backward, all seven gradients'
        t = Table('shape','method','ms','min ms','G states/s','native is','target','','largest error')
        for s in shapes:
            D,L = SHAPES[s]; x = inputs(D, L, order); states = 4*D*L*order
            names = [k for k in which[s].split() if (compile or k!='comp') and (k!='pscan' or has('mambapy'))]+['native']
            if results.get('quick'): names = [k for k in names if k not in ('ref','hf','pscan') or s in ('c2','c3','c4')]
            if mode=='fwd':
                fs = {k:(lambda f=ALL[SHORT[k]]: f(*x)) for k in names}
                with torch.no_grad():
                    times,res = interleave(fs, rounds)
                    truth = [scan.scan_reference(*[v.double() for v in x], delta_softplus=True)[0]]
                errs = {k:error(r, truth[0]) for k,r in res.items()}
            else:
                y = [v.clone().requires_grad_() for v in x]; gy = torch.randn(x[0].shape, generator=torch.Generator().manual_seed(1))
                fs = {k:(lambda f=ALL[SHORT[k]]: grads(f, y, gy)) for k in names}
                times,res = interleave(fs, rounds)
                truth = grads(ours('blocked'), [v.double().requires_grad_() for v in x], gy)
                errs = {k:max((error(a,b) for a,b in zip(r, truth)), key=lambda e: (math.isnan(e),e)) for k,r in res.items()}
            ms = {k:med(v) for k,v in times.items()}; results.setdefault('ms', {})[mode,s] = {SHORT[k]:v for k,v in ms.items()}
            for k in names:
                ratio = ms[k]/ms['native']; tgt = TARGETS[mode].get(k,{}).get(s) if k!='native' else None
                once = ' (one run)' if len(times[k])==1 else ''
                t.add(s, SHORT[k], fmt(ms[k])+once, fmt(min(times[k])*1e3), f"{states/ms[k]/1e6:.2f}", '' if k=='native' else f'{ratio:.1f}x faster', *verdict(tgt, ratio),
                      'NaN' if math.isnan(errs[k]) else f'{errs[k]:.0e}')
                if tgt: results['targets'].append((f'{mode} {s}: native over {SHORT[k]}', tgt, round(ratio,1)))
            if 'ref' in names and s in FALLBACK[mode]:
                r = ms['ref']/ms['blocked']; t.add(s, 'blocked over reference loop', '', '', '', f'{r:.1f}x', *verdict(FALLBACK[mode][s], r), '')
                results['targets'].append((f'{mode} {s}: blocked over the reference loop', FALLBACK[mode][s], round(r,1)))
            del res,truth; gc.collect()
        results['text'].append(f'## {title}, N = {order}\n\n{t}')

def other_n(shapes, rounds, compile, results):
    t = Table('shape','N','method','forward ms','G states/s','forward + backward ms','native is (forward, both)','target','')
    for s in shapes:
        for N in (4,1):
            D,L = SHAPES[s]; x = inputs(D, L, N); y = [v.clone().requires_grad_() for v in x]; gy = torch.randn(x[0].shape)
            names = (['comp'] if compile and s=='c1' else [])+['blocked','native']
            with torch.no_grad(): tf,_ = interleave({k:(lambda f=ALL[SHORT[k]]: f(*x)) for k in names}, rounds)
            tb,_ = interleave({k:(lambda f=ALL[SHORT[k]]: grads(f, y, gy)) for k in names if k!='comp'}, rounds)
            for k in names:
                f,b = med(tf[k]),med(tb[k]) if k in tb else None
                r = (f/med(tf['native']), b/med(tb['native']) if b else None)
                tgt = {'blocked':(8,7),'comp':(5,None)}.get(k,(None,None)) if k!='native' else (None,None)
                ok = '' if tgt[0] is None else 'reached' if r[0]>=tgt[0] and (tgt[1] is None or r[1]>=tgt[1]) else '**not reached**'
                t.add(s, N, SHORT[k], fmt(f), f'{4*D*L*N/f/1e6:.2f}', fmt(b) if b else '', '' if k=='native' else f'{r[0]:.1f}x'+(f', {r[1]:.1f}x' if b else ''),
                      '' if tgt[0] is None else f'>= {tgt[0]}x'+(f', {tgt[1]}x' if tgt[1] else ''), ok)
                if tgt[0]: results['targets'].append((f'fwd {s} N={N}: native over {SHORT[k]}', tgt[0], round(r[0],1)))
                if tgt[1] and b: results['targets'].append((f'bwd {s} N={N}: native over {SHORT[k]}', tgt[1], round(r[1],1)))
    results['text'].append(f'## Other numbers of states\n\n{t}')

# ---- the fused core of SS2D

def ss2d_pieces(x, xw, dt_w, A, D, bias):
    "Copies, products and the same scan, as the published modules do it; returns y and the seconds of every piece."
    b,h,w,d = x.shape; k,m = xw.shape[:2]; r = dt_w.shape[2]; n = (m-r)//2; t = [time.process_time()]
    xs = routes.cross_scan(x.permute(0,3,1,2)); t.append(time.process_time())
    dt,B,C = torch.einsum('bkdl,kcd->bkcl', xs, xw).split([r,n,n], 2)
    delta = torch.einsum('bkrl,kdr->bkdl', dt, dt_w); t.append(time.process_time())
    ys = scan.selective_scan(xs.view(b,k*d,-1), delta.reshape(b,k*d,-1), A, B, C, D, bias.flatten(), delta_softplus=True); t.append(time.process_time())
    y = routes.cross_merge(ys.view(b,k,d,-1), h, w); t.append(time.process_time())
    y = y.view(b,d,h,w).permute(0,2,3,1).contiguous(); t.append(time.process_time())
    return y,[q-p for p,q in zip(t, t[1:])]

def ss2d_fused(x, xw, dt_w, A, D, bias):
    b,h,w,d = x.shape; t = [time.process_time()]
    x_dbl = F.linear(x.view(b,h*w,d), xw.view(-1,d)).view(b, h*w, *xw.shape[:2]); t.append(time.process_time())
    y = ss2d.ss2d(x, x_dbl, dt_w, A, D, bias); t.append(time.process_time())
    return y,[q-p for p,q in zip(t, t[1:])]

def ss2d_table(shapes, rounds, results):
    t = Table('shape','N','cross-scan copy','projections','scan','merge','to BHWC','sum','fused: projection','fused: scan','sum fused','gain','target','','training, unfused','training, fused','gain')
    for s in shapes:
        d,h,w = GRIDS[s]; r = -(-d//32)
        for N in (16,4,1):
            p = ss2d.ss2d_inputs(1, h, w, d, r, N); g = torch.Generator().manual_seed(2)
            a = (p['x'], torch.randn(4, r+2*N, d, generator=g)/d**.5, p['dt_w'], p['A'], p['D'], p['dt_bias'])
            with torch.no_grad():
                assert error(ss2d_fused(*a)[0], ss2d_pieces(*a)[0].double())<1e-5
                pieces,fused = [],[]
                for _ in range(rounds+1): gc.collect(); pieces.append(ss2d_pieces(*a)[1]); fused.append(ss2d_fused(*a)[1])
            P,Q = ([statistics.median(c)*1e3 for c in zip(*v[1:])] for v in (pieces,fused))
            sp,sq = (statistics.median(sum(v) for v in w[1:])*1e3 for w in (pieces,fused))
            b = [v.clone().requires_grad_() for v in a]; gy = torch.randn(a[0].shape)
            tb,_ = interleave(dict(u=lambda: grads(lambda *v: ss2d_pieces(*v)[0], b, gy)[0], f=lambda: grads(lambda *v: ss2d_fused(*v)[0], b, gy)[0]), max(3,rounds-2))
            tgt = {16:2, 4:3, 1:4}[N] if s=='s1' else None
            t.add(s, N, *map(fmt, P), fmt(sp), *map(fmt, Q), fmt(sq), f'{sp/sq:.1f}x', *verdict(tgt, sp/sq), fmt(med(tb['u'])), fmt(med(tb['f'])), f"{med(tb['u'])/med(tb['f']):.1f}x")
            if tgt: results['targets'].append((f'fused ss2d {s} N={N} over copies + products + the same scan', tgt, round(sp/sq,2)))
    results['text'].append(f'## The fused core of SS2D, ms\n\n{t}')

# ---- threads, instruction sets, the port bound, denormals

def hardware_table(rounds, results):
    lib = scan_native.native_library(); best = {'generic':0,'avx2':1,'avx512':2}[scan_native.native_isa()]
    lib.rgbx_fma_rate.restype = ctypes.c_double
    t = Table('instruction set','shape','forward ms','forward + backward ms','G states/s','vector FMA/s (G)','port bound (forward, backward)','reached of it','target','')
    for isa in range(best, -1, -1):
        lib.rgbx_set_isa(isa); width = lib.rgbx_width()
        for s in ('s3','c1'):
            D,L = SHAPES[s]; x = inputs(D, L, 16); y = [v.clone().requires_grad_() for v in x]; gy = torch.randn(x[0].shape); f = ours('native')
            rate = max(lib.rgbx_fma_rate() for _ in range(5))/1e9
            def fwd():
                with torch.no_grad(): return f(*x)
            ts,_ = interleave(dict(f=fwd, b=lambda: grads(f, y, gy)), 2*rounds+1)
            b0 = [min(v)*1e3 for v in ts.values()]; st = 4*D*L*16/1e6
            bound = rate*width/(12+45/16), rate*width/(25+90/16)
            got = st/b0[0]/bound[0], st/(b0[1]-b0[0])/bound[1]
            tgt = isa==best and s=='c1'
            t.add(scan_native.native_isa(), s, fmt(b0[0]), fmt(b0[1]), f'{st/b0[0]:.2f} / {st/b0[1]:.2f}', f'{rate:.2f}', f'{bound[0]:.2f}, {bound[1]:.2f}',
                  f'{got[0]:.0%}, {got[1]:.0%}', '>= 60%, 50%' if tgt else '', '' if not tgt else 'reached' if got[0]>=.6 and got[1]>=.5 else '**not reached**')
            if tgt: results['targets'] += [('port bound, forward, in cache', .6, round(got[0],2)), ('port bound, backward, in cache', .5, round(got[1],2))]
    lib.rgbx_set_isa(best)
    out = [f'## Instruction sets (fastest of {2*rounds+1} rounds)\n\n{t}']
    t = Table('shape','pass','1 thread, wall ms','2 threads, wall ms','ratio','target','')
    for s in ('s3','c1'):
        D,L = SHAPES[s]; x = inputs(D, L, 16); y = [v.clone().requires_grad_() for v in x]; gy = torch.randn(x[0].shape); f = ours('native')
        def fwd():
            with torch.no_grad(): return f(*x)
        for name,g in (('forward',fwd),('forward + backward',lambda: grads(f, y, gy))):
            best = {1:1e9,2:1e9}
            for _ in range(12 if s=='s3' else 40):
                for n in (1,2):
                    torch.set_num_threads(n); q = time.perf_counter(); g(); best[n] = min(best[n], time.perf_counter()-q)
            torch.set_num_threads(1); r = best[1]/best[2]
            t.add(s, name, fmt(best[1]*1e3), fmt(best[2]*1e3), f'{r:.2f}x', *verdict(1.7, r)); results['targets'].append((f'two threads, {s} {name}', 1.7, round(r,2)))
    out.append(f'## Threads (fastest of interleaved rounds, wall time)\n\n{t}')
    x = inputs(*SHAPES['c1'], 16); z = (torch.zeros_like(x[0]), *x[1:]); z[0][...,0] = 1; big = (x[0], x[1]*60, *x[2:])
    with torch.no_grad(): ts,res = interleave(dict(usual=lambda: ours('native')(*x), impulse=lambda: ours('native')(*z), large=lambda: ours('native')(*big)), 2*rounds+1)
    out.append('An impulse followed by zeros (denormals) at c1: %.2fx the usual time; steps up to z = %.0f: %s.' % (
        min(ts['impulse'])/min(ts['usual']), big[1].max(), 'finite' if torch.isfinite(res['large']).all() else 'NaN'))
    results['text'] += out

# ---- memory, in processes of their own

def memory_child(what, s, N):
    "Print the peak of resident memory above its level before the call, with everything loaded, in MB."
    torch.set_num_threads(1)
    if what.startswith('ss2d'):
        d,h,w = GRIDS[s]; p = ss2d.ss2d_inputs(1, h, w, d, -(-d//32), N); f = lambda q: ss2d.ss2d(**q); small = ss2d.ss2d_inputs(1, 3, 3, 16, 2, N)
        size = sum(v.numel() for v in p.values())*4; out = p['x'].numel()*4
        call,warm = (lambda: f(p)),(lambda: f(small))
    else:
        x = inputs(*SHAPES[s], N); f = ALL[SHORT[what.split()[0]]]; size = sum(v.numel() for v in x)*4; out = x[0].numel()*4
        if what.endswith('train'): x = [v.requires_grad_() for v in x]; gy = torch.randn(x[0].shape); g = lambda v,d: grads(f, v, d); out += size
        else: g = lambda v,d: f(*v); gy = None
        tiny = [v.requires_grad_(what.endswith('train')) for v in inputs(8, 20, N)]
        call,warm = (lambda: g(x, gy)),(lambda: g(tiny, torch.ones(1,32,20)))
    with (contextlib.nullcontext() if what.endswith('train') else torch.no_grad()):
        warm(); gc.collect(); ctypes.CDLL(None).malloc_trim(0)
        status = lambda key: int(re.search(key+r':\s+(\d+)', Path('/proc/self/status').read_text())[1])/1024
        Path('/proc/self/clear_refs').write_text('5'); before = status('VmRSS'); r = call(); peak = status('VmHWM')
    print(json.dumps(dict(extra=peak-before, inputs=size/2**20, outputs=out/2**20)))

def memory_table(results, quick):
    if not Path('/proc/self/clear_refs').exists(): return
    t = Table('shape','N','method','inputs MB','outputs MB','extra MB, outputs included','of inputs + outputs','target','')
    jobs = [(m,'c1',16) for m in ('ref','hf','pscan','cumsum','blocked','native','blocked train','native train')]+[(m,s,n) for m in ('native','ss2d') for s,n in (('s1',16),('s1',4),('s1',1))]
    jobs += [] if quick else [('blocked','s1',16),('ref','s1',16)]
    for m,s,n in jobs:
        if m=='pscan' and not has('mambapy'): continue
        p = subprocess.run([sys.executable, __file__, '--memory', m, s, str(n)], capture_output=True, text=True)
        if p.returncode: t.add(s, n, m, '', '', 'failed: '+p.stderr.strip().split('\n')[-1][:60], '', '', ''); continue
        r = json.loads(p.stdout.strip().split('\n')[-1]); both = r['inputs']+r['outputs']; q = r['extra']/both
        name = {'ss2d':'fused ss2d (ours)'}.get(m, SHORT.get(m.split()[0],''))+(', forward + backward' if 'train' in m else '')
        lim = {'native':1,'ss2d':1}.get(m); lim_in = {'blocked':6,'blocked train':12}.get(m) if s=='c1' else None
        ok = '' if lim is None and lim_in is None else 'reached' if (q<=lim if lim else r['extra']<=lim_in*r['inputs']) else '**not reached**'
        t.add(s, n, name, f"{r['inputs']:.1f}", f"{r['outputs']:.1f}", f"{r['extra']:.1f}", f'{q:.2f}', '<= inputs + outputs' if lim else f'<= {lim_in}x inputs' if lim_in else '', ok)
        if lim: results['targets'].append((f'memory {s} N={n} {name}: extra over inputs + outputs', -lim, round(q,2)))
        if lim_in: results['targets'].append((f'memory {s} N={n} {name}: extra over inputs', -lim_in, round(r['extra']/r['inputs'],2)))
    results['text'].append(f'## Memory of one call (a process each; peak of resident memory)\n\n{t}')

# ---- a whole model

@contextlib.contextmanager
def without_scan():
    "Replace every scan in the loaded rgbx_seg modules by the identity on its input."
    fake = {scan.selective_scan:lambda u,*a,return_last=False,**k: u.float(), ss2d.ss2d:lambda x,*a,**k: x.float(), ss2d.ss2d_unfused:lambda x,*a,**k: x.float()}
    done = []
    for name,m in list(sys.modules.items()):
        if not name.startswith('rgbx_seg'): continue
        for k,v in list(vars(m).items()):
            for real,f in fake.items():
                if v is real: setattr(m, k, f); done.append((m,k,v))
    try: yield
    finally:
        for m,k,v in done: setattr(m, k, v)

def model_table(rounds, results, name='sigma_tiny', size=(480,640)):
    try:
        from rgbx_seg.models.create import create_model
        model = create_model(name, num_classes=9).eval()
    except Exception as e: print('whole model: skipped,', type(e).__name__, e); results['text'].append(f'## Whole model\n\nskipped: {type(e).__name__}'); return
    g = torch.Generator().manual_seed(0); a,b = torch.randn(1,3,*size,generator=g),torch.randn(1,3,*size,generator=g)
    def plain():
        with torch.no_grad(): return model(a, b)
    def bare():
        with torch.no_grad(),without_scan(): return model(a, b)
    ts,_ = interleave(dict(plain=plain, bare=bare), rounds, slow=60); p,q = med(ts['plain']),med(ts['bare']); r = p/q
    t = Table('model','input','forward ms','without its scans ms','ratio','target','')
    t.add(name, f'1x3x{size[0]}x{size[1]} twice', fmt(p), fmt(q), f'{r:.2f}', '<= 1.5', 'reached' if r<=1.5 else '**not reached**')
    results['targets'].append((f'{name} forward over the same model without its scans', -1.5, round(r,2)))
    results['text'].append(f'## Whole model, one thread, float32\n\nThe scans are replaced by the identity on their input; projections and everything else stay.\n\n{t}')

def images_table(rounds, results, name='sigma_tiny', size=(96,128)):
    "Images per second of a whole model, forward and training step; on a crop, so that the benchmark stays short."
    from rgbx_seg.models.create import create_model
    torch.manual_seed(0); m = create_model(name, num_classes=9); a,b = torch.randn(2,1,3,*size); y = torch.randint(9, (1,*size))
    def forward():
        with torch.no_grad(): return m.eval()(a, b)
    def step(): # forward, loss, gradients of all parameters
        m.train(); m.zero_grad(set_to_none=True); loss = F.cross_entropy(m(a, b), y); loss.backward(); return loss.detach()
    ts,res = interleave(dict(forward=forward, step=step), rounds, slow=60); assert torch.isfinite(res['step'])
    t = Table('model','input','images/s forward','images/s training step','ms forward','ms training step'); f,s = med(ts['forward']),med(ts['step'])
    t.add(name, f'1x3x{size[0]}x{size[1]} twice', f'{1e3/f:.2f}', f'{1e3/s:.2f}', fmt(f), fmt(s))
    results['text'].append(f'## Images per second, one thread, float32\n\nA training step is forward, loss and all gradients of one pair of images.\n\n{t}')

def plot(ms, path):
    "Times of every contender over the shapes, forward and forward + backward, on a logarithmic axis."
    import matplotlib; matplotlib.use('agg')
    import matplotlib.pyplot as plt
    modes = [m for m in ('fwd','bwd') if any(k[0]==m for k in ms)]; names = list(ALL)
    fig,axs = plt.subplots(1, len(modes), figsize=(4.6*len(modes),3.2), dpi=80, squeeze=False)
    for ax,mode in zip(axs[0], modes):
        shapes = [s for m,s in ms if m==mode]
        for i,n in enumerate(names):
            pts = [(j,ms[mode,s][n]) for j,s in enumerate(shapes) if n in ms[mode,s]]
            if pts: ax.plot(*zip(*pts), 'o-', ms=4, lw=1 if 'ours' not in n else 2, color=plt.cm.tab10(i), label=n)
        ax.set_yscale('log'); ax.set_xticks(range(len(shapes)), shapes); ax.grid(alpha=.3, which='major'); ax.set_ylabel('ms, one thread')
        ax.set_title(dict(fwd='forward', bwd='forward + backward')[mode], fontsize=10)
    lines = {l.get_label():l for ax in axs[0] for l in ax.get_lines()}
    fig.legend(lines.values(), lines.keys(), loc='lower center', ncol=4, fontsize=7, frameon=False); fig.tight_layout(rect=(0,.14,1,1)); fig.savefig(path); plt.close(fig)

# ---- all of it

def has(name): return __import__('importlib.util').util.find_spec(name) is not None

def cpu_name():
    try: n = re.search(r'model name\s*:\s*(.+)', Path('/proc/cpuinfo').read_text())[1]
    except (OSError,TypeError): n = platform.processor() or platform.machine()
    return re.sub(r'\s+', ' ', n).strip()

def cpu_detail():
    try: t = Path('/proc/cpuinfo').read_text()
    except OSError: return ''
    f = lambda k: (re.search(rf'^{k}\s*:\s*(.+)', t, re.M) or ['',''])[1]
    return f"family {f('cpu family')} model {f('model')}, {f('cache size')} cache"

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--dry', action='store_true', help='only walk the GPU section, on the CPU with toy shapes')
    p.add_argument('--quick', action='store_true', help='small shapes, no compilation, fast anchors only')
    p.add_argument('--rounds', type=int, default=5); p.add_argument('--no-compile', action='store_true'); p.add_argument('--out', default='')
    p.add_argument('--only', default='scan,n,ss2d,hardware,memory,model,images'); p.add_argument('--memory', nargs=3, help=argparse.SUPPRESS)
    a = p.parse_args()
    if a.memory: return memory_child(a.memory[0], a.memory[1], int(a.memory[2]))
    if a.dry or torch.cuda.is_available():
        import bench_gpu
        bench_gpu.main(['--dry']*a.dry)
        if a.dry: return
    if scan_native.native_library() is None: sys.exit('no native kernel to measure')
    torch.set_num_threads(1); torch.manual_seed(0); t0 = time.time()
    compile = not a.no_compile and not a.quick; rounds = 3 if a.quick else a.rounds
    res = dict(targets=[], text=[], quick=a.quick); only = a.only.split(',')
    shapes = ['s4','c1','c2','c3','c4'] if a.quick else list(SHAPES)
    load = os.getloadavg()[0] if hasattr(os,'getloadavg') else 0
    if 'scan' in only: scan_tables(shapes, rounds, compile, res)
    if 'n' in only: other_n(['c1'] if a.quick else ['c1','s2','s1'], rounds, compile, res)
    if 'ss2d' in only: ss2d_table(['s4','c1'] if a.quick else ['s1','s2','s3','s4','c1'], rounds, res)
    if 'hardware' in only: hardware_table(rounds, res)
    if 'memory' in only: memory_table(res, a.quick)
    if 'model' in only and not a.quick: model_table(3, res)
    if 'images' in only: images_table(2 if a.quick else 3, res)
    t = Table('target','wanted','measured','')
    for name,want,got in res['targets']: t.add(name, f'<= {-want:g}' if want<0 else f'>= {want:g}', f'{got:g}', 'reached' if (got<=-want if want<0 else got>=want) else '**not reached**')
    bad = sum(('not reached' in r[3]) for r in t.rows[1:])
    head = f"""# Selective scan on {cpu_name()}

{cpu_detail()}, {scan_native.native_isa()}, torch {torch.__version__.split('+')[0]}, float32, batch 1, K = 4. `python kernels/bench.py{' --quick' if a.quick else ''}`, {time.time()-t0:.0f} s; load average at the start {load:.1f}.
CPU time of one thread, median of {rounds} rounds in which the contenders take turns on the same tensors, each after one call outside the clock
(slower than 1 s: without); outputs are allocated inside; of calls shorter than 0.2 s the median over 0.2 s of them counts as one. The anchors are our own renderings of the published formulas (the chunked cumulative sum is leaner than VMamba's). Error: largest deviation over the largest value, against float64
(a loop forward, the blocked version for gradients). Shapes: s1..s4 are the stages of Sigma-T at 480x640 (K*D x L = 768 x 19200 ... 6144 x 300), c1..c4 those of a 96x128 crop.

{len(t.rows)-1-bad} of {len(t.rows)-1} targets reached.
"""
    slug = re.sub(r'[^a-z0-9]+', '-', cpu_name().lower()).strip('-')+'-'+scan_native.native_isa()
    out = Path(a.out) if a.out else Path(__file__).parent/'results'/f"{slug}{'-quick' if a.quick else ''}.md"
    out.parent.mkdir(exist_ok=True, parents=True); picture = []
    if res.get('ms'): plot(res['ms'], out.with_suffix('.png')); picture = [f'![times of all contenders]({out.with_suffix(".png").name})']
    text = '\n\n'.join([head.rstrip(), *picture, *res['text'], f'## Targets\n\n{t}'])+'\n'
    tmp = out.with_suffix('.tmp'); tmp.write_text(text); os.replace(tmp, out)
    print(f'\n{bad} targets not reached; wrote {out}')

if __name__=='__main__': main()

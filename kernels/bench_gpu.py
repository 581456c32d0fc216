"""Benchmark of the GPU kernels, run by bench.py where CUDA is there, or alone:

    python kernels/bench_gpu.py [--dry] [--rounds 100] [--out FILE]

Times are CUDA events, 25 calls to warm up, then the median of 100 rounds in which the contenders take turns; between two calls a buffer larger than the cache is written.
Each shape says which share of the copy bandwidth it reached, measured in the same run on a tensor of 1 GiB, counting only the bytes a scan cannot avoid: its inputs and outputs once.
Contenders: our Triton kernels on tensors as the models have them (channels last) and as published ones (`B, K*D, L`), the blocked PyTorch version, and the CUDA kernel of `mamba-ssm` where that is installed.
`--dry` walks the same code on the CPU with tiny shapes and a wall clock, so that it can be tested without a GPU; its numbers mean nothing and the file says so.
"""
import argparse, math, os, re, statistics, sys, time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import torch
from rgbx_seg.ops import scan, ss2d
from rgbx_seg.ops.window_attention import attention_backends, neighborhood_attention
from rgbx_seg.ops.deform_attention import deform_attention, deform_backends
from rgbx_seg.models.create import create_model

SHAPES = dict(s1=(192,120,160), s2=(384,60,80), s3=(768,30,40), s4=(1536,15,20), c1=(192,24,32))     # D, H, W of Sigma-T at 480x640 and of a 96x128 crop
DRY = dict(s1=(6,3,4), c1=(5,2,3))

def inputs(D, L, N, batch, dtype, dev, K=4):
    g = torch.Generator().manual_seed(0); r = lambda *s: torch.randn(*s, generator=g)
    dt = torch.exp(torch.rand(K*D, generator=g)*math.log(100)+math.log(1e-3))
    big = (r(batch,K*D,L), .5*r(batch,K*D,L), r(batch,K,N,L), r(batch,K,N,L)); u,delta,B,C = (t.to(dev, dtype) for t in big)
    A,Ds,bias = (t.to(dev) for t in (-torch.arange(1.,N+1)*torch.exp(.1*r(K*D,N)), r(K*D), dt+torch.log(-torch.expm1(-dt))))
    return u,delta,A,B,C,Ds,bias

def last(t): return t.detach().transpose(1,2).contiguous().transpose(1,2)     # the same numbers, channels last

class Clock:
    "Milliseconds of calls in turns; events on a GPU, the wall clock in a dry run."
    def __init__(self, dry, rounds, warm=25):
        self.dry,self.rounds,self.warm = dry,(2 if dry else rounds),(1 if dry else warm)
        self.cache = None if dry else torch.empty(2**26, device='cuda')      # 256 MiB
    def once(self, f):
        if self.dry: t = time.perf_counter(); f(); d = 1e3*(time.perf_counter()-t); return lambda: d
        self.cache.zero_(); a,b = (torch.cuda.Event(enable_timing=True) for _ in range(2)); a.record(); f(); b.record()
        return lambda: a.elapsed_time(b)
    def __call__(self, fs): # {name: f} -> {name: median ms}; a contender that fails is left out with its reason
        out = {}
        for k,f in list(fs.items()):
            try:
                for _ in range(self.warm): f()
            except Exception as e: print(f'  {k}: {type(e).__name__}: {str(e)[:200]}', flush=True); out[k] = None; fs = {i:g for i,g in fs.items() if i!=k}
        runs = {k:[] for k in fs}
        for _ in range(self.rounds):
            for k,f in fs.items(): runs[k].append(self.once(f))
        if not self.dry: torch.cuda.synchronize()
        return {k:statistics.median(o() for o in v) for k,v in runs.items()} | out

def bandwidth(clock, dev):
    "GB/s of a copy, reads and writes counted."
    a = torch.empty(2**20 if clock.dry else 2**28, device=dev); b = torch.empty_like(a)
    return 2*a.numel()*4/clock(dict(copy=lambda: b.copy_(a)))['copy']/1e6

def mamba():
    try:
        from mamba_ssm.ops.selective_scan_interface import selective_scan_fn
        return lambda u,delta,A,B,C,D,bias: selective_scan_fn(u, delta, A, B, C, D, delta_bias=bias, delta_softplus=True)
    except Exception as e: print('mamba-ssm: not timed,', type(e).__name__, flush=True); return None

def grads(f, ts, gy): y = f(*ts); return y.detach(),torch.autograd.grad(y, ts, gy.to(y))

def largest(got, ref): return max(((a.double()-b.double()).abs().max()/b.double().abs().max().clamp(min=1e-30)).item() for a,b in zip(got, ref))

def table(head, rows): return '\n'.join('| '+' | '.join(map(str, r))+' |' for r in [head, ['---']*len(head), *rows])
def ms(t): return '' if t is None else f'{t:.3f}'

def scans(clock, dev, rate):
    "The scan: time, share of the bandwidth, error."
    ours = 'blocked' if clock.dry else 'triton'; rows = []; cuda = None if clock.dry else mamba()
    f = lambda backend: lambda *t: scan.selective_scan(*t, delta_softplus=True, backend=backend)
    for name,(d,h,w) in (DRY if clock.dry else SHAPES).items():
        for batch,N,dtype in ((1,16,torch.float32), (1,16,torch.bfloat16), (1,4,torch.float32), (1,1,torch.float32), (1,1,torch.bfloat16), (8,16,torch.float32), (8,1,torch.bfloat16)):
            L = h*w; x = inputs(d, L, N, batch, dtype, dev); x2 = (last(x[0]),last(x[1]),*x[2:]); gy = torch.randn_like(x[0], dtype=torch.float32); gy2 = last(gy)
            with torch.no_grad():
                fs = {'channels last':lambda: f(ours)(*x2), 'published layout':lambda: f(ours)(*x)} | ({'blocked':lambda: f('blocked')(*x)} if batch==1 else {}) | ({'mamba-ssm':lambda: cuda(*x)} if cuda else {})
                fwd = clock(fs); want = f('blocked')(*[t.double() for t in x]) if batch==1 else None
                err = largest([f(ours)(*x2)], [want]) if want is not None else None
            v,v2 = ([t.detach().requires_grad_() for t in o] for o in (x,x2))
            fs = {'channels last':lambda: grads(f(ours), v2, gy2), 'published layout':lambda: grads(f(ours), v, gy)} | ({'mamba-ssm':lambda: grads(cuda, v, gy)} if cuda else {})
            both = clock(fs); t = both['channels last']
            if want is not None: eg = largest(grads(f(ours), v2, gy2)[1], grads(f('blocked'), [t_.detach().double().requires_grad_() for t_ in x], gy)[1])
            size = sum(t_.numel()*t_.element_size() for t_ in (x[0],x[1],x[3],x[4])); out = x[0].numel()*4
            bf,bb = (size+out)/1e6,(3*size+2*out)/1e6                        # forward; forward + backward read the inputs twice, write their gradients, y and read gy
            a = fwd['channels last']; share = lambda b,t: '' if t is None else f'{b/t/rate:.0%}'
            rows.append([name, batch, N, str(dtype)[6:], *(ms(fwd.get(k)) for k in ('channels last','published layout','blocked','mamba-ssm')), '' if a is None else f'{bf/a:.0f}', share(bf, a),
                         *(ms(both.get(k)) for k in ('channels last','published layout','mamba-ssm')), '' if t is None else f'{bb/t:.0f}', share(bb, t), '' if want is None else f'{err:.0e}', '' if want is None else f'{eg:.0e}'])
            print(*rows[-1], flush=True)
    return table(['shape','batch','N','type','forward, channels last','forward, published layout','blocked','mamba-ssm','GB/s','of the copy','forward + backward, channels last','the same, published layout','mamba-ssm','GB/s','of the copy','error of y','error of the gradients'], rows)

def fused(clock, dev, rate):
    "The core of SS2D, fused against step by step with the same scan."
    ours = 'blocked' if clock.dry else 'triton'; rows = []
    for name,(d,h,w) in (DRY if clock.dry else SHAPES).items():
        for N in (16,4,1):
            p = {k:t.to(dev) for k,t in ss2d.ss2d_inputs(1, h, w, d, max(1, -(-d//32)), N).items()}; gy = torch.randn_like(p['x']); v = {k:t.clone().requires_grad_() for k,t in p.items()}
            one,two = (lambda **q: ss2d.ss2d(**q, backend=ours)),(lambda **q: ss2d.ss2d_unfused(**q, backend=ours))
            with torch.no_grad(): a = clock(dict(fused=lambda: one(**p), steps=lambda: two(**p)))
            run = lambda f: torch.autograd.grad(f(**v), list(v.values()), gy); b = clock(dict(fused=lambda: run(one), steps=lambda: run(two)))
            x,xd = p['x'].numel()*4,p['x_dbl'].numel()*4
            rows.append([name, N, ms(a['fused']), ms(a['steps']), '' if None in a.values() else f"{a['steps']/a['fused']:.1f}x", '' if a['fused'] is None else f"{(2*x+xd)/a['fused']/1e6/rate:.0%}",
                         ms(b['fused']), ms(b['steps']), '' if None in b.values() else f"{b['steps']/b['fused']:.1f}x"]); print(*rows[-1], flush=True)
    return table(['shape','N','forward, fused','forward, step by step','gain','fused: of the copy','forward + backward, fused','step by step','gain'], rows)

def attention(clock, dev):
    "Neighbourhood and deformable attention, every backend."
    rows,g = [],torch.Generator().manual_seed(0); r = lambda *s: torch.randn(*s, generator=g).to(dev)
    for heads,n,k,c in (((1,8,3,4),) if clock.dry else ((2,128,11,32), (4,64,9,32), (8,32,7,32))):      # SegMAN at 512 x 512
        q,kk,v,rpb = r(1,heads,n,n,c)*c**-.5,r(1,heads,n,n,c),r(1,heads,n,n,c),r(heads,2*k-1,2*k-1)
        with torch.no_grad(): t = clock({b:(lambda b=b: neighborhood_attention(q, kk, v, k, 1, rpb, backend=b)) for b in attention_backends(dev)})
        rows.append([f'neighbourhood, {heads} heads, {n} x {n}, window {k}', ', '.join(f'{b} {ms(o)}' for b,o in t.items())])
    for sh,Q in ((([(3,4)],5),) if clock.dry else (([(64,64)],21504), ([(128,128),(64,64),(32,32)],4096))):  # ViT-Adapter at 1024 x 1024
        S,M = sum(a*b for a,b in sh),2 if clock.dry else 16
        p = r(1,S,M,8 if clock.dry else 32),sh,torch.rand(1,Q,M,len(sh),4,2, generator=g).to(dev),torch.rand(1,Q,M,len(sh),4, generator=g).to(dev)
        with torch.no_grad(): t = clock({b:(lambda b=b: deform_attention(*p, backend=b)) for b in deform_backends(dev)})
        rows.append([f'deformable, {len(sh)} maps, {Q} queries', ', '.join(f'{b} {ms(o)}' for b,o in t.items())])
    return table(['operation','forward, ms'], rows)

def models(clock, dev, name='sigma_tiny'):
    "Images per second of a whole model."
    name = 'sigma_nano' if clock.dry else name; size,rows = ((32,32) if clock.dry else (480,640)),[]; m = create_model(name, num_classes=9).to(dev)
    for batch in ((1,) if clock.dry else (1,4)):
        a,b = (torch.randn(batch,3,*size, device=dev) for _ in range(2)); y = torch.randint(9, (batch,*size), device=dev)
        for half in (False, True):
            cast = lambda: torch.autocast(torch.device(dev).type, torch.bfloat16, enabled=half)
            def forward():
                with torch.no_grad(),cast(): return m.eval()(a, b)
            def step():
                m.train(); m.zero_grad(set_to_none=True)
                with cast(): out = m(a, b)
                torch.nn.functional.cross_entropy(out.float(), y).backward()
            t = clock(dict(forward=forward, step=step))
            rows.append([name, f'{size[0]} x {size[1]}', batch, 'bfloat16 autocast' if half else 'float32', *(('' if o is None else f'{1e3*batch/o:.1f}') for o in t.values())]); print(*rows[-1], flush=True)
    return table(['model','input','batch','type','images/s forward','images/s training step'], rows)

def run(dry=False, rounds=100, out=''):
    "All tables, written to `kernels/results/gpu_<name>.md`."
    if not dry and not torch.cuda.is_available(): sys.exit('no CUDA device; --dry walks the code without one')
    dev,clock = ('cpu' if dry else 'cuda'),Clock(dry, rounds); name = 'dry run' if dry else torch.cuda.get_device_name()
    rate = bandwidth(clock, dev)
    parts = [('Selective scan, ms', scans(clock, dev, rate)), ('The core of SS2D, ms', fused(clock, dev, rate)), ('Attention', attention(clock, dev)), ('Whole model', models(clock, dev))]
    note = 'A dry run on a CPU with toy shapes: **the numbers mean nothing**.' if dry else f'CUDA {torch.version.cuda}, TF32 for matrix products {torch.backends.cuda.matmul.allow_tf32}.'
    text = f"# GPU kernels on {name}\n\ntorch {torch.__version__.split('+')[0]}. {note} Copy bandwidth measured in this run: {rate:.0f} GB/s. `python kernels/bench_gpu.py`; its head says how.\n\n"
    text += '\n\n'.join(f'## {k}\n\n{v}' for k,v in parts)+'\n'
    slug = re.sub(r'[^a-z0-9]+', '-', name.lower()).strip('-')
    path = Path(out) if out else Path(__file__).parent/'results'/f'gpu_{slug}.md'
    if dry and not out: print(text); return
    path.parent.mkdir(exist_ok=True, parents=True); tmp = path.with_suffix('.tmp'); tmp.write_text(text); os.replace(tmp, path); print('wrote', path)

if __name__=='__main__':
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--dry', action='store_true'); p.add_argument('--rounds', type=int, default=100); p.add_argument('--out', default='')
    run(**vars(p.parse_args()))

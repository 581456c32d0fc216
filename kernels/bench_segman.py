"""SegMAN on a CPU: our forward pass against the same model with attention that collects every window and a scan that loops over positions.

    python kernels/bench_segman.py [--variant segman_t] [--size 512] [--rounds 5] [--out FILE]

Both are the same module with the same weights on the same image, in one run, taking turns; time is CPU time of the process with one thread (median of the rounds; the slow one runs fewer).
The logits of both are compared in the same run. Then the attention alone at the model's shapes: window collecting, rows of queries, blocks of queries. Writes kernels/results/segman_<machine>.md.
"""
import argparse, os, platform, re, statistics, sys, time
from functools import partial
from pathlib import Path
from unittest.mock import patch

os.environ.setdefault('OMP_NUM_THREADS', '1')
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import torch
import torch.nn.functional as F
from rgbx_seg.ops import scan
from rgbx_seg.ops.window_attention import neighborhood_attention
from rgbx_seg.encoders.segman import SEGMAN_VARIANTS
from rgbx_seg.systems.segman import segman_model
from rgbx_seg.ops.ss2d import ss2d

def cpu_name():
    try: n = re.search(r'model name\s*:\s*(.+)', Path('/proc/cpuinfo').read_text())[1]
    except (OSError, TypeError): n = platform.processor() or platform.machine()
    return re.sub(r'\s+', ' ', n).strip()

def clock(f):
    t = time.process_time(); f()
    return time.process_time()-t

def interleaved(fs, rounds, slow=()):
    "{name: median CPU seconds}; all run once unmeasured but the slow ones, which run `rounds//2 + 1` times"
    ts = {n:[] for n in fs}
    for n,f in fs.items():
        if n not in slow: f()
    for i in range(rounds):
        for n,f in fs.items():
            if n not in slow or i <= rounds//2: ts[n].append(clock(f))
    return {n:statistics.median(t) for n,t in ts.items()}

def slow_attention(): return patch('rgbx_seg.encoders.segman.neighborhood_attention', partial(neighborhood_attention, backend='reference'))
def slow_scan(): return patch('rgbx_seg.encoders.segman.ss2d', partial(ss2d, backend='reference'))
def row_attention(): return patch('rgbx_seg.encoders.segman.neighborhood_attention', lambda q,k,v,*a,**kw: neighborhood_attention(q, k, v, *a, **kw, tile=(1,q.shape[3])))

def under(ctxs, f):
    def run():
        for c in (cs := [c() for c in ctxs]): c.start()
        try: return f()
        finally:
            for c in cs: c.stop()
    return run

def whole(variant, size, rounds):
    torch.manual_seed(0); m = segman_model(variant, 150).eval(); x = torch.randn(1,3,size,size)
    for n,p in m.named_parameters():
        if 'rpb' in n: torch.nn.init.normal_(p, std=.5)
    f = lambda: m(x)
    fs = {'ours (blocks of 4 x 8 queries, native scan)':f, 'rows of queries, native scan':under([row_attention], f), 'blocks of queries, loop scan':under([slow_scan], f),
          'collected windows, native scan':under([slow_attention], f), 'collected windows, loop scan':under([slow_attention, slow_scan], f)}
    ours,slow = list(fs)[0],list(fs)[-1]
    a,b = fs[ours](),fs[slow](); err = ((a-b).norm()/b.norm()).item()
    ts = interleaved(fs, rounds, list(fs)[2:])
    return ts,ts[slow]/ts[ours],err

def attention(variant, size, rounds):
    v = SEGMAN_VARIANTS[variant]; out = []
    for s in range(4):
        n,h,d,k = size//4//2**s,v['heads'][s],v['dims'][s]//v['heads'][s],v['windows'][s]
        q,kk,vv = torch.randn(3,1,h,n,n,d); rpb = torch.randn(h,2*k-1,2*k-1); q = q*d**-.5
        f = lambda **kw: neighborhood_attention(q, kk, vv, k, rpb=rpb, **kw)
        full = lambda: F.scaled_dot_product_attention(q.flatten(2,3), kk.flatten(2,3), vv.flatten(2,3), scale=1.)
        ts = interleaved({'collected':lambda: f(backend='reference'), 'rows':lambda: f(tile=(1,n)), 'blocks':f, 'all to all, no window':full}, rounds, ('collected',))
        err = ((f()-f(backend='reference')).norm()/f(backend='reference').norm()).item()
        out.append((f'stage {s+1}: {h} heads of {d}, {n} x {n}, window {k}', ts, err))
    return out

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--variant', default='segman_t'); p.add_argument('--size', type=int, default=512); p.add_argument('--rounds', type=int, default=5); p.add_argument('--out', default='')
    a = p.parse_args(); torch.set_num_threads(1); load = os.getloadavg()[0]
    with torch.no_grad(): ts,ratio,err = whole(a.variant, a.size, a.rounds); ops = attention(a.variant, a.size, a.rounds)
    base = min(ts.values()); ms = lambda t: f'{1e3*t:.1f}'
    lines = [f'# SegMAN on {cpu_name()}', '', f"{a.variant}, 150 classes, {a.size} x {a.size}, batch 1, float32, torch {torch.__version__.split('+')[0]}, scan backend {scan.scan_backends()[0]}. "
             f'CPU time of one thread, median of up to {a.rounds} rounds in turns; load average at the start {load:.1f}.', '', '## Forward pass of the whole model', '', '| | ms | times ours |', '| --- | --- | --- |']
    lines += [f'| {n} | {ms(t)} | {t/ts[next(iter(ts))]:.2f} |' for n,t in ts.items()]
    lines += ['', f"Collected windows and loop scan over ours: **{ratio:.1f}** (wanted: at least 8, {'reached' if ratio >= 8 else 'not reached'}). Relative difference of the logits: {err:.0e}.", '',
              '## Neighbourhood attention alone', '', '| | collected windows, ms | rows of queries, ms | blocks of 4 x 8, ms | torch attention without a window, ms | collected / blocks | difference |', '| --- | --- | --- | --- | --- | --- | --- |']
    lines += [f"| {n} | {ms(t['collected'])} | {ms(t['rows'])} | {ms(t['blocks'])} | {ms(t['all to all, no window'])} | {t['collected']/t['blocks']:.1f} | {e:.0e} |" for n,t,e in ops]
    text = '\n'.join(lines)+'\n'; print(text)
    slug = re.sub(r'[^a-z0-9]+', '-', cpu_name().lower()).strip('-')
    out = Path(a.out) if a.out else Path(__file__).parent/'results'/f'segman_{slug}.md'
    out.parent.mkdir(exist_ok=True, parents=True); tmp = out.with_suffix('.tmp'); tmp.write_text(text); os.replace(tmp, out); print('wrote', out)

if __name__ == '__main__': main()

"""Images per second of whole models, for training and evaluation, on a reduced crop.

    python kernels/bench_models.py [--models 'sigma_*,segman_t'] [--size 64x96] [--rounds 3] [--bs 1] [--device cpu|cuda] [--max-params 250] [--out FILE]

One image per modality of random values. Evaluation is a forward pass without gradients, training a forward pass, cross-entropy, backward pass and an AdamW step.
On the CPU the time is that of the process with one thread, so that other work on the machine hardly counts; on a GPU it is the clock's, after a synchronisation, in bfloat16 and float32.
The median of the rounds is given, after one round that does not count. Models above --max-params million parameters are named and left out.
"""
import argparse, fnmatch, gc, os, platform, re, statistics, sys, time, warnings
from pathlib import Path

os.environ.setdefault('OMP_NUM_THREADS', '1')
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
warnings.filterwarnings('ignore', category=FutureWarning)
import torch
import torch.nn.functional as F
from rgbx_seg.ops import scan
from rgbx_seg.models.create import create_model, list_models

# a model of each recipe family, small enough to be trained on a CPU
DEFAULT = 'sigma_nano,sigma_tiny,sigma_small,segman_t,segman_s,segman_b,segman_l,sa_gate_r50,sa_gate_r101,malleable_r101,mamba_diffusion,mm_sam_adapter_nano,mm_sam_adapter_l,cmx_mit_b2'

def machine(device):
    if device == 'cuda': return torch.cuda.get_device_name()
    try: n = re.search(r'model name\s*:\s*(.+)', Path('/proc/cpuinfo').read_text())[1]
    except (OSError, TypeError): n = platform.processor() or platform.machine()
    return re.sub(r'\s+', ' ', n).strip()

def backend(device): return 'scan by Triton' if device == 'cuda' else f'native scan ({scan.native_isa()})' if scan.native_isa() else 'scan without the native kernel'

def clock(device):
    if device == 'cpu': return time.process_time()
    torch.cuda.synchronize(); return time.perf_counter()

def batch(model, bs, size, device):
    g = torch.Generator().manual_seed(0)
    xs = [torch.randn(bs, c, *size, generator=g).abs() for c in model.in_channels.values()]
    return [x.to(device) for x in xs],torch.randint(0, model.num_classes, (bs, *size), generator=g).to(device)

def seconds(name, bs, size, device, amp, rounds):
    "(evaluation, training, parameters, modalities): medians for one batch."
    torch.manual_seed(0); model = create_model(name, 9).to(device); xs,y = batch(model, bs, size, device); opt = torch.optim.AdamW(model.parameters(), 1e-5)
    ctx = lambda: torch.autocast(device, torch.bfloat16, enabled=amp)
    def forward():
        with torch.no_grad(), ctx(): model(*xs)
    def step():
        takes = getattr(model.head, 'takes_mask', False)
        with ctx(): out = model(*xs, mask=y) if takes else model(*xs)
        loss = sum(F.cross_entropy(o.float(), y) for o in (out if isinstance(out, tuple) else (out,)))
        loss.backward(); opt.step(); opt.zero_grad()
    out = []
    for mode,f in ((False, forward), (True, step)):
        model.train(mode); ts = []
        for _ in range(rounds+1): t = clock(device); f(); ts.append(clock(device)-t)
        out.append(statistics.median(ts[1:]))
    return *out,sum(p.numel() for p in model.parameters()),len(xs)

def size_of(name):
    with torch.device('meta'):
        try: return sum(p.numel() for p in create_model(name, 9).parameters())
        except Exception: pass
    return sum(p.numel() for p in create_model(name, 9).parameters())

def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for k,t,d in (('models',str,DEFAULT),('size',str,'64x96'),('rounds',int,3),('bs',int,2),('device',str,'cpu'),('max-params',float,250.),('out',str,'')): ap.add_argument(f'--{k}', type=t, default=d)
    a = ap.parse_args(); size = tuple(int(o) for o in a.size.split('x')); torch.set_num_threads(1 if a.device == 'cpu' else torch.get_num_threads())
    every = list_models(); names = [n for p in a.models.split(',') for n in (every if p == '*' else fnmatch.filter(every, p))]
    if not names: ap.error(f'no model like {a.models!r}')
    sizes = {n:size_of(n) for n in dict.fromkeys(names)}; names = [n for n in sizes if sizes[n] <= 1e6*a.max_params]; left = [n for n in sizes if n not in names]
    got = {}
    for n in names:
        for amp in (False, True) if a.device == 'cuda' else (False,):
            got[n, amp] = e,t,*_ = seconds(n, a.bs, size, a.device, amp, a.rounds); gc.collect()
            print(f"{n:22} {'bf16' if amp else 'fp32'}  evaluation {e:7.3f} s  training {t:7.3f} s", flush=True)
    load = f'; load average {os.getloadavg()[0]:.1f}' if hasattr(os, 'getloadavg') else ''
    lines = [f'# Whole models on {machine(a.device)}', '', f'`python kernels/bench_models.py --size {a.size} --bs {a.bs} --rounds {a.rounds} --device {a.device}`: random weights and inputs, {a.size} pixels, batch {a.bs}, 9 classes, '
             f"{'CPU time of one thread' if a.device == 'cpu' else 'clock time'}, median of {a.rounds} rounds, torch {torch.__version__.split('+')[0]}, {backend(a.device)}{load}.", '',
             '| model | modalities | parameters, M | type | evaluation, images/s | training, images/s | training / evaluation |', '| --- | ---: | ---: | --- | ---: | ---: | ---: |']
    for (n,amp),(e,t,p,m) in got.items():
        lines.append(f"| {n} | {m} | {p/1e6:.1f} | {'bf16' if amp else 'fp32'} | {a.bs/e:.2f} | {a.bs/t:.2f} | {t/e:.1f} x time |")
    if left: lines += ['', f"Left out, above {a.max_params:g} million parameters: {', '.join(left)}."]
    text = '\n'.join(lines)+'\n'; print(text)
    short = re.sub(r'[^a-z0-9]+', '-', re.sub(r'\(.*?\)|\d+-core|processor', '', machine(a.device).lower())).strip('-')
    out = Path(a.out or Path(__file__).parent/'results'/f'models_{"amd-epyc" if "epyc" in short else short}.md'); out.parent.mkdir(exist_ok=True); out.write_text(text); print(f'written to {out}')

if __name__ == '__main__': main()

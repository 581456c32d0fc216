"""Whole models and exported files, before and after: ratios of one run on one machine.

    python kernels/bench_whole.py --before FOLDER [--only sigma,profile,bf16,segman,scan,nano,tiny,export] [--out FILE]

FOLDER is a checkout of the version to compare with, its kernels built; without it the rows that need it are left out. One thread;
CPU seconds of the process, the best of a few calls after one that does not count. Random weights and inputs, batch 1. Every figure
comes from a process of its own, those of both versions in turn. The table goes to `results/whole_<processor>.md`.
"""
import argparse, json, os, re, subprocess, sys, time
from pathlib import Path

HERE = Path(__file__).resolve().parent
SCANS = dict([('Sigma stage 2', (4,384,16,4800)), ('Sigma stage 3', (4,768,16,1200)), ('Sigma stage 4', (4,1536,16,300)),
              ('ConMB stage 3', (2,768,4,2400)), ('SegMAN stage 2', (4,64,1,4800))])
COPIES = ('aten::copy_', 'aten::cat', 'aten::flip', 'aten::stack', 'aten::contiguous', 'aten::clone')


def best(call, rounds=3):
    call()
    times = []
    for _ in range(rounds):
        start = time.process_time()
        call()
        times.append(time.process_time()-start)
    return min(times)

def seeded(name, size):
    import torch
    from rgbx_seg.models.create import create_model
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = create_model(name, 9).eval()
    generator = torch.Generator().manual_seed(1)
    return model,[torch.randn(1, c, *size, generator=generator) for c in model.in_channels.values()]

def forward(name, size, kept=None, half=False):
    "Seconds of a forward pass, and the largest difference from the logits in the file `kept`."
    import torch
    model,images = seeded(name, size)
    with torch.inference_mode(),torch.autocast('cpu', torch.bfloat16, enabled=half):
        seconds = best(lambda: model(*images))
        logits = model(*images).float()
    out = dict(seconds=seconds)
    if kept and Path(kept).exists():
        other = torch.load(kept)
        out |= dict(error=float((logits-other).abs().max()/other.abs().max()),
                    agreement=float((logits.argmax(1)==other.argmax(1)).double().mean()))
    elif kept: torch.save(logits, kept)
    return out

def profile(name, size):
    "Shares of copies and of matrix products in a forward pass."
    import torch
    model,images = seeded(name, size)
    with torch.inference_mode():
        model(*images)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as found: model(*images)
    spent = {event.key: event.self_cpu_time_total for event in found.key_averages()}
    def share(names): return sum(spent.get(name, 0) for name in names)/sum(spent.values())
    return dict(copies=share(COPIES), products=share(['aten::mm', 'aten::addmm', 'aten::bmm', 'aten::mkldnn_convolution']))

def session(file):
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads,options.log_severity_level = 1,3
    return onnxruntime.InferenceSession(str(file), options)

def operator(K, D, N, L, folder):
    "Seconds of a scan in standard operators and of the native kernel, and the difference."
    import torch
    from rgbx_seg.export import onnx as ours
    from rgbx_seg.ops.scan import selective_scan
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    def draw(*shape): return torch.randn(*shape, generator=generator)
    A = -torch.arange(1., N+1)*torch.ones(K*D, 1)
    class Scan(torch.nn.Module):
        def forward(self, u, delta, B, C): return selective_scan(u, delta, A, B, C, delta_softplus=True)
    inputs = (draw(1,K*D,L), draw(1,K*D,L)-4, draw(1,K,N,L), draw(1,K,N,L))
    program = torch.export.export(Scan(), inputs, strict=False)
    file = Path(folder)/'scan.onnx'
    if hasattr(ours, 'scan_steps'):                    # the version before
        table = {torch.ops.rgbx_seg.scan_steps.default: ours._onnx_steps()}
        made = torch.onnx.export(program.run_decompositions(ours.plain_operators()), (), dynamo=True, opset_version=18,
                                 verbose=False, custom_translation_table=table)
    else:
        made = torch.onnx.export(program.run_decompositions(ours._onnx_operators(False)), (), dynamo=True, opset_version=18,
                                 verbose=False, optimize=False)
        ours._standard(made.model, False)
    made.save(str(file))
    run = session(file)
    feed = {i.name: x.numpy() for i,x in zip(run.get_inputs(), inputs)}
    with torch.inference_mode():
        native = best(lambda: Scan()(*inputs), 5)
        want = Scan()(*inputs)
    seconds = best(lambda: run.run(None, feed))
    error = float((torch.from_numpy(run.run(None, feed)[0])-want).abs().max()/want.abs().max())
    return dict(seconds=seconds, native=native, error=error)

def exported(name, size, folder, **form):
    "CPU seconds of writing a file and of running it, of the model, and the difference."
    import torch
    from rgbx_seg.export.onnx import OnnxModel, export_onnx
    model,images = seeded(name, size)
    start = time.process_time()
    if form.pop('full', False): file = full_optimiser(model, Path(folder)/'full.onnx', size)
    else: file = export_onnx(model, Path(folder)/'file.onnx', size, **form)
    written = time.process_time()-start
    run = OnnxModel(file, 1)
    with torch.inference_mode():
        want = model(*images)
        torchs = best(lambda: model(*images), 5)
    return dict(export=written, seconds=best(lambda: run(*images), 5), torch=torchs,
                error=float((run(*images)-want).abs().max()/want.abs().max()))

def full_optimiser(model, file, size):
    "As `export_onnx(kernels=True)`, by all of onnxscript's rewriting rules."
    from unittest.mock import patch
    from rgbx_seg.export import onnx as ours
    import torch
    real = torch.onnx.export
    def export(*args, **more): return real(*args, **more | dict(optimize=True))
    with patch.object(torch.onnx, 'export', export): return ours.export_onnx(model, file, size, kernels=True)

def child(folder, what, *args, **more):
    "`what(*args)` in a process of its own, with the package in `folder`."
    call = json.dumps([what, args, more])
    env = dict(os.environ, PYTHONPATH=str(folder), OMP_NUM_THREADS='1', PYTHONWARNINGS='ignore')
    done = subprocess.run([sys.executable, __file__, '--call', call], env=env, capture_output=True, text=True)
    if done.returncode: sys.exit(f'{what} {args}: {done.stderr[-1500:]}')
    return json.loads(done.stdout.splitlines()[-1])

class Table:
    def __init__(self): self.rows = []
    def add(self, what, ratio, target, note='', kind='{:.2f}'):
        verdict = '' if target is None else 'reached' if ratio<=target else '**not reached**'
        self.rows.append((what, kind.format(ratio), '' if target is None else '<= '+kind.format(target), verdict, note))
        print(*self.rows[-1], sep=' | ', flush=True)

def of_models(table, before, after, only, folder):
    size = (480,640)
    if 'sigma' in only and before:
        kept = f'{folder}/sigma.pt'
        old = child(before, 'forward', 'sigma_tiny', size, kept)
        new = child(after, 'forward', 'sigma_tiny', size, kept)
        old['seconds'] = min(old['seconds'], child(before, 'forward', 'sigma_tiny', size)['seconds'])
        new['seconds'] = min(new['seconds'], child(after, 'forward', 'sigma_tiny', size)['seconds'])
        note = f"{old['seconds']:.2f} to {new['seconds']:.2f} s, largest error {new['error']:.1e}"
        table.add('sigma_tiny 480x640, forward, of before', new['seconds']/old['seconds'], .70, note)
        if 'bf16' in only:
            half = child(after, 'forward', 'sigma_tiny', size, kept, True)
            table.add('the same in bfloat16, of float32 before', half['seconds']/old['seconds'], .52,
                      f"{half['seconds']:.2f} s, classes agree {half['agreement']:.4f}")
    if 'profile' in only:
        was = child(before, 'profile', 'sigma_tiny', size) if before else dict(copies=float('nan'), products=float('nan'))
        now = child(after, 'profile', 'sigma_tiny', size)
        table.add('sigma_tiny: copies, cat, flip in the profile', now['copies'], .05,
                  f"before {was['copies']:.3f}; products and convolutions {was['products']:.2f} to {now['products']:.2f}", '{:.3f}')
    if 'segman' in only and before:
        old,new = (child(at, 'forward', 'segman_t', size)['seconds'] for at in (before, after))
        table.add('segman_t 480x640, forward, of before', new/old, .85, f'{old:.2f} to {new:.2f} s')

def of_files(table, before, after, only, folder):
    if 'scan' in only and before:
        ratios = []
        for name,shape in SCANS.items():
            old,new = (child(at, 'operator', *shape, folder) for at in (before, after))
            ratios.append(new['seconds']/old['seconds'])
            table.add(f'scan in standard operators, blocks over one step: {name}', ratios[-1], .8,
                      f"{new['seconds']/new['native']:.1f}x the native kernel, error {new['error']:.1e}")
        product = 1.
        for ratio in ratios: product *= ratio
        table.add('the same, geometric mean', product**(1/len(ratios)), .55)
    nano = ('sigma_nano', (96,128), folder)
    if 'nano' in only or 'export' in only:
        fast = child(after, 'exported', *nano, kernels=True)
        plain = child(after, 'exported', *nano)
        table.add('ONNX with kernels over torch, sigma_nano 96x128', fast['seconds']/fast['torch'], .5,
                  f"{1e3*fast['torch']:.1f} to {1e3*fast['seconds']:.1f} ms, error {fast['error']:.1e}")
        table.add('ONNX in standard operators over torch, sigma_nano 96x128', plain['seconds']/plain['torch'], None,
                  f"{1e3*plain['seconds']:.1f} ms, error {plain['error']:.1e}")
    if 'tiny' in only:
        tiny = child(after, 'exported', 'sigma_tiny', (480,640), folder, kernels=True)
        table.add('ONNX with kernels over torch, sigma_tiny 480x640', tiny['seconds']/tiny['torch'], 1.1,
                  f"{tiny['torch']:.2f} to {tiny['seconds']:.2f} s, error {tiny['error']:.1e}, written in {tiny['export']:.0f} s")
    if 'export' in only:
        full,free = child(after, 'exported', *nano, full=True),child(after, 'exported', *nano, kernels=True, dynamic=True)
        table.add('writing: folding alone over the full optimiser, sigma_nano', fast['export']/full['export'], .75,
                  f"{full['export']:.1f} to {fast['export']:.1f} s; the file runs in {fast['seconds']/full['seconds']:.2f} of its time")
        table.add('writing: one size over any size, sigma_nano', fast['export']/free['export'], .45,
                  f"{free['export']:.1f} to {fast['export']:.1f} s")

def processor():
    text = Path('/proc/cpuinfo').read_text() if Path('/proc/cpuinfo').exists() else ''
    found = re.search(r'model name\s*:\s*(.+)', text)
    return found[1] if found else 'this processor'

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--before')
    parser.add_argument('--only', default='sigma,profile,bf16,segman,scan,nano,tiny,export')
    parser.add_argument('--out')
    parser.add_argument('--call', help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.call:
        what,given,more = json.loads(args.call)
        return print(json.dumps(globals()[what](*given, **more)))
    import tempfile, torch
    table,after,only = Table(),HERE.parent,args.only.split(',')
    with tempfile.TemporaryDirectory() as folder:
        of_models(table, args.before, after, only, folder)
        of_files(table, args.before, after, only, folder)
    name = processor()
    lines = [f'# Whole models and exported files on {name}', '',
             f'`python kernels/bench_whole.py --before FOLDER`: one thread, CPU seconds, one run, torch {torch.__version__.split("+")[0]}; '
             'random weights and inputs.', '', '| what | ratio | target | | |', '| --- | ---: | ---: | --- | --- |']
    lines += ['| '+' | '.join(row)+' |' for row in table.rows]
    short = re.sub(r'[^a-z0-9]+', '-', name.lower()).strip('-')
    out = Path(args.out or HERE/'results'/f'whole_{short}.md')
    out.write_text('\n'.join(lines)+'\n')
    print(f'written to {out}')

if __name__=='__main__': main()

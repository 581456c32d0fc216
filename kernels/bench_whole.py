"""Whole models and exported files, before and after: ratios of one run on one machine.

    python kernels/bench_whole.py --before FOLDER [--only sigma,profile,...] [--out FILE]

FOLDER is a checkout of the version to compare with, its kernels built; without it the rows that need it are left out, as are those of
models of smp where that package is not installed. One thread;
CPU seconds of the process, the best of a few calls after one that does not count. Random weights and inputs, batch 1. Every figure
comes from a process of its own, those of both versions in turn. The table goes to `results/whole_<processor>.md`.
"""
import argparse, importlib.util, json, os, re, subprocess, sys, time
from pathlib import Path

HERE = Path(__file__).resolve().parent
SCANS = dict([('Sigma stage 2', (4,384,16,4800)), ('Sigma stage 3', (4,768,16,1200)), ('Sigma stage 4', (4,1536,16,300)),
              ('ConMB stage 3', (2,768,4,2400)), ('SegMAN stage 2', (4,64,1,4800))])
PARTS = 'sigma,profile,bf16,segman,ready,peers,scan,nano,tiny,export,predict,learner,start'
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
    if importlib.util.find_spec('rgbx_seg.ops.memory'): importlib.import_module('rgbx_seg.ops.memory').keep_memory()   # as `rgbx` does
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

def ready(name, size):
    "Seconds of a forward pass of the model, of what predicts in its place, and of that in bfloat16, in turns; and how they agree."
    import torch
    from rgbx_seg.evaluation.prepared import for_inference
    model,images = seeded(name, size)
    forms = dict(plain=model, folded=for_inference(model), half=for_inference(model, bf16=True))
    with torch.inference_mode():
        logits = {key: form(*images).float() for key,form in forms.items()}
        times = {key: [] for key in forms}
        for _ in range(3):
            for key,form in forms.items(): times[key].append(best(lambda form=form: form(*images), 1))
    out = {key: min(times[key]) for key in forms}
    plain = logits['plain']
    out['error'] = float((logits['folded']-plain).abs().max()/plain.abs().max())
    out['agreement'] = float((logits['half'].argmax(1)==plain.argmax(1)).double().mean())
    return out

def peers(name, other):
    "GFLOP/s of a model, as it predicts, and of one of smp, in turns; nothing where smp is not here."
    try: import segmentation_models_pytorch as smp
    except ImportError: return None
    import torch
    from torch.utils.flop_counter import FlopCounterMode
    from rgbx_seg.evaluation.prepared import for_inference
    model,images = seeded(name, (480,640))
    kind,encoder = other
    both = [(for_inference(model), images), (getattr(smp, kind)(encoder, encoder_weights=None, classes=9).eval(), images[:1])]
    rates,times = [],[[],[]]
    with torch.no_grad():
        for _ in range(3):
            for kept,(net,given) in zip(times, both): kept.append(best(lambda net=net, given=given: net(*given), 1))
        for kept,(net,given) in zip(times, both):
            with FlopCounterMode(display=False) as counter: net(*given)
            rates.append(counter.get_total_flops()/1e9/min(kept))
    return rates

def toy_run(folder):
    "A folder of 40 toy scenes to predict, and the run of a model trained on two."
    import rgbx_seg as rx
    from rgbx_seg.data.toy import write_toy
    data,run = Path(folder)/'toy',Path(folder)/'run'
    if not run.exists():
        write_toy(data, n=(2,2,40), size=(96,128))
        rx.train(data, model='sigma_nano', out=run, epochs=1, bs=2, device='cpu', progress=False)
    return data,run

def predicting(folder):
    "Seconds a pair of `predict` without and with pictures, and of the model alone at batch 1."
    import torch
    import rgbx_seg as rx
    data,run = toy_run(folder)
    torch.set_num_threads(1)
    how = dict(split='test', device='cpu', progress=False)
    def predict(pictures): return rx.predict(run, data, Path(folder)/f'masks{pictures}', pictures=pictures, **how)
    model = rx.load_run(run, device='cpu').model
    images = [torch.rand(1, channels, 96, 128) for channels in model.in_channels.values()]
    with torch.inference_mode(): alone = best(lambda: [model(*images) for _ in range(40)])/40
    return dict(alone=alone, plain=best(lambda: predict(False))/40, pictures=best(lambda: predict(True))/40)

def learning(folder):
    "Seconds of two epochs of fastai's learner, with validation, and of a bare loop over the same batches."
    import torch
    from rgbx_seg.data.toy import write_toy
    from rgbx_seg.models.create import create_model
    from rgbx_seg.training.learner import rgbx_learner
    from rgbx_seg.training.loaders import dataloaders
    torch.set_num_threads(1)
    dls = dataloaders(write_toy(Path(folder)/'learn', n=(40,8,0), size=(96,128)), bs=8, device='cpu')
    learn = rgbx_learner(dls, create_model('sigma_nano', dls.card.num_classes, dls.modalities), progress=False)
    def loop():
        optimiser = torch.optim.AdamW(learn.model.parameters(), 6e-5)
        for _ in range(2):
            learn.model.train()
            for *images,mask in dls.train:
                learn.loss_func(learn.model(*images), mask).backward()
                optimiser.step()
                optimiser.zero_grad()
            learn.model.eval()
            with torch.no_grad():
                for *images,mask in dls.valid: learn.loss_func(learn.model(*images), mask)
    times = dict(learner=[], loop=[])
    for _ in range(3):
        for key,call in (('learner', lambda: learn.fit(2, 6e-5)), ('loop', loop)):
            start = time.process_time()
            call()
            times[key].append(time.process_time()-start)
    return {key: min(values) for key,values in times.items()}

def starting(folder):
    "CPU seconds of commands that need no model, and of `import torch`."
    import resource
    def spent(*call):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *call], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime+after.ru_stime-before.ru_utime-before.ru_stime
    calls = dict(torch=('-c', 'import torch'))
    calls |= {verb: ('-m', 'rgbx_seg', verb) for verb in ('--help', '--version', 'models', 'recipes')}
    for call in calls.values(): spent(*call)                       # files read once, counts of models kept
    return {key: min(spent(*call) for _ in range(3)) for key,call in calls.items()}

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
    places = os.pathsep.join(filter(None, (str(folder), os.environ.get('PYTHONPATH'))))
    env = dict(os.environ, PYTHONPATH=places, OMP_NUM_THREADS='1', PYTHONWARNINGS='ignore')
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

def of_inference(table, after, only):
    if 'ready' in only:
        for name in ('sa_gate_r50', 'cmx_mit_b2'):
            found = child(after, 'ready', name, (480,640))
            table.add(f'{name} 480x640, bfloat16 over float32', found['half']/found['plain'], .48,
                      f"{found['plain']:.2f} to {found['half']:.2f} s, classes agree {found['agreement']:.4f}")
            table.add(f'{name}, BatchNorm folded and channels last over the model', found['folded']/found['plain'], None,
                      f"{found['folded']:.2f} s, largest error {found['error']:.1e}")
    if 'peers' in only:
        pairs = (('sa_gate_r50', ('DeepLabV3Plus', 'resnet50'), 1.15), ('cmx_mit_b2', ('Segformer', 'mit_b2'), 1.1))
        for name,other,target in pairs:
            rates = child(after, 'peers', name, other)
            if rates is None: return print('rows of smp left out: pip install segmentation_models_pytorch')
            table.add(f"GFLOP/s of smp's {' '.join(other)} over those of {name}", rates[1]/rates[0], 1/target,
                      f'{rates[0]:.1f} and {rates[1]:.1f} GFLOP/s, ours is {rates[0]/rates[1]:.2f} times theirs')

def of_commands(table, after, only, folder):
    if 'predict' in only:
        found = {key: 1e3*value for key,value in child(after, 'predicting', folder).items()}
        table.add('predict without pictures over the model alone at batch 1, toy scenes', found['plain']/found['alone'], 1.2,
                  f"{found['alone']:.1f} to {found['plain']:.1f} ms a pair")
        table.add('predict with pictures over without', found['pictures']/found['plain'], 1.3, f"{found['pictures']:.1f} ms a pair")
    if 'learner' in only:
        found = child(after, 'learning', folder)
        table.add('learner over a bare loop, two epochs of five steps', found['learner']/found['loop'], 1.05,
                  f"{found['loop']:.2f} to {found['learner']:.2f} s")
    if 'start' in only:
        found = child(after, 'starting', folder)
        alone = found.pop('torch')
        for verb,seconds in found.items():
            table.add(f'rgbx {verb} over import torch', seconds/alone, .2, f'{seconds:.2f} of {alone:.2f} s')

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
    parser.add_argument('--only', default=PARTS)
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
        of_inference(table, after, only)
        of_files(table, args.before, after, only, folder)
        of_commands(table, after, only, folder)
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

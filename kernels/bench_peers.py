"""Our convolutional and transformer models beside well-known ones of about their size, in GFLOP/s, in one process.

    pip install segmentation_models_pytorch transformers       # beside the package
    python kernels/bench_peers.py [--rounds 5] [--size 480x640] [--out FILE]

A model of two sensors does the work of two encoders, so seconds say little: compared is how fast each gets its own arithmetic done. Work is counted by one counter
for all (torch's FlopCounterMode, two per multiply-add). The models take turns; time is CPU time of one thread, the median of the rounds (of a call above 4 s the only one). Random weights.
"""
import argparse, os, sys, warnings
from pathlib import Path

os.environ['OMP_NUM_THREADS'] = '1'
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))
warnings.filterwarnings('ignore')
import torch
from torch.utils.flop_counter import FlopCounterMode
import rgbx_seg as rx
from bench import Table, cpu_name, interleave, med

def peers():
    "{ours: {name: model}}, of the packages that are there."
    found = {'sa_gate_r50':{}, 'cmx_mit_b2':{}}
    try: import segmentation_models_pytorch as smp
    except ImportError: print('segmentation_models_pytorch is not here: its rows are left out')
    else:
        found['sa_gate_r50']['smp DeepLabV3+ resnet50'] = smp.DeepLabV3Plus('resnet50', encoder_weights=None, classes=40)
        found['cmx_mit_b2']['smp Segformer mit_b2'] = smp.Segformer('mit_b2', encoder_weights=None, classes=40)
    try: from transformers import SegformerConfig, SegformerForSemanticSegmentation
    except ImportError: print('transformers is not here: its row is left out')
    else:
        config = SegformerConfig(depths=[3,4,6,3], hidden_sizes=[64,128,320,512], decoder_hidden_size=768, num_labels=40)
        found['cmx_mit_b2']['transformers Segformer b2'] = SegformerForSemanticSegmentation(config)
    return found

def work(model, images):
    "GFLOP of a forward pass."
    with torch.no_grad(),FlopCounterMode(display=False) as counter: model(*images)
    return counter.get_total_flops()/1e9

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--size', default='480x640')
    parser.add_argument('--out', default=str(Path(__file__).parent/'results'/'peers.md'))
    args = parser.parse_args()
    torch.set_num_threads(1)
    size = tuple(map(int, args.size.split('x')))
    table = Table('model','GFLOP','s','GFLOP/s','ours over it')
    for name,others in peers().items():
        image = torch.randn(1, 3, *size)
        models = {name: (rx.create_model(name, 40, ('rgb','x')).eval(), (image, image))}
        models |= {other: (model.eval(), (image,)) for other,model in others.items()}
        gflop = {key: work(*value) for key,value in models.items()}
        with torch.no_grad():
            times,_ = interleave({key: (lambda model=model, images=images: model(*images)) for key,(model,images) in models.items()}, args.rounds)
        taken = {key: med(values)/1e3 for key,values in times.items()}
        rate = {key: gflop[key]/taken[key] for key in models}
        for key in models:
            ratio = '' if key == name else f'{rate[name]/rate[key]:.2f}'
            table.add(key, f'{gflop[key]:.0f}', f'{taken[key]:.2f}', f'{rate[key]:.1f}', ratio)
    head = (f'# Beside well-known models\n\n{cpu_name()}, one thread, CPU time, float32, batch 1, {args.size}; torch {torch.__version__}. '
            '`python kernels/bench_peers.py`.\n\n')
    Path(args.out).write_text(f'{head}{table}\n')

if __name__ == '__main__': main()

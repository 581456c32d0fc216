"""The native selective scan against that of Intel Extension for PyTorch, in one process.

    pip install torch==2.8.0 intel-extension-for-pytorch==2.8.0 einops timm numpy      # an environment of its own
    python kernels/bench_ipex.py [--rounds 5] [--out FILE]

Both see the same tensors and take turns; time is CPU time of one thread, the median of the rounds (of a call above 4 s the only one).
Every output is checked against a float64 loop. The extension ended with version 2.8, so its PyTorch is older than the one that the package asks for;
the operators of `rgbx_seg.ops` alone run there.
"""
import os, sys
from pathlib import Path

os.environ['OMP_NUM_THREADS'] = '1'
sys.path.insert(0, str(Path(__file__).resolve().parent))
import torch
try: import intel_extension_for_pytorch as ipex
except ImportError: sys.exit('no Intel Extension for PyTorch here: see the first lines of this file')
from intel_extension_for_pytorch.llm.modules import mha_fusion    # brings the operator
from bench import SHAPES, beside_row, inputs, interleave, ours, scan, write_beside

def by_groups(u, delta, A, B, C, D, bias):
    "The tensors of one call for each of the groups of B and C: its form with several groups ends the process at these sizes."
    groups = B.shape[1]
    cut = zip(u.chunk(groups, 1), delta.chunk(groups, 1), A.chunk(groups), B.unbind(1), C.unbind(1), D.chunk(groups), bias.chunk(groups))
    return [[tensor.contiguous() for tensor in tensors] for tensors in cut]

def ipex_scan(groups):
    "Its own `selective_scan_fn`, group by group."
    return [torch.ops.torch_ipex.selective_scan_fn(u, delta, A, B, C, D, None, bias, True, True)[0] for u,delta,A,B,C,D,bias in groups]

def rows(rounds):
    "A row for each shape of Sigma-T: stages at 480x640, then at 96x128."
    for shape in SHAPES.items():
        tensors = inputs(*shape[1], 16)
        groups = by_groups(*tensors)
        with torch.no_grad():
            times,results = interleave(dict(ipex=lambda: ipex_scan(groups), native=lambda: ours('native')(*tensors)), rounds)
            results['ipex'] = torch.cat(results['ipex'], 1)
            truth = scan.scan_reference(*[tensor.double() for tensor in tensors], delta_softplus=True)[0]
        yield beside_row(shape, 'ipex', times, results, truth)

if __name__ == '__main__':
    write_beside(__file__, __doc__, 'IPEX', 'The scan of Intel Extension for PyTorch', f'IPEX {ipex.__version__}', rows)

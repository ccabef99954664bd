"""Memory that a training step takes on a GPU, counted without one.

    python benchmarks/step_memory.py --options recipe bfloat16
    python benchmarks/step_memory.py --options memory --batch 64 --variants sarlp

Model, optimizer and average are torch's fake tensors, which have shapes and no numbers. Two steps of `train_step.py`
are taken with them, and what lies in memory at most in the second is added up. Dropout and attention keep for the
backward pass what a GPU's kernels keep. Not counted is what the driver (about 0.5 GB) and the libraries of convolutions
take for themselves, and what lies idle between tensors. A compiled step can not be counted.
"""

import argparse
import contextlib
import itertools
import json
import warnings
import weakref
from unittest import mock

import torch
import torch.nn.functional as F
from mmengine.registry import init_default_scope
from torch import Tensor, nn
from torch._guards import active_fake_mode
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary
from train_step import FAST, OPTIONS, VARIANTS, Step

from sarlp.engine import load_config
from sarlp.io.files import atomic_write
from sarlp.models.dropout import Dropout

UNIT = 512  # bytes, of which torch's allocator gives out whole ones
COMPILED = {'fast', 'graphs'}


@contextlib.contextmanager
def of_a_gpu():
    """Dropout that keeps a mask of bytes, attention that keeps no matrix, also where torch's own layers call them."""
    with mock.patch.multiple(F, dropout=_dropout, scaled_dot_product_attention=_attention):
        yield


def _dropout(values, p=0.5, training=True, inplace=False):
    return torch.native_dropout(values, p, True)[0] if training and p else values


def _attention(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False):
    return torch.ops.aten._scaled_dot_product_efficient_attention(query, key, value, attn_mask, True, dropout_p)[0]


class Shapes(FakeTensorMode):
    """Tensors without values, of which copies such as the average of the weights are of the same mode."""

    def __deepcopy__(self, memo):
        return self


class CountedStep(Step):
    """A step whose tensors have no values; made under :class:`Shapes`."""

    def build(self, cfg, variant: str, device: str) -> nn.Module:
        mode = active_fake_mode()
        with unset_fake_temporarily():  # initial weights need numbers
            model = super().build(cfg, variant, device)
            for module in model.modules():
                for name, value in module._parameters.items():
                    if value is not None:
                        module._parameters[name] = nn.Parameter(mode.from_tensor(value.detach()), value.requires_grad)
                for name, value in module._buffers.items():
                    if value is not None:
                        module._buffers[name] = mode.from_tensor(value)
        model.look = lambda losses, names: losses  # there is nothing to look at
        return model


class Live(TorchDispatchMode):
    """Adds up what lies in memory.

    torch's own tracker (``torch.distributed._tools.mem_tracker``) refuses a module that is called twice before the
    backward pass, as those are that are computed again.
    """

    def __init__(self):
        super().__init__()
        self.now = self.peak = 0
        self.known = WeakIdKeyDictionary()

    def see(self, tensors) -> None:
        for tensor in tree_leaves(tensors):
            if isinstance(tensor, Tensor) and (storage := tensor.untyped_storage()) not in self.known:
                size = -(-storage.nbytes() // UNIT) * UNIT
                self.known[storage] = size
                self.now += size
                self.peak = max(self.peak, self.now)
                weakref.finalize(storage, self._gone, size)

    def _gone(self, size: int) -> None:
        self.now -= size

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        outputs = function(*args, **(kwargs or {}))
        self.see(outputs)
        return outputs


def _stack(samples, num_classes: int) -> Tensor:
    return torch.stack([sample.gt_score for sample in samples])


def peak_megabytes(cfg, variant: str, classes: int, batch: int, size: int) -> float:
    """MiB at most in a step; that before it makes the moments of the optimizer."""
    live = Live()
    without_a_look = mock.patch('sarlp.models.classifier.stack_labels', _stack)
    with Shapes(), of_a_gpu(), live, without_a_look, warnings.catch_warnings():
        warnings.filterwarnings('ignore', 'Accessing the data pointer of FakeTensor')  # of copies of the model
        step = CountedStep(cfg, variant, classes, batch, size, 'cpu')
        live.see([[*part.parameters(), *part.buffers()] for part in (step.model, step.average)])
        step.train()
        live.peak = live.now
        step.train()
    return live.peak / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--config', default='configs/sarlp/sarlp_r101_coco_p0.1.py', help='default: %(default)s')
    parser.add_argument(
        '--options', nargs='+', choices=sorted(OPTIONS.keys() - COMPILED), default=['recipe'], help='default: recipe'
    )
    parser.add_argument('--variants', nargs='+', choices=VARIANTS, default=list(VARIANTS), help='default: all')
    parser.add_argument('--batch', type=int, default=52, help='images; default: %(default)s')
    parser.add_argument('--classes', type=int, nargs='+', default=[80], help='default: 80')
    parser.add_argument('--size', type=int, default=448, help='pixels of a side; default: %(default)s')
    parser.add_argument('--json', help='write the rows to this file')
    args = parser.parse_args()

    init_default_scope('sarlp')
    Dropout.forward = nn.Dropout.forward  # as it is on a GPU
    print('| options | classes | variant | peak_mb | head_mb | head_mb_of_literal |\n' + '|---' * 6 + '|')
    rows = []
    for options, classes in itertools.product(args.options, args.classes):
        cfg = load_config(args.config if OPTIONS[options] is None else FAST, OPTIONS[options] or {})
        heads: dict[str, float] = {}
        for variant in ('backbone', *(one for one in VARIANTS if one in args.variants and one != 'backbone')):
            row = {'options': options, 'classes': classes, 'variant': variant, 'batch': args.batch, 'size': args.size}
            row['peak_mb'] = peak_megabytes(cfg, variant, classes, args.batch, args.size)
            heads[variant] = row['peak_mb'] - rows[-len(heads)]['peak_mb'] if heads else 0.0
            row['head_mb'] = heads[variant]
            row['head_mb_of_literal'] = heads[variant] / heads['literal'] if 'literal' in heads else None
            share = '' if row['head_mb_of_literal'] is None else f'{row["head_mb_of_literal"]:.2f}'
            print(f'| {options} | {classes} | {variant} | {row["peak_mb"]:.0f} | {row["head_mb"]:.0f} | {share} |')
            rows.append(row)
    if args.json:
        with atomic_write(args.json) as file:
            json.dump(rows, file, indent=1)


if __name__ == '__main__':
    main()

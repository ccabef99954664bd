"""Time and memory of a training step: the paper's formulas as they stand, this implementation, the backbone alone.

    python benchmarks/train_step.py --batch 2 --classes 80
    python benchmarks/train_step.py --batch 2 --classes 20 80 500 2000 --variants sarlp backbone
    python benchmarks/train_step.py --batch 52 --device cuda --fast

A step is the forward pass, the loss, the backward pass, the optimizer and the EMA, on images that already lie on the
device. The variants take turns within one process; the figure is the median of their steps. Peak memory is that of a
process of its own for each variant: on a GPU what torch allocated at most, on a CPU the resident set, libraries
included. Weights and images are random.
"""

import argparse
import contextlib
import itertools
import json
import multiprocessing
import re
import statistics
import sys
import time
from pathlib import Path

import torch
from mmengine.config import DictAction
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmpretrain.structures import DataSample
from torch import nn

from sarlp.engine import compile_parts, load_config
from sarlp.engine.devices import announce_device
from sarlp.models.literal import literal_form
from sarlp.registry import MODELS

VARIANTS = ('literal', 'sarlp', 'backbone')
FAST = 'configs/sarlp/sarlp_r101_coco_fast_p0.1.py'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--config', default='configs/sarlp/sarlp_r101_coco_p0.1.py', help='default: %(default)s')
    parser.add_argument('--fast', action='store_true', help=f'measure the variants of {FAST} as well, but the literal')
    parser.add_argument('--variants', nargs='+', choices=VARIANTS, default=list(VARIANTS), help='default: all')
    parser.add_argument(
        '--device',
        default='auto',
        help='auto (the GPU if there is one), cpu, cuda, cuda:1, mps; default: %(default)s',
    )
    parser.add_argument('--batch', type=int, default=2, help='images; default: %(default)s')
    parser.add_argument('--classes', type=int, nargs='+', default=[80], help='default: 80')
    parser.add_argument('--size', type=int, default=448, help='pixels of a side; default: %(default)s')
    parser.add_argument('--steps', type=int, default=5, help='timed ones a variant; default: %(default)s')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE', help='such as model.backbone.depth=50'
    )
    parser.add_argument('--json', help='write the rows to this file')
    return parser.parse_args()


class BackboneOnly(nn.Module):
    """The backbone with a loss that costs nothing."""

    def __init__(self, model):
        super().__init__()
        self.backbone = model.backbone

    def forward(self, images, samples, mode):
        return {'loss': self.backbone(images)[-1].float().square().mean()}


class Step:
    """One variant's training step.

    Args:
        cfg: config of a model.
        variant: of ``VARIANTS``.
        classes, batch, size, device: of the problem.
    """

    def __init__(self, cfg, variant: str, classes: int, batch: int, size: int, device: str):
        torch.manual_seed(0)
        cfg = cfg.copy()
        cfg.model.backbone.init_cfg = None
        cfg.model.head.num_classes = classes
        cfg.model.head.label_embedding.file = None
        torch.set_float32_matmul_precision('high' if cfg.env_cfg.get('tf32') else 'highest')
        torch.backends.cudnn.benchmark = cfg.env_cfg.get('cudnn_benchmark', False)
        model = MODELS.build(cfg.model)
        self.model = (BackboneOnly(model) if variant == 'backbone' else model).to(device).train()
        if cfg.get('channels_last'):
            self.model.to(memory_format=torch.channels_last)
        self.form = literal_form if variant == 'literal' else contextlib.nullcontext
        self.optimizer = build_optim_wrapper(self.model, cfg.optim_wrapper)
        average = cfg.default_hooks.ema
        self.average = MODELS.build(
            dict(type='ForeachEMA', momentum=average.momentum, update_buffers=True), default_args=dict(model=self.model)
        )
        if cfg.get('compile') and variant != 'backbone':
            compile_parts(self.model, cfg.compile)
        elif cfg.get('compile'):
            self.model.backbone.compile(**cfg.compile)
        self.images = torch.randn(batch, 3, size, size, device=device)
        target = torch.randint(0, 2, (batch, classes), device=device).float()
        target[torch.rand(batch, classes, device=device) > 0.1] = -1
        self.samples = []
        for row in target:
            sample = DataSample()
            sample.set_field(row, 'gt_score', dtype=torch.Tensor)
            self.samples.append(sample)

    def __call__(self) -> dict[str, float]:
        """Returns the milliseconds of ``forward``, ``backward``, ``optimizer``, ``ema``."""
        marks = [self._now()]
        with self.form(self.model), self.optimizer.optim_context(self.model):
            loss = sum(self.model(self.images, self.samples, mode='loss').values())
        marks.append(self._now())
        self.optimizer.backward(loss)
        marks.append(self._now())
        self.optimizer.step()
        self.optimizer.zero_grad()
        marks.append(self._now())
        self.average.update_parameters(self.model)
        marks.append(self._now())
        names = ('forward', 'backward', 'optimizer', 'ema')
        return {name: 1e3 * (b - a) for name, (a, b) in zip(names, itertools.pairwise(marks), strict=True)}

    def _now(self) -> float:
        if self.images.is_cuda:
            torch.cuda.synchronize()
        return time.perf_counter()


def peak_megabytes(*arguments) -> float:
    """What a process needs at most for two steps; run in one of its own."""
    step = Step(*arguments)
    for _ in range(2):
        step()
    if step.images.is_cuda:
        return torch.cuda.max_memory_allocated() / 2**20
    # not ru_maxrss, which begins with what the process that started this one had
    status = Path('/proc/self/status').read_text()
    return int(re.search(r'VmHWM:\s*(\d+) kB', status)[1]) / 2**10


def in_own_process(function, *arguments):
    with multiprocessing.get_context('spawn').Pool(1, _start, (torch.get_num_threads(),)) as pool:
        return pool.apply(function, arguments)


def _start(threads: int) -> None:
    torch.set_num_threads(threads)
    init_default_scope('sarlp')


def measure(configs: dict, args: argparse.Namespace, classes: int) -> list[dict]:
    """Rows of all variants for one number of classes."""
    problem = (classes, args.batch, args.size, args.device)
    steps = {
        (name, variant): Step(cfg, variant, *problem)
        for name, cfg in configs.items()
        for variant in args.variants
        if variant != 'literal' or name == 'recipe'
    }
    times = {key: [] for key in steps}
    for turn in range(args.steps + 2):
        for key, step in steps.items():
            took = step()
            if turn >= 2:  # the first ones allocate, choose algorithms and compile
                times[key].append(took)
    del step
    steps.clear()
    if args.device.startswith('cuda'):
        torch.cuda.empty_cache()
    rows = []
    for (name, variant), taken in times.items():
        cfg = configs[name]
        total = statistics.median(sum(phases.values()) for phases in taken)
        row = {
            'variant': variant,
            'options': name,
            'device': torch.cuda.get_device_name(args.device) if args.device.startswith('cuda') else args.device,
            'batch': args.batch,
            'classes': classes,
            'size': args.size,
            'precision': cfg.optim_wrapper.get('dtype', 'float32'),
            'step_ms': total,
        }
        for phase in taken[0]:
            row[f'{phase}_ms'] = statistics.median(phases[phase] for phases in taken)
        row['peak_mb'] = in_own_process(peak_megabytes, cfg, variant, *problem)
        rows.append(row)
    return rows


def add_ratios(rows: list[dict]) -> None:
    """To the literal step, to the backbone's step, of what the head adds, and the memory that it adds, in place."""
    literal = next((row for row in rows if row['variant'] == 'literal'), None)
    for row in rows:
        own = next((r for r in rows if r['variant'] == 'backbone' and r['options'] == row['options']), None)
        plain = next((r for r in rows if r['variant'] == 'backbone' and r['options'] == 'recipe'), None)
        row['of_literal'] = literal and row['step_ms'] / literal['step_ms']
        row['of_backbone'] = own and row['step_ms'] / own['step_ms']
        if own and row['variant'] != 'backbone':
            row['head_mb'] = row['peak_mb'] - own['peak_mb']
            if literal and row['options'] == 'recipe':
                row['head_of_literal'] = (row['step_ms'] - own['step_ms']) / (literal['step_ms'] - plain['step_ms'])
                row['head_mb_of_literal'] = row['head_mb'] / max(literal['peak_mb'] - plain['peak_mb'], 1)


COLUMNS = {
    'variant': '{}',
    'options': '{}',
    'precision': '{}',
    'classes': '{}',
    'step_ms': '{:.0f}',
    'of_literal': '{:.2f}',
    'of_backbone': '{:.2f}',
    'head_of_literal': '{:.2f}',
    'optimizer_ms': '{:.0f}',
    'ema_ms': '{:.0f}',
    'peak_mb': '{:.0f}',
    'head_mb': '{:.0f}',
    'head_mb_of_literal': '{:.2f}',
}


def print_table(rows: list[dict]) -> None:
    print('| ' + ' | '.join(COLUMNS) + ' |')
    print('|' + '---|' * len(COLUMNS))
    for row in rows:
        cells = ['' if row.get(name) is None else shape.format(row[name]) for name, shape in COLUMNS.items()]
        print('| ' + ' | '.join(cells) + ' |')


def print_slope(rows: list[dict]) -> None:
    """The least-squares line through the steps over the numbers of classes."""
    for options in dict.fromkeys(row['options'] for row in rows):
        points = [(r['classes'], r['step_ms']) for r in rows if r['variant'] == 'sarlp' and r['options'] == options]
        if len(points) > 1:
            slope, start = statistics.linear_regression(*zip(*points, strict=True))
            worst = max(abs(start + slope * x - y) / y for x, y in points)
            print(
                f'\n{options}: {start:.0f} ms + {1e3 * slope:.0f} ms for each 1,000 classes, '
                f'off by {100 * worst:.0f} % at most'
            )


def main() -> None:
    args = parse_args()
    args.device = str(announce_device(args.device))
    init_default_scope('sarlp')
    configs = {'recipe': load_config(args.config, args.cfg_options)}
    if args.fast:
        configs['fast'] = load_config(FAST, args.cfg_options)
    rows = []
    for classes in args.classes:
        rows += (of_classes := measure(configs, args, classes))
        add_ratios(of_classes)
        print(f'{classes} classes measured', file=sys.stderr)
    print(f'{rows[0]["device"]}, {torch.get_num_threads()} threads, torch {torch.__version__}, ', end='')
    print(f'batch {args.batch}, {args.size} px, {args.steps} steps each\n')
    print_table(rows)
    print_slope(rows)
    if args.json:
        with open(args.json, 'w') as stream:
            json.dump(rows, stream, indent=1)


if __name__ == '__main__':
    main()

"""Time and memory of a training step: the paper's formulas as they stand, this implementation, the backbone alone.

    python benchmarks/train_step.py --batch 2 --classes 80
    python benchmarks/train_step.py --batch 2 --classes 20 80 500 2000 --variants sarlp backbone
    python benchmarks/train_step.py --batch 52 --device cuda --options recipe bfloat16 fast graphs --profile

A step is the forward pass, the loss, the backward pass, the optimizer and the EMA, on images that already lie on the
device. `step_ms` is the time of a step among others, as in training; its parts are timed in steps of their own, between
which the device is waited for, so that their sum is a little more. Weights and images are random.

On a CPU the variants take turns within one process, the figure is the median of their steps, and peak memory is the
resident set, libraries included, of a process of its own for each variant. With `--alone`, which is how a GPU is
measured, each variant has the process for itself, one after the other, and a row that fails is named and left out; peak
memory is what torch allocated at most.
"""

import argparse
import contextlib
import gc
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
from sarlp.engine.training.loss_watch import LossWatch
from sarlp.io.files import atomic_write
from sarlp.models.classifier import require_finite
from sarlp.models.literal import literal_form
from sarlp.registry import MODELS

VARIANTS = ('literal', 'sarlp', 'backbone')
FAST = 'configs/sarlp/sarlp_r101_coco_fast_p0.1.py'
# by name, what a config other than the recipe has beside FAST
OPTIONS = {
    'recipe': None,
    'bfloat16': {'compile': False},
    'fast': {},
    'graphs': {'compile.mode': 'reduce-overhead'},
    'memory': {'compile': False, 'model.recompute_backbone': True, 'optim_wrapper.accumulative_counts': 2},
}
BLOCKS = 3  # of steps that are timed together, of which the median counts


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--config', default='configs/sarlp/sarlp_r101_coco_p0.1.py', help='default: %(default)s')
    parser.add_argument(
        '--options',
        nargs='+',
        choices=OPTIONS,
        default=['recipe'],
        help=f'the config as it is, {FAST} without compiling, with it, with CUDA graphs, or with recomputation and '
        'accumulation in two parts and without compiling; default: recipe',
    )
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
    parser.add_argument('--alone', action='store_true', help='one variant after the other; always on a GPU')
    parser.add_argument(
        '--profile', action='store_true', help='with --alone: the kernels of a step, and the idle share'
    )
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE', help='such as model.backbone.depth=50'
    )
    parser.add_argument('--json', help='write the rows to this file, each as soon as it is there')
    return parser.parse_args()


class BackboneOnly(nn.Module):
    """The backbone with a loss that costs nothing."""

    look = staticmethod(require_finite)

    def __init__(self, model):
        super().__init__()
        self.backbone = model.backbone

    def forward(self, images, samples, mode):
        loss = self.backbone(images)[-1].float().square().mean()
        return self.look({'loss': loss}, ['random'] * len(images))


class Step:
    """One variant's training step.

    Args:
        cfg: config of a model.
        variant: of ``VARIANTS``.
        classes, batch, size, device: of the problem; the batch is split as gradients are accumulated.
    """

    def __init__(self, cfg, variant: str, classes: int, batch: int, size: int, device: str):
        torch.manual_seed(0)
        cfg = cfg.copy()
        cfg.model.backbone.init_cfg = None
        cfg.model.head.num_classes = classes
        cfg.model.head.label_embedding.file = None
        torch.set_float32_matmul_precision('high' if cfg.env_cfg.get('tf32') else 'highest')
        torch.backends.cudnn.benchmark = cfg.env_cfg.get('cudnn_benchmark', False)
        self.model = self.build(cfg, variant, device)
        self.form = literal_form if variant == 'literal' else contextlib.nullcontext
        self.optimizer = build_optim_wrapper(self.model, cfg.optim_wrapper)
        self.watch = None
        if device.startswith('cuda'):  # as the training loop does
            self.watch = self.model.look = LossWatch(self.optimizer)
        average = cfg.default_hooks.ema
        self.average = MODELS.build(
            dict(type='ForeachEMA', momentum=average.momentum, update_buffers=True), default_args=dict(model=self.model)
        )
        if cfg.get('compile'):
            if variant == 'backbone':
                self.model.head = nn.Identity()
            compile_parts(self.model, cfg.compile)
        self.parts = cfg.optim_wrapper.get('accumulative_counts', 1)
        batch //= self.parts
        self.images = torch.randn(batch, 3, size, size, device=device)
        target = torch.randint(0, 2, (batch, classes), device=device).float()
        target[torch.rand(batch, classes, device=device) > 0.1] = -1
        self.samples = []
        for row in target:
            sample = DataSample()
            sample.set_field(row, 'gt_score', dtype=torch.Tensor)
            self.samples.append(sample)

    def build(self, cfg, variant: str, device: str) -> nn.Module:
        model = MODELS.build(cfg.model)
        model = (BackboneOnly(model) if variant == 'backbone' else model).to(device).train()
        return model.to(memory_format=torch.channels_last) if cfg.get('channels_last') else model

    def _loss(self):
        with self.form(self.model), self.optimizer.optim_context(self.model):
            return sum(self.model(self.images, self.samples, mode='loss').values())

    def train(self) -> None:
        """A step as the training loop takes it."""
        for _ in range(self.parts):
            self.optimizer.update_params(self._loss())
            if self.watch is not None:
                self.watch.read()
        self.average.update_parameters(self.model)

    def timed(self, steps: int) -> float:
        """Milliseconds of one of ``steps`` in a row."""
        start = self.now()
        for _ in range(steps):
            self.train()
        return 1e3 * (self.now() - start) / steps

    def timed_parts(self) -> dict[str, float]:
        """Returns the milliseconds of ``forward``, ``backward``, ``optimizer``, ``ema``, of one part of the batch."""
        marks = [self.now()]
        loss = self._loss()
        marks.append(self.now())
        self.optimizer.backward(loss)
        marks.append(self.now())
        self.optimizer.step()
        self.optimizer.zero_grad()
        marks.append(self.now())
        self.average.update_parameters(self.model)
        marks.append(self.now())
        names = ('forward', 'backward', 'optimizer', 'ema')
        return {f'{name}_ms': 1e3 * (b - a) for name, (a, b) in zip(names, itertools.pairwise(marks), strict=True)}

    def now(self) -> float:
        if self.images.is_cuda:
            torch.cuda.synchronize()
        return time.perf_counter()


def peak_megabytes(*arguments) -> float:
    """What a process needs at most for two steps; run in one of its own."""
    step = Step(*arguments)
    for _ in range(2):
        step.train()
    # not ru_maxrss, which begins with what the process that started this one had
    status = Path('/proc/self/status').read_text()
    return int(re.search(r'VmHWM:\s*(\d+) kB', status)[1]) / 2**10


def in_own_process(function, *arguments):
    with multiprocessing.get_context('spawn').Pool(1, _start, (torch.get_num_threads(),)) as pool:
        return pool.apply(function, arguments)


def _start(threads: int) -> None:
    torch.set_num_threads(threads)
    init_default_scope('sarlp')


def keys_of(configs: dict, args: argparse.Namespace) -> list[tuple[str, str]]:
    """Options and variants that are measured; the formulas as they stand for the recipe only."""
    return [(name, v) for name in configs for v in args.variants if v != 'literal' or name == 'recipe']


def described(cfg, name: str, variant: str, args: argparse.Namespace, classes: int) -> dict:
    return {
        'variant': variant,
        'options': name,
        'device': torch.cuda.get_device_name(args.device) if args.device.startswith('cuda') else args.device,
        'batch': args.batch,
        'classes': classes,
        'size': args.size,
        'precision': cfg.optim_wrapper.get('dtype', 'float32'),
    }


def median_parts(steps: list[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.median(step[name] for step in steps) for name in steps[0]}


def measure_in_turns(configs: dict, args: argparse.Namespace, classes: int) -> list[dict]:
    """Rows of all variants for one number of classes."""
    problem = (classes, args.batch, args.size, args.device)
    steps = {(name, variant): Step(configs[name], variant, *problem) for name, variant in keys_of(configs, args)}
    times, parts = ({key: [] for key in steps} for _ in range(2))
    for turn in range(args.steps + 2):
        for key, step in steps.items():
            took = step.timed(1)
            if turn >= 2:  # the first ones allocate, choose algorithms and compile
                times[key].append(took)
                parts[key].append(step.timed_parts())
    del step
    steps.clear()
    rows = []
    for (name, variant), taken in times.items():
        row = described(configs[name], name, variant, args, classes)
        row |= {'step_ms': statistics.median(taken), **median_parts(parts[name, variant])}
        row['peak_mb'] = in_own_process(peak_megabytes, configs[name], variant, *problem)
        rows.append(row)
    return rows


def measure_alone(cfg, name: str, variant: str, args: argparse.Namespace, classes: int) -> dict:
    """The row of one variant that has the device for itself."""
    row = described(cfg, name, variant, args, classes)
    began = time.perf_counter()
    on_gpu = args.device.startswith('cuda')
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    try:
        step = Step(cfg, variant, classes, args.batch, args.size, args.device)
        step.timed(3)  # allocate, choose algorithms, compile, record graphs
        row['prepared_s'] = time.perf_counter() - began
        row['step_ms'] = statistics.median(step.timed(args.steps) for _ in range(BLOCKS))
        if on_gpu:
            row['peak_mb'] = torch.cuda.max_memory_allocated() / 2**20
        if step.parts == 1:
            row |= median_parts([step.timed_parts() for _ in range(3)])
        if args.profile:
            row |= profile(step)
            row['idle_share'] = 1 - row['kernels_ms'] / row['step_ms']
    except Exception as error:  # of which nobody can know; the other rows are worth having
        row['error'] = f'{type(error).__name__}: {error}'[:2000]
        print(f'{name}, {variant}, {classes} classes FAILED: {row["error"]}', file=sys.stderr)
    step = None
    torch._dynamo.reset()  # programs and graphs
    gc.collect()
    if on_gpu:
        torch.cuda.empty_cache()
    return row


def profile(step: Step, steps: int = 3) -> dict:
    """Milliseconds of kernels a step, and which they are; on a CPU those of operators."""
    on_gpu = step.images.is_cuda
    kinds = [torch.profiler.ProfilerActivity.CPU, *([torch.profiler.ProfilerActivity.CUDA] if on_gpu else [])]
    with torch.profiler.profile(activities=kinds) as run:
        step.timed(steps)
    kind = torch.autograd.DeviceType.CUDA if on_gpu else torch.autograd.DeviceType.CPU
    took = {}
    for event in run.key_averages():
        if event.device_type == kind and not getattr(event, 'is_user_annotation', False):
            spent = event.self_device_time_total if on_gpu else event.self_cpu_time_total
            took[event.key] = (spent / 1e3 / steps, event.count / steps)
    largest = sorted(took.items(), key=lambda item: -item[1][0])
    return {
        'kernels_ms': sum(milliseconds for milliseconds, _ in took.values()),
        'kernels': [{'name': name[:120], 'ms': ms, 'calls': calls} for name, (ms, calls) in largest[:25]],
    }


def measure(configs: dict, args: argparse.Namespace):
    """Yields rows as they come; alone, the backbone is measured once, since it knows of no classes."""
    if not args.alone:
        for classes in args.classes:
            yield from measure_in_turns(configs, args, classes)
        return
    for name, variant in keys_of(configs, args):
        for classes in args.classes[:1] if variant == 'backbone' else args.classes:
            yield measure_alone(configs[name], name, variant, args, classes)


def add_ratios(rows: list[dict]) -> None:
    """To the literal step, to the backbone's step, of what the head adds, and the memory that it adds, in place."""

    def found(variant: str, options: str, classes: int) -> dict | None:
        fitting = [r for r in rows if (r['variant'], r['options']) == (variant, options) and 'step_ms' in r]
        same = [r for r in fitting if r['classes'] == classes]
        return next(iter(same or (fitting if variant == 'backbone' else [])), None)

    for row in rows:
        if 'step_ms' not in row:
            continue
        literal = found('literal', 'recipe', row['classes'])
        own, plain = (found('backbone', options, row['classes']) for options in (row['options'], 'recipe'))
        row['of_literal'] = literal and row['step_ms'] / literal['step_ms']
        row['of_backbone'] = own and row['step_ms'] / own['step_ms']
        if own and row['variant'] != 'backbone' and 'peak_mb' in row:
            row['head_mb'] = row['peak_mb'] - own['peak_mb']
            if literal and row['options'] == 'recipe':
                row['head_of_literal'] = (row['step_ms'] - own['step_ms']) / (literal['step_ms'] - plain['step_ms'])
                row['head_mb_of_literal'] = row['head_mb'] / max(literal['peak_mb'] - plain['peak_mb'], 1)


COLUMNS = {
    'variant': '{}',
    'options': '{}',
    'precision': '{}',
    'classes': '{}',
    'step_ms': '{:.1f}',
    'of_literal': '{:.2f}',
    'of_backbone': '{:.2f}',
    'head_of_literal': '{:.2f}',
    'forward_ms': '{:.1f}',
    'backward_ms': '{:.1f}',
    'optimizer_ms': '{:.1f}',
    'ema_ms': '{:.1f}',
    'idle_share': '{:.2f}',
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
        points = [
            (r['classes'], r['step_ms'])
            for r in rows
            if r['variant'] == 'sarlp' and r['options'] == options and 'step_ms' in r
        ]
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
    args.alone |= args.device.startswith('cuda')
    configs = {}
    for name in args.options:
        beside = OPTIONS[name]
        base = args.config if beside is None else FAST
        configs[name] = load_config(base, {**(beside or {}), **(args.cfg_options or {})})
    rows = []
    for row in measure(configs, args):
        rows.append(row)
        add_ratios(rows)
        print(f'{row["options"]}, {row["variant"]}, {row["classes"]} classes measured', file=sys.stderr)
        if args.json:
            with atomic_write(args.json) as file:
                json.dump(rows, file, indent=1)
    print(f'{rows[0]["device"]}, {torch.get_num_threads()} threads, torch {torch.__version__}, ', end='')
    print(f'batch {args.batch}, {args.size} px, {args.steps} steps each\n')
    print_table(rows)
    print_slope(rows)
    if any('error' in row for row in rows):
        sys.exit('some rows failed, see above')


if __name__ == '__main__':
    main()

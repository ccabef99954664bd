"""Images per second of a trained model, as it is and prepared for inference, against its plain backbone.

    python benchmarks/inference.py --batch 2 --classes 80
    python benchmarks/inference.py --device cuda --batch 64 --compile --json rows.json
    python benchmarks/inference.py --end-to-end 256 --arch 18 --size 224 --batch 32 --classes 20

Images lie on the device, normalised; decoding and resizing are benchmarks/input_pipeline.py. The variants take turns
within one process, and the figure is the median of their batches. Weights and images are random: the speed does not
depend on them, while `differs`, the largest difference of a score from the model as it was trained, does. Peak memory
is what the weights and one batch take, where the device keeps count.

--end-to-end measures something else: how many JPEG files of 500x375 px a second become predictions, beside the model
alone, which is given the same batches decoded. The two take turns as well; `of_model` is the median over the turns, and
`cpu_ms` what an image takes of the processor, which others on the machine change less.
"""

import argparse
import copy
import json
import statistics
import tempfile
import time
from collections import deque
from pathlib import Path

import torch
from input_pipeline import make_photographs
from mmengine.registry import init_default_scope

from sarlp.engine import load_config
from sarlp.engine.devices import announce_device
from sarlp.inference import prepare_for_inference
from sarlp.inference.inferencer import MultiLabelInferencer
from sarlp.registry import MODELS

AS_TRAINED = 'as trained'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--config', default='configs/sarlp/sarlp_r101_coco_p0.1.py', help='default: %(default)s')
    parser.add_argument(
        '--device',
        default='auto',
        help='auto (the GPU if there is one), cpu, cuda, cuda:1, mps; default: %(default)s',
    )
    parser.add_argument('--batch', type=int, default=2, help='images; default: %(default)s')
    parser.add_argument('--classes', type=int, default=80, help='default: %(default)s')
    parser.add_argument('--size', type=int, default=448, help='pixels of a side; default: %(default)s')
    parser.add_argument(
        '--precision',
        choices=['float32', 'bfloat16', 'float16'],
        default='bfloat16',
        help='what to measure besides float32; CPUs without instructions for it crawl; default: %(default)s',
    )
    parser.add_argument(
        '--arch',
        type=int,
        choices=[18, 34, 50, 101, 152],
        default=101,
        help='depth of the ResNet; default: %(default)s',
    )
    parser.add_argument('--compile', action='store_true', help='compile the folded variants as well')
    parser.add_argument('--repeats', type=int, default=5, help='timed batches a variant; default: %(default)s')
    parser.add_argument('--end-to-end', type=int, metavar='N', help='from so many JPEG files instead')
    parser.add_argument('--num-workers', type=int, help='threads that decode (default: as sarlp predict)')
    parser.add_argument('--json', metavar='FILE', help='also write the rows to this file')
    return parser.parse_args()


def configure(args: argparse.Namespace):
    """The config with the backbone, the classes and the size that are asked for, and without weights to read."""
    whole = load_config(args.config)
    cfg = whole.model
    cfg.backbone.depth = args.arch
    cfg.backbone.init_cfg = None
    cfg.head.in_channels = 512 if args.arch < 50 else 2048
    cfg.head.num_classes = args.classes
    if cfg.head.get('label_embedding') is not None:
        cfg.head.label_embedding.file = None
    for step in whole.test_dataloader.dataset.pipeline:
        if step['type'] == 'Resize':
            step['scale'] = (args.size, args.size)
    return whole


def build_model(args: argparse.Namespace) -> torch.nn.Module:
    torch.manual_seed(0)
    return MODELS.build(configure(args).model).to(args.device).eval()


def option_sets(args: argparse.Namespace) -> dict[str, dict]:
    """What is given to ``prepare_for_inference``, by name."""
    sets = {'folded': {}, 'folded, channels_last': dict(channels_last=True)}
    if args.precision != 'float32':
        sets |= {f'{name}, {args.precision}': dict(options, precision=args.precision) for name, options in sets.items()}
    if args.compile:
        sets |= {f'{name}, compiled': dict(options, compile=True) for name, options in sets.items()}
    return sets


def timed(run, images: torch.Tensor) -> tuple[float, object]:
    """Milliseconds of one call, and what it returned."""
    if images.is_cuda:
        torch.cuda.synchronize()
    start = time.perf_counter()
    result = run(images)
    if images.is_cuda:
        torch.cuda.synchronize()
    return 1e3 * (time.perf_counter() - start), result


def peak_megabytes(module: torch.nn.Module, images: torch.Tensor) -> float | None:
    """Weights, and what a batch takes beside them; None on a device that does not tell."""
    if not images.is_cuda:
        return None
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    module(images)
    weights = sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))
    return (torch.cuda.max_memory_allocated() - before + weights) / 2**20


@torch.inference_mode()
def measure(args: argparse.Namespace) -> list[dict]:
    plain = build_model(args)
    variants = {('backbone', AS_TRAINED): plain.backbone, ('sarlp', AS_TRAINED): plain}
    for name, options in option_sets(args).items():
        variants['sarlp', name] = prepare_for_inference(copy.deepcopy(plain), **options)
    images = torch.randn(args.batch, 3, args.size, args.size, device=args.device)
    times = {key: [] for key in variants}
    scores = {}
    for turn in range(args.repeats + 2):
        for key, module in variants.items():
            took, outputs = timed(module, images)
            if turn >= 2:  # the first ones allocate, choose algorithms and compile
                times[key].append(took)
            if key[0] == 'sarlp':
                scores[key] = outputs['scores']
    rows = []
    for (variant, options), taken in times.items():
        median = statistics.median(taken)
        difference = None
        if variant == 'sarlp':
            difference = (scores[variant, options] - scores['sarlp', AS_TRAINED]).abs().max().item()
        rows.append(
            {
                'variant': variant,
                'options': options,
                'device': torch.cuda.get_device_name() if images.is_cuda else args.device,
                'batch': args.batch,
                'classes': args.classes,
                'size': args.size,
                'precision': args.precision if args.precision in options else 'float32',
                'step_ms': median,
                'images_per_s': 1e3 * args.batch / median,
                'of_backbone': median / statistics.median(times['backbone', AS_TRAINED]),
                'peak_mb': peak_megabytes(variants[variant, options], images),
                'differs': difference,
            }
        )
    return rows


def from_files(args: argparse.Namespace) -> list[dict]:
    """Rows of the model alone and of the whole way from files, as ``sarlp predict`` goes it."""
    with tempfile.TemporaryDirectory() as folder:
        photographs = make_photographs(Path(folder), '500x375', args.end_to_end)
        checkpoint = Path(folder) / 'random.pth'
        classes = tuple(f'class {index}' for index in range(args.classes))
        weights = build_model(args).state_dict()
        torch.save({'state_dict': weights, 'meta': {'dataset_meta': {'classes': classes}}}, checkpoint)
        prepare = dict(precision=args.precision)
        inferencer = MultiLabelInferencer(configure(args), checkpoint, args.device, prepare=prepare)
        predictor, files = inferencer.predictor, sorted(map(str, photographs.glob('*.jpg')))
        images = [predictor.read(file) for file in files]
        options = dict(batch_size=args.batch, num_workers=args.num_workers, progress=False)

        def model_only() -> None:
            for at in range(0, len(images), args.batch):
                predictor.infer(images[at : at + args.batch])

        ways = {
            'model only': model_only,
            'end_to_end': lambda: deque(inferencer.stream(files, **options), maxlen=0),
        }
        times: dict[str, list[float]] = {way: [] for way in ways}
        cpu: dict[str, list[float]] = {way: [] for way in ways}
        for turn in range(args.repeats + 1):
            for way, go in ways.items():
                start, cpu_start = time.perf_counter(), time.process_time()
                go()  # what it gives lies in the memory of the CPU, so that the device is through
                if turn:
                    times[way].append(time.perf_counter() - start)
                    cpu[way].append(time.process_time() - cpu_start)
    return [
        {
            'variant': way,
            'images_per_s': len(files) / statistics.median(taken),
            'of_model': statistics.median(a / b for a, b in zip(times['model only'], taken, strict=True)),
            'cpu_ms': 1e3 * statistics.median(cpu[way]) / len(files),
        }
        for way, taken in times.items()
    ]


COLUMNS = {
    'variant': '{}',
    'options': '{}',
    'images_per_s': '{:.2f}',
    'step_ms': '{:.0f}',
    'of_backbone': '{:.2f}',
    'peak_mb': '{:.0f}',
    'differs': '{:.1e}',
    'of_model': '{:.2f}',
    'cpu_ms': '{:.1f}',
}


def main() -> None:
    args = parse_args()
    args.device = str(announce_device(args.device))
    init_default_scope('sarlp')
    rows = from_files(args) if args.end_to_end else measure(args)
    device = torch.cuda.get_device_name() if args.device.startswith('cuda') else args.device
    print(f'{device}, {torch.get_num_threads()} threads, torch {torch.__version__}, ResNet-{args.arch}, ', end='')
    print(f'batch {args.batch}, {args.size} px, {args.classes} classes, random weights, {args.repeats} turns\n')
    columns = {name: shape for name, shape in COLUMNS.items() if name in rows[0]}
    print('| ' + ' | '.join(columns) + ' |')
    print('|' + '---|' * len(columns))
    for row in rows:
        cells = ['' if row[name] is None else shape.format(row[name]) for name, shape in columns.items()]
        print('| ' + ' | '.join(cells) + ' |')
    if args.json:
        with open(args.json, 'w', encoding='utf-8') as file:
            json.dump(rows, file, indent=1)


if __name__ == '__main__':
    main()

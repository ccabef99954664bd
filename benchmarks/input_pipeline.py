"""How many images a second one core decodes and augments, and how many workers feed a training step.

    python benchmarks/input_pipeline.py
    python benchmarks/input_pipeline.py --parts pipeline --photos 640x480 --images-per-second 450
    python benchmarks/input_pipeline.py --parts loader --photos 640x480 --workers 1 2 4 8

The photographs are made here: smooth structure of all sizes and grain, at the bytes a pixel of VOC's, COCO's and a
phone's, 4:2:0. One thread and, but for the part loader, one process; a figure is CPU time, the median over rounds in
which the variants take turns with the same random numbers. Files lie in the page cache; a disk may be slower.

decode      the file to pixels, by OpenCV, torchvision and Pillow, in full and at the least scale that is large enough
pipeline    the data set of the config, its training and test pipeline:
            plain     the classes of mmcv and mmpretrain
            sarlp     those of the config; the same images to the bit
            min_side  LoadResizedImage(min_side=size): large JPEGs decoded at a smaller scale
            cache     LoadResizedImage(cache_dir=...), filled
operation   each step of the training pipeline and each policy by itself, when it does something
loader      the training pipeline in a DataLoader with this many workers, by the clock
"""

import argparse
import io
import json
import math
import statistics
import tempfile
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path

import cv2
import numpy as np
import torch
import torchvision
from mmengine.config import DictAction
from mmengine.registry import init_default_scope
from mmpretrain.datasets.transforms import PackInputs
from PIL import Image
from torchvision.io import ImageReadMode

from sarlp.datasets import MultiLabelDataset
from sarlp.datasets.annotation import dump_annotation
from sarlp.engine import MultiLabelRunner, load_config
from sarlp.errors import UserError
from sarlp.registry import TRANSFORMS
from sarlp.transforms import LoadImage, PackMultiLabel, RandomCutout

PARTS = ('decode', 'pipeline', 'operation', 'loader')
CLASSES = tuple(f'class {index}' for index in range(80))
GRAIN = 7  # standard deviation: with quality 92 about 4 bits a pixel, as in VOC and COCO


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--config', default='configs/sarlp/sarlp_r101_coco_p0.1.py', help='default: %(default)s')
    parser.add_argument('--parts', nargs='+', choices=PARTS, default=list(PARTS[:3]), help='default: all but loader')
    parser.add_argument(
        '--photos', nargs='+', default=['500x375', '640x480', '4000x3000'], help='widthxheight; default: %(default)s'
    )
    parser.add_argument('--images', type=int, default=24, help='of 640x480; fewer if larger; default: %(default)s')
    parser.add_argument('--rounds', type=int, default=9, help='over all images; default: %(default)s')
    parser.add_argument(
        '--images-per-second',
        type=float,
        nargs='+',
        default=[100, 300, 1000],
        metavar='RATE',
        help='of the training step; batch * 1000 / step_ms of train_step.py; default: %(default)s',
    )
    parser.add_argument('--workers', type=int, nargs='+', default=[1, 2], help='for the part loader; default: 1 2')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, default={}, metavar='KEY=VALUE')
    parser.add_argument('--json', help='write the rows to this file')
    return parser.parse_args()


def photograph(width: int, height: int, seed: int) -> np.ndarray:
    """(height, width, 3) uint8: octaves of noise, the finer the fainter, mostly without colour, and grain."""
    rng = np.random.default_rng(seed)
    image = np.full((height, width, 3), 128, np.float32)
    cells = 4
    while cells < max(width, height) / 2:
        shape = [max(2, cells * side // max(width, height)) for side in (height, width)]
        noise = 0.7 * rng.standard_normal((*shape, 1)) + 0.3 * rng.standard_normal((*shape, 3))
        image += cv2.resize(noise.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC) * 90 / cells**0.55
        cells *= 2
    image += GRAIN * rng.standard_normal((height, width, 1), np.float32)
    return image.clip(0, 255).astype(np.uint8)


def make_photographs(folder: Path, photo: str, images: int) -> Path:
    """A data set of photographs of one size, with an annotation file ``ann.json``. Returns its folder."""
    width, height = map(int, photo.split('x'))
    folder = folder / photo
    folder.mkdir()
    entries = []
    for seed in range(max(2, round(images * min(1, 640 * 480 / (width * height))))):
        content = cv2.imencode('.jpg', photograph(width, height, seed), [cv2.IMWRITE_JPEG_QUALITY, 92])[1]
        (folder / f'{seed}.jpg').write_bytes(content.tobytes())
        entries.append({'img_path': f'{seed}.jpg', 'positive': [seed % 80, (7 * seed + 1) % 80], 'negative': 'rest'})
    dump_annotation(folder / 'ann.json', CLASSES, entries)
    return folder


def race(variants: dict[str, Callable[[int], object]], images: int, rounds: int) -> dict[str, float]:
    """Median CPU milliseconds an image. A variant is called with the round and works on all images."""
    times = {name: [] for name in variants}
    for turn in range(rounds + 1):
        for name, work in variants.items():
            start = time.process_time()
            work(turn)
            if turn > 0:  # the first round warms up and fills caches
                times[name].append(1e3 * (time.process_time() - start) / images)
    return {name: statistics.median(taken) for name, taken in times.items()}


def each(function: Callable, items: Iterable) -> Callable[[int], None]:
    """Work for :func:`race`; no result is kept, so that the memory of one serves the next."""
    return lambda _: deque(map(function, items), maxlen=0)


def pillow(content: bytes, size: int | None = None) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as image:
        if size is not None:
            image.draft('RGB', (size, size))
        return np.asarray(image.convert('RGB'))


def decode(folder: Path, args: argparse.Namespace, size: int) -> dict[str, float]:
    contents = [path.read_bytes() for path in sorted(folder.glob('*.jpg'))]
    arrays = [np.frombuffer(content, np.uint8) for content in contents]
    tensors = [torch.frombuffer(bytearray(content), dtype=torch.uint8) for content in contents]
    paths = [str(path) for path in sorted(folder.glob('*.jpg'))]
    load, load_scaled = LoadImage(), LoadImage(min_side=size)
    variants = {'OpenCV': each(lambda array: cv2.imdecode(array, cv2.IMREAD_COLOR), arrays)}
    for scale in (2, 4, 8):
        flag = getattr(cv2, f'IMREAD_REDUCED_COLOR_{scale}')
        variants[f'OpenCV 1/{scale}'] = each(lambda array, flag=flag: cv2.imdecode(array, flag), arrays)
    variants |= {
        'torchvision': each(lambda tensor: torchvision.io.decode_jpeg(tensor, ImageReadMode.RGB), tensors),
        'Pillow': each(pillow, contents),
        f'Pillow draft {size}': each(lambda content: pillow(content, size), contents),
        'LoadImage': each(lambda path: load({'img_path': path}), paths),
        f'LoadImage min_side={size}': each(lambda path: load_scaled({'img_path': path}), paths),
    }
    return race(variants, len(contents), args.rounds)


@TRANSFORMS.register_module()
class PlainCutout(RandomCutout):
    """Fills a slice."""

    def transform(self, results: dict) -> dict:
        if self.random_disable():
            return results
        image = results['img'].copy()
        height, width = image.shape[:2]
        side = round(min(height, width) * (self.random_magnitude() if self.ratio is None else self.ratio))
        y, x, colour = self._place(height, width)
        top, left = y - side // 2, x - side // 2
        image[max(top, 0) : max(top + side, 0), max(left, 0) : max(left + side, 0)] = colour
        return {**results, 'img': image}


@TRANSFORMS.register_module()
class PlainPack(PackMultiLabel):
    """Packs as mmpretrain does."""

    format_input = staticmethod(PackInputs.format_input)


def plain(step: dict) -> dict:
    """The step by the class of mmcv or mmpretrain, or by numpy as one would write it."""
    own = {'RandomFlip': 'mmengine.RandomFlip', 'PackMultiLabel': 'sarlp.PlainPack'}
    name = step['type'].removeprefix('sarlp.')
    if name == 'RandomCutout':
        name = 'sarlp.PlainCutout'
    elif name == 'Resize' and step.get('interpolation') == 'antialias':
        name = 'sarlp.Resize'  # mmcv has no such law
    elif step['type'].startswith('sarlp.'):
        name = f'mmpretrain.{name}'
    step = {**step, 'type': own.get(name, name)}
    if 'policies' in step:
        step['policies'] = [plain(policy) for policy in step['policies']]
    return step


def pipelines(pipeline: list[dict], size: int, cache: str) -> dict[str, list[dict]]:
    load, resize, *rest = pipeline
    if (load['type'], resize['type']) != ('LoadImage', 'Resize'):
        raise UserError(f'the pipeline of the config must begin by LoadImage, Resize; it begins by {load}, {resize}')
    resized = {**resize, 'type': 'LoadResizedImage', 'scale': (size, size)}
    return {
        'plain': [plain(step) for step in pipeline],
        'sarlp': pipeline,
        'min_side': [{**resized, 'min_side': size}, *rest],
        'cache': [{**resized, 'cache_dir': cache}, *rest],
    }


def data_set(folder: Path, pipeline: list[dict], **options) -> MultiLabelDataset:
    return MultiLabelDataset(ann_file='ann.json', data_root=str(folder), pipeline=pipeline, **options)


def throughput(folder: Path, args: argparse.Namespace, pipeline: list[dict], size: int) -> dict[str, float]:
    mask = {'type': 'RandomKnownLabels', 'known_ratio': 0.1}

    def work(dataset):
        def run(turn):
            dataset.set_epoch(turn)
            for index in range(len(dataset)):
                dataset[index]

        return run

    variants = pipelines(pipeline, size, str(folder / 'cache'))
    sets = {name: data_set(folder, steps, label_mask=mask) for name, steps in variants.items()}
    return race({name: work(dataset) for name, dataset in sets.items()}, len(sets['plain']), args.rounds)


def operations(args: argparse.Namespace, pipeline: list[dict], size: int) -> dict[str, dict[str, float]]:
    """Milliseconds of each operation, plain and ours."""
    images = [cv2.resize(photograph(640, 480, seed), (size, size)) for seed in range(8)]
    steps = {}
    for step in pipeline[2:]:
        for policy in step.get('policies', [{**step, **({'prob': 1.0} if 'prob' in step else {})}]):
            name = policy['type'].rpartition('.')[2] + (' of RandAugment' if policy['type'].endswith('Cutout') else '')
            if 'policies' in step:
                policy = {**step, 'num_policies': 1, 'policies': [{**policy, 'prob': 1.0}]}
            elif name.startswith('RandomCutout'):
                name = 'RandomCutout'
            direction = policy.get('policies', [{}])[0].get('direction')
            steps[name if direction is None else f'{name} {direction}'] = policy

    def work(transform):
        def run(turn):
            np.random.seed(turn)
            for image in images:
                results = transform({'img': image})
                if 'img' in results:
                    np.ascontiguousarray(results['img'])  # the next step would have to: a flip may be a view

        return run

    found = {}
    for name, step in steps.items():
        variants = {'plain': TRANSFORMS.build(plain(step)), 'sarlp': TRANSFORMS.build(step)}
        found[name] = race({key: work(value) for key, value in variants.items()}, len(images), args.rounds)
    return found


def loader_rate(folder: Path, cfg, workers: int) -> float:
    """Images a second by the clock, the first batches not counted."""
    loader = cfg.train_dataloader.to_dict()
    pipeline = loader['dataset']['pipeline']
    dataset = data_set(folder, pipeline)
    batches = max(4, 2 * workers)
    indices = [index % len(dataset) for index in range((3 * batches) * 16)]
    loader.update(dataset=dataset, sampler=indices, num_workers=workers, batch_size=16, persistent_workers=False)
    taken = iter(MultiLabelRunner.build_dataloader(loader, seed=0))
    for _ in range(batches):
        next(taken)
    start = time.perf_counter()
    rest = sum(len(batch['inputs']) for batch in taken)
    return rest / (time.perf_counter() - start)


def table(title: str, rows: list[dict], columns: list[str]) -> None:
    print(f'\n{title}\n')
    print('| ' + ' | '.join(columns) + ' |')
    print('|' + '---|' * len(columns))
    for row in rows:
        cells = (f'{value:.3g}' if isinstance(value := row[name], float) and value < 100 else value for name in columns)
        print('| ' + ' | '.join(f'{cell:.0f}' if isinstance(cell, float) else str(cell) for cell in cells) + ' |')


def main() -> None:
    args = parse_args()
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    warnings.filterwarnings('ignore', message='The image decoding and encoding')  # torchvision is giving it up
    init_default_scope('sarlp')
    cfg = load_config(args.config, args.cfg_options)
    pipeline = cfg.train_dataloader.dataset.pipeline
    size = max(next(step.scale for step in pipeline if step.type == 'Resize'))
    feeding = {f'workers_{rate:g}': rate for rate in args.images_per_second}
    print(f'to {size} px; OpenCV {cv2.__version__}, Pillow {Image.__version__}, torchvision {torchvision.__version__}')
    rows = []

    def report(part: str, photo: str, kind: str, times: dict[str, float], **also) -> None:
        reference = next(iter(times.values()))
        for name, milliseconds in times.items():
            row = {'part': part, 'variant': name, 'device': 'cpu', 'photo': photo, 'size': size, 'kind': kind, **also}
            row.update(ms=milliseconds, images_per_second=1e3 / milliseconds, ratio=reference / milliseconds)
            row.update({key: math.ceil(rate * milliseconds / 1e3) for key, rate in feeding.items()})
            rows.append(row)

    with tempfile.TemporaryDirectory() as temporary:
        for photo in args.photos if set(args.parts) - {'operation'} else ():
            folder = make_photographs(Path(temporary), photo, args.images)
            bytes_each = statistics.mean(path.stat().st_size for path in folder.glob('*.jpg'))
            title = f'{photo}, {bytes_each / 1e3:.0f} kB'
            first = len(rows)
            if 'decode' in args.parts:
                report('decode', photo, 'decode', decode(folder, args, size), photo_bytes=bytes_each)
            if 'pipeline' in args.parts:
                for kind in ('train', 'test'):
                    steps = cfg[f'{kind}_dataloader'].dataset.pipeline
                    report('pipeline', photo, kind, throughput(folder, args, steps, size), photo_bytes=bytes_each)
            if len(rows) > first:
                table(title, rows[first:], ['kind', 'variant', 'images_per_second', 'ratio', *feeding])
            if 'loader' in args.parts:
                for workers in args.workers:
                    rate = loader_rate(folder, cfg, workers)
                    row = {'part': 'loader', 'variant': 'sarlp', 'device': 'cpu', 'photo': photo, 'size': size}
                    rows.append({**row, 'workers': workers, 'images_per_second': rate, 'each': rate / workers})
                loaders = [row for row in rows if row['part'] == 'loader' and row['photo'] == photo]
                table(f'{title}, DataLoader', loaders, ['workers', 'images_per_second', 'each'])
    if 'operation' in args.parts:
        first = len(rows)
        for name, times in operations(args, pipeline, size).items():
            report('operation', f'{size}x{size}', name, times)
        table('operations', rows[first:], ['kind', 'variant', 'ms', 'ratio'])
    if args.json:
        Path(args.json).write_text(json.dumps(rows, indent=1))


if __name__ == '__main__':
    main()

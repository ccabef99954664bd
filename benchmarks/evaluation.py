"""Seconds and peak memory of mAP (both definitions) and of the F1 family at many images and classes.

    python benchmarks/evaluation.py --on-disk --json rows.json
    python benchmarks/evaluation.py --images 5000 --classes 80

Scores are random float32, higher for positives; labels are int8, some positive, some unknown; a seed makes them the
same each time. Both lie in memory, or in .npy files that are mapped, one folder below --folder, deleted at the end.
The comparison is scikit-learn's average_precision_score in a loop over some classes, read column by column from the
same arrays, its time multiplied up to all of them; it measures the plain definition alone. A ratio is the time of both
definitions here over that of the loop.

Peak memory is the resident set while a row was measured, sampled every 10 ms: it includes arrays in memory and the
pages of mapped files, and the libraries. Where the kernel does not say, it is the peak of the process so far.
"""

import argparse
import contextlib
import json
import os
import resource
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score

from sarlp.commands.friendly import friendly_errors
from sarlp.errors import UserError
from sarlp.evaluation import average_precision_of_kinds, f1_family, mean_average_precision

_STATUS = Path('/proc/self/status')
_BLOCK = 512  # images that are drawn at a time


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--images', type=int, default=125_436, help='default: %(default)s')
    parser.add_argument('--classes', type=int, default=9_605, help='default: %(default)s')
    parser.add_argument('--positive', type=float, default=0.005, help='share of the labels; default: %(default)s')
    parser.add_argument('--unknown', type=float, default=0.05, help='share of the labels; default: %(default)s')
    parser.add_argument('--seed', type=int, default=0, help='default: %(default)s')
    parser.add_argument('--on-disk', action='store_true', help='scores and labels in mapped files, not in memory')
    parser.add_argument('--folder', help='for the files; default: the folder of temporary files of the system')
    parser.add_argument('--cold', action='store_true', help='drop the files from the page cache before each row')
    parser.add_argument('--threads', type=int, help='default: one a core')
    parser.add_argument(
        '--loop-classes', type=int, default=20, help="classes of scikit-learn's loop, 0 for none; default: %(default)s"
    )
    parser.add_argument('--json', metavar='FILE', help='also write the rows to this file')
    return parser.parse_args()


def fill(scores: np.ndarray, labels: np.ndarray, args: argparse.Namespace) -> None:
    """Draw scores (N, C) float32 and labels (N, C) int8, some images at a time."""
    for start in range(0, args.images, _BLOCK):
        rng = np.random.default_rng([args.seed, start])
        rows = slice(start, start + _BLOCK)
        shape = scores[rows].shape
        drawn = rng.random(shape, np.float32)
        labels[rows] = np.where(drawn > 1 - args.unknown, -1, drawn < args.positive)
        scores[rows] = rng.random(shape, np.float32)
        scores[rows] = np.where(labels[rows] == 1, np.sqrt(scores[rows]), scores[rows])


@contextlib.contextmanager
def arrays(args: argparse.Namespace) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Scores and labels, in memory or mapped for reading."""
    shape, need = (args.images, args.classes), 5 * args.images * args.classes
    if not args.on_disk:
        _check_room(need, _available_memory(), 'memory', 'try --on-disk, or fewer --images')
        scores, labels = np.empty(shape, np.float32), np.empty(shape, np.int8)
        fill(scores, labels, args)
        yield scores, labels
        return
    root = args.folder or tempfile.gettempdir()
    _check_room(need, shutil.disk_usage(root).free, f'room in {root}', 'name another folder with --folder')
    with tempfile.TemporaryDirectory(dir=root) as folder:
        paths = [Path(folder) / f'{name}.npy' for name in ('scores', 'labels')]
        written = [
            np.lib.format.open_memmap(path, 'w+', dtype, shape)
            for path, dtype in zip(paths, (np.float32, np.int8), strict=True)
        ]
        fill(*written, args)
        for array in written:
            array.flush()
        del written, array  # their pages would count as memory of what is measured
        yield tuple(np.load(path, mmap_mode='r') for path in paths)


def _available_memory() -> int | None:
    with contextlib.suppress(OSError, StopIteration):
        lines = Path('/proc/meminfo').read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith('MemAvailable:')).split()[1])
    return None


def _check_room(need: int, free: int | None, what: str, advice: str) -> None:
    if free is not None and 1.2 * need > free:
        raise UserError(f'scores and labels need {need / 1e9:.1f} GB, but {what} is {free / 1e9:.1f} GB; {advice}')


def drop_from_cache(*mapped: np.ndarray) -> None:
    for array in mapped:
        descriptor = os.open(array.filename, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


class Watch:
    """Context that takes the time and the peak of the resident set."""

    def __enter__(self) -> 'Watch':
        self.peak, self._done = 0, threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()
        self._start, self._cpu = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds, self.cpu_seconds = time.perf_counter() - self._start, time.process_time() - self._cpu
        self._done.set()
        self._thread.join()
        self.peak = self.peak or process_peak()

    def _sample(self) -> None:
        while _STATUS.exists():
            resident = next(line for line in _STATUS.read_text().splitlines() if line.startswith('VmRSS:'))
            self.peak = max(self.peak, int(resident.split()[1]) / 1024)
            if self._done.wait(0.01):
                break


def process_peak() -> float:
    """The largest resident set of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == 'linux' else 2**20)


def measure(scores: np.ndarray, labels: np.ndarray, args: argparse.Namespace) -> list[dict[str, Any]]:
    """One row a measure, and the largest difference to scikit-learn on standard output."""
    common = dict(
        device='cpu',
        images=args.images,
        classes=args.classes,
        storage='disk' if args.on_disk else 'memory',
        threads=args.threads or len(os.sched_getaffinity(0)),
    )
    rows = []

    def row(variant: str, name: str, function: Callable[[], Any]) -> Any:
        if args.on_disk and args.cold:
            drop_from_cache(scores, labels)
        with Watch() as watch:
            result = function()
        rows.append(
            dict(
                variant=variant,
                measure=name,
                **common,
                seconds=watch.seconds,
                cpu_seconds=watch.cpu_seconds,
                peak_mb=watch.peak,
                ratio=None,
            )
        )
        return result

    options = dict(threads=args.threads)
    ap = row('sarlp', 'mAP, both definitions', lambda: average_precision_of_kinds(scores, labels, **options))
    family = row('sarlp', 'F1 family', lambda: f1_family(scores, labels, **options))
    top = row('sarlp', 'F1 family, top 3', lambda: f1_family(scores, labels, top_k=3, **options))
    rows.append(
        rows[0]
        | {'measure': 'all of these'}
        | {key: sum(entry[key] for entry in rows) for key in ('seconds', 'cpu_seconds')}
        | {'peak_mb': max(entry['peak_mb'] for entry in rows)}
    )
    values = {f'mAP {kind}': mean_average_precision(value)[0] for kind, value in ap.items()}
    values |= {'CF1': family['CF1'], 'OF1': family['OF1'], 'OF1, top 3': top['OF1']}
    print(', '.join(f'{name} {value:.6f}' for name, value in values.items()))
    if args.loop_classes:
        columns = np.linspace(0, args.classes - 1, min(args.loop_classes, args.classes)).astype(int)
        name = f'plain mAP, {len(columns)} classes x {args.classes / len(columns):g}'
        expected = row('scikit-learn', name, lambda: [naive(scores[:, c], labels[:, c]) for c in columns])
        print(f'largest difference to scikit-learn: {np.nanmax(np.abs(ap["plain"][columns] - expected)):.1e}')
        rows[-1]['threads'] = 1
        for key in ('seconds', 'cpu_seconds'):
            rows[-1][key] *= args.classes / len(columns)
        rows[0]['ratio'], rows[-1]['ratio'] = rows[0]['seconds'] / rows[-1]['seconds'], 1.0
    return rows


def naive(scores: np.ndarray, labels: np.ndarray) -> float:
    scores, labels = scores.copy(), labels.copy()  # a column: one entry a row
    known = labels != -1
    positive = labels[known] == 1
    return average_precision_score(positive, scores[known]) if positive.any() else float('nan')


def table(rows: list[dict[str, Any]]) -> str:
    lines = [['variant', 'measure', 'threads', 'seconds', 'CPU seconds', 'peak MB', 'ratio']]
    for row in rows:
        numbers = [f'{row[key]:,.1f}' for key in ('seconds', 'cpu_seconds')] + [f'{row["peak_mb"]:,.0f}']
        ratio = '' if row['ratio'] is None else f'{row["ratio"]:.3f}'
        lines.append([row['variant'], row['measure'], str(row['threads']), *numbers, ratio])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return '\n'.join(
        '  '.join(
            cell.ljust(width) if index < 2 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )


def main() -> None:
    args = parse_args()
    with friendly_errors():
        for name in ('images', 'classes'):
            if getattr(args, name) < 1:
                raise UserError(f'--{name} must be at least 1, got {getattr(args, name)}')
        libraries = process_peak()
        with arrays(args) as (scores, labels):
            where = 'on disk' + (', not in the page cache' if args.cold else '') if args.on_disk else 'in memory'
            size = (scores.nbytes + labels.nbytes) / 1e9
            shape = f'{args.images:,} images x {args.classes:,} classes'
            print(f'{shape}, {size:.2f} GB {where}; libraries {libraries:,.0f} MB')
            rows = measure(scores, labels, args)
        print(table(rows))
        print(f'peak of the process, making the arrays included (getrusage): {process_peak():,.0f} MB')
        if args.json:
            Path(args.json).write_text(json.dumps(rows, indent=2) + '\n')


if __name__ == '__main__':
    main()

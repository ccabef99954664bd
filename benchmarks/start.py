"""Seconds from typing a command to its first line and to its end, on the built-in digits, beside ``import torch``.

    python benchmarks/start.py --json rows.json
    python benchmarks/start.py --commands predict --repeats 7

Every command is a process of its own, on files that the page cache has; the rows are run in turn, and each number is
the median over the turns. Scenes of digits, 64 and 12, are made for it and a model with random
weights; ``train`` is one epoch with a
validation, ``test`` a pass over the test images.

- ``first``: until the first line on the terminal;
- ``end``: until the process has ended;
- ``cpu``: seconds of the processor in it, which another load of the machine changes less;
- ``over_torch``: ``end`` less that of ``python -c 'import torch'`` in the same turn.

The second table has the phases of a prediction in one process: the imports in the order in which they are needed, each
without what an earlier one brought; the config; the model with its weights, ready to predict; the first image.
"""

import argparse
import contextlib
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

CONFIG = 'sarlp_r18_digits_p0.1'
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
TORCH = "python -c 'import torch'"
_PHASES = '--phases'


def commands(root: Path, turn: int) -> dict[str, list[str]]:
    """Arguments of the interpreter by name; what is written goes to another place each turn."""
    work, image = root / f'work{turn}', next((root / 'digits' / 'JPEGImages').iterdir())
    options = [f'data_root={root / "digits"}', 'train_cfg.max_epochs=1']
    for loader in LOADERS:
        options += [f'{loader}.num_workers=0', f'{loader}.persistent_workers=False']
    sarlp = ['-m', 'sarlp']
    run = [CONFIG, str(root / 'model.pth')]
    return {
        TORCH: ['-c', 'import torch'],
        "python -c 'import sarlp'": ['-c', 'import sarlp'],
        'sarlp --help': [*sarlp, '--help'],
        'sarlp list': [*sarlp, 'list'],
        'sarlp predict': [*sarlp, 'predict', *run, str(image), '--out', str(work) + '.csv'],
        'sarlp test': [*sarlp, 'test', *run, '--work-dir', f'{work}_test', '--cfg-options', *options],
        'sarlp train': [*sarlp, 'train', CONFIG, '--work-dir', str(work), '--cfg-options', *options],
    }


def make_place(root: Path) -> None:
    """The scenes, and a checkpoint of the model as it is built."""
    import torch
    from mmengine.registry import init_default_scope

    from sarlp.datasets.annotation import load_annotation
    from sarlp.datasets.converters.voc2007 import convert_voc2007
    from sarlp.datasets.digits import make_digits
    from sarlp.engine import load_config
    from sarlp.engine.build import set_num_classes
    from sarlp.registry import MODELS

    files = convert_voc2007(make_digits(root / 'digits', num_train=64, num_test=12))
    classes = load_annotation(files['test'])[0]['classes']
    cfg = load_config(CONFIG)
    init_default_scope('sarlp')
    set_num_classes(cfg, len(classes), 'the digits')
    content = {'state_dict': MODELS.build(cfg.model).state_dict(), 'meta': {'dataset_meta': {'classes': classes}}}
    torch.save(content, root / 'model.pth')


def run(arguments: list[str]) -> dict[str, float]:
    """One process."""
    began = time.perf_counter()
    environment = {**os.environ, 'PYTHONUNBUFFERED': '1'}  # as on a terminal
    with subprocess.Popen(
        [sys.executable, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment
    ) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline()]
        first = time.perf_counter() - began
        lines += process.stdout.readlines()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    end = time.perf_counter() - began
    if process.returncode:
        sys.exit(b''.join(lines).decode(errors='replace'))
    return {**({'first': first} if lines[0] else {}), 'end': end, 'cpu': used.ru_utime + used.ru_stime}


def phases(root: Path) -> dict[str, float]:
    """Of this process, which has imported nothing yet."""
    seconds: dict[str, float] = {}
    before = time.perf_counter()

    def end(phase: str) -> None:
        nonlocal before
        now = time.perf_counter()
        seconds[phase], before = now - before, now

    gc.disable()  # as sarlp.commands does
    import torch  # noqa: F401

    end('torch')
    import sarlp  # noqa: F401  guards what is imported next

    end('guards')
    import mmengine.runner  # noqa: F401

    end('mmengine')
    import mmpretrain.datasets
    import mmpretrain.models  # noqa: F401

    end('mmpretrain')
    from sarlp.engine import load_config
    from sarlp.inference.inferencer import MultiLabelInferencer

    end('sarlp')
    gc.freeze()
    gc.enable()
    cfg = load_config(CONFIG)
    end('config')
    inferencer = MultiLabelInferencer(cfg, root / 'model.pth')
    end('weights')
    inferencer([next((root / 'digits' / 'JPEGImages').iterdir())], progress=False)
    end('first image')
    return seconds


def median(rows: list[dict[str, float]]) -> dict[str, float]:
    return {key: round(statistics.median(row[key] for row in rows), 2) for key in rows[0]}


def table(rows: list[dict[str, Any]]) -> str:
    names = [*max(rows, key=len)]
    lines = [names, *([str(row.get(name, '')) for name in names] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return '\n'.join('  '.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        '--commands', nargs='+', metavar='NAME', help='words of which one is in the command; default: all'
    )
    parser.add_argument('--repeats', type=int, default=5, help='turns; default: %(default)s')
    parser.add_argument('--json', metavar='FILE', help='also write the rows to this file')
    parser.add_argument(_PHASES, metavar='DIR', help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.phases is not None:
        print(json.dumps(phases(Path(args.phases))))
        return
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        with contextlib.redirect_stdout(None):
            make_place(root)
        found: dict[str, list[dict[str, float]]] = {}
        parts = []
        for turn in range(args.repeats):
            for name, arguments in commands(root, turn).items():
                if name == TORCH or args.commands is None or any(word in name for word in args.commands):
                    row = run(arguments)
                    found.setdefault(name, []).append(row)
                    row['over_torch'] = row['end'] - found[TORCH][-1]['end']
            done = subprocess.run(
                [sys.executable, __file__, _PHASES, folder], check=True, capture_output=True, text=True
            )
            parts.append(json.loads(done.stdout.splitlines()[-1]))
    rows = [{'command': name, **median(turns)} for name, turns in found.items()]
    shares = [{'phase': name, 'seconds': seconds} for name, seconds in median(parts).items()]
    print(table(rows), table(shares), sep='\n\n')
    if args.json:
        Path(args.json).write_text(json.dumps({'commands': rows, 'phases': shares}, indent=2) + '\n')


if __name__ == '__main__':
    main()

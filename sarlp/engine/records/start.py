"""How a training begins in its work directory: at the beginning, or from a checkpoint; never beside another run."""

import contextlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.dist import broadcast_object_list, is_main_process

from sarlp.engine.records.checkpoint_file import is_whole
from sarlp.engine.records.run_record import RESUMABLE, checkpoints_in, read_record
from sarlp.engine.records.survey import newest_checkpoint
from sarlp.errors import UserError, shorten
from sarlp.io.files import only_process

AUTO = 'auto'


@dataclass(frozen=True)
class Start:
    """What was asked for.

    Attributes:
        resume: go on from a checkpoint, if there is one.
        file: that checkpoint; None for the newest of the work directory.
        weights: file of weights that a run begins with, if it does not resume; or None.
        fresh: move what an earlier run left in the work directory into a folder of its own.
        folder: where the checkpoints are to be written.
    """

    resume: bool
    file: Path | None
    weights: str | None
    fresh: bool
    folder: Path


def read_start(cfg: Mapping) -> Start:
    """Read from a config how its training begins.

    Args:
        cfg: ``work_dir``; ``resume``, of which ``'auto'`` is the newest checkpoint of the work directory, and True
            ``load_from``, or without that the newest; ``load_from``; ``fresh``.

    Raises:
        UserError: the work directory holds checkpoints of another run, which this one would mix with.
    """
    work_dir, resume, weights = Path(cfg['work_dir']), cfg.get('resume', False), cfg.get('load_from')
    named = Path(weights) if resume and resume != AUTO and weights is not None else None
    hook = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    out_dir = hook.get('out_dir')
    folder = work_dir if out_dir is None else Path(out_dir) / work_dir.resolve().name  # as CheckpointHook makes it
    start = Start(bool(resume), named, weights if named is None else None, bool(cfg.get('fresh')), folder)
    if start.file is not None and not start.file.is_file():
        raise UserError(f'{start.file}: no such checkpoint')
    if not start.fresh and not _goes_on(work_dir, start):
        found = checkpoints_in(work_dir, folder)
        if found:
            raise UserError(_refusal(work_dir, start, [path.name for path in found]))
    return start


def _goes_on(work_dir: Path, start: Start) -> bool:
    """Whether the run of the work directory is the one that goes on."""
    if not start.resume:
        return False
    if start.file is None:
        record = read_record(work_dir)
        if record is not None and record.files():
            return any((record.place(work_dir) / saved.file).is_file() for saved in record.resumable)
        return any(RESUMABLE.fullmatch(path.name) for path in work_dir.glob('*.pth'))
    if not is_in_place(work_dir, start.file) or not is_whole(start.file):
        return False
    newest = newest_checkpoint(work_dir, lambda message: None)
    return newest is not None and newest.resolve() == start.file.resolve()


def alone_in(work_dir: str | Path) -> contextlib.AbstractContextManager[None]:
    """Within the block no other process trains in a work directory. Raises: UserError, one does."""
    of_torchrun = (
        '. torchrun started this process: if the other one too, give --launcher pytorch, by which they train together'
        if 'TORCHELASTIC_RUN_ID' in os.environ
        else ''
    )
    return only_process(
        Path(work_dir) / '.training',
        f'{work_dir}: another process trains here now, and the checkpoints of two would mix. Wait for it, or choose '
        f'another --work-dir{of_torchrun}',
    )


def by_main_process(look: Callable[[], Any]) -> Any:
    """What the main process finds, on every rank; what it refuses ends all of them, which would wait for it."""
    outcome: list[Any] = [None]
    if is_main_process():
        try:
            outcome = [look()]
        except (UserError, OSError) as error:
            outcome = [error]
    broadcast_object_list(outcome)
    if isinstance(outcome[0], UserError | OSError):
        raise outcome[0]
    return outcome[0]


def is_in_place(work_dir: str | Path, file: Path) -> bool:
    """Whether a file lies where the checkpoints of a work directory do."""
    record = read_record(work_dir)
    place = Path(work_dir) if record is None else record.place(work_dir)
    return file.parent.resolve() == place.resolve()


def _refusal(work_dir: Path, start: Start, names: list[str]) -> str:
    if start.file is None:
        what = 'this run is to start at its beginning'
        ways = [
            '--resume            go on from the newest of them',
            '--work-dir DIR      start in another folder',
            '--fresh             start here; they are moved into a folder of their own, nothing is deleted',
        ]
    else:
        what = f'this run is to go on from {start.file}, which is not the newest of them'
        ways = [
            '--resume            (alone) go on from the newest of them',
            '--work-dir DIR      go on in another folder',
            f'--resume {start.file} --fresh',
            '                    go on here; they are moved into a folder of their own, nothing is deleted',
        ]
    lines = [f'{work_dir}: holds checkpoints ({shorten(names)}), and {what}. Choose:', *(f'  {way}' for way in ways)]
    return '\n'.join([*lines, 'In Python: cfg.resume = True, cfg.work_dir = DIR, cfg.fresh = True'])

"""Checkpoints to go on from: when they are written, which are kept, which of them is whole."""

import os
import re
import signal
import threading
import zipfile
from pathlib import Path

import torch
from mmengine.dist import all_reduce, get_comm_device, get_world_size, is_main_process
from mmengine.hooks import CheckpointHook

from sarlp.errors import UserError
from sarlp.files import atomic_write
from sarlp.registry import HOOKS

_RESUMABLE = re.compile(r'(epoch|iter)_(\d+)\.pth')


def is_whole(path: Path) -> bool:
    """Whether a file is what ``torch.save`` wrote, to the last byte; by the checksums that are in it."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError, ValueError):
        return False


def newest_checkpoint(work_dir: str | Path, epoch_length: int, warn) -> Path | None:
    """The checkpoint of the latest iteration that is whole.

    Args:
        work_dir: holds ``epoch_*.pth`` and ``iter_*.pth``.
        epoch_length: iterations of an epoch, by which the two are put in order.
        warn: called with a message about every damaged file that is passed over.

    Returns:
        None if there is none at all.

    Raises:
        UserError: there are some, and all are damaged.
    """
    found = {}
    for path in Path(work_dir).glob('*.pth'):
        name = _RESUMABLE.fullmatch(path.name)
        if name:
            found[path] = int(name[2]) * (epoch_length if name[1] == 'epoch' else 1)
    for path in sorted(found, key=found.get, reverse=True):
        if is_whole(path):
            return path
        warn(f'{path}: is damaged (its checksums do not fit its content); the checkpoint before it is tried')
    if found:
        raise UserError(
            f'{work_dir}: all of its {len(found)} checkpoints are damaged; start again without --resume, or give a '
            'whole one with --cfg-options load_from=FILE'
        )
    return None


@HOOKS.register_module()
class ResumableCheckpointHook(CheckpointHook):
    """MMEngine's checkpoints, of which at every moment one is whole, and SIGTERM.

    - Nothing is deleted before what takes its place is on the disk; MMEngine deletes first.
    - With ``iter_interval`` the run is also saved within an epoch, as ``iter_N.pth``.
    - SIGTERM, by which schedulers announce that they will kill, saves after the present iteration and exits with
      status 143. During an evaluation it exits at once: the epoch was saved before.

    Args:
        iter_interval: save every that many iterations too; None for at the ends of epochs only.
        **kwargs: of :class:`mmengine.hooks.CheckpointHook`; ``max_keep_ckpts`` counts checkpoints of both kinds.
    """

    def __init__(self, iter_interval: int | None = None, **kwargs):
        super().__init__(**kwargs)
        self.iter_interval = iter_interval
        self._terminated = False
        self._previous_handler = None

    def before_train(self, runner) -> None:
        super().before_train(runner)
        self.last_ckpt = runner.message_hub.runtime_info.get('last_ckpt')
        self._kept = list(runner.message_hub.runtime_info.get('resumable', []))
        if is_main_process():
            for remains in Path(self.out_dir).glob('.*.pth.tmp'):  # of a process killed while writing
                remains.unlink()
        if threading.current_thread() is threading.main_thread():  # no other may
            self._previous_handler = signal.signal(signal.SIGTERM, self._on_sigterm)

    def after_train(self, runner) -> None:
        super().after_train(runner)
        self._stop_listening()

    def _on_sigterm(self, *_) -> None:
        if self._terminated:  # the second time somebody is in earnest
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)
        self._terminated = True

    def _stop_listening(self) -> None:
        if self._previous_handler is not None:
            signal.signal(signal.SIGTERM, self._previous_handler)
            self._previous_handler = None

    def _told_to_stop(self) -> bool:
        """Whether any rank was."""
        if get_world_size() == 1:
            return self._terminated
        flag = torch.tensor(float(self._terminated), device=get_comm_device())
        all_reduce(flag)
        return flag.item() > 0

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        stop = self._told_to_stop()
        if self.end_of_epoch(runner.train_dataloader, batch_idx):
            self._terminated |= stop  # the epoch's own checkpoint comes first
            return
        due = self.iter_interval is not None and self.every_n_train_iters(runner, self.iter_interval)
        if stop or due:
            self._save(runner, f'iter_{runner.iter + 1}.pth', dict(epoch=runner.epoch, iter=runner.iter + 1))
        if stop:
            self._exit(runner)

    def after_train_epoch(self, runner) -> None:
        super().after_train_epoch(runner)
        if self._told_to_stop():
            self._exit(runner)

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if self._told_to_stop():
            self._exit(runner)

    def _exit(self, runner) -> None:
        self._stop_listening()
        runner.logger.warning(f'SIGTERM: stopped; {self.last_ckpt} is saved, go on from it with --resume')
        raise SystemExit(128 + signal.SIGTERM)

    def _save_checkpoint_with_step(self, runner, step: int, meta: dict) -> None:
        self._save(runner, self.filename_tmpl.format(step), meta)

    def _save(self, runner, name: str, meta: dict) -> None:
        """Write a checkpoint, then point to it, then delete those that are too many."""
        if name in self._kept:
            self._kept.remove(name)
        self._kept.append(name)
        self.last_ckpt = os.path.join(self.out_dir, name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        runner.message_hub.update_info('resumable', list(self._kept))
        runner.save_checkpoint(self.out_dir, name, save_optimizer=True, save_param_scheduler=True, meta=meta)
        keep = self.max_keep_ckpts if self.max_keep_ckpts > 0 else len(self._kept)
        outdated, self._kept = self._kept[:-keep], self._kept[-keep:]
        if is_main_process():
            with atomic_write(os.path.join(runner.work_dir, 'last_checkpoint')) as file:
                file.write(self.last_ckpt)
            for name in outdated:
                Path(self.out_dir, name).unlink(missing_ok=True)

    def _save_best_checkpoint(self, runner, metrics: dict) -> None:
        (indicator,) = self.key_indicators
        self.best_ckpt_path = None  # so that MMEngine does not delete it beforehand
        super()._save_best_checkpoint(runner, metrics)
        self.best_ckpt_path = runner.message_hub.runtime_info.get('best_ckpt')
        if is_main_process() and self.best_ckpt_path is not None:
            for other in Path(self.out_dir).glob(f'best_{indicator}_*.pth'):
                if other.name != os.path.basename(self.best_ckpt_path):
                    other.unlink()

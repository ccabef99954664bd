"""Checkpoints to go on from: when they are written, which are kept, which is the best of a metric."""

import math
import os
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_reduce, get_comm_device, get_world_size, is_main_process, master_only
from mmengine.hooks import CheckpointHook

from sarlp.engine.records.run_record import RunRecord, Saved, new_run, read_record
from sarlp.engine.terminal import is_brief, note
from sarlp.errors import UserError, UserValueError, shorten
from sarlp.io.files import atomic_write
from sarlp.registry import HOOKS

_AT_ONCE = 1  # second, within which SIGTERM comes from one: timeout, SLURM and who passes it on send it twice


@HOOKS.register_module()
class ResumableCheckpointHook(CheckpointHook):
    """MMEngine's checkpoints, of which at every moment one is whole, and SIGTERM.

    - Which are of this run, from which it can go on and which is the best is on record in the work directory
      (:mod:`sarlp.engine.records.run_record`). Only what is on record is ever deleted, and not before what takes its
      place is on the disk; MMEngine deletes first.
    - With ``iter_interval`` the run is also saved within an epoch, as ``iter_N.pth``.
    - SIGTERM, by which schedulers announce that they will kill, saves after the present iteration and exits with
      status 143. During an evaluation it exits at once: the epoch was saved before.

    Args:
        iter_interval: save every that many iterations too; None for at the ends of epochs only.
        **kwargs: of :class:`mmengine.hooks.CheckpointHook`; ``max_keep_ckpts`` counts checkpoints of both kinds. Of
            several metrics in ``save_best`` the first is the one whose best checkpoint the tools take.

    Raises:
        UserValueError: an option that MMEngine refuses, or one by which there would be nothing to go on from.
    """

    def __init__(self, iter_interval: int | None = None, **kwargs):
        where = 'default_hooks.checkpoint'
        instead = {
            'by_epoch': 'iter_interval=N saves every N iterations, beside the ends of epochs',
            'save_optimizer': 'a checkpoint without the optimizer is none to go on from; max_keep_ckpts=1 saves room',
            'save_param_scheduler': 'a checkpoint without the schedules is none to go on from',
        }
        for name, reason in instead.items():
            if not kwargs.get(name, True):
                raise UserValueError(f'{where}.{name}=False: {reason}')
        for name in ('file_client_args', 'backend_args'):
            if kwargs.get(name) is not None:
                raise UserValueError(f'{where}.{name}: checkpoints are written to folders of this machine only')
        if iter_interval is not None and (type(iter_interval) is not int or iter_interval < 1):
            raise UserValueError(f'{where}.iter_interval must be a whole number of at least 1, got {iter_interval!r}')
        try:
            super().__init__(**kwargs)
            self.filename_tmpl.format(1)
        except (KeyError, ValueError, TypeError, AssertionError, AttributeError, IndexError) as error:
            raise UserValueError(f'{where}: {error}') from error
        self.iter_interval = iter_interval
        self._trains = False
        self._terminated = False
        self._told = math.inf  # when, by time.monotonic
        self._previous_handler: Any = None

    def before_train(self, runner) -> None:
        super().before_train(runner)
        _check_states(runner.param_schedulers)
        self._trains, self._record = True, runner.record or RunRecord(new_run())
        self.last_ckpt = None
        if self._record.resumable:
            self.last_ckpt = os.path.join(self.out_dir, self._record.resumable[-1].file)
        self._take_best(runner)
        if self.save_best and runner.val_loop is None:
            runner.logger.info('no data to validate on, so no best checkpoint is chosen; the newest one counts')
        if is_main_process():
            for remains in Path(self.out_dir).glob('.*.pth.tmp'):  # of a process killed while writing
                remains.unlink()
            self._record.write(runner.work_dir)
        if threading.current_thread() is threading.main_thread():  # no other may
            self._previous_handler = signal.signal(signal.SIGTERM, self._on_sigterm)

    def after_train(self, runner) -> None:
        super().after_train(runner)
        self._stop_listening()

    def _on_sigterm(self, *_) -> None:
        if time.monotonic() - self._told > _AT_ONCE:  # the second time somebody is in earnest
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)
        self._told = min(self._told, time.monotonic())
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
            here = dict(epoch=runner.epoch + 1, iter=runner.iter)
            if self._newest() != (here['epoch'], here['iter']):  # an epoch that `interval` leaves out
                self._save_checkpoint_with_step(runner, here['epoch'], here)
            self._exit(runner)

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if self._told_to_stop():
            self._exit(runner)

    def _exit(self, runner) -> None:
        self._stop_listening()
        saved = 'nothing was saved yet' if self.last_ckpt is None else f'{self.last_ckpt} is saved'
        on = 'the same command goes on from it' if is_brief() else 'go on from it with --resume'
        runner.logger.warning(f'SIGTERM: stopped; {saved}, {on}')
        raise SystemExit(128 + signal.SIGTERM)

    def _newest(self) -> tuple[int, int] | None:
        """Epochs and iterations of the newest checkpoint."""
        return next(((one.epoch, one.iter) for one in self._record.resumable[-1:]), None)

    def _save_checkpoint_with_step(self, runner, step: int, meta: dict) -> None:
        self._save(runner, self.filename_tmpl.format(step), meta)

    def _save(self, runner, name: str, meta: dict) -> None:
        """List a checkpoint, write it, point to it, then delete those that are too many."""
        saved, record = Saved(name, meta['epoch'], meta['iter']), self._record
        if saved not in record.resumable:
            record.resumable = [*(one for one in record.resumable if one.file != name), saved]
            self._write_record(runner)
        self.last_ckpt = os.path.join(self.out_dir, name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        runner.message_hub.update_info('resumable', [one.file for one in record.resumable])
        schedules = runner.param_schedulers is not None
        runner.save_checkpoint(self.out_dir, name, save_optimizer=True, save_param_scheduler=schedules, meta=meta)
        keep = self.max_keep_ckpts if self.max_keep_ckpts > 0 else len(record.resumable)
        outdated, kept = record.resumable[:-keep], record.resumable[-keep:]
        if is_main_process():
            with atomic_write(os.path.join(runner.work_dir, 'last_checkpoint')) as file:
                file.write(self.last_ckpt)
            for one in outdated:
                Path(self.out_dir, one.file).unlink(missing_ok=True)
        if outdated:
            record.resumable = kept
            self._write_record(runner)

    @master_only
    def _write_record(self, runner) -> None:
        other = read_record(runner.work_dir)
        if other is not None and other.run != self._record.run:
            raise UserError(
                f'{runner.work_dir}: another run, {other.run}, was begun here after this one, {self._record.run}, '
                'which ends now so that the two do not mix; start it again in another --work-dir'
            )
        self._record.write(runner.work_dir)

    def _save_best_checkpoint(self, runner, metrics: dict) -> None:
        if not self.save_best or not self._trains:  # Runner.val()
            return
        if 'auto' in self.key_indicators:
            self._init_rule(self.rules, [next(iter(metrics))])
        absent = [metric for metric in self.key_indicators if metric not in metrics]
        if absent:
            raise UserError(
                f'default_hooks.checkpoint.save_best: no evaluator measures {shorten(absent)}; there are '
                f'{", ".join(metrics)}. The epoch is saved: set save_best to one of them and go on with --resume'
            )
        improved = [self._improve(runner, *pair, metrics) for pair in zip(self.key_indicators, self.rules, strict=True)]
        # once more, with the new score in it: it was written before the evaluation
        if any(improved) and self._newest() == (runner.epoch, runner.iter):
            self._save(runner, self._record.resumable[-1].file, dict(epoch=runner.epoch, iter=runner.iter))

    def _improve(self, runner, metric: str, rule: str, metrics: Mapping) -> bool:
        """Save the best checkpoint of a metric, if this is it; whether it is."""
        score = metrics[metric]
        to_beat = self._scores.get(metric, self.init_value_map[rule])
        if score is None or not self.is_better_than[metric](score, to_beat):
            return False
        name = f'best_{metric}_{self.filename_tmpl.format(runner.epoch)}'.replace('/', '_')
        before = self._record.best.get(metric)
        self._scores[metric] = score
        self._record.best[metric] = Saved(name, runner.epoch, runner.iter)
        self._tell_best(runner)
        meta = dict(epoch=runner.epoch, iter=runner.iter, selected_by=metric)
        runner.save_checkpoint(self.out_dir, name, save_optimizer=False, save_param_scheduler=False, meta=meta)
        self._write_record(runner)
        if before is not None and before.file != name and is_main_process():
            Path(self.out_dir, before.file).unlink(missing_ok=True)
        note(runner.logger, f'best {metric} so far: {score:.4f}, of epoch {runner.epoch}; saved as {name}')
        return True

    def _take_best(self, runner) -> None:
        """Take over the best score of each metric from the message hub, as far as its checkpoint is on record.

        The hub has one name for the only metric and others for several, whichever it is, and remembers scores whose
        checkpoint may lie elsewhere.
        """
        self._scores: dict[str, float] = {}
        number = re.escape(self.filename_tmpl).replace(r'\{\}', r'\d+')
        for key in [key for key in runner.message_hub.runtime_info if key.startswith('best_score')]:
            file = Path(str(runner.message_hub.get_info(key.replace('score', 'ckpt', 1)))).name
            for metric in self._record.best:
                if re.fullmatch(re.escape(f'best_{metric}_'.replace('/', '_')) + number, file):
                    self._scores[metric] = runner.message_hub.get_info(key)
        self._tell_best(runner)

    def _tell_best(self, runner) -> None:
        """Put scores and checkpoints into the message hub under MMEngine's names, the selecting metrics first."""
        hub, selecting = runner.message_hub, self.key_indicators if self.save_best else []
        best = self._record.best
        self._record.best = best = {
            **{metric: best[metric] for metric in selecting if metric in best},
            **{metric: saved for metric, saved in best.items() if metric not in selecting},
        }
        for key in [key for key in hub.runtime_info if key.startswith(('best_score', 'best_ckpt'))]:
            hub.pop_info(key)
        for metric, score in self._scores.items():
            suffix = '' if selecting == [metric] else f'_{metric}'
            hub.update_info(f'best_score{suffix}', score)
            hub.update_info(f'best_ckpt{suffix}', os.path.join(self.out_dir, best[metric].file))
        files = {metric: os.path.join(self.out_dir, best[metric].file) for metric in selecting if metric in best}
        if len(selecting) == 1:  # for MMEngine's publishing
            self.best_ckpt_path = files.get(selecting[0])
        elif selecting:
            self.best_ckpt_path_dict = files


def _check_states(schedules: Any) -> None:
    """See that the state of each schedule can be read again without running code."""
    for schedule in schedules if isinstance(schedules, list) else ():
        for name, value in schedule.state_dict().items():
            if not _is_plain(value):
                raise UserError(
                    f'param_scheduler: {type(schedule).__name__} keeps {name} = {type(value).__name__} in its state, '
                    'which a checkpoint can not give back without running code; take another schedule (for '
                    "mmengine.OneCycleLR there is OneCycleLR of sarlp, under type='OneCycleLR')"
                )


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return type(value) in (dict, Counter) and all(map(_is_plain, (*value, *value.values())))
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str | torch.Tensor)

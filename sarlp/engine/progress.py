"""A run in the words of its terminal: what begins, a line an epoch with the time that is left, what came of it."""

import os
import shlex
import time
from collections.abc import Mapping
from datetime import timedelta

import torch
from mmengine.hooks import CheckpointHook, Hook

from sarlp.engine.devices import describe_device
from sarlp.engine.terminal import is_brief, near, say
from sarlp.engine.trainable import trainable_parameters
from sarlp.engine.unwrap import unwrap
from sarlp.losses import MultiLabelLoss


def describe_runner(runner) -> str:
    """Where a run computes: ``cpu, 2 threads``, ``cuda:0 (NVIDIA H100), 4 processes``."""
    device = next(runner.model.parameters()).device
    counts = {'process': runner.world_size}
    if device.type == 'cpu':
        counts = {'thread': torch.get_num_threads(), **counts}
    several = [f'{count} {name}{"es" if name == "process" else "s"}' for name, count in counts.items() if count > 1]
    return ', '.join([describe_device(device), *several])


class ProgressHook(Hook):
    """Says on the terminal how a run fares. The log file, ``scalars.json`` and TensorBoard have every number.

    Every run of :class:`~sarlp.engine.MultiLabelRunner` has it, after all other hooks: the best checkpoint is chosen.

    Args:
        patience: seconds of silence after which a long epoch says how far it is.
        pause: seconds of silence between two epochs of one model among others (:func:`~sarlp.engine.terminal.brief`),
            whose lines are left out meanwhile, but for the last.
    """

    priority = 'LOWEST'

    def __init__(self, patience: float = 60, pause: float = 10):
        self.patience, self.pause = patience, pause
        self._epoch = ''  # of which the line is not said yet, since a validation may complete it
        self._spoke = time.monotonic()
        self._best: Mapping = {}  # of an evaluation without a training, none

    def before_train(self, runner) -> None:
        self._started, self._first = time.monotonic(), runner.iter
        self._best = self._best_checkpoints(runner)
        if not is_brief():
            for name, text in _beginning(runner).items():
                say(runner.logger, f'{name:<10}{text}')

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        step, steps = batch_idx + 1, len(runner.train_dataloader)
        if step < steps and self._is_silent():
            self._say(runner, f'{self._at(runner, 1)}  step {step}/{steps}  {self._numbers(runner, step, 1)}')

    def after_train_epoch(self, runner) -> None:
        self._epoch = f'{self._at(runner, 1)}  {self._numbers(runner, len(runner.train_dataloader), 0)}'

    def before_train_epoch(self, runner) -> None:
        self._end_line(runner)

    def after_val_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        self._count(runner, f'{self._at(runner, 0)}  validation', batch_idx, runner.val_dataloader)

    def after_test_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        self._count(runner, 'testing', batch_idx, runner.test_dataloader)

    def after_val_epoch(self, runner, metrics: Mapping[str, float] | None = None) -> None:
        best = self._best_checkpoints(runner)
        marked = '  (best so far)' if best != self._best else ''
        self._best = best
        measured = metrics or {}
        shown = '  '.join(f'{name} {measured[name]:.2f}' for name in self._indicators(runner, measured))
        self._epoch = self._epoch or f'{self._at(runner, 0)}  evaluated once more'
        self._end_line(runner, f'  {shown}{marked}')

    def after_train(self, runner) -> None:
        self._end_line(runner)
        if not is_brief():
            taken = timedelta(seconds=round(time.monotonic() - self._started))
            for name, text in _end(runner, taken).items():
                say(runner.logger, f'{name:<10}{text}')

    def _say(self, runner, line: str) -> None:
        self._spoke = time.monotonic()
        say(runner.logger, line)

    def _is_silent(self) -> bool:
        return time.monotonic() - self._spoke >= self.patience

    def _count(self, runner, what: str, index: int, loader) -> None:
        if index + 1 < len(loader) and self._is_silent():
            self._say(runner, f'{what} {index + 1}/{len(loader)}')

    def _end_line(self, runner, more: str = '') -> None:
        few = is_brief() and runner.epoch < runner.max_epochs and time.monotonic() - self._spoke < self.pause
        if self._epoch and not few:
            self._say(runner, self._epoch + more)
        self._epoch = ''

    @staticmethod
    def _at(runner, ahead: int) -> str:
        """``ahead``: 1 within the training of an epoch, which MMEngine counts when it has ended."""
        total = str(runner.max_epochs)
        return f'epoch {runner.epoch + ahead:>{len(total)}}/{total}'

    def _numbers(self, runner, steps: int, ahead: int) -> str:
        """Means over the epoch's ``steps``; ``ahead``: 1 before the step was counted."""
        history = runner.message_hub.log_scalars
        losses = [name for name in history if name.startswith('train/loss')]
        parts = [f'{name[6:]} {_short(history[name].mean(steps)):>7}' for name in losses]
        if 'train/lr' in history:
            parts.append(f'lr {history["train/lr"].current():.1e}')
        done = runner.iter + ahead - self._first
        left = (time.monotonic() - self._started) / done * (runner.max_iters - runner.iter - ahead)
        return '  '.join([*parts, f'{timedelta(seconds=round(left))} left'])

    @staticmethod
    def _indicators(runner, metrics: Mapping[str, float]) -> list[str]:
        """What the best epoch is chosen by, or the first metric."""
        hooks = (hook for hook in runner.hooks if isinstance(hook, CheckpointHook))
        chosen = [name for hook in hooks for name in getattr(hook, 'key_indicators', ()) if name in metrics]
        return chosen or list(metrics)[:1]

    @staticmethod
    def _best_checkpoints(runner) -> dict:
        return {key: value for key, value in runner.message_hub.runtime_info.items() if key.startswith('best_ckpt')}


def _short(number: float) -> str:
    return f'{number:,.0f}' if abs(number) >= 1000 else f'{number:.4g}'


def _beginning(runner) -> dict[str, str]:
    model = unwrap(runner.model)
    _, trained, total = trainable_parameters(model)
    share = 'all trained' if trained == total else f'{trained:,} of them trained ({100 * trained / total:.2f} %)'
    loader = runner.train_dataloader
    epochs = f'{runner.max_epochs} epochs of {len(loader)} steps of {loader.batch_size * runner.world_size} images'
    if runner.iter:
        epochs += f', from epoch {runner.epoch + 1} on'
    if runner.val_loop is not None:
        epochs += f'; validation on {len(runner.val_dataloader.dataset):,} images'
    if any(isinstance(part, MultiLabelLoss) and part.reduction == 'sum' for part in model.modules()):
        epochs += '; the loss is a sum over each batch, so large'
    return {
        'model': f'{type(model.backbone).__name__} and {type(model.head).__name__}, {total:,} parameters, {share}',
        'device': describe_runner(runner),
        'training': epochs,
        'log': f'{near(runner.logger.log_file)}, with config and environment',
    }


def _end(runner, taken: timedelta) -> dict[str, str]:
    info, work_dir = runner.message_hub.runtime_info, near(runner.work_dir)
    best = [
        f'best {info[key.replace("best_ckpt", "best_score")]:.2f}: {near(info[key])}'
        for key in info
        if key.startswith('best_ckpt')
    ]
    last = [near(info['last_ckpt'])] if 'last_ckpt' in info and not best else []
    lines = {'finished': '; '.join([f'in {taken}', *best, *last])}
    if runner.cfg.get('test_dataloader') is not None and runner.cfg.filename is not None:
        config = os.path.join(work_dir, os.path.basename(runner.cfg.filename))  # holds all that was asked for
        out = os.path.join(work_dir, 'results')
        lines['next'] = shlex.join(['sarlp', 'test', config, work_dir, '--out', out])
    return lines

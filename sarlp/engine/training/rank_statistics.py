"""BatchNorm's running statistics of each process, in checkpoints; the weights there are those of all, these are not."""

from collections.abc import Iterator

import torch
from mmengine.dist import all_gather, get_rank, get_world_size
from mmengine.hooks import EMAHook, Hook
from torch import Tensor

from sarlp.engine.unwrap import unwrap

_KEY = 'rank_statistics'  # of a checkpoint


class RankStatisticsHook(Hook):
    """Part of every training run; the Runner adds it.

    Each process normalises its own share of a batch, and follows the statistics of that. The average of the weights has
    their mean at the end of an epoch, so that a run resumed with those of the first process in all of them would end
    with another average.
    """

    def __init__(self):
        self._gathered: list[Tensor] = []
        self._saved: list[Tensor] = []

    def gather(self, runner) -> None:
        """Take those of all processes; see :func:`gather_statistics`."""
        own = [buffer.flatten() for buffer in _statistics(runner)]
        if get_world_size() > 1 and own:
            self._gathered = [one.cpu() for one in all_gather(torch.cat(own))]

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        found, self._gathered = self._gathered, []
        if found and 'optimizer' in checkpoint:  # else it is none to go on from
            checkpoint[_KEY] = found

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        if runner._resume:
            self._saved = checkpoint.get(_KEY) or []

    def before_train(self, runner) -> None:
        saved, self._saved = self._saved, []
        buffers = list(_statistics(runner))
        if len(saved) != get_world_size() or saved[0].numel() != sum(buffer.numel() for buffer in buffers):
            return
        parts = saved[get_rank()].split([buffer.numel() for buffer in buffers])
        with torch.no_grad():
            for buffer, part in zip(buffers, parts, strict=True):
                buffer.copy_(part.view_as(buffer))


def gather_statistics(runner) -> None:
    """Before a checkpoint is written; all processes take part."""
    for hook in runner.hooks:
        if isinstance(hook, RankStatisticsHook):
            hook.gather(runner)


def _statistics(runner) -> Iterator[Tensor]:
    """Of the network and of its averages."""
    averages = [hook.ema_model.module for hook in runner.hooks if isinstance(hook, EMAHook)]
    for module in (unwrap(runner.model).network, *averages):
        yield from (buffer for name, buffer in module.named_buffers() if name.endswith(('running_mean', 'running_var')))

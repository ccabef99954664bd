"""BatchNorm's statistics of each of two processes, saved and taken up: ``torchrun statistics_of_ranks.py OUT``."""

import sys
from types import SimpleNamespace

import torch
from mmengine import dist
from mmengine.hooks import EMAHook
from torch import nn

from sarlp.engine.training.rank_statistics import RankStatisticsHook, gather_statistics

torch.distributed.init_process_group('gloo')


def runner(*hooks):
    """A network with two layers of it, one in float64, and an average with one."""
    network = nn.Sequential(nn.BatchNorm1d(1), nn.Linear(1, 1), nn.BatchNorm1d(1).double())
    average = EMAHook.__new__(EMAHook)
    average.ema_model = SimpleNamespace(module=nn.Sequential(nn.BatchNorm1d(1)))
    made = SimpleNamespace(model=SimpleNamespace(network=network), hooks=[average, *hooks], _resume=True)
    return made, [*network.buffers(), *average.ema_model.module.buffers()]


def values(buffers):
    return [buffer.item() for buffer in buffers if buffer.is_floating_point()]


def taken_up(checkpoint, resume=True):
    hook = RankStatisticsHook()
    later, buffers = runner(hook)
    later._resume = resume
    hook.after_load_checkpoint(later, checkpoint)
    hook.before_train(later)
    return values(buffers)


hook = RankStatisticsHook()
first, buffers = runner(hook)
for number, buffer in enumerate(one for one in buffers if one.is_floating_point()):
    buffer.fill_(1 + number // 2 + 100 * (number % 2) + dist.get_rank() / 4)
saved, best = {'optimizer': {}}, {}
for checkpoint in (best, saved):
    gather_statistics(first)
    hook.before_save_checkpoint(first, checkpoint)
fewer = {key: value[:1] for key, value in saved.items() if key != 'optimizer'}
found = {
    'before': values(buffers),
    'resumed': taken_up(saved),
    'best': taken_up(best),
    'weights': taken_up(saved, resume=False),
    'other number': taken_up(fewer),
}
torch.save(found, f'{sys.argv[1]}.{dist.get_rank()}')
torch.distributed.destroy_process_group()

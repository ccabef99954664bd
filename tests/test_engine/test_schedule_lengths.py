"""Epochs where iterations were meant, or the other way round: 4 epochs of 5 iterations."""

import pytest
import torch
from mmengine.optim import CosineAnnealingLR, LinearLR, MultiStepLR
from torch import nn

from sarlp.engine.training.schedule_lengths import idle_schedules
from sarlp.engine.training.schedulers import OneCycleLR


def lines(kind, **options):
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=1.0)
    return list(idle_schedules([kind(optimizer, **options)], epochs=4, epoch_length=5))


@pytest.mark.parametrize(
    ('kind', 'options', 'told'),
    [
        (
            MultiStepLR,
            dict(milestones=[12, 16]),
            'epochs, of which the run has 4, and has its first milestone at 12',
        ),
        (MultiStepLR, dict(milestones=[2, 3], by_epoch=False), 'has its last milestone at 3, within the first epoch'),
        (LinearLR, dict(start_factor=0.1, end=500), 'ends at 500'),
        (CosineAnnealingLR, dict(T_max=20), 'has T_max = 20, of which the end is not reached'),
        (
            CosineAnnealingLR,
            dict(T_max=4, by_epoch=False),
            'of which the run has 20, and has T_max = 4, after',
        ),
        (CosineAnnealingLR, dict(T_max=4, begin=10, end=20), 'begins at 10'),
    ],
)
def test_what_does_not_fit_the_run(kind, options, told):
    (line,) = lines(kind, **options)
    assert line.startswith(f'param_scheduler: {kind.__name__} counts') and told in line and 'by_epoch=' in line


@pytest.mark.parametrize(
    ('kind', 'options'),
    [
        (MultiStepLR, dict(milestones=[2, 3])),
        (MultiStepLR, dict(milestones=[3, 6], by_epoch=False)),
        (MultiStepLR, dict(milestones=[2, 9])),
        (LinearLR, dict(start_factor=0.1, by_epoch=False, end=3)),
        (LinearLR, dict(start_factor=0.1)),
        (CosineAnnealingLR, dict(T_max=4)),
        (CosineAnnealingLR, dict(T_max=17, begin=3, end=20, by_epoch=False)),
        (CosineAnnealingLR, dict(T_max=2, begin=0, end=2)),
        (OneCycleLR, dict(begin=0, end=20, by_epoch=False)),
    ],
)
def test_what_fits(kind, options):
    assert lines(kind, **options) == []

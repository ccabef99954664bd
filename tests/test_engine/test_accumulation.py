"""Gradients of a batch in parts, against those of the batch."""

import copy
from itertools import pairwise

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from torch import nn

from sarlp.engine.training.method_hook import MethodHook
from sarlp.errors import UserError
from sarlp.losses import BinaryCrossEntropy

IMAGES, CLASSES, PARTS = 12, 7, 3


@pytest.fixture
def problem():
    random = torch.Generator().manual_seed(0)
    target = torch.randint(-1, 2, (IMAGES, CLASSES), generator=random).double()
    return torch.randn(IMAGES, 5, generator=random).double(), target


class Run:
    """As much of a Runner as the hook asks of it."""

    epoch, max_epochs, iter, max_iters = 0, 1, 0, 100

    def __init__(self, reduction, parts, steps):
        torch.manual_seed(0)
        self.cfg = {'optim_wrapper': {'accumulative_counts': parts}}
        self.model = nn.Module()
        self.model.linear, self.model.method = nn.Linear(5, CLASSES).double(), nn.Module()
        self.model.method.loss = BinaryCrossEntropy(reduction=reduction)
        options = dict(optimizer=dict(type='SGD', lr=1.0), accumulative_counts=parts)
        self.optim_wrapper = build_optim_wrapper(self.model, options)
        self.optim_wrapper.initialize_count_status(self.model, 0, steps)

    def moved(self, batches):
        before = copy.deepcopy(self.model.linear.weight)
        for inputs, target in batches:
            MethodHook().before_train_iter(self, 0)
            self.optim_wrapper.update_params(self.model.method.loss(self.model.linear(inputs), target))
        return (before - self.model.linear.weight).detach()


def split(problem, borders):
    return [tuple(part[start:end] for part in problem) for start, end in pairwise(borders)]


def difference(reduction, problem, borders):
    parts = split(problem, borders)
    actual = Run(reduction, PARTS, len(parts)).moved(parts)
    expected = Run(reduction, 1, 1).moved([problem])
    return ((actual - expected).abs().max() / expected.abs().max()).item()


def test_a_sum_is_that_over_the_batch(problem):
    assert difference('sum', problem, (0, 4, 8, 12)) < 1e-10
    assert difference('sum', problem, (0, 1, 5, 12)) < 1e-10  # parts of any size


def test_a_sum_at_the_end_of_a_run(problem):
    """Where fewer parts are left than are accumulated."""
    assert difference('sum', problem, (0, 5, 12)) < 1e-10


def test_a_mean_is_that_over_the_batch_where_parts_have_one_size(problem):
    assert difference('mean', problem, (0, 4, 8, 12)) < 1e-10
    assert difference('mean', problem, (0, 1, 5, 12)) > 1e-3


def test_a_mean_over_known_labels_where_as_many_are_known(problem):
    assert difference('mean_known', problem, (0, 4, 8, 12)) > 1e-3
    inputs, target = problem
    target[:, :3], target[:, 3:] = target[:, :3].abs(), -1.0
    assert difference('mean_known', (inputs, target), (0, 4, 8, 12)) < 1e-10


def test_the_hook_tells_the_losses_of_a_run(make_runner):
    seen = []
    runner = make_runner(**{'optim_wrapper.accumulative_counts': 4, 'train_cfg.max_epochs': 2})  # of 3 steps
    runner.model.method.known_loss.register_forward_hook(lambda loss, *_: seen.append(loss.parts))
    runner.train()  # and what MMEngine warns of every accumulation, that schedules step first, is not said
    assert seen == [4, 4, 4, 4, 2, 2]


def test_a_compiled_backbone_is_not_recomputed(make_runner):
    runner = make_runner('baseline', **{'model.recompute_backbone': True})
    runner.cfg.compile = True
    with pytest.raises(UserError, match=r'leave out compile or model.recompute_backbone'):
        runner._maybe_compile('train_step')

"""Losses looked at after the step, as on a GPU: the same run, and nothing learnt from one that is not finite."""

import copy
import json
import math
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook

from sarlp.engine import loss_watch
from sarlp.engine.loss_watch import LossWatch
from sarlp.errors import UserError


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    monkeypatch.setattr(loss_watch, 'is_asynchronous', lambda parameter: True)


def state(runner):
    hook = next(hook for hook in runner.hooks if hasattr(hook, 'ema_model'))
    return copy.deepcopy(
        dict(
            weights=dict(runner.model.named_parameters()),
            optimizer=runner.optim_wrapper.optimizer.state_dict()['state'],
            average=hook.ema_model.state_dict(),
            counts=[runner.iter, runner.optim_wrapper.optimizer.param_groups[0]['lr']],
        )
    )


def assert_same(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=0, atol=0)


class Break(Hook):
    """At step ``at`` a term of the loss is ``value``, with a gradient or none."""

    priority = 'LOWEST'

    def __init__(self, at, value, through=True):
        self.at, self.value, self.through = at, value, through

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter != self.at:
            return
        self.before = state(runner)
        method = runner.model.method
        usual = method.loss

        def broken(network, batch):
            losses = usual(network, batch)
            term = losses['loss_recovery']
            losses['loss_recovery'] = term * self.value if self.through else torch.full_like(term, self.value)
            return losses

        method.loss = broken


def scalars(work_dir):
    (file,) = Path(work_dir).glob('*/vis_data/scalars.json')
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.mark.filterwarnings('ignore:Detected call of `scheduler.step')  # MMEngine's, of accumulated gradients
@pytest.mark.parametrize(
    ('options', 'value', 'through'),
    [
        ({}, math.nan, True),
        ({}, math.inf, False),  # has gradients that are finite
        ({'dtype': 'bfloat16'}, math.nan, True),
        ({'dtype': 'float16'}, math.inf, False),
        ({'accumulative_counts': 2}, math.nan, True),
    ],
)
def test_nothing_is_learnt_from_it(make_runner, as_on_a_gpu, options, value, through):
    kind = {'type': 'MixedPrecisionOptimWrapper'} if 'dtype' in options else {}
    more = {f'optim_wrapper.{name}': option for name, option in (kind | options).items()}
    more |= {'default_hooks.logger.interval': 1, 'default_hooks.checkpoint.iter_interval': 1}
    runner = make_runner(**more)
    breaking = Break(5, value, through)
    runner.register_hook(breaking)
    with pytest.raises(
        UserError, match=r'the loss is not finite \(loss_recovery = (nan|inf)\); the images of this batch'
    ):
        runner.train()
    assert_same(state(runner), breaking.before)
    assert breaking.before['average']['steps'] == 6 and breaking.before['optimizer'][0]['step'] > 0
    logged = [row for row in scalars(runner.work_dir) if 'loss' in row]
    assert [row['step'] for row in logged] == [1, 2, 3, 4, 5]
    saved = [torch.load(file, weights_only=False)['meta']['iter'] for file in Path(runner.work_dir).glob('*.pth')]
    assert max(saved) == 5
    assert not hasattr(runner.optim_wrapper.optimizer, 'found_inf') and 'look' not in vars(runner.model)
    assert not runner.optim_wrapper.optimizer._optimizer_step_pre_hooks


def counted(function, calls):
    def call(*args):
        calls.append(args)
        return function(*args)

    return call


@pytest.mark.parametrize('dtype', [None, 'float16'])
def test_the_run_is_the_same(make_runner, monkeypatch, tmp_path, dtype):
    runs = []
    for waits in (False, True):
        monkeypatch.setattr(loss_watch, 'is_asynchronous', lambda parameter, waits=waits: waits)
        kind = {'type': 'MixedPrecisionOptimWrapper', 'dtype': dtype} if dtype else {}
        more = {f'optim_wrapper.{name}': option for name, option in kind.items()}
        runner = make_runner(**more, work_dir=str(tmp_path / str(waits)))
        watches = []
        with monkeypatch.context() as patch:
            patch.setattr(LossWatch, 'read', counted(LossWatch.read, watches))
            runner.train()
        assert len(watches) == (6 if waits else 0)
        runs.append((state(runner), {k: v.data for k, v in runner.message_hub.log_scalars.items() if 'loss' in k}))
    assert_same(runs[0][0], runs[1][0])
    assert set(runs[0][1]) >= {'train/loss', 'train/loss_known', 'train/loss_recovery'}
    for name, (values, counts) in runs[0][1].items():
        assert (runs[1][1][name][0] == values).all() and (runs[1][1][name][1] == counts).all(), name

"""Losses looked at after the step, as on a GPU: the same run, and nothing learnt from one that is not finite."""

import copy
import json
import math
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook
from torch.utils._python_dispatch import TorchDispatchMode

from sarlp.engine.training import loss_watch
from sarlp.engine.training.loss_watch import LossWatch
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


class Looks(TorchDispatchMode):
    """Counts the looks at a value, at each of which the CPU would wait for a GPU."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function is torch.ops.aten._local_scalar_dense.default
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize('clip', [dict(max_norm=0.1), dict(type='value', clip_value=0.01)])
@pytest.mark.parametrize('dtype', [None, 'bfloat16'])
def test_clipping_looks_at_nothing_within_a_step(make_runner, monkeypatch, tmp_path, clip, dtype):
    """The weights are the same, also of a run that goes on in an epoch, and so is the log but for the last norm."""
    kind = {'type': 'MixedPrecisionOptimWrapper', 'dtype': dtype} if dtype else {}
    more = {f'optim_wrapper.{name}': option for name, option in (kind | {'clip_grad': clip}).items()}
    more |= {'default_hooks.checkpoint.iter_interval': 4, 'default_hooks.checkpoint.max_keep_ckpts': 9}
    states, norms = {}, {}
    for name in ('at once', 'later', 'resumed'):
        monkeypatch.setattr(loss_watch, 'is_asynchronous', lambda parameter, name=name: name != 'at once')
        start = {'load_from': str(tmp_path / 'later' / 'iter_4.pth'), 'resume': True} if name == 'resumed' else {}
        runner = make_runner(**more, **start, work_dir=str(tmp_path / name))
        looks, step = [], runner.model.train_step

        def watched_step(*args, step=step, looks=looks, **kwargs):
            with Looks() as seen:
                outputs = step(*args, **kwargs)
            looks.append(seen.count)
            return outputs

        runner.model.train_step = watched_step
        runner.train()
        assert runner.optim_wrapper.clip_func is getattr(torch.nn.utils, f'clip_grad_{clip.get("type", "norm")}_')
        assert len(looks) == (2 if name == 'resumed' else 6)
        assert {*looks} == {0} if name != 'at once' else min(looks) > 0
        states[name] = state(runner)
        logged = runner.message_hub.log_scalars.get('train/grad_norm')
        norms[name] = [] if logged is None else logged.data[0].tolist()
    for name in ('later', 'resumed'):
        assert_same(states[name], states['at once'])
        assert norms[name] == norms['at once']
    assert len(norms['at once']) == (6 if 'max_norm' in clip else 0)

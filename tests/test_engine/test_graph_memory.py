"""Every method under CUDA graphs, of which a CPU has only the rule: what a step made is gone when the next begins.

With ``compile.mode=reduce-overhead`` whatever backbone and head return lies in memory that the next step writes to.
Here they return copies that are overwritten with NaN when the next step is announced, and so is every tensor that they
kept as an attribute. A run that looks at none of them is the plain run, to the last bit.
"""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils._pytree import tree_leaves_with_path, tree_map_only

from sarlp.engine import build_runner
from sarlp.errors import UserError
from sarlp.methods import KnownLabels
from sarlp.models.dropout import Dropout
from sarlp.registry import METHODS

from .test_method_runs import OPTIONS, Losses, small_config
from .test_resuming import assert_same_run, same

PLAIN = ['baseline', 'few', 'sarlp', 'sarlp_wo_jls', 'taught']


class GraphMemory:
    """Takes the place of ``nn.Module.compile`` and of the announcement of a step."""

    def __init__(self, compiling):
        self.compiling = compiling
        self.made, self.steps, self.largest = [], 0, 0

    def compile(self, part: nn.Module, **options):
        part._compiled_call_impl = lambda *args, **given: self.call(part, *args, **given)

    def begin_step(self):
        self.steps += 1
        self.largest = max(self.largest, len(self.made))
        for values in self.made:
            values.fill_(float('nan') if values.is_floating_point() else 0)
        self.made = []

    def call(self, part, *args, **given):
        before = kept_by(part)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr('torch.compiler.is_compiling', lambda: self.compiling)
            outputs = tree_map_only(torch.Tensor, torch.clone, part._call_impl(*args, **given))
        tree_map_only(torch.Tensor, self.take, outputs)
        for key, value in kept_by(part).items():
            if value is not before.get(key):
                self.take(value)
        return outputs

    def take(self, values: torch.Tensor):
        self.made.append(values.data)  # the same memory, and autograd does not hear of it


def kept_by(part: nn.Module) -> dict:
    """Tensors that are attributes of its modules, or in such, but no parameters or buffers."""
    own = {'_parameters', '_buffers', '_modules'}
    kept = {name: {k: v for k, v in vars(one).items() if k not in own} for name, one in part.named_modules()}
    return {path: value for path, value in tree_leaves_with_path(kept) if isinstance(value, torch.Tensor)}


@METHODS.register_module()
class Keeps(KnownLabels):
    """Breaks the rule: learns from what the step before made."""

    def loss(self, network, batch):
        logits = network(batch.image)['logits']
        before, self.before = getattr(self, 'before', logits.detach()), logits.detach()
        return {**self.losses({'logits': logits}, batch.observed), 'loss_pull': (logits - before).square().mean()}


@pytest.fixture
def run(digits, tmp_path, monkeypatch):
    monkeypatch.setattr('sarlp.engine.training.loss_watch.is_asynchronous', lambda parameter: True)
    monkeypatch.setattr(Dropout, 'forward', nn.Dropout.forward)  # that of compiled parts and of a GPU

    def start(name, graphs=True, method=None, compiling=True):
        cfg = small_config(name, digits, work_dir=str(tmp_path / str(graphs)))
        if method:
            cfg.model.method.type = method
        cfg.compile = dict(mode='reduce-overhead') if graphs else False
        memory, losses = GraphMemory(compiling), Losses()
        monkeypatch.setattr(nn.Module, 'compile', lambda part, **options: memory.compile(part, **options))
        monkeypatch.setattr('torch.compiler.cudagraph_mark_step_begin', memory.begin_step)
        runner = build_runner(cfg)
        runner.register_hook(losses, 'VERY_LOW')
        runner.train()
        return runner, losses.seen, memory

    return start


@pytest.mark.parametrize('name', sorted({*PLAIN, *OPTIONS}))
def test_nothing_of_the_step_before_is_used(run, name):
    plain, expected, _ = run(name, graphs=False)
    runner, losses, memory = run(name)
    assert memory.steps > len(losses) == 6 and memory.largest > 1
    same(losses, expected)
    same(runner.model.state_dict(), plain.model.state_dict())
    same(runner.model.method.state_dict(), plain.model.method.state_dict())
    assert_same_run(*(Path(one.work_dir) for one in (runner, plain)))


def test_a_method_that_uses_it_is_found(run):
    run('baseline', graphs=False, method='Keeps')
    with pytest.raises(UserError, match=r'the loss is not finite \(loss_pull = nan\)'):
        run('baseline', method='Keeps')


@pytest.mark.parametrize('name', ['sarlp', 'q2l'])
def test_a_head_that_keeps_what_it_made_is_found(run, name):
    """It does, but not while it is compiled."""
    with pytest.raises(UserError, match='the loss is not finite'):
        run(name, compiling=False)

"""What a method keeps where no checkpoint holds it is named before a run is resumed without."""

import collections

import numpy as np
import pytest
import torch
from torch import nn

from sarlp.engine import build_runner
from sarlp.engine.training.method_state import MethodState
from sarlp.errors import UserError
from sarlp.methods import KnownLabels, LabelStore
from sarlp.registry import METHODS

from .test_method_runs import OPTIONS, small_config


class Keeper(nn.Module):
    def __init__(self):
        super().__init__()
        self.store = LabelStore(5, 3)
        self.register_buffer('kept', torch.zeros(2))
        self.inner = nn.Module()
        self.inner.count, self.table = 0, torch.zeros(5, 3, dtype=torch.bfloat16)
        self.seen, self.order, self.rows = set(), [], collections.defaultdict(list)
        self.numbers, self.random = np.zeros(4), np.random.default_rng(0)
        self.threshold, self.names, self.head = 0.5, ('a', 'b'), (nn.Linear(1, 1),)

    def learn(self):
        self.store.values += 1
        self.kept += 1
        self.inner.count += 1
        self.table[4, 2] = 0.25
        self.seen.add(7)
        self._step = 3
        self.order.append('a')
        self.rows['a'].append(torch.ones(3))
        self.numbers[1] = 2
        self.random.random()


def test_what_changed_and_is_in_no_checkpoint():
    keeper = Keeper()
    state = MethodState(keeper)
    assert state.forgotten() == []
    keeper.learn()
    state.require_no_new()
    assert set(state.forgotten()) == {'inner.count', 'table', 'seen', 'order', 'rows', 'numbers', 'random'}


@METHODS.register_module()
class Forgetful(KnownLabels):
    """Counts in a plain attribute, and makes what it needs when it needs it."""

    late = None

    def loss(self, network, batch):
        self.steps = getattr(self, 'steps', 0) + 1
        if self.late == 'parameter':
            self.mix = nn.Parameter(torch.zeros(()))
        if self.late == 'buffer':
            self.register_buffer('mean', torch.zeros(10))
        if self.late == 'eval':
            network.eval()
        return super().loss(network, batch)


@pytest.fixture
def forgetful(make_runner, monkeypatch):
    def make(late=None):
        monkeypatch.setattr(Forgetful, 'late', late)
        alone = {name: None for name in ('val_dataloader', 'val_cfg', 'val_evaluator')}
        return make_runner(
            'baseline',
            **alone,
            **{'model.method.type': 'Forgetful', 'default_hooks.checkpoint.save_best': None, 'train_cfg.max_epochs': 2},
        )

    return make


def test_a_run_says_it_once(forgetful):
    runner = forgetful()
    said = []
    runner.logger.warning = said.append
    runner.train()
    (line,) = [line for line in said if 'no checkpoint holds it' in line]
    assert line.startswith('Forgetful keeps steps, which changed in this epoch') and 'self.register_buffer' in line


@pytest.mark.parametrize(('late', 'name'), [('parameter', 'mix'), ('buffer', 'mean')])
def test_made_in_a_step(forgetful, late, name):
    with pytest.raises(UserError, match=f'Forgetful made {name} in a step: too late to be trained'):
        forgetful(late).train()


def test_left_in_evaluation_mode(forgetful):
    with pytest.raises(UserError, match=r'Forgetful\.loss left the network in evaluation mode'):
        forgetful('eval').train()


@pytest.mark.parametrize('name', OPTIONS)
def test_ours_keep_nothing_beside(name, digits, tmp_path):
    cfg = small_config(name, digits, **{'work_dir': str(tmp_path)})
    cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = None
    cfg.default_hooks.checkpoint = None
    runner = build_runner(cfg)
    said = []
    runner.logger.warning = said.append
    runner.train()
    assert not [line for line in said if 'no checkpoint holds it' in line]

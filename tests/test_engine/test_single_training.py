"""Runs in the cells of a notebook: interrupted and called again, built together and trained one after the other."""

import pytest
import torch
from mmengine.hooks import Hook

from sarlp.errors import UserError


class Interrupted(Exception):
    pass


class Interrupt(Hook):
    """Remembers the weights after the first iteration, and interrupts."""

    priority = 'LOWEST'

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.weights = {name: value.clone() for name, value in runner.model.state_dict().items()}
        raise Interrupted


def interrupted(runner):
    hook = Interrupt()
    runner.register_hook(hook)
    with pytest.raises(Interrupted):
        runner.train()
    return hook.weights


def test_an_interrupted_training_is_not_gone_on_with_by_the_same_runner(make_runner):
    """Its average would begin anew, and its best score be forgotten."""
    runner = make_runner()
    interrupted(runner)
    with pytest.raises(UserError, match=r'begun to train before, in .*work, .*cfg\.resume = True; build_runner'):
        runner.train()


def test_a_run_does_not_depend_on_what_was_drawn_since_it_was_built(make_runner, tmp_path):
    drawn = {'model.backbone.init_cfg': [dict(type='Normal', layer='Conv2d', std=0.1)]}  # as it begins to train
    first, second = (make_runner(work_dir=str(tmp_path / name), **drawn) for name in ('first', 'second'))
    ours, theirs = interrupted(first), interrupted(second)
    for name, value in ours.items():
        torch.testing.assert_close(theirs[name], value, rtol=0, atol=0)

"""Hooks and data sets of one's own that change what is trained, by a slip."""

import re

import pytest
import torch
from mmengine.hooks import Hook

from sarlp.engine.task import task_of
from sarlp.errors import UserError
from sarlp.labels import UNKNOWN


class AssumesNegative(Hook):
    """Counts the classes of an image, and changes its labels meanwhile."""

    def __init__(self):
        self.unknown = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.unknown.append(0)
        for sample in data_batch['data_samples']:
            self.unknown[-1] += int((sample.gt_score == UNKNOWN).sum())
            sample.gt_score.clamp_(min=0)


class Evaluates(Hook):
    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        runner.model.eval()


class Images(torch.utils.data.Dataset):
    def __len__(self):
        return 3


def warnings_of(runner):
    messages = []
    runner.logger.warning = messages.append
    runner.train()
    return [message for message in messages if 'the data set has as unknown' in message]


def test_unknown_labels_that_are_made_known_are_counted(make_runner):
    runner, hook = make_runner('baseline', **{'train_cfg.max_epochs': 1}), AssumesNegative()
    runner.register_hook(hook)
    (message,) = warnings_of(runner)
    assert message.startswith(f'{hook.unknown[0]} labels of the first batch are learnt as known')
    assert re.search(r'such as of JPEGImages/\d+\.jpg\. Look for the transform, hook or data set of your own', message)


def test_labels_as_the_mask_leaves_them(make_runner):
    assert not warnings_of(make_runner('baseline', **{'train_cfg.max_epochs': 1}))


def test_a_hook_that_leaves_the_model_in_evaluation_mode(make_runner):
    runner = make_runner('baseline')
    runner.register_hook(Evaluates())
    with pytest.raises(UserError, match=r'a hook left the model in evaluation mode.*runner\.model\.train\(\)'):
        runner.train()


def test_a_data_set_that_can_not_say_what_is_known():
    with pytest.raises(UserError, match=r'Images can not say which labels are known.*sarlp\.datasets\.MultiLabelData'):
        task_of(Images())

import random
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook

from sarlp.datasets.annotation import dump_annotation, load_annotation
from sarlp.engine import EMAFromStartHook, SeedHook, read_checkpoint
from sarlp.errors import UserError


class Record(Hook):
    """Copies of the training weights, of what is averaged and of the optimizer's numbers, before and after steps."""

    priority = 'LOWEST'

    def __init__(self):
        self.weights, self.rates, self.draws, self.orders = [], [], [], []

    def before_train(self, runner):
        self._keep(runner)

    def before_train_epoch(self, runner):
        self.orders.append([])

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.draws.append((random.random(), np.random.rand(), torch.rand(()).item()))
        (group,) = runner.optim_wrapper.param_groups
        self.rates.append((group['lr'], group['betas'][0]))
        self.orders[-1] += [(s.img_id, x.double().sum().item()) for x, s in zip(*data_batch.values(), strict=True)]

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self._keep(runner)

    def _keep(self, runner):
        self.weights.append({key: value.clone() for key, value in runner.model.state_dict().items()})


@pytest.fixture(scope='module')
def trained(digits, tmp_path_factory):
    """Two epochs of three steps, as the config trains them. Returns the runner and what was recorded."""
    from sarlp.engine import build_runner, load_config

    from .conftest import reduced

    options = reduced(digits) | {'default_hooks.ema.momentum': 0.3, 'optim_wrapper.optimizer.lr': 2e-3}
    cfg = load_config('sarlp_r18_digits_p0.1', options)
    cfg.work_dir = str(tmp_path_factory.mktemp('work'))
    runner = build_runner(cfg)
    record = Record()
    runner.register_hook(record, 'LOWEST')
    runner.train()
    return runner, record


def test_average_equals_the_recursion(trained):
    runner, record = trained
    (hook,) = (hook for hook in runner.hooks if isinstance(hook, EMAFromStartHook))
    assert len(record.weights) == 1 + 6
    actual = hook.ema_model.module.state_dict()
    assert set(actual) == set(record.weights[0])
    buffers = 0
    for key, value in actual.items():
        if not value.dtype.is_floating_point:
            continue
        expected = record.weights[0][key].double()  # from the initial weights
        for weights in record.weights[1:]:
            expected = 0.7 * expected + 0.3 * weights[key].double()
        torch.testing.assert_close(value.double(), expected, rtol=1e-5, atol=1e-6)
        buffers += 'running' in key
        if key.endswith(('running_mean', 'conv1.weight')):  # a recursion that starts one step later is another one
            late = record.weights[1][key].double()
            for weights in record.weights[2:]:
                late = 0.7 * late + 0.3 * weights[key].double()
            assert not torch.allclose(late, expected, rtol=1e-4, atol=1e-6), key
    assert buffers > 10


def test_checkpoint_holds_the_average(trained):
    runner, record = trained
    (hook,) = (hook for hook in runner.hooks if isinstance(hook, EMAFromStartHook))
    checkpoint = read_checkpoint(f'{runner.work_dir}/epoch_2.pth')
    for key, value in hook.ema_model.module.state_dict().items():
        assert torch.equal(checkpoint['state_dict'][key], value), key
        assert torch.equal(checkpoint['ema_state_dict'][f'module.{key}'], record.weights[-1][key]), key


def test_schedule_is_stepped_every_iteration(trained):
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))])
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=2e-3, total_steps=6, pct_start=0.2)
    expected = []
    for _ in range(6):
        (group,) = optimizer.param_groups
        expected.append((pytest.approx(group['lr'], rel=1e-9), pytest.approx(group['betas'][0], rel=1e-9)))
        if len(expected) < 6:
            optimizer.step()
            scheduler.step()
    assert trained[1].rates == expected


def test_epochs_differ(trained):
    _, record = trained
    first, second = record.orders
    assert len(first) == len(second) == 24
    assert {name for name, _ in first} == {name for name, _ in second}
    assert [name for name, _ in first] != [name for name, _ in second]
    sums = dict(second)
    assert sum(sums[name] != total for name, total in first) > 12  # augmented in another way


def test_random_numbers_are_a_function_of_seed_rank_and_iteration(trained):
    runner, record = trained
    assert len(set(record.draws)) == 6
    hook = SeedHook()

    class Runner:
        seed, rank, iter = runner.seed, 0, 4

    def draw(**changes):
        for name, value in changes.items():
            setattr(Runner, name, value)
        hook.before_train_iter(Runner, 1)
        return random.random(), np.random.rand(), torch.rand(()).item()

    assert draw() == record.draws[4]  # whatever was drawn before
    assert draw(iter=0) == record.draws[0]
    values = {draw(seed=seed, rank=rank, iter=step) for seed in (0, 1) for rank in (0, 1) for step in (0, 1)}
    assert len(values) == 8


def test_the_epoch_reaches_the_data_set(trained):
    runner, _ = trained

    class Runner:
        epoch = 5
        train_dataloader = runner.train_dataloader

    SeedHook().before_train_epoch(Runner)
    assert int(runner.train_dataloader.dataset._epoch) == 5


def test_persistent_workers_change_no_bit(make_runner, tmp_path):
    """A new iterator of a data loader takes a random number, that of persistent workers none after the first epoch."""
    weights = []
    for workers in (0, 2):
        options = {
            'train_dataloader.num_workers': workers,
            'train_dataloader.persistent_workers': workers > 0,
            'model.head.sgfe.dropout': 0.5,
            'work_dir': str(tmp_path / str(workers)),
        }
        weights.append(make_runner(**options).train().state_dict())
    for key, value in weights[0].items():
        assert torch.equal(value, weights[1][key]), key


class TestDataCheck:
    def spoil(self, digits, tmp_path, change):
        """Annotation files of their own, one of them changed. Returns the options of the config."""
        options = {}
        for split, names in (('trainval', ['train']), ('test', ['val', 'test'])):
            metainfo, data_list = load_annotation(digits / 'labels' / f'{split}.json')
            classes, data_list = change(split, list(metainfo['classes']), data_list)
            dump_annotation(tmp_path / f'{split}.json', classes, data_list)
            for name in names:
                options[f'{name}_dataloader.dataset.ann_file'] = str(tmp_path / f'{split}.json')
        return options

    @pytest.mark.parametrize(
        ('new', 'message'),
        [
            (
                lambda classes: [*classes[:9], 'ten'],  # the last one is zero
                r'test\.json has 10 .*trainval\.json has 10; only the former has ten, only the latter has zero\.',
            ),
            (lambda classes: [*classes, 'ten'], r'test\.json has 11 classes, .* has 10; only the former has ten\.'),
        ],
    )
    def test_class_lists_differ(self, digits, tmp_path, make_runner, new, message):
        def change(split, classes, data_list):
            return (new(classes) if split == 'test' else classes), data_list

        with pytest.raises(UserError, match=message):
            make_runner(**self.spoil(digits, tmp_path, change))
        assert not (tmp_path / 'work').exists()

    def test_runner_that_was_built_otherwise(self, digits, tmp_path, make_runner):
        def change(split, classes, data_list):
            return (classes[::-1] if split == 'test' else classes), data_list

        runner = make_runner()
        options = self.spoil(digits, tmp_path, change)
        runner._val_dataloader.dataset.ann_file = options['val_dataloader.dataset.ann_file']
        with pytest.raises(UserError, match='the same 10 classes in another order: class 0 is eight in the former'):
            runner.train()
        assert not list((tmp_path / 'work').glob('*.pth'))

    def said(self, digits, tmp_path, make_runner, change):
        options = self.spoil(digits, tmp_path, change)
        runner = make_runner(**options, **{'train_dataloader.dataset.label_mask.known_ratio': 1.0})
        (hook,) = (hook for hook in runner.hooks if type(hook).__name__ == 'DataCheckHook')
        messages = []
        runner.logger = SimpleNamespace(info=messages.append, warning=messages.append)
        runner._train_loop = runner.build_train_loop(runner._train_loop)
        runner._val_loop = runner.build_val_loop(runner._val_loop)
        hook.before_train(runner)
        return messages

    def test_a_validation_without_a_positive_is_reported(self, digits, tmp_path, make_runner):
        def change(split, classes, data_list):
            for entry in data_list if split == 'test' else []:
                entry['positive'] = []
            return classes, data_list

        message = self.said(digits, tmp_path, make_runner, change)[0]
        assert re.match(r'no label of .*test\.json is known to be positive, .* the last one will count', message)

    def test_class_without_labels_is_reported(self, digits, tmp_path, make_runner):
        def change(split, classes, data_list):
            for entry in data_list if split == 'trainval' else []:
                entry['positive'] = [index for index in entry['positive'] if classes[index] not in ('nine', 'three')]
            return classes, data_list

        messages = self.said(digits, tmp_path, make_runner, change)
        assert messages[0].startswith('24 training images, 10 classes, 240 of 240 labels known (100.0 %), ')
        assert messages[1] == '2 classes have no known positive label and cannot be learnt: nine, three'
        assert len(messages) == 2

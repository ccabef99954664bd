"""Slips of who writes a config: what changes nothing is named."""

import warnings

import pytest

from sarlp.engine import build_runner, load_config
from sarlp.errors import GraveWarning, UserError
from sarlp.paths import shipped

BASE = 'configs/baseline/baseline_r18_digits_p0.1.py'


@pytest.fixture
def config(tmp_path):
    def write(text, name='mine.py', base=BASE):
        (tmp_path / name).write_text((f"_base_ = '{base}'\n" if base else '') + text + '\n')
        return tmp_path / name

    return write


@pytest.mark.parametrize(
    ('text', 'told'),
    [
        ('train_dataloder = dict(batch_size=3)', 'train_dataloder would .*nothing reads it.*meant: train_dataloader'),
        ('custom_hook = [dict(type="A")]', 'custom_hook would change nothing: .*meant: custom_hooks'),
        ('val_evaluater = dict(threshold=0.6)', 'meant: val_evaluator'),
        ('seed = 3', r'mine\.py: seed would change nothing: nothing reads it. .*randomness\.seed'),
        ('optimizer = dict(type="SGD", lr=1)', r'meant: optim_wrapper\.optimizer\?'),
        ('max_epochs = 3', r'meant: train_cfg\.max_epochs\?'),
        (
            'train_pipeline = []',
            r'train_pipeline would .*what it inherits has made others of it.*train_dataloader\.dataset\.pipeline',
        ),
    ],
)
def test_what_changes_nothing(config, text, told):
    with pytest.raises(UserError, match=told):
        load_config(config(text))
    with pytest.warns(GraveWarning, match=told):  # which a part of one's own may read
        load_config(config(f'{text}\ncustom_imports = dict(imports=["json"])'))


@pytest.mark.parametrize(
    'text',
    [
        'train_pipeline = [dict(type="LoadImage")]\ntrain_dataloader = dict(dataset=dict(pipeline=train_pipeline))',
        'image_size = 64',
        'data_root = "mine"',
        'paper = "arXiv 1"',
        'max_epochs = 3\ntrain_cfg = dict(max_epochs=max_epochs)',
        'seed = 3\nrandomness = dict(seed=seed)\ndel seed',
    ],
)
def test_what_is_read(config, text):
    with warnings.catch_warnings():
        warnings.simplefilter('error', GraveWarning)
        cfg = load_config(config(text))
        cfg.dump(config('').with_name('dumped.py'))
        load_config(config('').with_name('dumped.py'))


def test_all_that_come_along():
    for file in sorted((shipped('configs')).rglob('*.py')):
        if '_base_' not in file.parts:
            load_config(file)


def test_a_dict_in_a_list_on_the_command_line():
    with pytest.raises(UserError, match='custom_hooks=.*: a value is a number, .* in a config of your own'):
        load_config(BASE, ['custom_hooks=[dict(type=SelectionHook,at=5)]'])


def test_a_hook_of_no_kind(make_config):
    cfg = make_config('baseline', **{'default_hooks.checkpoints.interval': 5})
    with pytest.raises(UserError, match=r'default_hooks\.checkpoints: .* has no type.*meant: checkpoint\?'):
        build_runner(cfg)


@pytest.mark.parametrize(
    ('options', 'told'),
    [
        ({'model.method.loss.type': 'BinaryCrossEntropy'}, r'no argument gamma_neg; .*inherited, by _delete_=True'),
        (
            {'optim_wrapper.optimizer.type': 'SGD'},
            r"unexpected keyword argument 'betas'; .*inherited, by _delete_=True",
        ),
    ],
)
def test_what_is_inherited_and_does_not_fit(make_config, options, told):
    with pytest.raises(UserError, match=told):
        build_runner(make_config('baseline', **options)).train()

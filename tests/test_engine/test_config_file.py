"""Slips of who writes a config: what changes nothing, and what can not be read, is named."""

import sys
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


def test_a_module_that_python_does_not_find(config, tmp_path, monkeypatch):
    file = config('custom_imports = dict(imports=["parts_of_mine"])')
    with pytest.raises(UserError, match='no module parts_of_mine where .* PYTHONPATH to the folder that it lies in'):
        load_config(file)
    (tmp_path / 'parts_of_mine.py').write_text('import no_such_library\n')
    with pytest.raises(UserError) as error:
        load_config(file)
    assert f'Set the environment variable PYTHONPATH to {tmp_path}, or install' in str(error.value)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UserError, match="parts_of_mine: No module named 'no_such_library'"):
        load_config(file)
    (tmp_path / 'parts_of_mine.py').write_text('from json import no_such_name\n')
    with pytest.raises(UserError, match="parts_of_mine: cannot import name 'no_such_name' from 'json'"):
        load_config(file)
    (tmp_path / 'parts_of_mine.py').write_text('')
    load_config(file)
    assert 'parts_of_mine' in sys.modules


def test_bases_that_do_not_go_together(config):
    with pytest.raises(UserError, match=r'mine\.py: param_scheduler=.* A list takes the place of a list as a whole'):
        load_config(config('param_scheduler = dict(type="MultiStepLR", milestones=[2])'))
    config('', 'inherited.py')
    lazy = 'from mmengine.config import read_base\nwith read_base():\n    from .inherited import *'
    with pytest.raises(UserError, match=r'mine\.py: .* are inherited by _base_ = '):
        load_config(config(lazy, base=None))


def test_python_tells_what_is_wrong_with_python(config):
    for text, error in (('x = = 1', SyntaxError), ('x = y', NameError), ('import nothing_of_that_name', ImportError)):
        with pytest.raises(error):
            load_config(config(text))


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

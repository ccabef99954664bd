"""What stands where a part of a config is built, and what its options are: of the kind that is wanted, or refused."""

import typing
from collections.abc import Sequence
from typing import Literal

import pytest

from sarlp.engine import build_runner, load_config
from sarlp.engine.config.parts import _fits, check_arguments
from sarlp.errors import UserError
from sarlp.inference import init_model
from sarlp.models import DataPreprocessor
from sarlp.registry import MODELS

CONFIG = 'baseline_r18_digits_p0.1'
HOOK = dict(type='SeedHook')


@pytest.mark.parametrize(
    ('key', 'value', 'wanted'),
    [
        ('custom_hooks', 3, 'a list of dict(...), or None'),
        ('custom_hooks', HOOK, 'a list of dict(...), or None'),
        ('custom_hooks', ['SeedHook'], 'a list of dict(...), or None'),
        ('model', 3, 'dict(...)'),
        ('model.backbone', [1], 'dict(...)'),
        ('model.head', None, 'dict(...)'),
        ('model.method', 'SARLP', 'dict(...), or None'),
        ('model.data_preprocessor', None, 'dict(...)'),
        ('model.backbone.init_cfg', 'resnet18.pth', 'dict(...) or a list of them, or None'),
        ('train_dataloader', 3, 'dict(...), or None'),
        ('train_dataloader.dataset', None, 'dict(...)'),
        ('train_dataloader.sampler', None, 'dict(...)'),
        ('train_dataloader.dataset.label_mask', 0.3, 'dict(...), or None'),
        ('train_dataloader.dataset.pipeline', [dict(type='LoadImage'), 'PackMultiLabel'], 'a list of dict(...)'),
        ('train_dataloader.dataset.pipeline.1.policies.0', 0.5, 'dict(...) or a list of them'),
        ('default_hooks', [HOOK], 'dict(...), or None'),
        ('default_hooks.logger', 50, 'dict(...), or None'),
        ('param_scheduler', 0.1, 'dict(...) or a list of them, or None'),
        ('val_evaluator', 'mAP', 'dict(...) or a list of them, or None'),
        ('visualizer.vis_backends', 'TensorboardScalars', 'a list of dict(...), or None'),
        ('env_cfg', None, 'dict(...)'),
    ],
)
def test_there_are_parts_where_parts_are_built(key, value, wanted):
    with pytest.raises(UserError) as error:
        load_config(CONFIG, {key: value})
    assert str(error.value).startswith(f'{key}')
    assert str(error.value).endswith(f': expected {wanted}; correct it, or leave it out')


@pytest.mark.parametrize(
    ('key', 'value'),
    [
        ('custom_hooks', None),
        ('custom_hooks', [HOOK]),
        ('param_scheduler', None),
        ('test_evaluator', [dict(type='MultiLabelMetric')]),
        ('train_dataloader.dataset.label_mask', None),
        ('train_dataloader.dataset.pipeline', [dict(type='mmpretrain.AutoAugment', policies=[[HOOK], [HOOK]])]),
        ('train_dataloader.dataset.pipeline.1.policies', 'timm_increasing'),
        ('model.backbone.init_cfg', [dict(type='Kaiming', layer='Conv2d')]),
    ],
)
def test_parts_in_lists_and_none_stay(key, value):
    load_config(CONFIG, {key: value})


@pytest.mark.parametrize(
    ('key', 'value', 'takes'),
    [
        ('model.method.loss.clip', None, 'AsymmetricLoss takes a number'),
        ('model.method.loss.gamma_neg', '2', 'AsymmetricLoss takes a number'),
        ('model.data_preprocessor.to_rgb', 'no', 'DataPreprocessor takes True or False'),
        ('train_dataloader.sampler.shuffle', 'False', 'DefaultSampler takes True or False'),
        ('train_dataloader.dataset.label_mask.seed', [1, 2], 'RandomKnownLabels takes a whole number'),
        ('train_dataloader.dataset.label_mask.seed', 0.5, 'RandomKnownLabels takes a whole number'),
        ('train_dataloader.dataset.pipeline.1.policies.6.prob', '0.5', 'Brightness takes a number'),
        ('optim_wrapper.optimizer.lr', '1e-3', 'AdamW takes a number'),
        ('optim_wrapper.optimizer.betas', [0.9], r'AdamW takes 2 values \(each a number\)'),
        ('default_hooks.logger.interval', float('nan'), 'LoggerHook takes a whole number'),
        ('val_evaluator.threshold', '0.5', 'MultiLabelMetric takes a number'),
    ],
)
def test_options_are_of_the_kind_that_a_part_says(key, value, takes):
    cfg = load_config(CONFIG, {key: value, 'model.head.num_classes': 10})
    if key == 'train_dataloader.sampler.shuffle':
        cfg.train_dataloader.sampler.type = 'DefaultSampler'
    with pytest.raises(UserError, match=f'^{key} = .*: {takes}; correct it$'):
        check_arguments(cfg._cfg_dict)


@pytest.mark.parametrize('name', [CONFIG, 'few_lite0_frozen_scenes_p0.1', 'sarlp_clip_lora_rn101_voc_p0.1'])
def test_what_comes_with_sarlp_is_taken(name):
    cfg = load_config(name, {'model.head.num_classes': 10})
    cfg.model.data_preprocessor.update(mean='backbone', std='backbone')  # and in_channels=None
    check_arguments(cfg._cfg_dict)


def test_own_parts_say_nothing(monkeypatch):
    """What somebody's own part takes is for that part to say."""

    class Mine:
        def __init__(self, size: int):
            pass

    Mine.__module__ = 'mine'
    monkeypatch.setitem(MODELS.module_dict, 'Mine', Mine)
    check_arguments({'model': dict(type='Mine', size='large')})


@pytest.mark.parametrize(
    ('value', 'kind', 'fits'),
    [
        (1, bool, True),
        (2, bool, False),
        (True, int, False),
        (10**400, float, True),
        (3.0, int, False),
        (None, int | None, True),
        ('a', Literal['a', 'b'], True),
        ('c', Literal['a', 'b'], False),
        ('abc', Sequence[str], False),
        (['a', 3], Sequence[str], False),
        ((1, 2), tuple[int, int], True),
        ((1, 2, 3), tuple[int, int], False),
        ((1, 2, 3), tuple[int, ...], True),
        ({}, dict | None, True),
        (3, typing.Union[int, tuple[int, int]], True),  # noqa: UP007
        ('3', int | tuple[int, int], False),
        ('3', object, True),
        (object(), int, True),
    ],
)
def test_kinds(value, kind, fits):
    assert _fits(value, kind, exactly=True) == fits


@pytest.mark.parametrize(('name', 'value'), [('mean', [1, 2]), ('mean', 3), ('std', [1, 0, 1]), ('std', [1, -1, 1])])
def test_three_channels(name, value):
    with pytest.raises(UserError, match=f'^{name} must be 3 numbers.*, for R, G, B, got '):
        DataPreprocessor(**{'mean': [0, 0, 0], 'std': [1, 1, 1], name: value})


@pytest.mark.parametrize(
    ('options', 'message'),
    [(dict(gamma_neg=-1), 'gamma_neg must be at least 0'), (dict(clip=1), 'clip must lie in'), (dict(eps=0), 'eps')],
)
def test_exponents_and_margins(options, message):
    with pytest.raises(ValueError, match=message):
        MODELS.build(dict(type='AsymmetricLoss', **options))
    with pytest.raises(ValueError, match='gamma must be at least 0'):
        MODELS.build(dict(type='FocalLoss', gamma=-0.5))


@pytest.mark.parametrize('absent', ['optim_wrapper', 'model.method', 'train_dataloader'])
def test_a_training_has_what_it_needs(make_config, absent):
    cfg = make_config('baseline', **{absent: None})
    with pytest.raises(UserError, match=rf'{absent}.* not there, or None, and needed here'):
        build_runner(cfg)


def test_an_empty_config_makes_no_model(tmp_path):
    (tmp_path / 'empty.py').write_text('')
    with pytest.raises(UserError, match=r'empty\.py: model and model\.backbone and .* are not there'):
        init_model(tmp_path / 'empty.py', tmp_path / 'none.pth')


@pytest.mark.parametrize(
    ('key', 'value', 'message'),
    [
        ('train_dataloader.dataset.ann_file', None, 'has no ann_file'),
        ('model.size_divisor', -1, 'size_divisor must be at least 1, got -1'),
        ('model.backbone.type', None, r"model\.backbone = .*'type': None.*: expected dict"),
    ],
)
def test_options_that_would_end_in_the_middle(make_config, key, value, message):
    with pytest.raises(UserError, match=message):
        build_runner(make_config('baseline', **{key: value}))


def test_images_that_were_not_packed(make_runner):
    runner = make_runner('baseline', **{'train_dataloader.dataset.pipeline': []})
    with pytest.raises(UserError, match='no inputs; let the pipeline of the data set end in .*PackMultiLabel'):
        runner.train()

"""Where a model is used unlike it was trained, by the config of its training and the present one."""

import pytest
from mmengine.config import Config

from sarlp.engine import load_config
from sarlp.engine.config.changes import config_values
from sarlp.engine.preparation import preparation_of
from sarlp.engine.unlike_training import changes_since_training
from sarlp.paths import shipped

LOAD, PACK = dict(type='LoadImage'), dict(type='PackMultiLabel')
MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
IMAGENET = 0.485, 0.456, 0.406


def resize(width=96, height=64, **options):
    return dict(type='Resize', scale=(width, height), **options)


def config(*steps, pixels=(), tests=None, **options):
    pixels = dict(type='DataPreprocessor', mean=MEAN, std=STD, to_rgb=True) | dict(pixels)
    tests = tests or dict(type='MultiLabelDataset', data_root='here', pipeline=[*steps, PACK])
    model = dict(type='MultiLabelClassifier', data_preprocessor=pixels)
    return Config(dict(model=model, test_dataloader=dict(dataset=tests), **options))


def changes(trained, now):
    found = changes_since_training({'cfg': trained.pretty_text}, now)
    assert any(found) == bool(list(found))
    return list(found)


TRAINED = config(LOAD, resize(interpolation='antialias'))


class TestWhatIsOtherwise:
    @pytest.mark.parametrize(
        ('now', 'expected'),
        [
            (config(LOAD, resize(interpolation='antialias'), pixels=dict(std=[1, 1, 1])), [f'std {STD} -> [1, 1, 1]']),
            (config(LOAD, resize(interpolation='antialias'), pixels=dict(to_rgb=False)), ['to_rgb True -> False']),
            (
                config(LOAD, resize(interpolation='antialias'), pixels=dict(mean=None, std=None)),
                [f'mean {MEAN} -> None', f'std {STD} -> None'],
            ),
            (config(LOAD, resize(112, 96, interpolation='antialias')), ['Resize.scale (96, 64) -> (112, 96)']),
            (config(LOAD, resize()), ["Resize.interpolation 'antialias' -> 'bilinear'"]),  # of mmcv's signature
            (config(LOAD, resize(interpolation='antialias', keep_ratio=True)), ['Resize.keep_ratio False -> True']),
            (config(dict(LOAD, bits=12), resize(interpolation='antialias')), ['LoadImage.bits None -> 12']),
            (config(LOAD), ['steps LoadImage, Resize -> LoadImage']),
            (
                config(LOAD, resize(interpolation='antialias'), dict(type='CenterCrop', crop_size=32)),
                ['steps LoadImage, Resize -> LoadImage, Resize, CenterCrop'],
            ),
            (  # too few pixels are decoded for what follows
                config(dict(LOAD, min_side=32), resize(interpolation='antialias')),
                ['LoadImage.min_side None -> 32'],
            ),
        ],
    )  # fmt: skip
    def test_it_is_named(self, now, expected):
        assert changes(TRAINED, now) == expected
        assert changes(now, now) == []

    def test_what_is_said_of_it(self):
        meta = {'cfg': TRAINED.pretty_text}
        size = changes_since_training(meta, config(LOAD, resize(112, 96, interpolation='antialias')))
        assert size.kind == 'note' and 'was trained otherwise (Resize.scale (96, 64) -> (112, 96)), and' in size.text(
            'x.pth'
        )
        both = changes_since_training(meta, config(LOAD, pixels=dict(to_rgb=False)))
        text = both.text('x.pth')
        assert both.kind == 'warning' and '\n' not in text and text.startswith('x.pth: was trained otherwise (')
        assert '(to_rgb True -> False; steps LoadImage, Resize -> LoadImage). ' in text


class TestWhatIsTheSame:
    @pytest.mark.parametrize(
        'now',
        [
            config(LOAD, resize(interpolation='antialias', keep_ratio=False)),  # what is left out
            config(dict(type='sarlp.LoadImage', bits=None, backend_args=None), resize(interpolation='antialias')),
            config(LOAD, dict(type='sarlp.Resize', scale=[96, 64], interpolation='antialias')),
            config(
                dict(type='LoadResizedImage', scale=(96, 64), min_side=64, interpolation='antialias', cache_dir='there')
            ),
            config(dict(LOAD, min_side=128), resize(interpolation='antialias')),
            config(LOAD, resize(interpolation='antialias'), pixels=dict(mean=tuple(255 * m for m in IMAGENET))),
            config(LOAD, resize(interpolation='antialias'), pixels=dict(type='mmpretrain.ClsDataPreprocessor')),
            config(LOAD, resize(interpolation='antialias'), pixels=dict(non_blocking=False)),
            config(LOAD, resize(interpolation='antialias'), pixels=dict(mean='backbone', std='backbone')),  # is refused
            config(tests=dict(type='ConcatDataset', datasets=[TRAINED.test_dataloader.dataset] * 2)),
            config(LOAD, resize(interpolation='antialias'), train_dataloader=dict(dataset=dict(pipeline=[LOAD, PACK]))),
        ],
    )  # fmt: skip
    def test_nothing_is_said(self, now):
        assert changes(TRAINED, now) == changes(now, TRAINED) == []

    def test_steps_of_one_kind_are_kept_apart(self):
        twice = config(LOAD, resize(128, 112), dict(type='CenterCrop', crop_size=80), resize())
        assert changes(twice, twice) == []
        other = config(LOAD, resize(128, 96), dict(type='CenterCrop', crop_size=(80, 80)), resize())
        assert changes(twice, other) == ['Resize.scale (128, 112) -> (128, 96)']

    def test_a_square_may_be_one_number(self):
        one, pair = (config(LOAD, dict(type='Resize', scale=scale)) for scale in (96, (96, 96)))
        assert changes(one, pair) == changes(pair, one) == []

    @pytest.mark.parametrize('path', sorted(shipped('configs').glob('[!_]*/*.py')), ids=lambda path: path.stem)
    def test_of_the_configs_that_come_with_it(self, path):
        cfg = load_config(path)
        found = preparation_of(config_values(cfg))
        assert found.normalisation['to_rgb'] and found.steps
        assert changes(cfg, cfg) == []

    def test_the_folds_of_a_completion_have_no_test_images(self):
        trained = Config(dict(model=TRAINED.model, test_dataloader=None))
        assert changes(trained, TRAINED) == []
        assert changes(trained, config(pixels=dict(to_rgb=False))) == ['to_rgb True -> False']

    @pytest.mark.parametrize(
        'cfg',
        [
            None, 3, 'no config (', 'a = 1', 'model = 3\ntest_dataloader = 4', 'model = dict(data_preprocessor=3)',
            'test_dataloader = dict(dataset=dict(pipeline=3))', 'test_dataloader = {[1]: 2}',
            'test_dataloader = dict(dataset=dict(pipeline={"²": {1: 2}}))',
        ],
    )  # fmt: skip
    def test_a_checkpoint_that_does_not_say(self, cfg):
        assert not any(changes_since_training({'cfg': cfg}, TRAINED))
        assert not any(changes_since_training({}, TRAINED))

    @pytest.mark.parametrize('kind', ['3', 'None', '[1, 2]', '"os.system"', 'b"x"', 'dict(a=1)', '0x' + 9999 * 'f'])
    def test_a_checkpoint_of_a_stranger(self, kind):
        step = f'dict(type={kind}, scale={kind}, min_side={kind})'
        text = (
            f'model = dict(data_preprocessor=dict(type={kind}, mean={kind}))\n'
            f'test_dataloader = dict(dataset=dict(pipeline=[{step}]))'
        )
        found = list(changes_since_training({'cfg': text}, TRAINED))
        assert any(one.startswith('steps ') for one in found) and all(len(one) < 300 for one in found)


def test_a_config_has_the_values_of_its_text():
    cfg = Config(dict(a=dict(b=[dict(c=1, d=(2, 3)), dict(e=[])]), f=[[dict(g='h')], 4], i=None))
    expected = {'a.b.0.c': 1, 'a.b.0.d': (2, 3), 'a.b.1.e': [], 'f.0.0.g': 'h', 'f.1': 4, 'i': None}
    assert config_values(cfg) == config_values(cfg.pretty_text) == expected


class TestModel:
    @pytest.mark.parametrize(
        ('options', 'expected'),
        [
            ({'head.encoder.num_heads': 2}, ['head.encoder.num_heads 4 -> 2']),
            ({'head.encoder.pre_norm': False}, ['head.encoder.pre_norm True -> False']),
            ({'head.normalize_tokens': True}, ['head.normalize_tokens False -> True']),  # the default was not written
            ({'head.normalize_tokens': False}, []),
            ({'backbone.strides': (1, 1, 2, 1)}, ['backbone.strides (1, 2, 1, 1) -> (1, 1, 2, 1)']),
            ({'head.type': 'sarlp.SARLPHead'}, []),
            ({'head.type': 'SGREHead'}, ["head.type 'SARLPHead' -> 'SGREHead'"]),
            # what bears on the training alone
            ({'head.sgfe.dropout': 0.3, 'head.encoder.dropout': 0.2, 'frozen_backbone': True}, []),
            ({'head.num_classes': 3, 'head.label_embedding.file': 'b.npz', 'method.type': 'SGRE'}, []),
            ({'backbone.zero_init_residual': True, 'recompute_backbone': True}, []),
        ],
    )
    def test_what_does_not_show_in_the_weights(self, options, expected):
        trained, now = (
            load_config('sarlp_r18_digits_p0.1', {f'model.{key}': value for key, value in one.items()})
            for one in ({}, options)
        )
        assert changes(trained, now) == expected
        assert len(changes(now, trained)) == len(expected)

    def test_defaults_of_what_a_class_hands_on(self):
        """The scale of the cosines is no argument of DualCoOpHead itself."""
        trained, now = (load_config('dualcoop_rn101_voc_p0.1', one) for one in ({}, {'model.head.scale': 50.0}))
        assert changes(trained, now) == ['head.scale 20.0 -> 50.0']
        assert changes(trained, load_config('dualcoop_rn101_voc_p0.1', {'model.head.scale': 20.0})) == []

    def test_it_is_a_note(self):
        trained, now = (load_config('sarlp_r18_digits_p0.1', {'model.head.encoder.num_heads': n}) for n in (4, 2))
        assert changes_since_training({'cfg': trained.pretty_text}, now).kind == 'note'

    def test_losses_of_the_head_are_of_earlier_versions(self):
        trained = load_config('sarlp_r18_digits_p0.1')
        trained.model.head.loss = trained.model.method.pop('loss')
        assert changes(trained, load_config('sarlp_r18_digits_p0.1')) == []

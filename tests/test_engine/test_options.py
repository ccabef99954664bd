"""``--cfg-options``: what is typed is what is meant, or one message says why not."""

import pytest

from sarlp.engine import load_config
from sarlp.engine.build import set_num_classes
from sarlp.engine.config.options import merge_options, read_options
from sarlp.errors import UserError

CONFIG = 'sarlp_r18_digits_p0.1'


@pytest.mark.parametrize(
    ('typed', 'value'),
    [
        ('data_root=2024', '2024'),
        ('work_dir=007', '007'),
        ('work_dir=1e3', '1e3'),
        ('load_from=5', '5'),
        ('load_from=None', None),
        ('work_dir=my photos', 'my photos'),
        ('work_dir="my photos"', 'my photos'),
        ('work_dir=a,b', 'a,b'),
        ('work_dir=[1]', '[1]'),
        ('work_dir=true', 'true'),
        ('data_root=a,b', 'a,b'),
        ('experiment_name=3', '3'),
        ('train_dataloader.dataset.ann_file=1', '1'),
        ('train_dataloader.dataset.ann_file=a b.json,2.json', ['a b.json', '2.json']),
        ('train_dataloader.dataset.ann_file=[a.json, 2]', ['a.json', '2']),
        ('model.head.label_embedding.file=1.5', '1.5'),
        ('model.backbone.init_cfg.checkpoint=a=b', 'a=b'),
        ('train_dataloader.dataset.label_mask.type=5', '5'),
        ('train_cfg.max_epochs=3', 3),
        ('optim_wrapper.optimizer.lr=1e-3', 1e-3),
        ('resume=True', True),
        ('optim_wrapper.optimizer.betas=(0.9,0.99)', (0.9, 0.99)),
        ('model.backbone.out_indices=[3]', [3]),
        ('a=[(1,2),b]', [(1, 2), 'b']),
        ('default_hooks.checkpoint.interval=2', 2),
    ],
)
def test_values(typed, value):
    key = typed.partition('=')[0]
    found = read_options([f'{key}=0', typed])  # the last one counts
    assert found == {key: value}
    assert type(found[key]) is type(value)


@pytest.mark.parametrize('typed', ['data_root', 'data_root=', 'work_dir= ', '=3', 'train_cfg.max_epochs='])
def test_no_key_or_no_value(typed):
    with pytest.raises(UserError, match=f'--cfg-options {typed}: expected KEY=VALUE'):
        read_options([typed])


def test_brackets():
    with pytest.raises(UserError, match=r'--cfg-options a=\[\(1,2\]: its brackets do not close'):
        read_options(['a=[(1,2]'])


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['data_root.x=1'], "data_root.x: data_root is 'data/digits' and has no parts"),
        (['load_from.x=1'], 'load_from.x: load_from is None and has no parts'),
        (['train_cfg.max_epochs.a.b=1'], 'train_cfg.max_epochs is 12 and has no parts'),
        (
            ['visualizer.vis_backends.9.type=x'],
            r'vis_backends.9.type: visualizer.vis_backends is a list of 2; expected',
        ),
        (['visualizer.vis_backends.first=1'], 'visualizer.vis_backends is a list of 2'),
        (['model.backbone.out_indices.0=1'], r'model.backbone.out_indices is \(3,\) and has no parts'),
        (['tokens=1', 'tokens.part=2'], 'tokens.part: tokens is 1 by another option, and has no parts'),
        (['model..depth=3'], 'model..depth: a part of the key is empty'),
    ],
)
def test_key_that_leads_nowhere(options, message):
    with pytest.raises(UserError, match=message):
        load_config(CONFIG, options)


def test_keys_that_lead_somewhere():
    key = 'train_dataloader.dataset.pipeline.0.min_side'
    cfg = load_config(CONFIG, [f'{key}=64', 'visualizer.vis_backends.1.type=X', 'tokens.a.b=2'])
    assert cfg.train_dataloader.dataset.pipeline[0] == dict(type='LoadImage', min_side=64)
    assert [backend.type for backend in cfg.visualizer.vis_backends] == ['LocalVisBackend', 'X']
    assert cfg.tokens.a.b == 2


def test_a_place_in_a_list_of_numbers():
    cfg = load_config(CONFIG, ['model.data_preprocessor.mean.1=0.5', 'model.data_preprocessor.mean.2=7'])
    assert cfg.model.data_preprocessor.mean == [123.675, 0.5, 7]
    cfg = load_config(CONFIG, {'default_hooks.checkpoint.save_best': ['a', 'b']})
    merge_options(cfg, {'default_hooks.checkpoint.save_best.0': 'c', 'nested': [[1, 2], [3]]})
    merge_options(cfg, {'nested.0.1': 5})
    assert cfg.default_hooks.checkpoint.save_best == ['c', 'b'] and cfg.nested == [[1, 5], [3]]


@pytest.mark.parametrize(
    ('option', 'message'),
    [
        ('trian_cfg.max_epochs=3', r'nothing reads trian_cfg. Is one of these meant: train_cfg, '),
        ('lr=0.5', r'lr: nothing reads lr. Is one of these meant: optim_wrapper.optimizer.lr\?'),
        ('seed=3', r'these meant: train_dataloader.dataset.label_mask.seed, randomness.seed, '),
        ('xyzzy=3', r'xyzzy: nothing reads xyzzy$'),
        (
            'train_pipeline.0.bits=12',
            'makes others of train_pipeline, and has been read; nothing reads it now. '
            r'Is one of these meant: train_dataloader.dataset.pipeline.0.bits\?',
        ),
        ('custom_hooks.0.type=X', 'there is no list custom_hooks in this config; set it as a whole'),
        ('train_dataloader.sampler.shuffle=no', 'shuffle=no: expected True or False, as True is'),
        ('train_dataloader.num_workers=two', 'num_workers=two: expected a number, as 0 is'),
        ('model=3', 'model=3: model has parts; set one of them, such as model.type$'),
        ('env_cfg=x', 'env_cfg has parts; set one of them, such as env_cfg.cudnn_benchmark$'),
        ('param_scheduler=3', 'param_scheduler has parts; set one of them, such as param_scheduler.0$'),
        ('image_size=32', 'image_size=32: no step of the pipeline of train_dataloader resizes images'),
    ],
)
def test_what_would_change_nothing(option, message):
    with pytest.raises(UserError, match=message):
        load_config(CONFIG, [option])


def test_a_record_with_an_option_that_nobody_reads_is_read():
    """As earlier versions took them."""
    assert load_config(CONFIG, {'lr': 0.5}).lr == 0.5


def test_custom_parts_may_read_what_their_config_has(tmp_path):
    (tmp_path / 'mine.py').write_text(
        f"_base_ = 'configs/sarlp/{CONFIG}.py'\ncustom_imports = dict(imports=['json'])\nmine = 1\n"
    )
    assert load_config(tmp_path / 'mine.py', ['mine=2']).mine == 2
    with pytest.raises(UserError, match='nothing reads mnie'):
        load_config(tmp_path / 'mine.py', ['mnie=2'])


@pytest.mark.parametrize(
    'option',
    [
        'resume=auto',
        'resume=True',
        'compile.mode=reduce-overhead',
        'model.head.label_embedding=None',
        'sync_bn=torch',
        'activation_checkpointing=[backbone]',
    ],
)
def test_words_that_stand_where_a_yes_or_no_does(option):
    load_config(CONFIG, [option])


@pytest.mark.parametrize(
    ('line', 'message'),
    [
        ('data_root = 2024', 'expected texts, in quotes, found data_root = 2024$'),
        ("data_root = ['a']", r"found data_root = \['a'\]$"),
        ('work_dir = 3.5', 'found work_dir = 3.5$'),
        ('load_from = ["a"]', r"found load_from = \['a'\]$"),
        ("train_dataloader = dict(dataset=dict(ann_file=[1, 'a']))", r'found train_dataloader.dataset.ann_file = \[1,'),
        ('train_dataloader = dict(dataset=dict(data_prefix=dict(img_path=1)))', 'data_prefix.img_path = 1$'),
        ('model = dict(head=dict(type=7))', 'found model.head.type = 7$'),
    ],
)
def test_files_with_numbers_for_texts(tmp_path, line, message):
    (tmp_path / 'mine.py').write_text(f"_base_ = 'configs/sarlp/{CONFIG}.py'\n{line}\n")
    with pytest.raises(UserError, match=message):
        load_config(tmp_path / 'mine.py')


@pytest.mark.parametrize('number', ['3', 3.0, True])
def test_number_of_classes_that_is_no_number(number):
    cfg = load_config(CONFIG, {'model.head.num_classes': number})
    with pytest.raises(UserError, match=f'model.head.num_classes must be a whole number, got {number!r}; leave it out'):
        set_num_classes(cfg, 3, 'here')


def test_a_tool_takes_them(place, capsys, monkeypatch):
    """Folders and files named by numbers, through a whole training."""
    config = place.config()
    (place.root / '1').write_bytes(place.ann_file.read_bytes())
    monkeypatch.chdir(place.root.parent)
    place.root.rename(place.root.parent / '2024')
    options = [
        f'{split}_dataloader.dataset.{key}' for split in ('train', 'val') for key in ('data_root=2024', 'ann_file=1')
    ]
    place.run('train.py', f'2024/{config.name}', '--cfg-options', *options, 'work_dir=7')
    assert (place.root.parent / '7' / 'epoch_1.pth').is_file()
    place.root = place.root.parent / '2024'
    message = place.refused(capsys, 'train.py', place.root / config.name, '--cfg-options', *options, 'load_from=5')
    assert message == '5: no such checkpoint\n'

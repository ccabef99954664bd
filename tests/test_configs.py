"""A config is valid only if it is built here: every leaf, found by itself in configs/."""

import copy
import functools
import json
import re

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import OPTIMIZERS, init_default_scope
from mmpretrain.structures import DataSample

from sarlp.datasets.nesting import annotation_path
from sarlp.engine import load_config, two_views
from sarlp.engine.build import set_num_classes
from sarlp.errors import UserError
from sarlp.methods import Method, TaskInfo
from sarlp.models import MultiLabelClassifier
from sarlp.paths import shipped
from sarlp.registry import DATASETS, HOOKS, LABEL_MASKS, METHODS, METRICS, MODELS, OPTIM_WRAPPERS, PARAM_SCHEDULERS

LEAVES = {
    path.stem: path for path in sorted(shipped('configs').glob('*/*.py')) if path.parent.name not in ('_base_', 'tests')
}
CLASSES = {'digits': 10, 'scenes': 40}
TINY_VIT = dict(
    model_type='dinov2', hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=64, patch_size=16
)
IMAGE_SIZES = {'voc': 448, 'coco': 448, 'nus': 224, 'voc_sample': 224, 'scenes': 160}


@functools.cache
def load(name):
    return load_config(LEAVES[name])


def cut_off(node):
    """The model without pretrained weights and embedding files, which a test has not got."""
    if isinstance(node, dict):
        if isinstance(node.get('backbone'), dict) and 'name_or_folder' in node['backbone']:  # of a hub
            node['backbone'] = dict(type=node['backbone']['type'], config=TINY_VIT)
            node['data_preprocessor'] |= dict(mean=[120.0] * 3, std=[60.0] * 3)
        for key, value in node.items():
            pretrained = key == 'init_cfg' and isinstance(value, dict) and value.get('type') == 'Pretrained'
            weights = key == 'weights' and isinstance(value, str)
            embedding = key == 'file' and node['type'] == 'LabelEmbedding'
            if pretrained or weights or embedding:
                node[key] = None
            else:
                cut_off(value)
    elif isinstance(node, list | tuple):
        for value in node:
            cut_off(value)
    return node


def bare_model(name):
    cfg = copy.deepcopy(load(name))
    set_num_classes(cfg, CLASSES.get(dataset_of(name), 20), 'this test')
    return cut_off(cfg.model.to_dict())


def dataset_of(name):
    found = re.findall('_(voc_sample|voc|coco|nus|digits|scenes|custom)(?=_|$)', name)
    assert len(found) == 1, f'{name} must name its data set'
    return found[0]


def pytest_generate_tests(metafunc):
    if 'leaf' in metafunc.fixturenames:
        metafunc.parametrize('leaf', list(LEAVES))
    if 'published_leaf' in metafunc.fixturenames:
        metafunc.parametrize('published_leaf', [leaf for leaf in LEAVES if published_recipe(leaf) is not None])


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('sarlp')


def test_there_are_configs():
    assert len(LEAVES) > 20
    assert {path.parent.name for path in LEAVES.values()} >= {'baseline', 'sarlp'}


def test_leaf_trains_and_predicts(leaf):
    may_be_idle = load(leaf).get('find_unused_parameters', False)
    train_and_predict(json.dumps(bare_model(leaf), sort_keys=True), may_be_idle)


@functools.cache  # more than a hundred leaves share about a dozen models
def train_and_predict(dumped_model, may_be_idle):
    cfg = json.loads(dumped_model)
    torch.manual_seed(0)
    model = MODELS.build(cfg)
    assert isinstance(model, MultiLabelClassifier)
    number, size = cfg['head']['num_classes'], 64
    data = {
        'inputs': [torch.randint(0, 256, (3, size, size), dtype=torch.uint8) for _ in range(2)],
        'data_samples': [
            DataSample(metainfo=dict(img_id=str(i))).set_gt_score(torch.arange(number).float() % 3 - 1)
            for i in range(2)
        ],
    }
    model.train()
    total, logged = model.parse_losses(model(**model.data_preprocessor(data, True), mode='loss'))
    assert total.isfinite()
    assert total > 0
    assert len(logged) >= 2  # the sum, and a term or more
    total.backward()
    idle = [key for key, value in model.named_parameters() if value.requires_grad and value.grad is None]
    assert may_be_idle or idle == []  # several processes would wait for their gradients
    model.zero_grad()

    model.eval()
    with torch.no_grad():
        predicted = model.test_step(copy.copy(data))
    for sample in predicted:
        assert sample.pred_score.shape == (number,)
        assert sample.pred_score.isfinite().all()


FAMILIES = [path.stem for path in sorted(shipped('configs').glob('*/*_voc_p0.1.py'))]


@pytest.mark.parametrize('family', FAMILIES)
def test_family_takes_a_training_step_at_full_size(family):
    assert len(FAMILIES) == 8
    model = MODELS.build(bare_model(family)).train()
    optimizer = OPTIM_WRAPPERS.build(
        dict(
            type='OptimWrapper',
            optimizer=OPTIMIZERS.build(
                {**load(family).optim_wrapper.optimizer, 'params': [p for p in model.parameters() if p.requires_grad]}
            ),
        )
    )
    size = IMAGE_SIZES['voc']
    data = {
        'inputs': [torch.randint(0, 256, (3, size, size), dtype=torch.uint8) for _ in range(2)],
        'data_samples': [DataSample().set_gt_score(torch.arange(20).float() % 3 - 1) for _ in range(2)],
    }
    before = {name: p.detach().clone() for name, p in model.named_parameters() if name.startswith('head.')}
    logged = model.train_step(data, optimizer)
    assert logged['loss'].isfinite()
    moved = [name for name, p in model.named_parameters() if name in before and not p.equal(before[name])]
    assert len(moved) >= 0.9 * len(before)
    assert all(p.isfinite().all() for p in model.parameters())


def test_leaf_is_complete(leaf):
    cfg = load(leaf)
    assert cfg.default_scope == 'sarlp'
    assert cfg.model.head.num_classes is None  # the data set says it
    assert leaf.startswith(LEAVES[leaf].parent.name)
    assert cfg.work_dir == f'work_dirs/{leaf}'
    assert 'prepare_data' in cfg
    for split in ('train', 'val', 'test'):
        loader = cfg[f'{split}_dataloader']
        assert DATASETS.get(loader.dataset.type) is not None
        assert annotation_path(loader.dataset).suffix == '.json'
        Compose(loader.dataset.pipeline)
        assert loader.sampler.shuffle is (split == 'train')
        assert loader.dataset.get('test_mode', False) is (split != 'train')
        # held-out labels are those of the training images that the mask shows
        assert 'label_mask' not in loader.dataset or split == 'train' or 'label_fold' in loader.dataset
    assert cfg.val_dataloader.dataset.pipeline == cfg.test_dataloader.dataset.pipeline
    for key in ('val_evaluator', 'test_evaluator', 'recovery_evaluator'):
        if key != 'recovery_evaluator' or cfg.get(key) is not None:
            METRICS.build(cfg[key])


def test_leaf_hooks_and_schedules(leaf):
    cfg = load(leaf)
    for hook in (*cfg.default_hooks.values(), *cfg.get('custom_hooks', [])):
        HOOKS.build(copy.deepcopy(hook))
    kinds = [hook.type for hook in cfg.default_hooks.values()]
    for kind in ('EMAFromStartHook', 'SeedHook', 'DataCheckHook', 'ResumableCheckpointHook', 'ParamSchedulerHook'):
        assert kinds.count(kind) == 1
    # MMEngine deletes the oldest before it writes the newest: of one kept checkpoint a full disk leaves none
    assert cfg.default_hooks.checkpoint.max_keep_ckpts != 1
    model = torch.nn.Linear(3, 5)
    optimizer = OPTIMIZERS.build({**cfg.optim_wrapper.optimizer, 'params': model.parameters()})
    assert OPTIM_WRAPPERS.get(cfg.optim_wrapper.type) is not None
    assert {scheduler.type for scheduler in cfg.param_scheduler} == {'OneCycleLR', 'OneCycleMomentum'}
    for scheduler in cfg.param_scheduler:
        options = {key: value for key, value in scheduler.items() if key != 'convert_to_iter_based'}
        built = PARAM_SCHEDULERS.build({**options, 'optimizer': optimizer, 'end': cfg.train_cfg.max_epochs})
        assert built.warmup == 0.2
        assert scheduler.convert_to_iter_based is True


def test_leaf_name_says_the_known_ratio(leaf):
    mask = load(leaf).train_dataloader.dataset.get('label_mask')
    ratio = re.search(r'_p(\d\.\d+)', leaf)
    if ratio is None or ratio[1] == '1.0':
        assert mask is None or mask.type != 'RandomKnownLabels', 'a share of known labels belongs into the name'
        return
    built = LABEL_MASKS.build(mask)
    assert built.known_ratio == float(ratio[1])
    assert built.seed == 0


def test_another_known_ratio_need_not_be_written_down(leaf):
    if not leaf.endswith('_p0.1'):
        return
    expected, cfg = load(leaf).to_dict(), load_config(LEAVES[leaf].with_name(f'{leaf.removesuffix("0.1")}0.3.py'))
    for loader in (expected['train_dataloader'], expected['val_dataloader']):
        if loader['dataset'].get('label_mask'):
            loader['dataset']['label_mask']['known_ratio'] = 0.3
    expected['work_dir'] = f'work_dirs/{leaf.removesuffix("0.1")}0.3'
    assert cfg.to_dict() == expected
    complete = load_config(f'{leaf.removesuffix("0.1")}1.0')
    assert complete.train_dataloader.dataset.label_mask is None
    option = {'train_dataloader.dataset.label_mask.known_ratio': 0.7}
    mask = load_config(f'{leaf.removesuffix("0.1")}0.3', option).train_dataloader.dataset.label_mask
    assert mask.known_ratio == 0.7


@pytest.fixture
def own_configs(tmp_path):
    """A folder of configs with one setting of two models and two methods, none of them shipped."""
    methods = tmp_path / 'configs' / '_base_' / 'methods'
    methods.mkdir(parents=True)
    (methods / 'soft.py').write_text("model = dict(method=dict(loss=dict(_delete_=True, type='BinaryCrossEntropy')))\n")
    (methods / 'soft_two.py').write_text(
        "over = 'sarlp'\nmodel = dict(method=dict(recovery_loss=dict(loss_weight=3)))\n"
    )
    for model in ('baseline', 'sarlp'):
        base = LEAVES[f'{model}_r18_digits_p0.1']
        (tmp_path / 'configs' / model).mkdir()
        (tmp_path / 'configs' / model / f'{model}_mine_p0.1.py').write_text(f'_base_ = {str(base)!r}\n')
    return tmp_path / 'configs'


def test_a_method_goes_over_any_setting(own_configs):
    expected = load('baseline_r18_digits_p0.1').to_dict()
    expected['model']['method']['loss'] = dict(type='BinaryCrossEntropy')
    expected['work_dir'] = 'work_dirs/soft_mine_p0.1'
    assert load_config(own_configs / 'baseline' / 'soft_mine_p0.1.py').to_dict() == expected
    expected['train_dataloader']['dataset']['label_mask']['known_ratio'] = 0.7
    expected['work_dir'] = 'work_dirs/soft_mine_p0.7'
    assert load_config(own_configs / 'baseline' / 'soft_mine_p0.7.py').to_dict() == expected


def test_a_method_may_go_over_another_model(own_configs):
    expected = load('sarlp_r18_digits_p0.1').to_dict()
    expected['model']['method']['recovery_loss']['loss_weight'] = 3
    expected['train_dataloader']['dataset']['label_mask'] = None
    expected['work_dir'] = 'work_dirs/soft_two_mine_p1.0'
    assert load_config(own_configs / 'sarlp' / 'soft_two_mine_p1.0.py').to_dict() == expected


def test_what_is_neither_a_method_nor_a_setting(own_configs):
    for name in ('soft_yours_p0.1', 'hard_mine_p0.1', 'mine_p0.1'):
        with pytest.raises(UserError, match=f'{name}.py: no such config'):
            load_config(own_configs / 'baseline' / f'{name}.py')


def test_the_weak_view_leaves_out_the_strong_augmentation():
    steps = [dict(type=t) for t in ('LoadImage', 'RandomFlip', 'mmpretrain.RandAugment', 'Resize', 'PackMultiLabel')]
    shared, strong = steps[:2], steps[2:]
    views = dict(type='Views', weak=steps[3:], strong=strong)
    assert two_views.split(steps) == [*shared, views]
    assert two_views.split([*shared, views]) == [*shared, views]
    pack = steps[-1:]
    plain = [*shared, *pack]
    behind = [*shared[1:], *pack]
    assert two_views.split(plain) == [shared[0], dict(type='Views', weak=behind, strong=behind)]
    assert two_views.split([]) == []


def test_only_a_method_of_two_views_gets_them():
    class TwoViews(Method):
        views = two_views.TWO_VIEWS

    METHODS.register_module(module=TwoViews)
    try:
        options = {'model.method': dict(type='TwoViews')}
        pipeline = load_config('baseline_r18_digits_p0.1', options).train_dataloader.dataset.pipeline
    finally:
        METHODS.module_dict.pop('TwoViews')
    assert pipeline[-1].type == 'Views'
    assert [step.type for step in pipeline[-1].weak] == ['PackMultiLabel']
    assert pipeline[-1].strong == load('baseline_r18_digits_p0.1').train_dataloader.dataset.pipeline[1:]


def test_a_ratio_needs_a_mask_to_change(tmp_path):
    base = shipped('configs') / 'sarlp' / 'sarlp_r18_digits_spreadsheet.py'
    (tmp_path / 'mine_p0.1.py').write_text(f'_base_ = {str(base)!r}\n')
    with pytest.raises(UserError, match=r'mine_p0.3.py: is not there, and mine_p0.1.py has no label mask'):
        load_config(tmp_path / 'mine_p0.3.py')


def test_leaf_fits_its_data_set(leaf):
    cfg, dataset = load(leaf), dataset_of(leaf)
    words = {
        'voc': 'VOC2007',
        'voc_sample': 'vocsample',
        'coco': 'COCO2014',
        'nus': 'NUS',
        'digits': 'digits',
        'scenes': 'scenes',
        'custom': 'mine',
    }[dataset].lower()
    for split in ('train', 'val', 'test'):
        root = re.sub(r'[^a-z0-9]', '', str(cfg[f'{split}_dataloader'].dataset.data_root).lower())
        assert words in root or words.removesuffix('2014') in root
    embedding = cfg.model.head.get('label_embedding') or {}
    if embedding.get('file') not in (None, 'auto'):
        assert embedding['file'].startswith(cfg.train_dataloader.dataset.data_root)
    if dataset in IMAGE_SIZES:
        for split in ('train', 'test'):
            pipeline = cfg[f'{split}_dataloader'].dataset.pipeline
            scales = [step.scale for step in pipeline if step.type in ('Resize', 'LoadResizedImage')]
            assert scales == [(IMAGE_SIZES[dataset],) * 2]


# batch, learning rate, EMA decay of the papers, by data set
RESNET_RECIPES = {'voc': (64, 9e-5, 0.9983), 'coco': (52, 5e-5, 0.9997), 'nus': (128, 9e-5, 0.9997)}
CLIP_LORA_RECIPES = {'voc': (32, 2.4e-5, 0.9983), 'coco': (32, 5e-5, 0.9997), 'nus': (128, 9e-5, 0.9983)}


def published_recipe(leaf):
    """Batch, learning rate and EMA decay; None for digits, custom data and sarlp_clip, of which no paper names them."""
    dataset = dataset_of(leaf)
    if dataset in ('digits', 'custom', 'voc_sample', 'scenes') or leaf.startswith('sarlp_clip_rn101'):
        return None
    if leaf.startswith('sgre'):
        return (128, 9e-5, 0.9983 if dataset == 'voc' else 0.9997)
    if 'clip_lora' in leaf:
        return CLIP_LORA_RECIPES[dataset]
    if leaf.startswith('sarlp_r101_nus'):
        return (128, 9e-5, 0.9983)
    return RESNET_RECIPES[dataset]


def test_leaf_has_the_recipe_of_the_paper(published_leaf):
    cfg, expected = load(published_leaf), published_recipe(published_leaf)
    optimizer = cfg.optim_wrapper.optimizer
    actual = (cfg.train_dataloader.batch_size, optimizer.lr, 1 - cfg.default_hooks.ema.momentum)
    assert actual == pytest.approx(expected)
    assert (optimizer.type, tuple(optimizer.betas), optimizer.weight_decay) == ('AdamW', (0.9, 0.999), 1e-4)
    assert cfg.train_cfg.max_epochs == 60
    assert cfg.default_hooks.ema.update_buffers is True


def test_options_reach_what_they_name():
    options = {'train_dataloader.dataset.label_mask.known_ratio': 0.3, 'train_dataloader.num_workers': 4}
    cfg = load_config('sarlp_r101_voc_p0.1', options)
    assert LABEL_MASKS.build(cfg.train_dataloader.dataset.label_mask).known_ratio == 0.3
    assert cfg.train_dataloader.num_workers == 4


def test_bases_are_no_runs():
    for path in (shipped('configs') / '_base_').rglob('*.py'):
        cfg = Config.fromfile(path)
        assert not {'model', 'train_dataloader', 'train_cfg', 'default_hooks'} <= set(cfg)


METHOD_NAMES = {path.stem for path in (shipped('configs') / '_base_' / 'methods').glob('*.py')}
ON_CLIP = {'dualcoop', 'positive_coop'}  # built with their encoder in tests/test_models/test_prompts.py


def test_there_are_methods():
    assert len(METHOD_NAMES) > 30
    assert ON_CLIP < METHOD_NAMES


@pytest.mark.parametrize('method', sorted(METHOD_NAMES - ON_CLIP))
def test_method_goes_on_a_setting(method):
    """What each computes is in tests/test_methods and tests/test_models; here, that its file is a config."""
    cfg = load_config(f'{method}_r18_digits_p0.1')
    views = METHODS.get(cfg.model.method.type).views
    last = cfg.train_dataloader.dataset.pipeline[-1]
    assert (views == ('image',)) == (last.type != 'Views')
    set_num_classes(cfg, 10, 'this test')
    counts = np.arange(1, 11)
    task = TaskInfo(tuple('abcdefghij'), 67, counts, 10 - counts + 5)
    model = MODELS.build(dict(cut_off(cfg.model.to_dict()), task=task)).eval()
    with torch.no_grad():
        outputs = model(torch.randn(2, 3, 64, 64))
    assert outputs['scores'].shape == (2, 10)
    assert outputs['token_scores'].shape[::2] == (2, 10)

"""Options of MMEngine: each works, or is refused before the first step."""

import shutil
from pathlib import Path

import pytest

from sarlp.engine import find_checkpoint, read_checkpoint
from sarlp.engine.records.run_record import read_record
from sarlp.engine.testing import test as measure
from sarlp.errors import UserError
from sarlp.evaluation.metrics import LabelRecoveryMetric, MultiLabelMetric

CHECKPOINT = 'default_hooks.checkpoint.'
BOTH = {CHECKPOINT + 'save_best': ['CF1', 'mAP']}


@pytest.fixture
def train(make_runner):
    """``train(**options)``: one epoch; the names of the checkpoints."""

    def run(**options):
        runner = make_runner('baseline', **{'train_cfg.max_epochs': 1, **options})
        runner.train()
        return sorted(path.name for path in Path(runner.work_dir).glob('*.pth'))

    return run


@pytest.fixture
def refused(make_runner, monkeypatch):
    """``refused(message, **options)``: before the first step."""

    def run(message, **options):
        steps = []
        with pytest.raises(UserError, match=message):
            runner = make_runner('baseline', **{'train_cfg.max_epochs': 1, **options})
            monkeypatch.setattr(runner.model, 'train_step', lambda *args, **kwargs: steps.append(1))
            runner.train()
        assert not steps

    return run


WORKS = [
    ({CHECKPOINT + 'save_best': None}, ['epoch_1.pth']),
    ({CHECKPOINT + 'save_best': []}, ['epoch_1.pth']),
    ({CHECKPOINT + 'save_best': 'auto'}, ['best_mAP_epoch_1.pth', 'epoch_1.pth']),
    (BOTH, ['best_CF1_epoch_1.pth', 'best_mAP_epoch_1.pth', 'epoch_1.pth']),
    (
        {**BOTH, CHECKPOINT + 'rule': ['greater', 'less']},
        ['best_CF1_epoch_1.pth', 'best_mAP_epoch_1.pth', 'epoch_1.pth'],
    ),
    ({'default_hooks.ema': None}, ['best_mAP_epoch_1.pth', 'epoch_1.pth']),
    ({'default_hooks.checkpoint': None}, []),
    ({'default_hooks.logger': None}, ['best_mAP_epoch_1.pth', 'epoch_1.pth']),
    ({'default_hooks.timer': None, 'default_hooks.data_check': None}, ['best_mAP_epoch_1.pth', 'epoch_1.pth']),
    ({'val_cfg': None, 'val_dataloader': None, 'val_evaluator': None}, ['epoch_1.pth']),
    ({'train_cfg.val_begin': 2}, ['epoch_1.pth']),
    ({CHECKPOINT + 'interval': -1}, ['best_mAP_epoch_1.pth', 'epoch_1.pth']),
    ({'param_scheduler': None}, ['best_mAP_epoch_1.pth', 'epoch_1.pth']),
    ({'optim_wrapper.clip_grad': dict(max_norm=1, norm_type=2)}, ['best_mAP_epoch_1.pth', 'epoch_1.pth']),
    (
        {
            'val_evaluator': [dict(type='MultiLabelMetric', prefix='b'), dict(type='MultiLabelMetric')],
            CHECKPOINT + 'save_best': ['b/mAP', 'mAP'],
        },
        ['best_b_mAP_epoch_1.pth', 'best_mAP_epoch_1.pth', 'epoch_1.pth'],
    ),
]
KEYS = 'optim_wrapper.paramwise_cfg.custom_keys.'
STOP = dict(type='EarlyStoppingHook', monitor='mAP', rule='greater')
REFUSED = [
    (
        {CHECKPOINT + 'save_best': 'mAPP'},
        "save_best = 'mAPP' is not measured by val_evaluator; there are mAP, mAP_plain",
    ),
    ({CHECKPOINT + 'save_best': 3}, r'Hook takes a text or a list \(each a text\) or None'),
    ({CHECKPOINT + 'rule': 'bigger'}, 'rule must be greater, less or None'),
    ({CHECKPOINT + 'rule': ['greater', 'less']}, 'Number of "rule" must be 1 or the same'),
    ({CHECKPOINT + 'by_epoch': False}, 'iter_interval=N saves every N iterations'),
    ({CHECKPOINT + 'save_optimizer': False}, 'is none to go on from'),
    ({CHECKPOINT + 'iter_interval': 0}, 'must be a whole number of at least 1, got 0'),
    ({CHECKPOINT + 'type': 'CheckpointHook'}, 'its checkpoints are on no record'),
    ({'default_hooks.ema.momentum': 2.0}, r'default_hooks.ema: momentum must be in range'),
    ({'default_hooks.ema.begin_epoch': 9}, 'default_hooks.ema: .*begin_epoch'),
    ({'default_hooks.ema.nonsense': 9}, 'default_hooks.ema: .*nonsense'),
    ({'default_hooks.logger.interval': 0}, 'interval must be greater than 0'),
    ({'default_hooks.logger.log_metric_by_epoch': False}, 'evaluations are logged by epoch'),
    ({'default_hooks.param_scheduler': None}, 'the schedules would never be stepped'),
    ({'default_hooks.runtime_info': None}, 'a training needs this hook'),
    ({'val_cfg': None}, 'val_cfg is None, val_dataloader and val_evaluator not'),
    ({'train_cfg.type': 'EpochBasedTrainLoop'}, 'set type=ResumableTrainLoop'),
    ({'train_cfg.by_epoch': False}, 'set type=ResumableTrainLoop'),
    ({'randomness.seed': -1}, r'--seed, or randomness\.seed, must be a whole number from 0 to .*, got -1'),
    ({'train_cfg.max_epochs': 0}, 'max_epochs must be a whole number of at least 1, got 0'),
    ({'param_scheduler.0.end': 0}, 'end should be larger than begin'),
    ({'param_scheduler.0.div_factor': 0}, 'its factors must be positive'),
    ({'param_scheduler.1.high': 1.5}, r'low and high must be in \[0, 1\)'),
    ({'param_scheduler': [dict(type='ReduceOnPlateauLR', monitor='loss')]}, "monitor = 'loss' is not measured"),
    (
        {'param_scheduler': [dict(type='mmengine.OneCycleLR', eta_max=0.1, total_steps=9, by_epoch=False)]},
        'keeps anneal_func = function in its state',
    ),
    ({'custom_hooks': [dict(type='EarlyStoppingHook', monitor='accuracy')]}, "monitor = 'accuracy' is not measured"),
    ({'custom_hooks': [dict(STOP, patience='two')]}, "patience = 'two': EarlyStoppingHook takes a whole number"),
    ({'custom_hooks': [dict(STOP, min_delta='1')]}, "min_delta = '1': EarlyStoppingHook takes a number"),
    ({'val_evaluator.threshold': 30}, 'threshold must be a number from 0 to 1, got 30'),
    ({KEYS + 'bckbone.lr_mult': 0}, 'custom_keys.bckbone: no parameter has that in its name'),
    ({KEYS + 'backbone.lr_mul': 0}, 'custom_keys.backbone.lr_mul: expected one of lr_mult, decay_mult'),
    ({KEYS + 'head.score.lr_mult': 9}, 'custom_keys.head.score: expected one of .* in a config of your own'),
    (
        {'optim_wrapper.paramwise_cfg.norm_decay_multt': 0},
        'paramwise_cfg.norm_decay_multt: expected one of custom_keys',
    ),
    ({'val_evaluator.top_k': 0}, 'top_k must be a whole number of at least 1, or None, got 0'),
    ({'train_dataloader.dataset.filter_cfg': dict(min_size=3)}, 'filter_cfg: MultiLabelDataset filters nothing by it'),
    ({'model.method.xyz': 3}, 'model.method.xyz: KnownLabels has no argument xyz; correct it, or leave it out'),
    ({'train_dataloader.dataset.label_mask.known_ration': 0.3}, 'RandomKnownLabels has no argument known_ration'),
    ({'train_dataloader.batchsize': 3}, 'train_dataloader.batchsize: DataLoader has no argument batchsize'),
    ({'train_cfg.max_epoch': 3}, 'train_cfg.max_epoch: EpochBasedTrainLoop has no argument max_epoch'),
    ({'val_evaluator.thresholds': 0.3}, 'val_evaluator.thresholds: _ScoresMetric has no argument thresholds'),
    ({'randomness.sed': 3}, 'randomness.sed: Runner has no argument sed'),
    ({'model.backbone.frozen_stages': 9}, "model.backbone: mmpretrain.ResNet can not be built: .*'layer5'"),
    ({'model.backbone.strides': (1, 2)}, r'model.backbone: .* can not be built: assert len\(strides\) == '),
    ({'model.backbone.depth': 19}, 'model.backbone: .* can not be built: .*invalid depth 19'),
    ({'model.backbone.type': 'mmpretrain.ResNot'}, 'model.backbone: type=mmpretrain.ResNot is no model. '),
    ({'model.method.type': 'KnownLabel'}, r'type=KnownLabel is no method. Is one of these meant: KnownLabels\?'),
    ({'optim_wrapper.optimizer.type': 'Adamw'}, 'optimizer: type=Adamw is no optimizer. Is one of .*: AdamW'),
    ({'optim_wrapper.clip_grad': dict(max_norm='abc')}, "clip_grad.max_norm must be a number above 0, got 'abc'"),
    ({'optim_wrapper.clip_grad': dict(max_norm=-1)}, 'clip_grad.max_norm must be a number above 0, got -1'),
    ({'optim_wrapper.accumulative_counts': 2.5}, 'accumulative_counts must be a whole number of at least 1, .*got 2.5'),
    ({'optim_wrapper.accumulative_counts': 0}, 'accumulative_counts must be a whole number of at least 1, .*got 0'),
    ({'auto_scale_lr': dict(base_batch_size=64)}, r'auto_scale_lr: expected dict\(enable=True, base_batch_size=N\)'),
    ({'auto_scale_lr': dict(enable=True)}, 'auto_scale_lr.base_batch_size must be a whole number .*got None'),
    ({'auto_scale_lr': dict(enable=True, batch=2)}, 'auto_scale_lr: expected dict'),
    ({'optim_wrapper.typ': 'x'}, "^optim_wrapper can not be built: .*unexpected keyword argument 'typ'"),
    ({'optim_wrapper.clip_grad': dict(maxnorm=1)}, 'clip_grad.maxnorm: expected one of max_norm, norm_type'),
    ({'optim_wrapper.clip_grad': dict(type='value', max_norm=1)}, 'clip_grad.max_norm: expected one of clip_value'),
    ({'env_cfg.tf3': True}, r'env_cfg.tf3: nothing reads it; is one of these meant: tf32\?'),
    ({'env_cfg.tf32': 1}, 'env_cfg.tf32 must be True or False, got 1'),
    ({'env_cfg.mp_cfg.threads': 1}, 'env_cfg.mp_cfg.threads: nothing reads it; there are mp_start_method, opencv'),
    ({'env_cfg.mp_cfg.mp_start_method': 'frok'}, "mp_start_method must be one of fork, .* got 'frok'"),
    ({'env_cfg.dist_cfg.backedn': 'gloo'}, r'env_cfg.dist_cfg.backedn: .*meant: backend'),
    ({'log_level': 'LOUD'}, "log_level must be one of .*INFO.*, got 'LOUD'"),
    ({'train_dataloader.drop_last': True, 'train_dataloader.batch_size': 29}, 'of 24 images there is none of 29; set'),
    ({'train_dataloader.batch_size': 0}, 'train_dataloader.batch_size must be a whole number of at least 1, got 0'),
    ({'val_dataloader.num_workers': -1}, 'val_dataloader.num_workers must be a whole number of at least 0, got -1'),
    ({'val_dataloader.drop_last': True}, 'val_dataloader.drop_last=True leaves out the images of the last batch'),
    ({'optim_wrapper.optimizer.lr': -1.0}, '^optim_wrapper can not be built: Invalid learning rate'),
]


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'test_dataloader.batchsize': 3}, 'test_dataloader.batchsize: DataLoader has no argument batchsize'),
        ({'test_dataloader.sampler.shufle': True}, 'sampler.shufle: DefaultSampler has no argument shufle'),
        ({'test_dataloader.dataset.tset_mode': True}, 'tset_mode: BaseDataset has no argument tset_mode'),
        ({'test_evaluator.topk': 3}, 'test_evaluator.topk: .* has no argument topk'),
        ({'test_dataloader.drop_last': True}, 'test_dataloader.drop_last=True leaves out the images'),
        ({'test_dataloader.batch_size': 0}, 'test_dataloader.batch_size must be a whole number of at least 1'),
        ({'env_cfg.cudnn_benhmark': True}, 'env_cfg.cudnn_benhmark: nothing reads it'),
    ],
)
def test_is_refused_by_a_test(make_runner, options, message):
    with pytest.raises(UserError, match=message):
        _ = make_runner('baseline', training=False, **options).test_loop


def test_errors_of_parts_are_left_as_they_are_for_who_writes_one(make_runner):
    with pytest.raises(KeyError, match='invalid depth 19'):
        make_runner('baseline', **{'model.backbone.depth': 19, 'log_level': 'DEBUG'})


@pytest.mark.parametrize(('options', 'expected'), WORKS)
def test_works(train, options, expected):
    assert train(**options) == expected


@pytest.mark.parametrize(('options', 'message'), REFUSED)
def test_is_refused_before_the_first_step(refused, options, message):
    refused(message, **options)


@pytest.mark.parametrize(('parts', 'told'), [(3, False), (1000, True)])
def test_more_parts_than_batches_are_told(make_runner, caplog, parts, told):
    runner = make_runner('baseline', **{'train_cfg.max_epochs': 1, 'optim_wrapper.accumulative_counts': parts})
    runner.train()
    log = next(Path(runner.work_dir).glob('*/*.log')).read_text()
    assert (f'accumulative_counts = {parts} is more than the 3 batches of the run' in log) == told


class TestBestOfSeveralMetrics:
    def test_each_has_its_own_and_the_first_counts(self, train, make_config, tmp_path):
        work = tmp_path / 'work'
        train(**BOTH)
        assert find_checkpoint(work) == str(work / 'best_CF1_epoch_1.pth')
        # another first metric from now on; of each metric one file is kept, the score of neither is forgotten
        train(resume=True, **{'train_cfg.max_epochs': 4, CHECKPOINT + 'save_best': 'mAP'})
        record = read_record(work)
        assert list(record.best) == ['mAP', 'CF1'] and record.best['CF1'].file == 'best_CF1_epoch_1.pth'
        assert find_checkpoint(work) == str(work / record.best['mAP'].file)
        best = [path.name for path in work.glob('best_*.pth')]
        assert sorted(best) == sorted(saved.file for saved in record.best.values())
        hub = read_checkpoint(work / 'epoch_4.pth')['message_hub']['runtime_info']
        assert {'best_score', 'best_score_CF1'} <= set(hub) and hub['best_score'] != hub['best_score_CF1']

    def test_a_score_is_not_compared_with_that_of_another_metric(self, train, tmp_path):
        train()
        train(resume=True, **{'train_cfg.max_epochs': 2, CHECKPOINT + 'save_best': 'classes_left_out'})
        # 1 class is left out of the mAP, which is far below any mAP in percent, and yet the first of its kind
        assert read_record(tmp_path / 'work').best['classes_left_out'].epoch == 1

    def test_the_metric_is_in_the_results(self, train, make_config, tmp_path):
        train(**BOTH)
        cfg = make_config('baseline', test_evaluator=[dict(type='MultiLabelMetric', top_k=2)])
        measure(cfg, find_checkpoint(tmp_path / 'work'), tmp_path / 'out', recovery=False)
        text = (tmp_path / 'out' / 'metrics.json').read_text()
        assert '"epoch_selection": "best EMA CF1 on the test set"' in text and '"top_k": 2' in text
        assert f'"run": "{read_record(tmp_path / "work").run}"' in text


def test_names_of_metrics_are_those_that_are_measured(make_runner):
    runner = make_runner('baseline')
    assert MultiLabelMetric(prefix='a', top_k=None).names()[0] == 'a/mAP'
    assert 'recovery_AP' in LabelRecoveryMetric().names()
    measured = runner.val()
    (metric,) = runner.val_loop.evaluator.metrics
    assert metric.names() == list(measured)
    assert not list(Path(runner.work_dir).glob('*.pth'))


def test_sigterm_in_an_epoch_that_is_not_saved(make_runner, tmp_path):
    """With interval=2 the end of epoch 1 is saved for the scheduler's sake, and named."""
    runner = make_runner('baseline', **{CHECKPOINT + 'interval': 2, 'train_cfg.max_epochs': 4})
    (hook,) = (hook for hook in runner.hooks if hasattr(hook, '_terminated'))
    hook._terminated = True
    hook.after_train_iter = lambda runner, batch_idx, data_batch=None, outputs=None: None
    with pytest.raises(SystemExit):
        runner.train()
    assert (tmp_path / 'work' / 'last_checkpoint').read_text() == str(tmp_path / 'work' / 'epoch_1.pth')
    shutil.rmtree(tmp_path / 'work')

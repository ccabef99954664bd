"""A resumed run has the state of its checkpoint and the values of its present config."""

import json
import logging
import runpy
import shutil
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook

from sarlp.engine import build_runner, load_config, read_checkpoint
from sarlp.engine.config.changes import config_changes, config_values
from sarlp.engine.records.run_record import read_record
from sarlp.errors import UserError

LENGTH, PEAK = 3, 2e-3  # of the digits of these tests, in batches of 8


@pytest.fixture(scope='module')
def first(tmp_path_factory, digits):
    """A run of two epochs, saved within them too."""
    reduced = runpy.run_path(str(Path(__file__).with_name('conftest.py')))['reduced']
    work = tmp_path_factory.mktemp('first') / 'work'
    cfg = load_config('baseline_r18_digits_p0.1', {**reduced(digits, 'baseline'), 'work_dir': str(work)})
    cfg.default_hooks.checkpoint.update(iter_interval=1, max_keep_ckpts=-1)
    build_runner(cfg).train()
    return work


@pytest.fixture
def work(first, tmp_path):
    shutil.copytree(first, tmp_path / 'work')
    return tmp_path / 'work'


class Watch(Hook):
    """What the optimizer has at each step of the training, before it."""

    priority = 'VERY_HIGH'

    def __init__(self):
        self.steps, self.state = [], None

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        optimizer = runner.optim_wrapper.optimizer
        if self.state is None:
            self.state = json.dumps(
                [float(s['exp_avg'].double().sum()) for s in optimizer.state_dict()['state'].values()]
            )
        (group,) = optimizer.param_groups
        self.steps.append({'iter': runner.iter, **{key: group.get(key) for key in ('lr', 'betas', 'weight_decay')}})


class Said(logging.Handler):
    def __init__(self):
        super().__init__(logging.WARNING)
        self.lines = []

    def emit(self, record):
        self.lines.append(record.getMessage())


@pytest.fixture
def resume(make_runner):
    """``resume(**options)``: a resumed and finished run, what its optimizer had at each step, what was said."""

    def run(**options):
        runner = make_runner('baseline', **{'resume': True, **options})
        watch, said = Watch(), Said()
        runner.register_hook(watch)
        runner.logger.addHandler(said)
        runner.train()
        return runner, watch, ' | '.join(said.lines)

    return run


def torch_cycle(total, peak=PEAK):
    """(lr, beta1) of each step, by torch."""
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=peak, total_steps=total, pct_start=0.2, anneal_strategy='cos', div_factor=25.0,
        final_div_factor=1e4, base_momentum=0.85, max_momentum=0.95,
    )  # fmt: skip
    values = []
    for _ in range(total):
        values.append((optimizer.param_groups[0]['lr'], optimizer.param_groups[0]['betas'][0]))
        optimizer.step()
        if len(values) < total:
            schedule.step()
    return values


def cycle_of(watch):
    return [(step['lr'], step['betas'][0]) for step in watch.steps]


def close(values):
    return [pytest.approx(pair, rel=1e-9) for pair in values]


class TestLonger:
    def test_the_schedule_is_that_of_the_new_length(self, work, resume):
        before = read_checkpoint(work / 'epoch_2.pth')['optimizer']['state']
        runner, watch, said = resume(**{'train_cfg.max_epochs': 5})
        assert [step['iter'] for step in watch.steps] == list(range(2 * LENGTH, 5 * LENGTH))
        assert cycle_of(watch) == close(torch_cycle(5 * LENGTH)[2 * LENGTH :])
        assert 'train_cfg.max_epochs 2 -> 5' in said and 'at iteration 6 of 15' in said
        assert json.loads(watch.state) == [float(state['exp_avg'].double().sum()) for state in before.values()]
        steps = {float(state['step']) for state in runner.optim_wrapper.optimizer.state_dict()['state'].values()}
        assert steps == {5.0 * LENGTH}

    def test_resumed_again_it_is_only_gone_on_with(self, work, resume):
        resume(**{'train_cfg.max_epochs': 3})
        again, watch, said = resume(**{'train_cfg.max_epochs': 3})
        assert not watch.steps and 'other than before' not in said and 'schedules' not in said

    def test_finished_is_said(self, work, resume):
        runner, watch, said = resume()
        assert not watch.steps and runner.iter == 6
        assert 'the run is finished: all of its 2 epochs are trained' in said

    @pytest.mark.parametrize(('name', 'epochs', 'done'), [('epoch_2', 1, 2), ('iter_4', 1, 2)])
    def test_shorter_than_what_is_done(self, work, resume, tmp_path, name, epochs, done):
        options = {'load_from': str(work / f'{name}.pth'), 'work_dir': str(tmp_path / 'b')}
        message = rf'is of epoch {done}, and train_cfg.max_epochs = {epochs} asks for fewer'
        with pytest.raises(UserError, match=message):
            resume(**options, **{'train_cfg.max_epochs': epochs})


class TestOtherValues:
    def test_learning_rate_weight_decay_beta_and_average(self, work, resume, tmp_path):
        options = {'optim_wrapper.optimizer.lr': 1e-3, 'optim_wrapper.optimizer.weight_decay': 0.1}
        options |= {'optim_wrapper.optimizer.betas': (0.9, 0.9), 'default_hooks.ema.momentum': 0.5}
        from_1 = {'load_from': str(work / 'iter_4.pth'), 'work_dir': str(tmp_path / 'b')}  # within an epoch
        runner, watch, said = resume(**options, **from_1)
        assert cycle_of(watch) == close(torch_cycle(2 * LENGTH, 1e-3)[4:])
        assert {(step['weight_decay'], step['betas'][1]) for step in watch.steps} == {(0.1, 0.9)}
        for change in (
            'optim_wrapper.optimizer.lr 0.002 -> 0.001',
            'optim_wrapper.optimizer.weight_decay 0.0001 -> 0.1',
            'optim_wrapper.optimizer.betas (0.9, 0.999) -> (0.9, 0.9)',
            'default_hooks.ema.momentum',
        ):
            assert change in said
        (hook,) = (hook for hook in runner.hooks if hasattr(hook, 'ema_model'))
        assert hook.ema_model.momentum == 0.5

    def test_nothing_is_said_where_nothing_changed(self, work, resume, tmp_path):
        same = {'default_hooks.checkpoint.iter_interval': 1, 'default_hooks.checkpoint.max_keep_ckpts': -1}
        _, watch, said = resume(load_from=str(work / 'iter_4.pth'), work_dir=str(tmp_path / 'b'), **same)
        assert cycle_of(watch) == close(torch_cycle(2 * LENGTH)[4:])
        assert 'other than before' not in said and 'schedules' not in said

    def test_weights_of_a_run_with_other_pixels(self, work, resume, tmp_path):
        options = {'load_from': str(work / 'epoch_2.pth'), 'resume': False, 'train_cfg.max_epochs': 1}
        *_, said = resume(**options, work_dir=str(tmp_path / 'b'))
        assert 'normalised otherwise' not in said
        *_, said = resume(**options, **{'model.data_preprocessor.to_rgb': False}, work_dir=str(tmp_path / 'c'))
        assert 'epoch_2.pth: was trained on pixels normalised otherwise (to_rgb True -> False)' in said

    def test_weights_of_a_model_that_computes_otherwise(self, work, resume, tmp_path):
        options = {'load_from': str(work / 'epoch_2.pth'), 'resume': False, 'train_cfg.max_epochs': 1}
        *_, said = resume(**options, **{'model.backbone.strides': (1, 1, 2, 1)}, work_dir=str(tmp_path / 'b'))
        assert 'epoch_2.pth: its weights were those of another model (backbone.strides (1, 2, 1, 1) -> ' in said

    def test_another_kind_of_schedule(self, work, resume):
        schedules = [dict(type='LinearLR', start_factor=0.5, end=4, by_epoch=False), dict(type='StepLR', step_size=1)]
        _, watch, said = resume(**{'train_cfg.max_epochs': 4, 'param_scheduler': schedules})
        expected = [PEAK * 0.1**epoch for epoch in (2, 2, 2, 3, 3, 3)]  # the warm-up is over
        assert [step['lr'] for step in watch.steps] == pytest.approx(expected)
        assert {step['betas'] for step in watch.steps} == {(0.9, 0.999)}

    def test_no_schedule(self, work, resume):
        _, watch, _ = resume(**{'train_cfg.max_epochs': 3, 'param_scheduler': None})
        assert {(step['lr'], step['betas']) for step in watch.steps} == {(PEAK, (0.9, 0.999))}

    def test_a_schedule_by_the_scores_keeps_what_it_saw(self, make_runner, resume):
        plateau = dict(type='ReduceOnPlateauLR', monitor='mAP', rule='greater', threshold=1e6, patience=0, factor=0.5)
        make_runner('baseline', param_scheduler=[plateau]).train()
        _, watch, said = resume(param_scheduler=[{**plateau, 'factor': 0.1}], **{'train_cfg.max_epochs': 4})
        assert [step['lr'] for step in watch.steps] != [PEAK] * 6
        assert 'param_scheduler.0.factor 0.5 -> 0.1' in said
        with pytest.raises(UserError, match='followed the scores'):
            resume(param_scheduler=[plateau], **{'train_cfg.max_epochs': 5, 'optim_wrapper.optimizer.lr': 1.0})

    def test_another_optimizer_is_refused(self, work, resume):
        with pytest.raises(UserError, match='its optimizer is AdamW, now Adam'):
            resume(**{'optim_wrapper.optimizer.type': 'Adam'})
        with pytest.raises(UserError, match=r'parameters by group, now \[1, 1,'):
            resume(**{'optim_wrapper.paramwise_cfg': dict(bias_decay_mult=0.0)})

    def test_without_the_average_the_trained_weights_go_on(self, work, resume, tmp_path):
        content = read_checkpoint(work / 'iter_5.pth')
        trained = {name.removeprefix('module.'): value for name, value in content['ema_state_dict'].items()}
        seen = {}

        class Look(Hook):
            def before_train(self, runner):
                seen.update({name: value.clone() for name, value in runner.model.state_dict().items()})

        options = {'default_hooks.ema': None, 'load_from': str(work / 'iter_5.pth'), 'work_dir': str(tmp_path / 'b')}
        _, _, said = resume(**options, custom_hooks=[dict(type=Look)])
        assert 'EMA is off now' in said
        assert all(torch.equal(value, trained[name]) for name, value in seen.items())
        assert any(not torch.equal(value, content['state_dict'][name]) for name, value in seen.items())

    def test_the_seed_of_a_run_stays_also_that_of_its_order(self, work, resume):
        runner, _, said = resume(**{'train_cfg.max_epochs': 3, 'randomness.seed': 5})
        assert runner.seed == runner.train_dataloader.sampler.seed == 0
        assert 'random seed' in said and 'randomness' not in said.replace('`randomness`', '')


class TestAnotherEpoch:
    """Another batch size or number of images, from the end of an epoch."""

    @pytest.mark.parametrize('earlier_version', [False, True])
    @pytest.mark.parametrize('epochs', [1, 2])
    @pytest.mark.parametrize(('batch_size', 'length'), [(12, 2), (4, 6), (5, 5)])
    def test_goes_on_at_the_next_epoch(self, work, resume, tmp_path, earlier_version, epochs, batch_size, length):
        path = work / f'epoch_{epochs}.pth'
        if earlier_version:
            content = read_checkpoint(path)
            for key in ('sampling', 'run', 'optimizer'):
                del content['meta'][key]
            torch.save(content, path)
        options = {'load_from': str(path), 'work_dir': str(tmp_path / 'b'), 'train_cfg.max_epochs': 3}
        runner, watch, said = resume(**options, **{'train_dataloader.batch_size': batch_size})
        assert runner.iter == 3 * length and len(watch.steps) == (3 - epochs) * length
        assert cycle_of(watch) == close(torch_cycle(3 * length)[epochs * length :])
        assert f'train_dataloader.batch_size 8 -> {batch_size}' in said
        assert f'an epoch has {length} iterations now' in said
        assert read_record(tmp_path / 'b').resumable[-1].iter == 3 * length

    @pytest.mark.parametrize('earlier_version', [False, True])
    @pytest.mark.parametrize('batch_size', [12, 4, 7])
    def test_within_an_epoch_is_refused(self, work, resume, tmp_path, batch_size, earlier_version):
        path = work / 'iter_4.pth'
        if earlier_version:
            content = read_checkpoint(path)
            del content['meta']['sampling']
            torch.save(content, path)
        with pytest.raises(UserError, match=r'iter_4.pth: is from within epoch 2 .*batch size 8.*; now .*batch size'):
            resume(
                **{'load_from': str(path), 'work_dir': str(tmp_path / 'b'), 'train_dataloader.batch_size': batch_size}
            )

    def test_within_an_epoch_other_images_in_as_many_batches_are_refused(self, work, resume, tmp_path):
        options = {'load_from': str(work / 'iter_4.pth'), 'work_dir': str(tmp_path / 'b')}
        with pytest.raises(UserError, match='images 24; now .*images 23'):
            resume(**options, **{'train_dataloader.dataset.indices': list(range(23))})


class TestEarlyStopping:
    def test_waits_on_after_resuming(self, make_runner, tmp_path):
        """Two bad evaluations stop the run: one before the interruption, one after it."""
        stopping = [dict(type='EarlyStoppingHook', monitor='mAP', patience=2, min_delta=1000.0)]
        options = {'custom_hooks': stopping, 'train_cfg.max_epochs': 6}
        whole = make_runner('baseline', **options)
        whole.train()
        assert whole.epoch == 3
        cut = make_runner('baseline', **options, work_dir=str(tmp_path / 'cut'))

        class Cut(Hook):
            def before_train_epoch(self, runner):
                if runner.epoch == 2:
                    raise KeyboardInterrupt

        cut.register_hook(Cut())
        with pytest.raises(KeyboardInterrupt):
            cut.train()
        for _ in range(2):  # the second time it has stopped
            resumed = make_runner('baseline', **options, work_dir=str(tmp_path / 'cut'), resume=True)
            resumed.train()
            assert resumed.epoch == 3


class TestConfigChanges:
    def test_everything_that_bears_on_the_training(self):
        before = "a = dict(b=[dict(c=1), dict(c=2)], d=(1, 2))\nwork_dir = 'x'\nt = dict(num_workers=2)\ne = -1.5"
        now = "a = {'b': [dict(c=1), dict(c=3)], 'd': [1, 2]}\nwork_dir = 'y'\nt = dict(num_workers=0)\nf = inf"
        assert config_values(before)['a.b.1.c'] == 2
        changes = ['a.b.1.c 2 -> 3', 'a.d (1, 2) -> [1, 2]', "f absent -> 'inf'", 'e -1.5 -> absent']
        assert config_changes(before, now) == changes

    @pytest.mark.parametrize('text', ['', 'no python (', 'import os', '(' * 9999])
    def test_of_no_config(self, text):
        assert config_changes(text, 'a = 1') == []

    def test_nothing_is_run(self, tmp_path):
        assert config_values(f'a = open({str(tmp_path / "made")!r}, "w")\nb = dict(**c)\nd = {{**e}}').keys() >= {'a'}
        assert not (tmp_path / 'made').exists()

"""What of a run is said on the terminal, when, and by whom."""

import logging
import os
import re
import warnings
from contextlib import contextmanager
from types import SimpleNamespace

import mmengine.registry
import pytest
from mmengine.hooks import Hook
from mmengine.logging import MMLogger, print_log
from mmengine.registry import DefaultScope, Registry

from sarlp._stack import guard_terminal
from sarlp.engine import build_runner
from sarlp.engine.progress import ProgressHook
from sarlp.engine.terminal import brief, near, note, say, set_up_terminal, speaks

FILE_CLIENT = '"FileClient" will be deprecated in future. Please use io functions'


@contextmanager
def logger_to(path):
    logger = set_up_terminal(MMLogger(path.name, log_file=str(path)))
    yield logger
    logger.handlers[-1].close()


class TestLogger:
    def test_what_goes_where(self, tmp_path, capsys):
        with logger_to(tmp_path / 'a.log') as logger:
            logger.info('of a hook')
            say(logger, 'for the terminal')
            note(logger, 'for the file')
            print_log('of MMEngine', logger)
            print_log(FILE_CLIENT, logger, logging.WARNING)
            print_log('backbone.conv1.weight is skipped since its requires_grad=False', logger, logging.WARNING)
            print_log('to be heeded', logger, logging.WARNING)
            logger.warning('of sarlp')
            logger.error('worse')
            logger.warning(f'{FILE_CLIENT}, says a hook')
        shown = capsys.readouterr().out.splitlines()
        assert shown[:2] == ['of a hook', 'for the terminal']
        assert shown[2:5] == ['warning: to be heeded', 'warning: of sarlp', 'error: worse']
        assert shown[5:] == [f'warning: {FILE_CLIENT}, says a hook']  # MMEngine's own is hidden, no other
        kept = [line.split(' - ') for line in (tmp_path / 'a.log').read_text().splitlines()]
        skipped = 'backbone.conv1.weight is skipped since its requires_grad=False'
        assert [line[-1] for line in kept][:8] == [
            *('of a hook', 'for the file', 'of MMEngine', FILE_CLIENT, skipped, 'to be heeded', 'of sarlp', 'worse')
        ]
        assert [line[2] for line in kept][:4] == ['INFO', 'INFO', 'INFO', 'WARNING']

    def test_who_reads_no_more_is_no_error(self, tmp_path, capsys):
        """Such as ``head -3``, after which each line came with a traceback."""
        with logger_to(tmp_path / 'a.log') as logger:
            reader, writer = os.pipe()
            os.close(reader)
            logger.handlers[0].stream = SimpleNamespace(
                write=lambda text: os.write(writer, text.encode()), flush=lambda: None
            )
            logger.info('epoch 1/2')
            assert capsys.readouterr().err == ''
            logger.info('%d of 3', 'two')  # a mistake is told as ever
            assert 'TypeError' in capsys.readouterr().err
            os.close(writer)
        assert 'epoch 1/2' in (tmp_path / 'a.log').read_text()

    def test_brief(self, tmp_path, capsys):
        with logger_to(tmp_path / 'a.log') as logger:
            with brief('fold 2'):
                logger.info('of a hook')
                say(logger, 'epoch 1/1')
                logger.warning('of sarlp')
            logger.info('afterwards')
        assert capsys.readouterr().out.splitlines() == ['fold 2: epoch 1/1', 'fold 2: warning: of sarlp', 'afterwards']
        assert 'of a hook' in (tmp_path / 'a.log').read_text()

    def test_a_path_as_one_types_it(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert near(tmp_path / 'a' / 'b') == 'a/b'
        assert near('a/b') == 'a/b'
        assert near(tmp_path.parent / 'c') == str(tmp_path.parent / 'c')

    @pytest.mark.parametrize('variable', ['RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK'])
    def test_one_of_several_processes_speaks(self, variable, monkeypatch):
        assert speaks()
        monkeypatch.setenv(variable, '1')
        assert not speaks()
        monkeypatch.setenv(variable, '0')
        assert speaks()


class Say(Hook):
    def after_train_epoch(self, runner):
        runner.logger.info('said by a hook of the user')


class TestProgress:
    def test_a_long_epoch_says_how_far_it_is(self, make_runner, capsys):
        runner = make_runner(**{'train_cfg.max_epochs': 1})
        (progress,) = (hook for hook in runner.hooks if isinstance(hook, ProgressHook))
        progress.patience = 0
        runner.register_hook(Say())
        runner.train()
        lines = capsys.readouterr().out.splitlines()
        said = [line for line in lines if line.startswith('epoch ')]
        assert [re.sub(r'  loss.*', '', line) for line in said] == [
            *('epoch 1/1  step 1/3', 'epoch 1/1  step 2/3', 'epoch 1/1  validation 1/3', 'epoch 1/1  validation 2/3'),
            'epoch 1/1',
        ]
        assert re.search(r'step 1/3  loss .*  \d:\d\d:\d\d left$', said[0])
        assert 'said by a hook of the user' in lines

    @pytest.mark.parametrize(('pause', 'expected'), [(3600, [3]), (0, [1, 2, 3])])
    def test_of_one_model_among_others_few_epochs_are_said(self, make_config, capsys, pause, expected):
        cfg = make_config('baseline', **{'train_cfg.max_epochs': 3})
        for name in ('val_dataloader', 'val_cfg', 'val_evaluator'):
            cfg[name] = None
        cfg.train_cfg.pop('val_interval')
        cfg.default_hooks.checkpoint.save_best = None
        runner = build_runner(cfg)
        (progress,) = (hook for hook in runner.hooks if isinstance(hook, ProgressHook))
        progress.pause = pause
        with brief('fold 2'):
            runner.train()
        found = re.findall(r'^fold 2: epoch (\d)/3', capsys.readouterr().out, re.MULTILINE)
        assert [int(number) for number in found] == expected

    @pytest.mark.parametrize(('reduction', 'said'), [('sum', True), ('mean', False)])
    def test_a_sum_is_called_one(self, make_runner, capsys, reduction, said):
        options = {'train_cfg.max_epochs': 1, 'model.method.loss.reduction': reduction}
        make_runner('baseline', **options).train()
        text = capsys.readouterr().out
        (training,) = re.findall(r'^training .*', text, re.MULTILINE)
        assert training.endswith('; the loss is a sum over each batch, so large') == said

    def test_losses_are_means_of_the_epoch(self, make_runner, capsys):
        runner = make_runner('baseline', **{'train_cfg.max_epochs': 2})
        runner.train()
        losses = runner.message_hub.log_scalars['train/loss'].data[0]
        shown = re.findall(r'^epoch \d/2  loss +(\S+)', capsys.readouterr().out, re.MULTILINE)
        for text, mean in zip(shown, (losses[:3].mean(), losses[3:].mean()), strict=True):
            assert float(text.replace(',', '')) == pytest.approx(mean, rel=2e-3)

    def test_without_validation_and_resumed(self, make_config, capsys):
        def train(epochs, **options):
            cfg = make_config('baseline', **{'train_cfg.max_epochs': 3, **options})
            for name in ('val_dataloader', 'val_cfg', 'val_evaluator'):
                cfg[name] = None
            cfg.train_cfg.pop('val_interval')
            cfg.default_hooks.checkpoint.save_best = None
            runner = build_runner(cfg)

            class Stop(Hook):
                def after_train_epoch(self, runner):
                    runner.train_loop.stop_training = runner.epoch + 1 >= epochs

            runner.register_hook(Stop())
            runner.train()
            return capsys.readouterr().out

        first = train(1)
        assert 'epoch 1/3' in first and 'epoch 2/3' not in first
        resumed = train(3, resume=True)
        assert re.search(r'^training  3 epochs of 3 steps of 8 images, from epoch 2 on(;|$)', resumed, re.MULTILINE)
        assert [int(number) for number in re.findall(r'^epoch (\d)/3', resumed, re.MULTILINE)] == [2, 3]
        assert re.search(r'^finished  in \d:\d\d:\d\d; \S*epoch_3\.pth$', resumed, re.MULTILINE)

    def test_says_nothing_where_the_log_level_forbids(self, make_runner, capsys):
        make_runner('baseline', **{'train_cfg.max_epochs': 1}, log_level='ERROR').train()
        assert capsys.readouterr().out == ''


def test_a_test_leaves_the_config_of_the_training(make_runner, tmp_path):
    make_runner('baseline').load_or_resume()  # where a training starts
    (file,) = (tmp_path / 'work').glob('*.py')
    content = file.read_text()
    make_runner('baseline', training=False)
    assert file.read_text() == content


@pytest.mark.parametrize(
    'name', [name for name, value in vars(mmengine.registry).items() if isinstance(value, Registry)]
)
def test_every_registry_has_the_scope(name):
    """Else MMEngine warns whenever it builds something of that kind: a weight initialiser, the wrapper of a model."""
    registry = getattr(mmengine.registry, name)
    with DefaultScope.overwrite_default_scope('sarlp'), registry.switch_scope_and_registry(None) as found:
        assert found.scope == 'sarlp'


class TestWarnings:
    """Those of others that come in normal runs; none like them is hidden."""

    @pytest.fixture(autouse=True)
    def guarded(self):
        with warnings.catch_warnings():
            warnings.simplefilter('error')
            guard_terminal()
            yield

    @pytest.mark.parametrize(
        ('message', 'category'),
        [
            ('\nOnline softmax is disabled on the fly', UserWarning),
            ('Detected call of `scheduler.step()` before `optimizer.step()`. In PyTorch 1.1.0', UserWarning),
            ('`broadcast_buffers` is deprecated. Use `forward_sync_buffers` instead.', FutureWarning),
            ('Fail to import ``MultiScaleDeformableAttention`` from ``mmcv.ops.multi_scale_deform_attn``', UserWarning),
        ],
    )
    def test_hidden(self, message, category):
        warnings.warn(message, category, stacklevel=1)
        for other, kind in ((f'Note: {message}', category), (message, DeprecationWarning)):
            with pytest.raises(kind):
                warnings.warn(other, kind, stacklevel=1)

    def test_escape_sequences(self):
        code = 'pattern = "\\d"'
        compile(code, '/site-packages/mmpretrain/datasets/a.py', 'exec')
        with pytest.raises(SyntaxError):
            compile(code, '/home/mine.py', 'exec')

"""Two runs never mix in one work directory, and which checkpoint is which is what the run recorded."""

import gc
import json
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from time import gmtime, strftime
from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import Hook

from sarlp.engine import build_runner, find_checkpoint, newest_checkpoint, read_checkpoint
from sarlp.engine.records.run_record import RunRecord, Saved, read_record
from sarlp.errors import UserError


def names(folder):
    return sorted(path.name for path in Path(folder).glob('*.pth'))


def position(path):
    meta = read_checkpoint(path)['meta']
    return meta['epoch'], meta['iter']


class Terminate(Hook):
    """SIGTERM within epoch 2, as far as the checkpoint hook hears of it."""

    priority = 'NORMAL'

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.epoch == 1:
            (hook,) = (hook for hook in runner.hooks if hasattr(hook, '_terminated'))
            hook._terminated = True


def terminated(runner):
    runner.register_hook(Terminate())
    with pytest.raises(SystemExit) as exit_:
        runner.train()
    assert exit_.value.code == 143


def as_before(work):
    """Make of a work directory what an earlier version would have left: no record, nothing new in the checkpoints."""
    (work / 'checkpoints.json').unlink()
    for path in work.glob('*.pth'):
        content = read_checkpoint(path)
        for key in ('run', 'sampling', 'optimizer', 'selected_by'):
            content['meta'].pop(key, None)
        torch.save(content, path)


@pytest.fixture(scope='module')
def first(tmp_path_factory, digits):
    """A run of three epochs."""
    from sarlp.engine import load_config

    reduced = runpy.run_path(str(Path(__file__).with_name('conftest.py')))['reduced']
    work = tmp_path_factory.mktemp('first') / 'work'
    cfg = load_config('baseline_r18_digits_p0.1', {**reduced(digits, 'baseline'), 'work_dir': str(work)})
    cfg.train_cfg.max_epochs = 3
    build_runner(cfg).train()
    return work


@pytest.fixture
def work(first, tmp_path):
    shutil.copytree(first, tmp_path / 'work')
    return tmp_path / 'work'


@pytest.fixture
def make(make_runner):
    return lambda **options: make_runner('baseline', **{'train_cfg.max_epochs': 3, **options})


def test_runs_that_begin_within_a_second_share_nothing(make, tmp_path, monkeypatch):
    """As the folds of a completion on kept tokens do; MMEngine names what it shares after the second."""
    clock = SimpleNamespace(time=lambda: 1e9, localtime=gmtime, strftime=strftime)
    monkeypatch.setattr('mmengine.runner.runner.time', clock)
    one, other, third = (make(work_dir=str(tmp_path / name)) for name in 'abc')
    assert one.timestamp == '20010909_014640'
    assert third.timestamp == '20010909_014642'
    other.train()
    assert one.message_hub.log_scalars == {}
    logs = {name: next((tmp_path / name).glob('*/*.log')).read_text() for name in 'ab'}
    assert 'Epoch(train)' in logs['b']
    assert 'Epoch(train)' not in logs['a']


HOLD = """
import sys
from sarlp.io.files import only_process
with only_process(sys.argv[1], 'taken'):
    print('held', flush=True)
    sys.stdin.read()
"""


class TestBesideAnotherRun:
    def test_another_process_that_trains_here_now(self, tmp_path, make, monkeypatch):
        """Before it has any checkpoint, by which the start would be refused."""
        work = tmp_path / 'now'
        work.mkdir()
        command = [sys.executable, '-c', HOLD, str(work / '.training')]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
            assert other.stdout.readline() == 'held\n'
            with pytest.raises(UserError, match='now: another process trains here now, .* choose another --work-dir'):
                make(work_dir=str(work)).train()
            monkeypatch.setenv('TORCHELASTIC_RUN_ID', 'none')  # torchrun without the launcher, whose processes are two
            with pytest.raises(UserError, match='if the other one too, give --launcher pytorch'):
                make(work_dir=str(work)).train()
            assert [path.name for path in work.iterdir()] == ['.training']
            assert names(work) == []
            other.kill()
        _ = make(work_dir=str(work))  # and never trained, which lets nobody in beside the next one
        runner, outcomes = make(work_dir=str(work)), []
        del _
        gc.collect()

        class Another(Hook):
            def before_train_epoch(self, runner):
                asked = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
                outcomes.append('UserError: taken' in asked.stderr)

        runner.register_hook(Another())
        runner.train()
        assert outcomes == [True] * 3
        assert subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE).stdout == b'held\n'
        assert 'epoch_3.pth' in names(work)

    def test_a_start_is_refused_and_changes_nothing(self, work, make):
        before = {path: path.read_bytes() for path in work.rglob('*') if path.is_file()}
        with pytest.raises(UserError) as error:
            make(**{'optim_wrapper.optimizer.lr': 1e-3})
        for way in ('--resume', '--work-dir DIR', '--fresh', 'epoch_2.pth, epoch_3.pth'):
            assert way in str(error.value)
        assert {path: path.read_bytes() for path in work.rglob('*') if path.is_file()} == before

    def test_weights_to_begin_with_are_no_resuming(self, work, make, tmp_path):
        with pytest.raises(UserError, match='--fresh'):
            make(load_from=str(work / 'epoch_3.pth'))

    def test_other_files_are_not_of_a_run(self, first, make, tmp_path):
        (tmp_path / 'work').mkdir()
        shutil.copy(first / 'epoch_3.pth', tmp_path / 'work' / 'weights.pth')
        make(load_from=str(tmp_path / 'work' / 'weights.pth'), **{'train_cfg.max_epochs': 1}).train()
        assert position(tmp_path / 'work' / 'epoch_1.pth') == (1, 3)

    @pytest.mark.parametrize('earlier_version', [False, True])
    def test_fresh_moves_it_into_a_folder(self, work, make, earlier_version):
        """The table's first row: a run beside another, SIGTERM in its epoch 2, then resumed."""
        run = read_record(work).run
        if earlier_version:
            as_before(work)
            run = next(path.name for path in work.iterdir() if path.is_dir())
        before = {path.name: path.read_bytes() for path in work.glob('*.pth')}
        (config,) = work.glob('*.py')
        trained_by = config.read_bytes()
        terminated(make(**{'fresh': True, 'optim_wrapper.optimizer.lr': 1e-3}))
        aside = work / f'run_{run}'
        assert {path.name: path.read_bytes() for path in aside.glob('*.pth')} == before
        assert (aside / config.name).read_bytes() == trained_by != config.read_bytes()
        assert find_checkpoint(aside) == str(aside / next(name for name in before if name.startswith('best')))
        assert len(list(aside.glob('*/vis_data/scalars.json'))) == len(list(work.glob('*/vis_data/scalars.json'))) == 1
        assert newest_checkpoint(work, print).name == 'iter_4.pth'
        assert (work / 'last_checkpoint').read_text() == str(work / 'iter_4.pth')

        resumed = make(**{'resume': 'auto', 'optim_wrapper.optimizer.lr': 1e-3})
        resumed.train()
        assert resumed.iter == 9
        assert names(work)[1:] == ['epoch_2.pth', 'epoch_3.pth']
        assert {path.name: path.read_bytes() for path in aside.glob('*.pth')} == before

    def test_a_refused_start_leaves_the_config_of_the_run(self, work, make):
        (config,) = work.glob('*.py')
        before = config.read_bytes()
        with pytest.raises(UserError, match='is of another model than the config describes'):
            make(**{'resume': 'auto', 'model.backbone.stem_channels': 8}).train()
        assert config.read_bytes() == before
        runner = make(**{'resume': 'auto', 'optim_wrapper.optimizer.lr': 1e-3})
        assert config.read_bytes() == before  # until it starts
        runner.train()
        assert config.read_bytes() != before

    def test_a_run_begun_meanwhile_ends_the_first(self, make, tmp_path):
        class Meanwhile(Hook):
            def before_train_epoch(self, runner):
                if runner.epoch == 1:
                    RunRecord('other').write(tmp_path / 'work')

        runner = make()
        runner.register_hook(Meanwhile())
        with pytest.raises(UserError, match='another run, other, was begun here after this one'):
            runner.train()
        assert position(tmp_path / 'work' / 'epoch_1.pth') == (1, 3)

    def test_an_earlier_checkpoint_is_gone_on_from_elsewhere_or_fresh(self, work, make, tmp_path):
        named = {'resume': True, 'load_from': str(work / 'epoch_2.pth')}
        with pytest.raises(UserError, match='is to go on from .*epoch_2.pth, which is not the newest of them'):
            make(**named)
        make(**named, work_dir=str(tmp_path / 'elsewhere')).train()
        assert position(tmp_path / 'elsewhere' / 'epoch_3.pth') == (3, 9)
        assert read_record(tmp_path / 'elsewhere').run != read_record(work).run
        make(**named, fresh=True).train()
        assert 'epoch_3.pth' in names(work) and (work / f'run_{read_record(work).run}').exists() is False
        (aside,) = work.glob('run_*')
        assert names(aside)[1:] == ['epoch_2.pth', 'epoch_3.pth']

    def test_what_holds_weights_alone_is_not_gone_on_from(self, work, make, tmp_path):
        best = next(work.glob('best_*.pth'))
        runner = make(resume=True, load_from=str(best), work_dir=str(tmp_path / 'b'))
        with pytest.raises(UserError, match='holds a model, but nothing to go on from'):
            runner.train()
        with pytest.raises(UserError, match='nowhere.pth: no such checkpoint'):
            make(resume=True, load_from='nowhere.pth', work_dir=str(tmp_path / 'c'))

    def test_tool(self, work, repository, monkeypatch, capsys):
        monkeypatch.setattr(
            sys, 'argv', ['train.py', str(work / 'baseline_r18_digits_p0.1.py'), '--work-dir', str(work)]
        )
        with pytest.raises(SystemExit):
            runpy.run_path(str(repository / 'tools' / 'train.py'), run_name='__main__')
        assert 'holds checkpoints (' in capsys.readouterr().err
        monkeypatch.setattr(sys, 'argv', [*sys.argv, '--resume', '--fresh'])
        with pytest.raises(SystemExit):
            runpy.run_path(str(repository / 'tools' / 'train.py'), run_name='__main__')
        assert 'give one of them' in capsys.readouterr().err


class TestRecord:
    def test_a_copy_made_file_by_file_is_the_same_run(self, work):
        best = find_checkpoint(work)
        for number, path in enumerate(sorted(work.glob('*.pth'), reverse=True)):
            os.utime(path, (10**9 + number, 10**9 + number))
        assert find_checkpoint(work) == best
        assert newest_checkpoint(work, print) == work / 'epoch_3.pth'

    def test_neither_number_nor_time_decides(self, work):
        shutil.copy(work / 'epoch_2.pth', work / 'epoch_9.pth')
        shutil.copy(work / 'epoch_2.pth', work / 'best_mAP_epoch_9.pth')
        assert newest_checkpoint(work, print) == work / 'epoch_3.pth'
        assert find_checkpoint(work) != str(work / 'best_mAP_epoch_9.pth')

    def test_only_files_of_the_run_are_deleted(self, work, make):
        strangers = [work / 'best_mAP_plain_epoch_1.pth', work / 'best_mAP_epoch_77.pth', work / 'epoch_77.pth']
        for path in strangers:
            path.write_bytes(b'of somebody')
        make(**{'resume': True, 'train_cfg.max_epochs': 5}).train()
        assert all(path.read_bytes() == b'of somebody' for path in strangers)
        record = read_record(work)
        assert [saved.file for saved in record.resumable] == ['epoch_4.pth', 'epoch_5.pth']
        assert set(names(work)) == record.files() | {path.name for path in strangers}

    def test_a_checkpoint_of_another_run_among_them_is_refused(self, work, make, tmp_path):
        make(work_dir=str(tmp_path / 'other')).train()
        shutil.copy(tmp_path / 'other' / 'epoch_3.pth', work / 'epoch_3.pth')
        with pytest.raises(UserError, match='epoch_3.pth: is of the run .* but lies among the checkpoints of the run'):
            make(resume=True).train()

    def test_listed_before_it_is_written(self, work):
        """What a kill between the two leaves: the checkpoint before is the newest."""
        record = read_record(work)
        record.resumable.append(Saved('epoch_4.pth', 4, 12))
        record.write(work)
        said = []
        assert newest_checkpoint(work, said.append) == work / 'epoch_3.pth' and not said

    def test_the_best_is_gone(self, work):
        Path(find_checkpoint(work)).unlink()
        with pytest.raises(UserError, match='is the best checkpoint by the record of the run, but is not there'):
            find_checkpoint(work)

    @pytest.mark.parametrize(
        'change',
        [{'version': 2}, {'run': '../x'}, {'resumable': [{'file': '../a', 'epoch': 1, 'iter': 1}]}, {'best': 3}],
    )
    def test_damaged(self, work, change):
        file = work / 'checkpoints.json'
        file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
        with pytest.raises(UserError, match='checkpoints.json: is no record of a run'):
            find_checkpoint(work)

    def test_another_folder_for_the_checkpoints(self, make, tmp_path):
        options = {'default_hooks.checkpoint.out_dir': str(tmp_path / 'disk')}
        terminated(make(**options))
        work, disk = tmp_path / 'work', tmp_path / 'disk' / 'work'
        assert newest_checkpoint(work, print) == disk / 'iter_4.pth'
        with pytest.raises(UserError, match='--fresh'):
            make(**options)
        with pytest.raises(UserError, match='are to be written to'):
            make(resume=True).train()
        resumed = make(**options, resume=True)
        resumed.train()
        assert resumed.iter == 9 and not names(work)
        assert Path(find_checkpoint(work)).parent == disk

    def test_any_name_of_checkpoints(self, make, tmp_path):
        options = {'default_hooks.checkpoint.filename_tmpl': 'after{}.pth'}
        make(**options, **{'train_cfg.max_epochs': 2}).train()
        assert newest_checkpoint(tmp_path / 'work', print).name == 'after2.pth'
        with pytest.raises(UserError, match='--fresh'):
            make(**options)
        make(**options, resume=True).train()
        assert names(tmp_path / 'work')[:2] == ['after2.pth', 'after3.pth']

    def test_a_configured_load_from_does_not_replace_the_newest(self, work, make):
        """A fine-tuned run that was cut off and goes on."""
        runner = make(**{'resume': 'auto', 'load_from': str(work / 'epoch_2.pth'), 'train_cfg.max_epochs': 4})
        runner.train()
        assert position(work / 'epoch_4.pth') == (4, 12) and runner.iter == 12

    def test_the_saved_config_does_not_resume(self, work, make):
        make(resume=True).train()
        text = (work / 'baseline_r18_digits_p0.1.py').read_text()
        assert 'resume=False' in text.replace(' ', '') and 'load_from=None' in text.replace(' ', '')


class TestEarlierVersion:
    def test_goes_on_and_keeps_a_record_from_then_on(self, work, make):
        best = find_checkpoint(work)
        as_before(work)
        assert find_checkpoint(work) == best
        assert newest_checkpoint(work, print) == work / 'epoch_3.pth'
        make(**{'resume': True, 'train_cfg.max_epochs': 4}).train()
        record = read_record(work)
        assert [saved.file for saved in record.resumable] == ['epoch_3.pth', 'epoch_4.pth']
        assert set(names(work)) == record.files()

    def test_two_runs_in_one_directory_are_told_and_refused(self, work, make, tmp_path):
        other = tmp_path / 'other'
        make(work_dir=str(other), **{'train_cfg.max_epochs': 1}).train()
        as_before(work)
        as_before(other)
        shutil.copy(other / 'epoch_1.pth', work)
        (work / 'last_checkpoint').write_text('/somewhere/epoch_1.pth')
        for ask in (find_checkpoint, lambda folder: newest_checkpoint(folder, print)):
            with pytest.raises(UserError, match='more than one run.*epoch_3.pth is the furthest, and epoch_1.pth'):
                ask(work)
        named = make(resume=True, load_from=str(work / 'epoch_1.pth'), fresh=True)
        named.train()
        assert named.iter == 9 and 'epoch_1.pth' in names(next(work.glob('run_*')))

    def test_several_best_and_none_says_which(self, work):
        as_before(work)
        shutil.copy(find_checkpoint(work), work / 'best_mAP_epoch_40.pth')
        content = read_checkpoint(work / 'best_mAP_epoch_40.pth')
        content['meta'].update(epoch=40, iter=120)
        torch.save(content, work / 'best_mAP_epoch_40.pth')
        with pytest.raises(UserError, match='can not be told'):
            find_checkpoint(work)

    def test_files_of_no_run(self, tmp_path):
        for name in ('a.pth', 'b.pth'):
            torch.save({'state_dict': {}}, tmp_path / name)
        with pytest.raises(UserError, match='holds 2 files .*name one: a.pth, b.pth'):
            find_checkpoint(tmp_path)
        (tmp_path / 'b.pth').unlink()
        assert find_checkpoint(tmp_path) == str(tmp_path / 'a.pth')

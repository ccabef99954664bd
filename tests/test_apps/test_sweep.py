import os
import re
import signal
import threading
import time
from types import SimpleNamespace

import pytest

import sarlp.apps.sweep as sweep
from sarlp.apps.processes import Processes
from sarlp.apps.sweep import Run, execute, plan
from sarlp.commands.sweep import parse_args
from sarlp.engine import load_config
from sarlp.errors import UserError


def test_plan_shares_masks_between_models():
    runs = plan(['sarlp', 'baseline'], ['r18_digits'], [0.1, 0.25], [3, 5], 'root', ['a.b=1'])
    assert len(runs) == 8
    assert len({run.work_dir for run in runs}) == 8
    run = next(run for run in runs if run.work_dir.parts[-2:] == ('baseline_r18_digits_p0.25', 'seed5'))
    assert run.config.name == 'baseline_r18_digits_p0.25.py'
    assert load_config(run.config).train_dataloader.dataset.label_mask.known_ratio == 0.25
    assert run.options == ('train_dataloader.dataset.label_mask.seed=5', 'a.b=1')


def test_plan_of_complete_labels_has_no_mask_to_seed():
    (run,) = plan(['sgre'], ['r101_voc'], [1.0], [4], 'root')
    assert (run.config.name, run.work_dir.parts[-2]) == ('sgre_r101_voc_p1.py', 'sgre_r101_voc_p1')
    assert run.options == ()
    assert load_config(run.config).train_dataloader.dataset.label_mask is None


def test_plan_refuses_an_unknown_model():
    with pytest.raises(UserError, match='no such config'):
        plan(['sarp'], ['r18_digits'], [0.1], [0], 'root')


def test_plan_of_configs_of_ones_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ('a', 'b'):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / 'baseline_mine_p0.1.py').write_text(
            "_base_ = 'configs/baseline/baseline_r18_digits_p0.1.py'\n"
        )
    runs = plan(['a/baseline', 'a/hill'], ['mine'], [0.3], [5], 'root')
    assert [str(run.config) for run in runs] == ['a/baseline_mine_p0.3.py', 'a/hill_mine_p0.3.py']
    assert [str(run.work_dir) for run in runs] == ['root/baseline_mine_p0.3/seed5', 'root/hill_mine_p0.3/seed5']
    with pytest.raises(UserError, match=r'a/baseline_mine_p0\.3\.py and b/.* would share the folder root/baseline'):
        plan(['a/baseline', 'b/baseline'], ['mine'], [0.3], [5], 'root')


def test_masks_and_seeds_apart():
    runs = plan(['few'], ['r18_digits'], [0.1], [3, 5], 'root', masks=[7, 11])
    assert [run.work_dir.name for run in runs] == ['mask7_seed3', 'mask7_seed5', 'mask11_seed3', 'mask11_seed5']
    assert [run.seed for run in runs] == [3, 5, 3, 5]
    assert [run.options[0].rpartition('=')[2] for run in runs] == ['7', '7', '11', '11']


def test_a_run_that_is_named_twice_is_one():
    runs = plan(['sarlp', 'sarlp'], ['r18_digits'], [0.1, 0.10], [3, 5, 3], 'root')
    assert [run.work_dir.name for run in runs] == ['seed3', 'seed5']


@pytest.mark.parametrize(
    ('option', 'argument'),
    [('train_dataloader.dataset.label_mask.seed=7', '--masks'), ('randomness.seed=7', '--seeds')],
)
def test_a_seed_that_would_be_that_of_every_run(option, argument):
    with pytest.raises(UserError, match=f'{option}: a sweep sets this for each run; give {argument} instead'):
        plan(['sarlp'], ['r18_digits'], [0.1], [0, 1], 'root', ['a.b=1', option])


@pytest.mark.parametrize('seed', [-1, 1 << 32])
def test_what_is_no_seed(seed):
    grid = ['sarlp'], ['r18_digits'], [0.1]
    with pytest.raises(UserError, match=rf'--seeds must be whole numbers from 0 to .*, got {seed}'):
        plan(*grid, [0, seed], 'root')
    with pytest.raises(UserError, match=rf'--masks must be whole numbers from 0 to .*, got {seed}'):
        plan(*grid, [0], 'root', masks=[seed])


def test_options_may_be_given_in_several_places(monkeypatch):
    words = '--models sarlp --cfg-options a=1 --settings r18_digits --cfg-options b=2 c=3'
    monkeypatch.setattr('sys.argv', ['sarlp sweep', *words.split()])
    assert parse_args().cfg_options == ['a=1', 'b=2', 'c=3']


def test_execute_skips_finished_runs_and_reports_failed_ones(tmp_path, monkeypatch, capsys):
    finished, good, bad = (Run(tmp_path / 'c.py', tmp_path / name, (), 0) for name in ('finished', 'good', 'bad'))
    (finished.work_dir / 'results').mkdir(parents=True)
    (finished.work_dir / 'results' / 'metrics.json').write_text('{"mAP": 7.0}')
    commands = []

    def fake(self, words, log):
        commands.append(words)
        if 'test' in words:
            (good.work_dir / 'results').mkdir()
            (good.work_dir / 'results' / 'metrics.json').write_text('{"mAP": 12.345}')
        return str(bad.work_dir) not in words

    monkeypatch.setattr(Processes, 'run', fake)
    assert execute([finished, good, bad]) == [bad]
    assert [words[0] for words in commands] == ['train', 'test', 'train']
    printed = capsys.readouterr().out
    assert 'failed' in printed and re.search(r'good: starts.*\n    mAP 12\.3\d after 0:00:0\d\n', printed)


def test_completion_is_all_that_is_left_of_a_run_that_was_tested(tmp_path):
    run = Run(tmp_path / 'c.py', tmp_path / 'run', ('a.b=1',), 0, folds=5)
    assert [words[0] for words in run.commands()] == ['train', 'test', 'recover']
    run.metrics_file.parent.mkdir(parents=True)
    run.metrics_file.touch()
    assert not run.is_finished
    out = str(tmp_path / 'run' / 'recovered.csv')
    assert list(run.commands()) == [
        ['recover', str(run.config), '--folds', '5', '--out', out, '--cfg-options', 'a.b=1']
    ]
    (tmp_path / 'run' / 'recovered.json').touch()
    assert run.is_finished


def test_commands_run_in_processes_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    runs = [Run(tmp_path / 'no.py', tmp_path / name, (), 0) for name in ('one', 'two', 'three')]
    assert execute(runs, jobs=2) == runs
    for run in runs:
        assert 'no.py: no such config' in (run.work_dir / 'sweep.log').read_text()
    with pytest.raises(UserError, match='at least 1, got 0'):
        execute(runs, jobs=0)


def test_sigterm_ends_what_runs_and_what_would_begin(tmp_path, capsys):
    config = tmp_path / 'slow.py'
    config.write_text(
        "here = __import__('os').getpid()\n"
        f"open({str(tmp_path)!r} + f'/{{here}}.begun', 'w').close()\n"
        "__import__('time').sleep(600)\n"
    )
    runs = [Run(config, tmp_path / name, (), 0) for name in ('one', 'two', 'three')]

    def terminate():
        while len(list(tmp_path.glob('*.begun'))) < 2:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=terminate, daemon=True).start()
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as stopped:
        execute(runs, jobs=2)
    assert stopped.value.code == 143
    printed = capsys.readouterr().out
    assert printed.count('stopped; see ') == 2 and 'failed' not in printed
    assert signal.getsignal(signal.SIGTERM) == before
    begun = [int(file.stem) for file in tmp_path.glob('*.begun')]
    assert len(begun) == 2 and not (tmp_path / 'three' / 'sweep.log').exists()
    for pid in begun:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_slurm_gets_one_job_a_run(tmp_path, monkeypatch):
    commands = []
    monkeypatch.setattr(
        sweep.subprocess, 'run', lambda command, **_: commands.append(command) or SimpleNamespace(returncode=0)
    )
    runs = [Run(tmp_path / 'c.py', tmp_path / name, (), 7) for name in ('one', 'two')]
    assert execute(runs, ['--partition=gpu']) == []
    assert [command[:2] for command in commands] == [['sbatch', '--partition=gpu']] * 2
    assert '-m sarlp train' in commands[0][-1] and '--seed 7' in commands[0][-1] and '&&' in commands[0][-1]


def test_there_is_no_slurm(tmp_path, monkeypatch):
    monkeypatch.setenv('PATH', str(tmp_path))
    with pytest.raises(UserError, match='there is no sbatch here; start it on a machine of the cluster'):
        execute([Run(tmp_path / 'c.py', tmp_path / 'run', (), 0)], ['--partition=gpu'])


class TestWhatLiesThere:
    """Of another sweep with the same root."""

    @pytest.fixture
    def sweep_again(self, tmp_path, monkeypatch):
        monkeypatch.setattr(Processes, 'run', lambda self, words, log: False)

        def again(*options, then=(), **others):
            failed = execute([Run(tmp_path / 'c.py', tmp_path / 'run', options, 0, **others)])
            for name, content in dict(then).items():
                (tmp_path / 'run' / name).parent.mkdir(exist_ok=True)
                (tmp_path / 'run' / name).write_text(content)
            return failed

        return again

    TRAINED = {'epoch_1.pth': ''}
    TESTED = {'results/metrics.json': '{"mAP": 1.0}'}
    COMPLETED = {**TESTED, 'recovered.json': '{"folds": 2}'}

    def test_is_not_taken_for_what_is_asked_for(self, sweep_again):
        sweep_again('a.lr=1', then=self.TRAINED)
        sweep_again('a.lr=1', 'b.num_workers=4')
        with pytest.raises(UserError, match=r"was run with .*'a.lr=1'.* and now .*'a.lr=2'.* give another --root"):
            sweep_again('a.lr=2')

    def test_begins_with_other_weights(self, sweep_again):
        sweep_again('load_from=a.pth', then=self.TESTED)
        sweep_again('load_from=a.pth')
        with pytest.raises(UserError, match=r"'load_from=a\.pth'.* and now .*'load_from=b\.pth'"):
            sweep_again('load_from=b.pth')

    def test_options_in_another_order_are_the_same(self, sweep_again):
        sweep_again('a.lr=1', 'b=2', then=self.TESTED)
        sweep_again('b=2', 'a.lr=1')
        sweep_again('b=3', 'a.lr=1', 'b=2')
        with pytest.raises(UserError, match="now .*'b=3'"):
            sweep_again('b=2', 'a.lr=1', 'b=3')

    def test_nothing_was_trained_with_options_that_were_refused(self, sweep_again):
        sweep_again('a.Ir=1')
        (run,) = sweep_again('a.lr=1', then=self.TRAINED)
        assert 'a.lr=1' in (run.work_dir / 'sweep.json').read_text()

    @pytest.mark.parametrize('option', ['test_dataloader.dataset.ann_file=b.json', 'test_evaluator.threshold=0.9'])
    def test_is_of_another_test(self, sweep_again, option):
        sweep_again('a.lr=1', then=self.TRAINED)
        sweep_again('a.lr=1', option, then=self.TESTED)  # which was not tested yet
        assert sweep_again('a.lr=1', option, 'test_dataloader.num_workers=3') == []
        message = rf'was tested with .*{option}.* and now .*: \[\]}} is asked for; .* remove the folder results in it'
        with pytest.raises(UserError, match=message):
            sweep_again('a.lr=1')

    def test_is_completed_with_other_folds(self, sweep_again):
        sweep_again(folds=2, then=self.COMPLETED)
        assert sweep_again() == [] == sweep_again(folds=2)
        with pytest.raises(UserError, match=r"completed with {'folds': 2}, and now {'folds': 3} .* remove recovered\*"):
            sweep_again(folds=3)

    def test_of_an_earlier_version(self, sweep_again):
        sweep_again('test_cfg.a=1', then={**self.TESTED, 'sweep.json': '{"config": "c.py", "seed": 0, "options": []}'})
        assert sweep_again('test_cfg.a=1') == []

    @pytest.mark.parametrize('name', ['sweep.json', 'recovered.json', 'results/metrics.json'])
    def test_is_damaged(self, sweep_again, name):
        sweep_again(folds=2, then={**self.COMPLETED, name: ''})
        with pytest.raises(UserError, match=rf'{name}: is damaged; give another --root'):
            sweep_again(folds=2)

import re
from types import SimpleNamespace

import pytest

import sarlp.apps.sweep as sweep
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


def test_options_may_be_given_in_several_places(monkeypatch):
    words = '--models sarlp --cfg-options a=1 --settings r18_digits --cfg-options b=2 c=3'
    monkeypatch.setattr('sys.argv', ['sarlp sweep', *words.split()])
    assert parse_args().cfg_options == ['a=1', 'b=2', 'c=3']


def test_execute_skips_finished_runs_and_reports_failed_ones(tmp_path, monkeypatch, capsys):
    finished, good, bad = (Run(tmp_path / 'c.py', tmp_path / name, (), 0) for name in ('finished', 'good', 'bad'))
    (finished.work_dir / 'results').mkdir(parents=True)
    (finished.work_dir / 'results' / 'metrics.json').touch()
    commands = []

    def fake(words, log):
        commands.append(words)
        if 'test' in words:
            (good.work_dir / 'results').mkdir()
            (good.work_dir / 'results' / 'metrics.json').write_text('{"mAP": 12.345}')
        return str(bad.work_dir) not in words

    monkeypatch.setattr(sweep, '_command', fake)
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


def test_slurm_gets_one_job_a_run(tmp_path, monkeypatch):
    commands = []
    monkeypatch.setattr(
        sweep.subprocess, 'run', lambda command, **_: commands.append(command) or SimpleNamespace(returncode=0)
    )
    runs = [Run(tmp_path / 'c.py', tmp_path / name, (), 7) for name in ('one', 'two')]
    assert execute(runs, ['--partition=gpu']) == []
    assert [command[:2] for command in commands] == [['sbatch', '--partition=gpu']] * 2
    assert '-m sarlp train' in commands[0][-1] and '--seed 7' in commands[0][-1] and '&&' in commands[0][-1]


def test_results_of_other_options_are_not_taken_for_those_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(sweep, '_command', lambda words, log: False)
    for options in (('a.lr=1',), ('a.lr=1', 'b.num_workers=4')):
        execute([Run(tmp_path / 'c.py', tmp_path / 'run', options, 0)])
    with pytest.raises(UserError, match=r"was run with .*'a.lr=1'.* and now .*'a.lr=2'.* give another --root"):
        execute([Run(tmp_path / 'c.py', tmp_path / 'run', ('a.lr=2',), 0)])

"""The command line: one table of commands, doors in tools/, and a help that answers at once."""

import argparse
import ast
import importlib
import inspect
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import sarlp
from sarlp.commands import COMMANDS, CONVERTERS, main
from sarlp.commands import list as listing
from sarlp.commands.arguments import begun_together, default_of
from sarlp.engine import load_config
from sarlp.paths import shipped

REPOSITORY = Path(__file__).resolve().parents[2]
NAMES = [name for name in COMMANDS if name != 'convert'] + [f'convert {name}' for name in CONVERTERS]
HEAVY = ('torch', 'mmengine', 'mmcv', 'mmpretrain', 'transformers', 'numpy')


def imported(code):
    """Which of the heavy packages a fresh process has after some code."""
    code = f'import sys\n{code}\nprint([name for name in {HEAVY} if name in sys.modules])'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    return ast.literal_eval(done.stdout.splitlines()[-1])


def test_the_import_and_the_help_load_nothing_heavy():
    assert imported('import sarlp') == []
    assert imported('from sarlp.commands import main; main([])') == []
    assert 'torch' in imported('from sarlp import load_config')  # what the others would look like


def test_the_help_and_the_function_have_one_default():
    from sarlp.apps.review.server import serve
    from sarlp.datasets.converters.label_embeddings.clip import clip_embeddings
    from sarlp.inference.inferencer import MultiLabelInferencer
    from sarlp.inference.onnx.export import export_onnx

    for where, name, function in (
        ('apps/review/server.py', 'serve', serve),
        ('datasets/converters/label_embeddings/clip.py', 'clip_embeddings', clip_embeddings),
        ('inference/inferencer.py', 'MultiLabelInferencer.stream', MultiLabelInferencer.stream),
        ('inference/onnx/export.py', 'export_onnx', export_onnx),
    ):
        parameters = inspect.signature(function).parameters.values()
        known = {one.name: one.default for one in parameters if one.default is not one.empty}
        assert {argument: default_of(where, name, argument) for argument in known} == known
    with pytest.raises(ValueError, match='config'):
        default_of('inference/onnx/export.py', 'export_onnx', 'config')  # has none


def test_what_a_notebook_needs_is_at_the_root():
    from sarlp.apps.completion import complete_labels
    from sarlp.apps.spreadsheet_completion import complete
    from sarlp.engine import build_runner
    from sarlp.inference import init_model
    from sarlp.inference.inferencer import MultiLabelInferencer

    assert (sarlp.load_config, sarlp.build_runner) == (load_config, build_runner)
    assert (sarlp.init_model, sarlp.complete_labels) == (init_model, complete_labels)
    assert sarlp.complete is complete
    assert sarlp.MultiLabelInferencer is MultiLabelInferencer
    assert set(sarlp.__all__) <= set(dir(sarlp))
    for name in sarlp.__all__:
        assert name == '__version__' or getattr(sarlp, name).__doc__
    with pytest.raises(AttributeError, match="module 'sarlp' has no attribute 'train'"):
        _ = sarlp.train


@pytest.mark.parametrize('name', NAMES)
def test_each_command_explains_itself(name, capsys, monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['sarlp'])
    with pytest.raises(SystemExit) as exit_:
        main([*name.split(), '--help'])
    shown = capsys.readouterr().out
    assert exit_.value.code == 0
    assert shown.startswith(f'usage: sarlp {name} ')
    assert 'tools/' not in re.sub(r'tools/(dist|slurm)_\S+', '', shown)


@pytest.mark.parametrize('name', [name for name in NAMES if name not in ('list', 'predict')])
def test_begun_several_times_over(name, capsys, monkeypatch):
    """By torchrun, say: each process would do all of it, and write the same files."""
    monkeypatch.setattr(argparse.ArgumentParser, 'parse_args', lambda *_: argparse.Namespace())
    monkeypatch.setattr(sys, 'argv', ['sarlp'])
    monkeypatch.setenv('RANK', '1')
    monkeypatch.setenv('WORLD_SIZE', '3')
    with pytest.raises(SystemExit) as ended:
        main(name.split())
    assert ended.value.code == 2
    message = f'error: sarlp {name}: 3 processes were begun together, as torchrun does (RANK=1, WORLD_SIZE=3), and each'
    assert message in capsys.readouterr().err


def test_what_shares_its_work_may_be_begun_several_times(capsys, monkeypatch):
    parse = importlib.import_module('sarlp.commands.train').parse_args
    monkeypatch.setattr(sys, 'argv', ['sarlp train', 'some.py'])
    parse()
    for environment in ({'RANK': '0', 'WORLD_SIZE': '1'}, {'WORLD_SIZE': '4'}, {'RANK': '0'}):  # of one process
        assert begun_together(environment) is None
    monkeypatch.setenv('RANK', '0')
    monkeypatch.setenv('WORLD_SIZE', '2')
    with pytest.raises(SystemExit):
        parse()
    assert 'write the same files; give --launcher pytorch, by which they share it, or begin one' in (
        capsys.readouterr().err
    )
    monkeypatch.setattr(sys, 'argv', ['sarlp train', 'some.py', '--launcher', 'pytorch'])
    assert parse().config == 'some.py'
    main(['list', 'sarlp_r18'])


def test_the_table_names_them_all(capsys):
    for arguments, kinds in (([], COMMANDS), (['--help'], COMMANDS), (['convert'], CONVERTERS)):
        main(arguments)
        lines = capsys.readouterr().out.splitlines()
        for name, what in kinds.items():
            assert any(line.split() == [name, *what.split()] for line in lines)
    main(['--version'])
    assert capsys.readouterr().out == f'sarlp {sarlp.__version__}\n'


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['tran'], 'error: sarlp tran: no such command; did you mean sarlp train?'),
        (['convert', 'voc'], 'error: sarlp convert voc: no such command; did you mean sarlp convert voc2007?'),
        (['xyz'], 'error: sarlp xyz: no such command; see sarlp --help'),
    ],
)
def test_a_wrong_command(arguments, message, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    assert capsys.readouterr().err.strip() == message


@pytest.mark.parametrize('device', ['cuda:7', 'mps', 'nonsense'])
def test_no_device_for_an_onnx_file(device, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(['serve', 'model.onnx', '--device', device])
    assert exit_.value.code == 2
    assert f'--device {device} goes with a config' in capsys.readouterr().err


def test_doors_lead_to_the_commands(monkeypatch, capsys):
    doors = sorted((REPOSITORY / 'tools').rglob('*.py'))
    led = set()
    for door in doors:
        monkeypatch.setattr(sys, 'argv', [str(door), '--help'])
        with pytest.raises(SystemExit):
            runpy.run_path(str(door), run_name='__main__')
        led.add(re.match(r'usage: sarlp ((?:convert )?\w+)', capsys.readouterr().out)[1])
    assert led == {*NAMES} - {'complete', 'list', 'refit', 'serve', 'convert scenes'}  # which are newer than the doors


def test_messages_name_commands_that_exist():
    for path in (REPOSITORY / 'sarlp').rglob('*.py'):
        for line in path.read_text(encoding='utf-8').splitlines():
            assert 'python tools/' not in line, path
            for name in re.findall(r'sarlp (convert \w+|recover\b|test --|train --|maps --)', line):
                assert name.split(' --')[0] in NAMES, (path, line)


class TestList:
    def test_every_name_listed_can_be_loaded(self):
        names = listing.configs()
        assert 'sarlp_r101_voc_p<ratio>' in names and 'sarlp_r50_custom' in names
        leaves = [path for path in shipped('configs').glob('*/*.py') if path.parent.name != '_base_']
        assert len(names) == len(leaves)
        for name in names:
            assert load_config(name.replace('<ratio>', '0.4')).work_dir.endswith(name.replace('<ratio>', '0.4'))

    def test_words(self, capsys, monkeypatch):
        monkeypatch.setattr(sys, 'argv', ['sarlp'])
        main(['list', 'sgre'])
        assert capsys.readouterr().out.split() == [f'sgre_r101_{data}_p<ratio>' for data in ('coco', 'nus', 'voc')]
        main(['list', 'zebra'])
        assert capsys.readouterr().out.strip() == "nothing here has 'zebra' in its name"
        main(['list', '--parts', 'loss'])
        assert '| `AsymmetricLoss` |' in capsys.readouterr().out

    def test_the_docs_have_all_parts(self):
        """Where this fails: the section "Parts by name" is the output of `sarlp list --parts` under its head."""
        assert listing.parts_table() in (REPOSITORY / 'docs' / 'configs.md').read_text(encoding='utf-8')

    def test_parts_of_all_kinds_are_listed(self):
        kinds = listing.parts()
        assert 'SARLP' in kinds['method'] and 'RandomKnownLabels' in kinds['label mask']
        assert 'MixedPrecisionOptimWrapper' in kinds['optimizer wrapper'] and 'ForeachEMA' in kinds['model']
        assert all(what for own in kinds.values() for what in own.values())  # each says what it is


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        (
            ['complete', '--positive', 'x', 'a.csv', 'photos'],
            '--positive takes all words behind it, so that SPREADSHEET FOLDER must stand before it',
        ),
        (
            ['complete', 'a.csv', '--ignore-columns', 'by', 'photos'],
            '--ignore-columns takes all words behind it, so that',
        ),
        (['complete', 'a.csv'], 'the following arguments are required: FOLDER\n'),
    ],
)
def test_an_option_that_took_what_is_missing(words, said, capsys):
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2 and said in capsys.readouterr().err

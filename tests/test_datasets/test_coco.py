import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from sarlp.datasets.annotation import AnnotationError, load_annotation
from sarlp.datasets.converters import json_stream
from sarlp.datasets.converters.coco import COCO_CLASSES, convert_coco2014
from sarlp.datasets.converters.json_stream import stream_members

# ids with gaps, not in order
CATEGORIES = [(7, 'yew'), (2, 'elm'), (11, 'oak tree'), (90, 'fir')]
# of each image: file name and (category, crowd) of its annotations; image ids are 13, 26, 39, ...
SCENES = {
    'train': {
        'a.jpg': [(7, 0), (2, 0), (7, 0)],
        'b.jpg': [],
        'c.jpg': [(90, 1)],  # nothing but a crowd
        'd.jpg': [(11, 0), (7, 1)],
        'e.jpg': [],
    },
    'val': {'f.jpg': [(2, 0)], 'g.jpg': [], 'h.jpg': [(90, 0), (11, 0)]},
}


def make_instances(scenes, categories=CATEGORIES):
    """The content of an instances file, its parts in the order of the real ones."""
    images, annotations = [], []
    for number, (name, found) in enumerate(scenes.items(), 1):
        images.append({'license': 3, 'file_name': name, 'height': 480, 'width': 640, 'id': 13 * number})
        for category, crowd in found:
            outline = {'counts': [5, 3, 17], 'size': [2, 3]} if crowd else [[510.66, 423.01, 1e-3, 2.5e2]]
            annotations.append(
                {
                    'segmentation': outline,
                    'area': 702.1057499999998,
                    'iscrowd': crowd,
                    'image_id': 13 * number,
                    'bbox': [473.07, 395.93, 38.65, 28.67],
                    'category_id': category,
                    'id': 1000 + len(annotations),
                }
            )
    names = [{'supercategory': 'plant', 'id': category, 'name': name} for category, name in categories]
    return {
        'info': {'year': 2014, 'version': '1.0'},
        'images': images,
        'licenses': [{'url': 'http://x', 'id': 1}],
        'annotations': annotations,
        'categories': names,
    }


def make_coco(root, scenes=SCENES, categories=CATEGORIES):
    (root / 'annotations').mkdir(parents=True)
    for split, images in scenes.items():
        (root / f'annotations/instances_{split}2014.json').write_text(json.dumps(make_instances(images, categories)))
        (root / f'{split}2014').mkdir()
        for name, found in images.items():
            if found:  # an image that is dropped need not be there
                (root / f'{split}2014' / name).touch()
    return root


@pytest.fixture
def coco(tmp_path):
    return make_coco(tmp_path / 'COCO2014')


def test_conversion(coco, capsys):
    files = convert_coco2014(coco)
    assert files == {split: coco / 'labels' / f'{split}.json' for split in ('train', 'val')}
    contents = {split: load_annotation(path) for split, path in files.items()}
    assert contents['train'][0] == {
        'classes': ('yew', 'elm', 'oak tree', 'fir'),
        'layout': 'COCO2014',
        'split': 'train',
        'dropped_without_annotation': 2,
    }
    found = {
        split: [(e['img_path'], e['positive'], e['negative'], e['ignore']) for e in entries]
        for split, (_, entries) in contents.items()
    }
    assert found == {
        'train': [
            ('train2014/a.jpg', [0, 1], 'rest', []),
            ('train2014/c.jpg', [3], 'rest', []),
            ('train2014/d.jpg', [0, 2], 'rest', []),
        ],
        'val': [('val2014/f.jpg', [1], 'rest', []), ('val2014/h.jpg', [2, 3], 'rest', [])],
    }
    out = capsys.readouterr().out
    assert '3 images, 4 classes' in out and '2 images without any annotation were dropped' in out
    assert '1 images without' in out and 'note' not in out


def test_real_class_names_with_other_counts_get_a_note(tmp_path, capsys):
    categories = [(3 * number + 1, name) for number, name in enumerate(COCO_CLASSES)]
    scenes = {'train': {'a.jpg': [(1, 0)]}, 'val': {'b.jpg': [(4, 0)]}}
    convert_coco2014(make_coco(tmp_path, scenes, categories))
    assert len(set(COCO_CLASSES)) == 80
    out = capsys.readouterr().out
    assert 'note: train has 1 images, the published MS-COCO 2014 has 82,081' in out and '40,137' in out


def change(split='val', **parts):
    """Replace parts of an instances file: a value, or a function of the old one."""

    def spoil(root):
        path = root / f'annotations/instances_{split}2014.json'
        content = json.loads(path.read_text())
        for key, value in parts.items():
            content[key] = value(content[key]) if callable(value) else value
        path.write_text(json.dumps(content))

    return spoil


def write(text, split='val'):
    return lambda root: (root / f'annotations/instances_{split}2014.json').write_text(text)


def with_first(**values):
    return lambda records: [{**records[0], **values}, *records[1:]]


def without_first(key):
    return lambda records: [{k: v for k, v in records[0].items() if k != key}, *records[1:]]


@pytest.mark.parametrize(
    'spoil, messages',
    [
        (
            change(annotations=with_first(image_id=5)),
            ['annotations[0] (id 1000) is of an unknown image, 5', '"images"'],
        ),
        (change(annotations=with_first(image_id='13')), ["an unknown image, '13'"]),
        (change(annotations=with_first(category_id=3)), ['(id 1000) is of an unknown category, 3', '"categories"']),
        (change(annotations=with_first(category_id=2.5)), ['"category_id" to be a whole number', 'a fraction']),
        (change(annotations=without_first('image_id')), ['annotations[0] (id 1000)', '"image_id"', 'found None']),
        (change(annotations=[5]), ['"annotations" to be a list of objects', "'5'"]),
        (change(annotations=[]), ['"annotations" to be a list with something in it']),
        (change(images=without_first('file_name')), ['images[0] (id 13)', '"file_name" to be a text', 'found None']),
        (change(images=with_first(file_name='')), ["found ''"]),
        (change(images=with_first(id=None)), ['images[0]: expected "id"', 'found None']),
        (
            change(images=with_first(id=26)),
            ['images[1]: the image id 26 is there already, with the file val2014/f.jpg'],
        ),
        (
            change(images=with_first(file_name='h.jpg'), annotations=lambda a: a),
            ['data_list[1]', 'in the file already'],
        ),
        (
            change(categories=with_first(id=2)),
            ["categories[1] (2, 'elm')", "the category (2, 'yew') has the same id"],
        ),
        (change(categories=with_first(name='fir')), ["categories[3] (90, 'fir')", "(7, 'fir')"]),
        (change(categories=with_first(name=7)), ['categories[0]: expected "name" to be a text, found 7']),
        (change(categories=with_first(name='ash')), ["only the first has (7, 'yew')", "the second (7, 'ash')"]),
        (change(categories=lambda c: [*c, {'id': 3, 'name': 'ash'}]), ["has none, only the second (3, 'ash')"]),
        (change(categories=lambda c: c[::-1]), ['must have equal categories', 'the same in another order']),
        (change(categories='elm'), ['"categories" to be a list of objects', "found 'elm'"]),
        (
            change(images=lambda images: images[0]),
            ['does not parse', '"images" to be a list of objects', "'file_name'"],
        ),
        (write(''), ['does not parse', 'character 0, found the end of the file']),
        (write('[1, 2]'), ['does not parse', "expected { at character 0, found '['"]),
        (write('{"images": [{"id": 3, "file_name": "a"}, {"id": '), ['does not parse', 'Unpack the archive again']),
        (lambda root: (root / 'annotations/instances_val2014.json').write_bytes(b'{"a\xff'), ['does not parse']),
        (lambda root: (root / 'annotations/instances_train2014.json').unlink(), ['train2014.json: missing', '.zip']),
        (lambda root: (root / 'val2014').rename(root / 'test2014'), ['val2014: missing']),
        (
            lambda root: (root / 'val2014/h.jpg').unlink(),
            ['1 of the 2 images of val are missing', 'val2014/h.jpg'],
        ),
    ],
)
def test_bad_folders(coco, spoil, messages):
    spoil(coco)
    with pytest.raises(AnnotationError) as error:
        convert_coco2014(coco)
    for message in messages:
        assert message in str(error.value)
    assert str(coco) in str(error.value)
    assert not (coco / 'labels').exists()


def test_tool(coco, tmp_path, monkeypatch, capsys):
    tool = str(Path(__file__).parents[2] / 'tools' / 'dataset_converters' / 'mscoco.py')
    monkeypatch.setattr('sys.argv', [tool, '--data-dir', str(coco), '--save-dir', str(tmp_path / 'out')])
    runpy.run_path(tool, run_name='__main__')
    assert len(load_annotation(tmp_path / 'out' / 'train.json')[1]) == 3
    monkeypatch.setattr('sys.argv', [tool, '--data-dir', str(tmp_path / 'none')])
    with pytest.raises(SystemExit) as ending:
        runpy.run_path(tool, run_name='__main__')
    assert ending.value.code == 1
    assert capsys.readouterr().err.startswith('error: ')


VALUES = [0, -17, 2.5e-3, True, None, '', 'a "b" \\ ü \U0001f600', [1, [2, {}]], {'x': {'y': []}}, 'x' * 97, 10**30]


@pytest.mark.parametrize('window', [1, 2, 7, 64])
@pytest.mark.parametrize('options', [{}, {'indent': 3}, {'ensure_ascii': False, 'separators': (',', ':')}])
def test_streaming_gives_what_json_gives(tmp_path, monkeypatch, window, options):
    monkeypatch.setattr(json_stream, '_CHUNK', window)
    content = {'list': VALUES, 'empty': [], 'one': [[]], **{f'key{i}': value for i, value in enumerate(VALUES)}}
    content = {key: value for key, value in content.items() if not isinstance(value, list) or key in ('list', 'one')}
    path = tmp_path / 'a.json'
    path.write_text(json.dumps({**content, 'empty': []}, **options) + '\n', 'utf-8')
    expected = [(key, e) for key, v in content.items() for e in (v if isinstance(v, list) else [v])]
    assert list(stream_members(path)) == expected


@pytest.mark.parametrize(
    'text, message',
    [
        ('{"a": [1, 2,]}', 'Expecting value at character 12'),
        ('{"a": [1 2]}', "expected , or ] at character 9, found '2'"),
        ('{"a": 1,}', 'Expecting value at character 8'),
        ('{"a" 1}', "expected : at character 5, found '1'"),
        ('{5: 1}', 'expected a key in front of character 2, found 5'),
        ('{"a": [{"b": nul}]}', 'at character 13'),
        ('{"a": "b', 'Unterminated string starting at at character 6'),
        ('{"a": 1', 'found the end of the file'),
        ('{"a": [', 'Expecting value at character 7'),
        ('{} {}', 'more after the end of the object, at character 3'),
        ('{"a": ' + '[' * 100_000, 'too many levels of nesting|Expecting value'),
        ('{"a": [{"b": nul}' + ', {"b": 1}' * 97 + ']}', 'at character 13'),
        ('{"a": [{"b": 1, "c": 2, "b": 3}]}', r"the key \['b'\] is there twice .* in the value at character 7"),
        ('{"a": [1], "c": 2, "a": [3]}', "the key 'a' in front of character 22 was there before"),
        ('{"a": [NaN]}', 'NaN is no number of JSON, in the value at character 7'),
        ('{"a": -Infinity}', '-Infinity is no number'),
        ('{"a": [1e999]}', 'the number 1e999 is too large'),
        ('{"a": ' + '7' * 5003 + '}', 'Exceeds the limit|4300'),
    ],
)
@pytest.mark.parametrize('window', [1, 1 << 20])
def test_streaming_of_what_is_no_json(tmp_path, monkeypatch, window, text, message):
    monkeypatch.setattr(json_stream, '_CHUNK', window)
    path = tmp_path / 'a.json'
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        list(stream_members(path))


def test_a_value_may_not_be_longer_than_a_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(json_stream, '_CHUNK', 7)
    monkeypatch.setattr(json_stream, '_LONGEST', 101)
    path = tmp_path / 'a.json'
    path.write_text('{"a": [' + '"x", ' * 997 + '"' + 'y' * 50 + '"]}')
    assert len(list(stream_members(path))) == 998
    path.write_text('{"a": ["x", "' + 'y' * 997 + '"]}')
    with pytest.raises(ValueError, match='a value of more than 101 characters at character 12'):
        list(stream_members(path))


PEAK = """
import resource, sys
from sarlp.datasets.converters.coco import convert_coco2014

before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
convert_coco2014(sys.argv[1])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_outlines(tmp_path):
    """A file of 100 MB, nearly all of it outlines, takes a small part of that."""
    root = make_coco(tmp_path)
    path = root / 'annotations/instances_train2014.json'
    content = json.loads(path.read_text())
    outline = [[round(0.37 * i, 2) for i in range(1009)]]
    content['annotations'] *= 2503
    for annotation in content['annotations']:
        annotation['segmentation'] = outline
    path.write_text(json.dumps(content))
    assert path.stat().st_size > 100e6
    done = subprocess.run([sys.executable, '-c', PEAK, root], capture_output=True, text=True, timeout=300, check=True)
    assert int(done.stdout.splitlines()[-1]) < 50_000  # KiB

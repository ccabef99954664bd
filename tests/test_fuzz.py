"""Valid files of data spoilt at random, through every reader of them; test_fuzz_weights.py has arrays and weights.

Either a file is refused, by a UserError that names it, or what is read is what an independent, slow reading of the
same bytes gives: never another error, never a hang, never a wrong label in silence. What the short form tries is the
same each time; the slow form tries more, from the seeds in the names of its tests (SARLP_FUZZ_SEEDS=3,4 for others).
"""

import io
import json
import re
import unicodedata
from collections import Counter
from xml.dom import minidom
from xml.sax.saxutils import escape

import numpy as np
import pytest
from hypothesis import strategies as st
from PIL import Image

from sarlp.datasets.annotation import dump_annotation, labels_of, load_annotation
from sarlp.datasets.converters.coco import convert_coco2014
from sarlp.datasets.converters.label_embeddings import glove_embeddings
from sarlp.datasets.converters.nuswide import convert_nuswide
from sarlp.datasets.converters.voc2007 import convert_voc2007
from sarlp.transforms import LoadImage

from .fuzzing import SEEDS, Properties, attempt, spoil_bytes, spoil_structure, spoilt_bytes, spoilt_structures

CLASSES = ['cat', 'dog', 'sofa', 'oak tree']
fuzz = Properties()


def seen(name):
    """By the words of docs/your_data.md: what can be seen of a name."""
    kinds = [(letter, unicodedata.category(letter)) for letter in name]
    words = ''.join(' ' if kind == 'Zs' else '' if kind == 'Cf' else letter for letter, kind in kinds).split(' ')
    return unicodedata.normalize('NFC', ' '.join(filter(None, words))).strip()


# ---- annotation files ----


def valid_annotation():
    return {
        'metainfo': {'classes': CLASSES, 'split': 'train', 'x': [1.5, None]},
        'data_list': [
            {'img_path': 'a/1.jpg', 'positive': [0], 'negative': 'rest', 'ignore': [2]},
            {'img_path': 'a/2.jpg', 'positive': [1, 3], 'negative': [0], 'ignore': []},
            {'img_path': 'b/ü.jpg', 'positive': [], 'negative': [2, 1]},
        ],
    }


def slow_labels(entry, count):
    """By the words of docs/data.md: for each class 1, 0 or -1, and whether it is ignored."""
    assert set(entry) - {'ignore'} == {'img_path', 'positive', 'negative'}
    lists = [entry['positive'], entry.get('ignore', [])] + ([] if entry['negative'] == 'rest' else [entry['negative']])
    for ids in lists:
        assert type(ids) is list and all(type(i) is int for i in ids)
        assert all(number == 1 for number in Counter(ids).values()) and all(0 <= i < count for i in ids)
    codes = []
    for index in range(count):
        positive = index in entry['positive']
        negative = not positive if entry['negative'] == 'rest' else index in entry['negative']
        assert not (positive and negative)
        codes.append(1 if positive else 0 if negative else -1)
    return codes, [index in entry.get('ignore', []) for index in range(count)]


def only_keys_once(pairs):
    assert len({key for key, _ in pairs}) == len(pairs)
    return dict(pairs)


def check_annotation(path):
    loaded = attempt(lambda: load_annotation(path), path)
    if loaded is None:
        return
    text = path.read_bytes().decode('utf-8')
    raw = json.loads(text.removeprefix('\ufeff'), object_pairs_hook=only_keys_once)
    classes = raw['metainfo']['classes']
    assert loaded[0] == {**raw['metainfo'], 'classes': tuple(classes)} and len(set(classes)) == len(classes)
    paths = [entry['img_path'] for entry in raw['data_list']]
    assert [entry['img_path'] for entry in loaded[1]] == paths and len(set(paths)) == len(paths) > 0
    for entry, raw_entry in zip(loaded[1], raw['data_list'], strict=True):
        assert not re.search(r'^/|^\w:|\\|(^|/)\.\.?(/|$)', entry['img_path'])
        labels, ignore = labels_of(entry, len(classes))
        assert (labels.tolist(), ignore.tolist()) == slow_labels(raw_entry, len(classes))
    written = path.with_name('written.json')  # what is read can be written, but not over a file that it did not write
    dump_annotation(written, loaded[0].pop('classes'), loaded[1], **loaded[0])


@fuzz(spoilt_structures(), short=400, slow=20_000)
def annotation_structure(root):
    def check(edits):
        content = spoil_structure(valid_annotation(), edits)
        (root / 'a.json').write_text(json.dumps(content))
        check_annotation(root / 'a.json')

    return check


@fuzz(spoilt_bytes, short=400, slow=20_000)
def annotation_bytes(root):
    content = json.dumps(valid_annotation(), ensure_ascii=False).encode()

    def check(edits):
        (root / 'a.json').write_bytes(spoil_bytes(content, edits))
        check_annotation(root / 'a.json')

    return check


# ---- VOC ----

XML = """<?xml version="1.0" encoding="UTF-8"?>
<annotation><filename>a1.jpg</filename>
<object><name>cat</name><difficult>0</difficult><bndbox><xmin>1</xmin></bndbox></object>
<object><name>dög</name><difficult>1</difficult></object>
<object><name>sofa</name></object><object><name>cat</name><difficult>1</difficult></object>
</annotation>""".encode()


def text_of(node):
    return ''.join(
        child.data for child in node.childNodes if child.nodeType in (child.TEXT_NODE, child.CDATA_SECTION_NODE)
    )


def slow_xml(content):
    """{class: whether all objects of it are difficult}, with another reader of XML."""
    root = minidom.parseString(content).documentElement
    found = {}
    for item in (node for node in root.childNodes if node.nodeName == 'object'):
        names = [node for node in item.childNodes if node.nodeName == 'name']
        flags = [node for node in item.childNodes if node.nodeName == 'difficult']
        assert len(names) == 1 and len(flags) <= 1
        flag = (text_of(flags[0]).strip() if flags else '') or '0'
        assert flag in ('0', '1')
        found.setdefault(seen(text_of(names[0])), []).append(flag == '1')
    return {name: all(flags) for name, flags in found.items()}


def make_voc(root):
    for folder in ('Annotations', 'ImageSets/Main', 'JPEGImages'):
        (root / folder).mkdir(parents=True)
    for split, ids in (('trainval', ('a1', 'a2')), ('test', ('b1',))):
        (root / f'ImageSets/Main/{split}.txt').write_text('\n'.join(ids) + '\n')
        for image in ids:
            (root / f'JPEGImages/{image}.jpg').touch()
            (root / f'Annotations/{image}.xml').write_bytes(XML)


def check_voc(root):
    files = attempt(lambda: convert_voc2007(root), root)
    if files is None:
        return
    objects = {path.stem: slow_xml(path.read_bytes()) for path in (root / 'Annotations').iterdir()}
    lists = {}
    for split in files:
        text = (root / f'ImageSets/Main/{split}.txt').read_text('utf-8-sig')
        while text.endswith('\x1a'):  # DOS says so where a file ends
            text = text[:-1]
        ids = map(seen, text.split())
        lists[split] = [image for image in ids if image]
    names = sorted({name for ids in lists.values() for image in ids for name in objects[image]})
    for split, path in files.items():
        metainfo, entries = load_annotation(path)
        assert metainfo['classes'] == tuple(names)
        assert [entry['img_path'] for entry in entries] == [f'JPEGImages/{image}.jpg' for image in lists[split]]
        for image, entry in zip(lists[split], entries, strict=True):
            codes, ignore = labels_of(entry, len(names))
            assert codes.tolist() == [int(objects[image].get(name) is False) for name in names]
            assert ignore.tolist() == [bool(objects[image].get(name)) for name in names]


@fuzz(spoilt_bytes, short=150, slow=4_000)
def voc_xml(root):
    make_voc(root)

    def check(edits):
        (root / 'Annotations/a1.xml').write_bytes(spoil_bytes(XML, edits))
        check_voc(root)

    return check


OBJECTS = [
    [['name', 'cat'], ['difficult', '0'], ['bndbox', [['xmin', '1']]]],
    [['difficult', '1'], ['name', 'dög']],
    [['name', 'sofa']],
    [['name', 'cat'], ['difficult', '1']],
]
PARTS = (
    *(
        'name',
        'difficult',
        'object',
        'part',
        'Name',
        '0',
        '1',
        ' 1\n',
        'true',
        '',
        ' ',
        'cat',
        ' cat',
        'c&t',
        ']]>',
        '\x1b',
    ),
    *([], ['name', 'fir'], ['difficult', '1'], [['name', 'fir'], ['difficult', '0']], 'a' * 300, 'x\ny'),
)


def as_xml(parts):
    """Pairs of a tag and a text or further pairs; what is no pair is text."""
    if isinstance(parts, str):
        return escape(parts)
    if len(parts) == 2 and isinstance(parts[0], str) and parts[0].isalpha():
        return f'<{parts[0]}>{as_xml(parts[1])}</{parts[0]}>'
    return ''.join(map(as_xml, parts))


@fuzz(spoilt_structures(PARTS), short=200, slow=6_000)
def voc_structure(root):
    make_voc(root)

    def check(edits):
        objects = [['object', item] for item in spoil_structure(OBJECTS, edits)]
        (root / 'Annotations/a1.xml').write_text(f'<annotation>{as_xml(objects)}</annotation>', 'utf-8')
        check_voc(root)

    return check


@fuzz(spoilt_bytes, short=100, slow=3_000)
def voc_lists(root):
    make_voc(root)

    def check(edits):
        (root / 'ImageSets/Main/trainval.txt').write_bytes(spoil_bytes(b'a1\na2\n', edits))
        check_voc(root)

    return check


# ---- COCO ----

COCO = {
    'info': {'year': 2014},
    'images': [{'id': 13, 'file_name': 'a.jpg'}, {'id': 2, 'file_name': 'b.jpg'}, {'id': 7, 'file_name': 'c.jpg'}],
    'annotations': [
        {'image_id': 13, 'category_id': 3, 'id': 1, 'segmentation': [[1.5, 2.5e2]]},
        {'image_id': 2, 'category_id': 90, 'id': 2, 'iscrowd': 1},
        {'image_id': 13, 'category_id': 1, 'id': 3},
    ],
    'categories': [{'id': 3, 'name': 'cat'}, {'id': 1, 'name': 'dog'}, {'id': 90, 'name': 'oak tree'}],
}


def make_coco(root):
    (root / 'annotations').mkdir()
    for split in ('train', 'val'):
        (root / f'{split}2014').mkdir()
        for name in 'abc':
            (root / f'{split}2014/{name}.jpg').touch()
        (root / f'annotations/instances_{split}2014.json').write_text(json.dumps(COCO))


def check_coco(root):
    files = attempt(lambda: convert_coco2014(root), root)
    if files is None:
        return
    for split, path in files.items():
        text = (root / f'annotations/instances_{split}2014.json').read_bytes().decode('utf-8')
        raw = json.loads(text.removeprefix('\ufeff'), object_pairs_hook=only_keys_once)
        metainfo, entries = load_annotation(path)
        assert metainfo['classes'] == tuple(seen(category['name']) for category in raw['categories'])
        expected = []
        for image in raw['images']:
            there = [a['category_id'] for a in raw['annotations'] if a['image_id'] == image['id']]
            if there:
                codes = [int(category['id'] in there) for category in raw['categories']]
                expected.append((f'{split}2014/{image["file_name"]}', codes))
        ids = {category['id'] for category in raw['categories']}
        assert all(a['category_id'] in ids for a in raw['annotations'])
        assert [(e['img_path'], labels_of(e, len(ids))[0].tolist()) for e in entries] == expected


@fuzz(spoilt_structures(), short=200, slow=6_000)
def coco_structure(root):
    make_coco(root)

    def check(edits):
        text = json.dumps(spoil_structure(COCO, edits))
        for split in ('train', 'val'):  # both, since they must have the same categories
            (root / f'annotations/instances_{split}2014.json').write_text(text)
        check_coco(root)

    return check


@fuzz(spoilt_bytes, short=200, slow=6_000)
def coco_bytes(root):
    make_coco(root)
    content = json.dumps(COCO).encode()

    def check(edits):
        spoilt = spoil_bytes(content, edits)
        for split in ('train', 'val'):
            (root / f'annotations/instances_{split}2014.json').write_bytes(spoilt)
        check_coco(root)

    return check


# ---- NUS-WIDE ----

NUS = {
    'Concepts81.txt': b'cat\noak\n',
    'Groundtruth/AllLabels/Labels_cat.txt': b'1\n0\n0\n1\n',
    'Groundtruth/AllLabels/Labels_oak.txt': b'1\n0\n1\n0\n',
    'ImageList/Imagelist.txt': b'a\\1.jpg\r\na\\2.jpg\r\nb\\1.jpg\r\nb\\2.jpg\r\n',
    'ImageList/TrainImagelist.txt': b'a\\1.jpg\r\na\\2.jpg\r\n',
    'ImageList/TestImagelist.txt': b'b\\2.jpg\r\nb\\1.jpg\r\n',
}


def slow_lines(path):
    text = path.read_bytes().decode('utf-8').removeprefix('\ufeff').replace('\r', '\n')
    return [line.strip().replace('\\', '/') for line in text.split('\n') if line.strip()]


@fuzz(st.tuples(st.sampled_from(sorted(NUS)), spoilt_bytes), short=200, slow=6_000)
def nuswide(root):
    for folder in ('Groundtruth/AllLabels', 'ImageList', 'Flickr/a', 'Flickr/b'):
        (root / folder).mkdir(parents=True)
    for name in ('a/1', 'a/2', 'b/1', 'b/2'):
        (root / f'Flickr/{name}.jpg').touch()

    def check(draw):
        which, edits = draw
        for name, content in NUS.items():
            (root / name).write_bytes(spoil_bytes(content, edits) if name == which else content)
        files = attempt(lambda: convert_nuswide(root), root)
        if files is None:
            return
        concepts = list(map(seen, slow_lines(root / 'Concepts81.txt')))
        order = slow_lines(root / 'ImageList/Imagelist.txt')
        columns = [(root / f'Groundtruth/AllLabels/Labels_{name}.txt').read_text().split() for name in concepts]
        for split, path in files.items():
            metainfo, entries = load_annotation(path)
            assert metainfo['classes'] == tuple(concepts)
            expected = []
            for image in slow_lines(root / f'ImageList/{split.capitalize()}Imagelist.txt'):
                codes = [int(column[order.index(image)]) for column in columns]
                if any(codes):
                    expected.append((f'Flickr/{image}', codes))
            assert [(e['img_path'], labels_of(e, len(concepts))[0].tolist()) for e in entries] == expected

    return check


# ---- word vectors ----


@fuzz(spoilt_bytes, short=200, slow=6_000)
def word_vectors(root):
    content = b', 0.5 -0.25 1e-1\nat home 9 9 9\ndog 1 2 3\ntree 0 1e2 0\ncat 4 5 6\noak -1 0.125 7\nsofa 1 1 1\n'
    path = root / 'glove.txt'

    def check(edits):
        spoilt = spoil_bytes(content, edits)
        path.write_bytes(spoilt)
        found = attempt(lambda: glove_embeddings(['cat', 'dog'], path), path)
        if found is None:
            return
        first = spoilt.split(b'\n')[0].split(b' ')
        head = len(first) == 2 and all(field.isdigit() for field in first)
        width = int(first[1]) if head else len(first) - 1
        for name, row in zip((b'cat', b'dog'), found.tolist(), strict=True):
            lines = [line.rstrip().split(b' ') for line in spoilt.split(b'\n')]
            (vector, *_) = [line[1:] for line in lines if line[0] == name and len(line) == width + 1]
            assert np.array_equal(np.float32([float(number) for number in vector]), np.float32(row))

    return check


# ---- images ----


def picture():
    y, x = np.mgrid[:37, :53]
    return Image.fromarray(np.stack([x * 4, y * 6, (x * y) % 256], -1).astype(np.uint8))


def encoded():
    exif = Image.Exif()
    exif[0x0112] = 6
    for kind, options in (
        ('JPEG', dict(exif=exif)),
        ('JPEG', dict(progressive=True)),
        ('PNG', {}),
        ('WEBP', {}),
        ('BMP', {}),
        ('TIFF', {}),
        ('GIF', {}),
    ):
        stream = io.BytesIO()
        picture().save(stream, kind, **options)
        yield stream.getvalue()


@fuzz(st.tuples(st.sampled_from(range(7)), st.sampled_from([None, 7]), spoilt_bytes), short=200, slow=10_000)
def images(root):
    path, contents = root / 'a.jpg', list(encoded())

    def check(draw):
        number, min_side, edits = draw
        path.write_bytes(spoil_bytes(contents[number], edits))
        results = attempt(lambda: LoadImage(min_side=min_side)({'img_path': str(path)}), path)
        if results is not None:
            image = results['img']
            assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and image.size
            assert results['img_shape'] == image.shape[:2]

    return check


@pytest.mark.parametrize('name', fuzz.names)
def test_short(tmp_path, name):
    fuzz.run(name, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize('seed', SEEDS)
@pytest.mark.parametrize('name', fuzz.names)
def test_long(tmp_path, name, seed):
    fuzz.run(name, tmp_path, seed)

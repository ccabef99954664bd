"""Labels read and written back: what did not change stays as it was written, to the cell."""

import csv
import io
import json
import os

import numpy as np
import pytest

from sarlp.apps.spreadsheets import csv_labels
from sarlp.apps.spreadsheets.csv_labels import convert_csv_labels
from sarlp.apps.spreadsheets.label_files import open_labels
from sarlp.apps.spreadsheets.label_source import RECORD, label_arrays, read_source, write_labels_like_source
from sarlp.datasets.annotation import AnnotationError

from .label_writers import FORMS, table

CLASSES = ('ant', 'bee', 'cow', 'dog, wild', 'élan')
NAMES = tuple(f'{number}.jpg' for number in range(11))


@pytest.fixture
def data(tmp_path):
    """``data(content)``: the folder of the data set made of a file with that content."""

    def make(content, name='labels.csv', images=NAMES, **options):
        for image in images:
            (tmp_path / 'photos' / image).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / 'photos' / image).touch()
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        convert_csv_labels(
            tmp_path / name, tmp_path / 'photos', tmp_path / 'data', **{'val_fraction': 0.4, 'seed': 2, **options}
        )
        return tmp_path / 'data'

    return make


def labels_in(root):
    return label_arrays([root / 'labels/trainval.json', root / 'labels/test.json'])[1]


def write(root, labels):
    """What :func:`write_labels_like_source` writes, and the counts it returns."""
    counts = write_labels_like_source(labels, root, root / 'out')
    return (root / 'out').read_bytes(), counts


def cells(content, encoding='utf-8', delimiter=','):
    return list(csv.reader(io.StringIO(content.decode(encoding), newline=''), delimiter=delimiter))


def items(line):
    """A JSON object as pairs, since the order of keys counts."""
    return json.loads(line, object_pairs_hook=list)


def random_labels(seed):
    labels = np.random.default_rng(seed).choice([1, 0, -1], (len(NAMES), len(CLASSES)))
    labels[0], labels[1] = 1, 0
    return labels


@pytest.mark.parametrize('name', FORMS)
class TestEveryForm:
    def test_unchanged_labels_give_the_same_file(self, data, name):
        content = FORMS[name](NAMES, CLASSES, random_labels(0))
        root = data(content, name)
        found, counts = write(root, labels_in(root))
        if name.endswith('json'):
            assert json.loads(found) == json.loads(content)
        elif name.endswith('jsonl'):  # which may write a letter as \\u00e9
            assert list(map(items, found.splitlines())) == list(map(items, content.splitlines()))
        else:
            assert found.decode() == content
        assert counts == {'positive': 0, 'negative': 0, 'unknown': 0}

    def test_changed_labels_are_read_again(self, data, name):
        before, after = random_labels(1), random_labels(2)
        root = data(FORMS[name](NAMES, CLASSES, before), name)
        labels = dict(zip(NAMES, after, strict=True))
        found, counts = write(root, labels)
        assert counts == {
            kind: int(((after == code) & (before != code)).sum())
            for kind, code in (('positive', 1), ('negative', 0), ('unknown', -1))
        }
        again = labels_in(data(found, name))
        assert again.keys() == labels.keys()
        for image, codes in labels.items():
            np.testing.assert_array_equal(again[image], codes)

    def test_images_that_the_file_has_not(self, data, name):
        labels = random_labels(3)
        root = data(FORMS[name](NAMES[:-2], CLASSES, labels[:-2]), name, include_unlabelled=True)
        assert (labels_in(root)[NAMES[-1]] == -1).all()
        found, counts = write(root, {**labels_in(root), NAMES[-1]: np.array([1, -1, 0, -1, 1])})
        assert counts == {'positive': 2, 'negative': 1, 'unknown': 0}
        again = labels_in(data(found, name, include_unlabelled=True))
        assert again[NAMES[-1]].tolist() == [1, -1, 0, -1, 1]
        assert (again[NAMES[-2]] == -1).all()
        np.testing.assert_array_equal(np.stack([again[image] for image in NAMES[:-2]]), labels[:-2])


class TestSpreadsheet:
    ROWS = [
        [' File ', 'note', 'cat', 'who', 'dog'],
        ['.\\0.jpg', 'two\nlines', 'Yes', 'A; B', '?'],
        ['1', '', ' no', '"B"', ''],
        ['2.jpg', '', 'NA', '', '1'],
        ['gone.jpg', '', 'Yes', '', 'Yes'],
        ['0.jpg', '', '', '', ''],
        ['3.jpg', '', 'No', '', 'Yes'],
        ['3.jpg', '', 'Yes', '', ''],
    ]
    OPTIONS = dict(ignore_columns=['note', 'who'], allow_missing=True, on_conflict='unknown', val_fraction=0.5)

    @pytest.mark.parametrize(
        ('encoding', 'mark'), [('utf-8', ''), ('utf-8', '\ufeff'), ('utf-16-le', '\ufeff'), ('cp1252', '')]
    )
    @pytest.mark.parametrize('delimiter', [';', '\t'])
    @pytest.mark.parametrize('newline', ['\r\n', '\n'])
    def test_only_the_changed_cells_differ(self, data, encoding, mark, delimiter, newline):
        rows = [*self.ROWS, ['4.jpg', 'é', 'No', '', '']]
        content = (mark + table(rows, delimiter, newline)).encode(encoding)
        root = data(content, **self.OPTIONS)
        assert write(root, labels_in(root))[0] == content
        found, counts = write(root, {'0.jpg': [1, 0], '3.jpg': [1, -1], '1.jpg': [-1, 1]})
        assert counts == {'positive': 2, 'negative': 1, 'unknown': 2}
        expected = [row.copy() for row in rows]
        expected[1][4] = 'No'  # the way in which this file mostly says so
        expected[5][4] = 'No'
        expected[6][2] = expected[7][2] = 'Yes'  # the contradiction is settled
        expected[6][4] = expected[7][4] = ''
        expected[2][2], expected[2][4] = '', 'Yes'
        expected[0] = [mark + expected[0][0], *expected[0][1:]]
        assert cells(found, encoding, delimiter) == expected

    @pytest.mark.parametrize('newline', ['\r\n', '\n', '\r'])
    def test_line_breaks_within_cells_stay(self, data, newline):
        rows = [['file', 'note', 'cat'], ['0.jpg', 'a\rb', 'y'], ['1.jpg', 'a\nb', 'n'], ['2.jpg', 'a\r\nb', '']]
        content = ''.join(','.join(f'"{cell}"' for cell in row) + newline for row in rows)
        root = data(content + f'3.jpg,,{newline}4.jpg,,{newline}', ignore_columns=['note'])
        found = write(root, {'2.jpg': [1]})[0]
        assert cells(found) == [*rows[:3], ['2.jpg', 'a\r\nb', 'y'], ['3.jpg', '', ''], ['4.jpg', '', '']]
        assert found.decode().startswith(f'file,note,cat{newline}0.jpg,')

    def test_delimiter_line_of_excel_stays(self, data):
        content = 'sep=|\r\n' + table([['file', 'cat'], ['0.jpg', 'y'], ['1.jpg', ''], ['2.jpg', 'n']], '|')
        root = data(content)
        assert write(root, {'1.jpg': np.array([0])})[0].decode() == content.replace('1.jpg|', '1.jpg|n')

    @pytest.mark.parametrize(
        ('cell', 'given', 'new'),
        [
            ('Yes', {}, 'No'),
            ('TRUE', {}, 'FALSE'),
            ('1', {}, '0'),
            ('+', {}, '-'),
            ('x', {'positive': ['x'], 'negative': ['o', 'nein']}, 'o'),
            ('ja', {'positive': ['ja']}, '0'),
            ('1', {'positive': ['0'], 'negative': ['n']}, 'n'),
            ('ja', {'positive': ['ja', '0']}, '0.0'),
        ],
    )
    def test_spelling_that_the_file_has_not(self, data, cell, given, new):
        root = data(table([['file', 'cat'], *([name, cell if name < '5' else ''] for name in NAMES)]), **given)
        found = cells(write(root, {'7.jpg': [0]})[0])
        assert found[8] == ['7.jpg', new]
        assert sum(row[1] == new for row in found) == 1

    def test_blank_that_means_no(self, data):
        root = data(
            table([['file', 'cat'], ['0.jpg', 'x'], ['1.jpg', ''], ['2.jpg', '']]), positive=['x'], negative=['']
        )
        assert cells(write(root, {'0.jpg': [0], '1.jpg': [1], '2.jpg': [-1]})[0])[1:] == [
            ['0.jpg', ''],
            ['1.jpg', 'x'],
            ['2.jpg', '?'],
        ]

    def test_extra_columns_of_long_rows(self, data):
        rows = [['who', 'image', 'class', 'value'], ['A', '0', 'cat', 'true'], ['B', '1.jpg', 'dog', 'true']]
        rows += [['C', '2.jpg', 'dog', '?']]
        root = data(table(rows))
        found = cells(write(root, {'0.jpg': [-1, 1], '2.jpg': [-1, 0], '1.jpg': [-1, 1]})[0])
        rows[1][3] = '?'
        rows[3][3] = 'false'
        assert found == [*rows, ['', '0', 'dog', 'true']]  # by the name that the file has for that image


def test_lists_are_json_lines_whatever_was_said(tmp_path):
    (tmp_path / 'labels.txt').write_text('{"image": "0.jpg", "positive": ["cat"], "negative": []}\n')
    assert open_labels(tmp_path / 'labels.txt', form='lists', json_lines=False, image_column='image').form == 'lists'


def test_json_lines_keep_their_kinds_and_keys(data):
    content = (
        '{"image": "0.jpg", "w": 7, "labels": {"cat": true}}\n{"image": "1", "labels": {"dog": false, "cat": null}}\n'
    )
    root = data(content, 'labels.jsonl')
    found, _ = write(root, {'0.jpg': [1, 0], '1.jpg': [1, 0]})
    assert [json.loads(line) for line in found.decode().splitlines()] == [
        {'image': '0.jpg', 'w': 7, 'labels': {'cat': True, 'dog': False}},
        {'image': '1', 'labels': {'dog': False, 'cat': True}},
    ]


def test_coco_keeps_boxes_but_of_refuted_classes(data):
    content = {
        'info': {'year': 2024},
        'images': [
            {'id': 1, 'file_name': '0.jpg', 'neg_category_ids': [9], 'width': 5},
            {'id': 2, 'file_name': '1.jpg', 'neg_category_ids': [4]},
        ],
        'annotations': [
            {'image_id': 1, 'category_id': 4, 'bbox': [1, 2, 3, 4]},
            {'image_id': 2, 'category_id': 9, 'bbox': [5, 6, 7, 8]},
        ],
        'categories': [{'id': 9, 'name': 'wren'}, {'id': 4, 'name': 'elm'}],
    }
    root = data(json.dumps(content), 'labels.json')
    found = json.loads(write(root, {'0.jpg': [1, 1], '1.jpg': [0, -1]})[0])
    assert found['images'] == [
        {'id': 1, 'file_name': '0.jpg', 'neg_category_ids': [], 'width': 5, 'pos_category_ids': [9]},
        {'id': 2, 'file_name': '1.jpg', 'neg_category_ids': [9]},
    ]
    assert found['annotations'] == content['annotations'][:1]
    assert (found['info'], found['categories']) == (content['info'], content['categories'])


def test_images_beside_a_data_set_are_found_when_both_were_moved(data, tmp_path):
    root = data(FORMS['wide.csv'](NAMES, CLASSES, random_labels(5)))
    assert read_source(root)['img_root'] == str(tmp_path / 'photos')
    (tmp_path / 'new').mkdir()
    for name in ('data', 'photos'):
        (tmp_path / name).rename(tmp_path / 'new' / name)
    assert read_source(tmp_path / 'new/data')['img_root'] == str(tmp_path / 'new/photos')


@pytest.mark.parametrize('when', ['while it is read', 'before it is copied'])
def test_a_file_that_is_edited_meanwhile(tmp_path, monkeypatch, when):
    """Else its copy, into which labels are written back, would say what was never read."""
    for name in NAMES:
        (tmp_path / name).touch()
    file = tmp_path / 'labels.csv'
    file.write_bytes(FORMS['wide.csv'](NAMES, CLASSES, random_labels(6)).encode())

    def edit(*arguments):
        file.write_bytes(file.read_bytes() + b'\n')
        return patched(*arguments)

    name = {'while it is read': 'find_groups', 'before it is copied': 'write_source'}[when]
    patched = getattr(csv_labels, name)
    monkeypatch.setattr(csv_labels, name, edit)
    with pytest.raises(AnnotationError, match=r'labels\.csv: it was changed while it was read\..* same command again'):
        convert_csv_labels(file, tmp_path, tmp_path / 'data', val_fraction=0.4, seed=2)
    assert not [path for path in tmp_path.glob('data/**/*') if path.is_file()]
    monkeypatch.undo()
    convert_csv_labels(file, tmp_path, tmp_path / 'data', val_fraction=0.4, seed=2)
    assert (tmp_path / 'data/labels/source.csv').read_bytes() == file.read_bytes()


@pytest.mark.parametrize('written', range(1, 5))
def test_a_conversion_that_was_killed_is_begun_anew(tmp_path, monkeypatch, written):
    """Whatever it had written, also where the file was saved anew since: it is all its own."""
    for name in NAMES:
        (tmp_path / name).touch()
    file = tmp_path / 'labels.csv'
    file.write_bytes(FORMS['wide.csv'](NAMES, CLASSES, random_labels(6)).encode())
    killed, replace = [], os.replace

    def kill(*paths):
        replace(*paths)
        killed.append(paths)
        if len(killed) == written:
            raise KeyboardInterrupt

    monkeypatch.setattr(os, 'replace', kill)
    with pytest.raises(KeyboardInterrupt):
        convert_csv_labels(file, tmp_path, tmp_path / 'data', val_fraction=0.4, seed=2)
    monkeypatch.undo()
    file.write_bytes(file.read_bytes().replace(b'\r\n', b'\n'))
    convert_csv_labels(file, tmp_path, tmp_path / 'data', val_fraction=0.4, seed=2)
    root = tmp_path / 'data'
    write(root, labels_in(root))
    assert (root / 'out').read_bytes() == file.read_bytes()


class TestRefusals:
    def test_no_record(self, tmp_path):
        assert read_source(tmp_path) is None
        with pytest.raises(AnnotationError, match='there is no record'):
            write_labels_like_source({}, tmp_path, tmp_path / 'out.csv')

    def test_damaged_record(self, data):
        root = data(FORMS['wide.csv'](NAMES, CLASSES, random_labels(4)))
        (root / RECORD).write_text('{"version": 2}')
        with pytest.raises(AnnotationError, match='expected a record of version 1'):
            read_source(root)
        (root / RECORD).write_text('{')
        with pytest.raises(AnnotationError, match='source.json: it can not be read'):
            read_source(root)

    def test_changed_copy(self, data):
        root = data(FORMS['wide.csv'](NAMES, CLASSES, random_labels(4)))
        with open(root / 'labels/source.csv', 'a') as file:
            file.write('x')
        with pytest.raises(AnnotationError, match=r'source\.csv: this copy of labels\.csv is gone or was changed'):
            write(root, {})

    @pytest.mark.parametrize('codes', [[1, 0], [1, 0, 1, 0, 2], [[1, 0, 1, 0, 1]]])
    def test_labels_of_other_classes(self, data, codes):
        root = data(FORMS['wide.csv'](NAMES, CLASSES, random_labels(4)))
        with pytest.raises(AnnotationError, match=r'0\.jpg: expected 5 labels of 1, 0 and -1'):
            write(root, {'0.jpg': np.array(codes)})
        assert not (root / 'out').exists()

    def test_letter_that_the_encoding_has_not(self, data):
        root = data('image,café\n0.jpg,1\n1.jpg,0\n2.jpg,\n'.encode('cp1252'))
        with pytest.raises(AnnotationError, match="is in cp1252, which has no '猫'"):
            write(root, {'猫.jpg': np.array([1])})

    def test_annotation_files_that_do_not_go_together(self, data, tmp_path):
        root = data(FORMS['wide.csv'](NAMES, CLASSES, random_labels(4)))
        with pytest.raises(AnnotationError, match='is in an annotation file before it'):
            label_arrays([root / 'labels/test.json'] * 2)
        first = (root / 'labels/test.json').rename(tmp_path / 'first.json')
        data(FORMS['wide.csv'](NAMES, [*CLASSES[:4], 'yak'], random_labels(4)))
        with pytest.raises(AnnotationError, match=r'trainval\.json has 5 classes, .*; only the former has yak'):
            label_arrays([first, root / 'labels/trainval.json'])

    def test_annotation_files_in_another_order_are_matched_by_name(self, data, tmp_path):
        root = data(FORMS['wide.csv'](NAMES, CLASSES, random_labels(4)))
        first = (root / 'labels/test.json').rename(tmp_path / 'first.json')
        data(FORMS['wide.csv'](NAMES, CLASSES[::-1], random_labels(4)))
        second = root / 'labels/trainval.json'
        classes, labels = label_arrays([first, second])
        names, alone = label_arrays([second])
        assert classes == names[::-1]
        assert alone and all(labels[image].tolist() == codes[::-1].tolist() for image, codes in alone.items())

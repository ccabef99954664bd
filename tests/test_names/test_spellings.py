"""Class names and image names in other spellings, through the converters as they are used."""

import csv
import io
import json
import unicodedata
import xml.sax.saxutils

import numpy as np
import pytest

from sarlp.apps.spreadsheets.csv_labels import convert_csv_labels
from sarlp.apps.spreadsheets.label_source import RECORD, label_arrays, write_labels_like_source
from sarlp.datasets.annotation import AnnotationError, load_annotation
from sarlp.datasets.converters.coco import convert_coco2014
from sarlp.datasets.converters.nuswide import convert_nuswide
from sarlp.datasets.converters.voc2007 import convert_voc2007

from ..test_apps.test_spreadsheets.label_writers import lines, table
from ..test_datasets.test_coco import make_coco
from ..test_datasets.test_nuswide import IMAGES, make_nuswide
from ..test_datasets.test_voc import by_image, make_voc

COMPOSED, DECOMPOSED = 'caf\u00e9', 'cafe\u0301'
NAMES = tuple(f'{number}.jpg' for number in range(6))
MERGED = "taken for one class: 1: 'caf\\xe9' and 'cafe\\u0301'\n"


@pytest.fixture
def convert(tmp_path):
    """``convert(text, ...)``: classes and labels by image."""

    def run(content, name='labels.csv', images=NAMES, **options):
        for image in images:
            (tmp_path / 'photos' / image).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / 'photos' / image).touch()
        (tmp_path / name).write_text(content, encoding='utf-8')
        for seed in range(20):  # of few images all may fall into one split
            try:
                files = convert_csv_labels(
                    tmp_path / name, tmp_path / 'photos', tmp_path / 'data', val_fraction=0.5, seed=seed, **options
                )
            except AnnotationError as error:
                if 'fall into' not in str(error):
                    raise
            else:
                break
        return label_arrays(files.values())

    return run


def refusal(convert, content, **options):
    with pytest.raises(AnnotationError) as error:
        convert(content, **options)
    return str(error.value)


def labels_of(found):
    return {image: codes.tolist() for image, codes in sorted(found[1].items())}


class TestClasses:
    def test_columns_of_one_name(self, convert):
        message = refusal(convert, table([['image', COMPOSED, DECOMPOSED], *([n, '1', '0'] for n in NAMES)]))
        assert f"more than one column is called '{COMPOSED}' (written 'caf\\xe9' and 'cafe\\u0301')" in message

    def test_header_is_cleaned_and_stays_as_it_is_in_the_file(self, convert, tmp_path, capsys):
        rows = [['\ufeffFile\u200b', 'fire\u00a0 dog', f'{DECOMPOSED}\u200b', 'no\u00a0class']]
        rows += [[name, '1', str(number % 2), 'x'] for number, name in enumerate(NAMES)]
        found = convert(table(rows), ignore_columns=['no class'], class_columns=[COMPOSED, 'fire dog'])
        assert found[0] == ('fire dog', COMPOSED)
        assert labels_of(found) == {name: [1, number % 2] for number, name in enumerate(NAMES)}
        assert 'image column' in capsys.readouterr().out
        write_labels_like_source({NAMES[0]: np.array([1, -1])}, tmp_path / 'data', tmp_path / 'out.csv')
        written = list(csv.reader(io.StringIO((tmp_path / 'out.csv').read_text('utf-8-sig'), newline='')))
        rows[0][0] = rows[0][0].removeprefix('\ufeff')
        rows[1][2] = ''
        assert written == rows

    ROWS = [
        ['image', 'class', 'value'],
        [NAMES[0], COMPOSED, 'yes'],
        [NAMES[1], DECOMPOSED, 'no'],
        [NAMES[2], 'fire dog', 'yes'],
        [NAMES[2], DECOMPOSED, 'yes'],
    ]

    def test_long(self, convert, tmp_path, capsys):
        found = convert(table(self.ROWS))
        assert found[0] == (COMPOSED, 'fire dog')
        assert labels_of(found) == {NAMES[0]: [1, -1], NAMES[1]: [0, -1], NAMES[2]: [1, 1]}
        assert MERGED in capsys.readouterr().out
        changes = {NAMES[1]: np.array([1, -1]), NAMES[3]: np.array([0, -1])}
        write_labels_like_source(changes, tmp_path / 'data', tmp_path / 'out.csv')
        expected = [row.copy() for row in self.ROWS]
        expected[2][2] = 'yes'
        assert list(csv.reader(io.StringIO((tmp_path / 'out.csv').read_text('utf-8'), newline=''))) == [
            *expected,
            [NAMES[3], COMPOSED, 'no'],
        ]

    def test_twins_that_contradict_each_other(self, convert):
        message = refusal(convert, table([*self.ROWS, [NAMES[0], DECOMPOSED, 'no']]))
        assert f'{NAMES[0]}, {COMPOSED}: positive in line 2, negative in line 6' in message

    def test_lists(self, convert, tmp_path, capsys):
        records = [
            {'image': NAMES[0], 'positive': [COMPOSED], 'negative': ['cow']},
            {'image': NAMES[1], 'positive': [], 'negative': [DECOMPOSED, 'c\u200bow']},
            {'image': NAMES[2], 'positive': ['cow'], 'negative': []},
        ]
        found = convert(lines(records), 'labels.jsonl')
        assert found[0] == (COMPOSED, 'cow')
        assert labels_of(found) == {NAMES[0]: [1, 0], NAMES[1]: [0, 0], NAMES[2]: [-1, 1]}
        assert 'one class: 2: ' in capsys.readouterr().out
        write_labels_like_source({NAMES[1]: np.array([0, 1])}, tmp_path / 'data', tmp_path / 'out.jsonl')
        records[1] = {'image': NAMES[1], 'positive': ['cow'], 'negative': [DECOMPOSED]}
        assert [json.loads(line) for line in (tmp_path / 'out.jsonl').read_text('utf-8').splitlines()] == records

    @pytest.mark.parametrize('nested', [False, True])
    def test_keys_of_json_lines(self, convert, tmp_path, capsys, nested):
        rows = [{COMPOSED: True, 'cow': False}, {DECOMPOSED: False, 'cow': True}, {'cow': True}]
        images = [{'image': name} for name in NAMES[:3]]
        records = [i | ({'labels': row} if nested else row) for i, row in zip(images, rows, strict=True)]
        found = convert(lines(records), 'labels.jsonl')
        assert found[0] == (COMPOSED, 'cow')
        assert labels_of(found) == {NAMES[0]: [1, 0], NAMES[1]: [0, 1], NAMES[2]: [-1, 1]}
        assert MERGED in capsys.readouterr().out
        changes = {NAMES[1]: np.array([1, 1]), NAMES[2]: np.array([0, 1])}
        write_labels_like_source(changes, tmp_path / 'data', tmp_path / 'out.jsonl')
        rows[1][DECOMPOSED], rows[2][COMPOSED] = True, False  # in the very dicts of the records, if nested
        expected = records if nested else [i | row for i, row in zip(images, rows, strict=True)]
        assert [json.loads(line) for line in (tmp_path / 'out.jsonl').read_text('utf-8').splitlines()] == expected

    def test_two_keys_of_one_row(self, convert):
        message = refusal(convert, lines([{'image': NAMES[0], COMPOSED: 1, DECOMPOSED: 0}]), name='labels.jsonl')
        assert "line 1: the keys 'caf\\xe9' and 'cafe\\u0301' are one name" in message

    def test_cells_and_words(self, convert):
        rows = [['image', 'cow', 'ox'], [NAMES[0], 'yes\u00a0', f'{DECOMPOSED}\u200b'], [NAMES[1], 'no', '\u200b']]
        found = convert(table([*rows, [NAMES[2], '\ufeffNo', 'no']]), positive=[COMPOSED.upper()])
        assert labels_of(found) == {NAMES[0]: [1, 1], NAMES[1]: [0, -1], NAMES[2]: [0, 0]}

    def test_capitals_are_not_merged(self, convert, capsys):
        found = convert(table([['image', 'class', 'value'], *([n, c, 'yes'] for n in NAMES for c in ('cow', 'Cow'))]))
        assert found[0] == ('Cow', 'cow')
        assert 'note: these classes differ only in capitals: cow and Cow\n' in capsys.readouterr().out

    def test_labels_of_a_data_set_that_an_earlier_version_made(self, convert, tmp_path):
        """It sorted names as they were written: e and an accent come before f, the letter with the accent after z."""
        text = table([['image', 'class', 'value'], *([n, c, 'no'] for n in NAMES for c in ('e\u0301lan', 'fox'))])
        assert convert(text)[0] == ('fox', '\u00e9lan')
        root = tmp_path / 'data'
        for split in ('trainval', 'test'):
            content = json.loads((root / f'labels/{split}.json').read_text('utf-8'))
            content['metainfo']['classes'] = ['e\u0301lan', 'fox']
            (root / f'labels/{split}.json').write_text(json.dumps(content), encoding='utf-8')
        record = json.loads((root / RECORD).read_text('utf-8'))
        assert record.pop('classes') == ['fox', '\u00e9lan']
        (root / RECORD).write_text(json.dumps(record), encoding='utf-8')
        write_labels_like_source({NAMES[0]: np.array([1, 0])}, root, tmp_path / 'out.csv')
        written = list(csv.reader(io.StringIO((tmp_path / 'out.csv').read_text('utf-8'), newline='')))
        assert written[1:3] == [[NAMES[0], 'e\u0301lan', 'yes'], [NAMES[0], 'fox', 'no']]
        content['metainfo']['classes'] = ['elk', 'fox']
        (root / 'labels/trainval.json').write_text(json.dumps(content), encoding='utf-8')
        with pytest.raises(AnnotationError, match='Convert the labels anew'):
            write_labels_like_source({}, root, tmp_path / 'out.csv')


class TestOtherLayouts:
    def test_voc(self, tmp_path, capsys):
        scenes = {
            'trainval': {'a1': [(COMPOSED, 0), (DECOMPOSED, 1)], 'a2': [(f'{DECOMPOSED}\u200b', 1)]},
            'test': {'b1': [('dining table', 0), ('dining\u00a0table', 0)], 'b2': [('diningtable', 0), ('Cow', 0)]},
        }
        scenes['test']['b2'].append(('cow', 0))
        files = convert_voc2007(make_voc(tmp_path, scenes))
        assert load_annotation(files['test'])[0]['classes'] == ('Cow', COMPOSED, 'cow', 'dining table', 'diningtable')
        assert by_image(files['trainval']) == {
            'JPEGImages/a1.jpg': ([1], 'rest', []),
            'JPEGImages/a2.jpg': ([], 'rest', [1]),
        }
        out = capsys.readouterr().out
        assert (
            "taken for one class: 2: 'caf\\xe9' and 'cafe\\u0301' and 'cafe\\u0301\\u200b', 'dining table' and" in out
        )
        assert 'differ only in capitals: Cow and cow' in out

    def test_voc_ids(self, tmp_path):
        root = make_voc(tmp_path, {'trainval': {DECOMPOSED: [('cow', 0)]}, 'test': {'IMG_1': [('cow', 0)]}})
        (root / 'ImageSets/Main/trainval.txt').write_text(f'{COMPOSED}\u200b\n', encoding='utf-8')
        assert list(by_image(convert_voc2007(root)['trainval'])) == [f'JPEGImages/{DECOMPOSED}.jpg']
        (root / 'ImageSets/Main/test.txt').write_text('img_1\n')
        with pytest.raises(AnnotationError, match=r"'img_1' may be IMG_1\.jpg"):
            convert_voc2007(root)
        (root / 'JPEGImages/img_1.jpg').touch()
        with pytest.raises(AnnotationError, match=r"'img_1\.xml' may be IMG_1\.xml"):
            convert_voc2007(root)

    def test_nuswide(self, tmp_path, capsys):
        root = make_nuswide(tmp_path)
        labels = root / 'Groundtruth/AllLabels'
        (labels / 'Labels_elm.txt').rename(labels / f'Labels_{DECOMPOSED}.txt')
        (root / 'Concepts81.txt').write_text(f'wren\n{COMPOSED}\noak\u00a0tree\n', encoding='utf-8')
        files = convert_nuswide(root)
        assert load_annotation(files['train'])[0]['classes'] == ('wren', COMPOSED, 'oak tree')
        assert by_image(files['train'])['Flickr/b/1_3.jpg'] == ([1, 2], 'rest', [])
        (root / 'Concepts81.txt').write_text(f'wren\n{COMPOSED}\n{DECOMPOSED}\n', encoding='utf-8')
        with pytest.raises(AnnotationError, match=r"Concepts81\.txt: the concepts 'caf\\xe9' and 'cafe\\u0301' differ"):
            convert_nuswide(root)

    def test_nuswide_images_in_other_capitals(self, tmp_path):
        root = make_nuswide(tmp_path)
        (root / 'Flickr' / IMAGES[0]).rename(root / 'Flickr' / f'{IMAGES[0][:-4]}.JPG')
        with pytest.raises(AnnotationError) as error:
            convert_nuswide(root)
        assert f"'{IMAGES[0]}' may be {IMAGES[0][:-4]}.JPG" in str(error.value)
        assert '--allow-missing' not in str(error.value)

    def test_coco_categories(self, tmp_path, capsys):
        scenes = {'train': {'a.jpg': [(1, 0)]}, 'val': {'b.jpg': [(4, 0)]}}
        root = make_coco(tmp_path, scenes, [(1, f'{DECOMPOSED}\u200b'), (4, 'cow'), (5, 'Cow')])
        file = root / 'annotations/instances_val2014.json'
        content = json.loads(file.read_text())
        content['categories'][0]['name'] = COMPOSED
        file.write_text(json.dumps(content))
        assert load_annotation(convert_coco2014(root)['val'])[0]['classes'] == (COMPOSED, 'cow', 'Cow')
        assert 'differ only in capitals: cow and Cow' in capsys.readouterr().out
        content['categories'][1]['name'] = DECOMPOSED
        file.write_text(json.dumps(content))
        with pytest.raises(
            AnnotationError, match=r"categories\[1\] \(4, .* same id or name \('cafe\\u0301' and 'caf\\xe"
        ):
            convert_coco2014(root)

    def test_coco_of_verified_classes(self, convert):
        content = {
            'images': [{'id': 1, 'file_name': NAMES[0], 'neg_category_ids': [5]}],
            'categories': [{'id': 5, 'name': DECOMPOSED}, {'id': 6, 'name': f'{COMPOSED} '}],
        }
        message = refusal(convert, json.dumps(content), name='labels.json')
        assert "categories[1] (6, 'café'): the category (5, 'café') has the same id or name" in message
        assert 'Give the annotations of both one id' in message

    def test_the_twin_is_seen_in_entities_too(self, tmp_path):
        escaped = xml.sax.saxutils.escape('a & b')
        root = make_voc(tmp_path, {'trainval': {'a': [(f'{escaped}&#xA0;c', 0)]}, 'test': {'b': [('a &amp; b c', 0)]}})
        assert load_annotation(convert_voc2007(root)['test'])[0]['classes'] == ('a & b c',)


class TestImages:
    def test_suffix_in_other_capitals(self, convert, capsys):
        images = ('a.jpg', 'b.JPG', 'c.jpg', 'c.JPG', f'{DECOMPOSED} 1.Png')
        rows = [['image', 'cow'], ['a.JPG', '1'], ['b.jpg', '0'], ['c.JPG', '1'], [f'{COMPOSED}\u00a01.png', '0']]
        found = convert(table(rows), images=images)
        assert labels_of(found) == {'a.jpg': [1], 'b.JPG': [0], 'c.JPG': [1], f'{DECOMPOSED} 1.Png': [0]}
        out = capsys.readouterr().out
        assert (
            "or the suffix in other capitals, and found: 3: 'a.JPG' is a.jpg, 'b.jpg' is b.JPG, 'caf\\xe9\\xa01" in out
        )
        message = refusal(convert, table([['image', 'cow'], ['c.jPg', '1']]), images=images)
        assert "line 2: 'c.jPg' stands for several files: c.JPG, c.jpg" in message

    def test_two_names_for_the_one_file_that_is_there(self, convert):
        for names in (['a.jpg', 'a.JPG'], ['a.JPG', 'a.jpg']):
            message = refusal(convert, table([['image', 'cow'], [names[0], '1'], ['b.jpg', ''], [names[1], '']]),
                              images=('a.jpg', 'b.jpg'))  # fmt: skip
            assert f"line 4: the name '{names[1]}' has its suffix in other capitals than in line 2" in message
            assert 'there is only a.jpg' in message

    @pytest.mark.parametrize(
        ('written', 'file'),
        [
            ('1', '000001.jpg'),
            ('1.0', '000001.jpg'),
            ('1,0', '000001.jpg'),
            ('1E+05', '0100000.png'),
            ('1.2e5', '120000.png'),
            ('7', '007.tif'),
            ('1.jpg', '000001.jpg'),
            ('img_1.jpg', 'IMG_1.jpg'),
            ('IMG_1.png', 'IMG_1.jpg'),
            ('img_1', 'IMG_1.jpg'),
            ('IMG_1.jpg', 'cam/IMG_1.jpg'),
            ('old/cam/IMG_1.jpg', 'cam/IMG_1.jpg'),
        ],
    )
    def test_one_file_that_fits_is_named(self, convert, written, file, capsys):
        images = (file, *(f'x{number}.jpg' for number in range(4)))
        text = table([['image', 'cow'], *([name, '1'] for name in (written, *images[1:]))], delimiter=';')
        message = refusal(convert, text, images=images)
        assert '1 images are not in ' in message and f"'{written}' (line 2)" in message
        assert f"One file fits 1 of them: '{written}' may be {file}. Write" in message
        assert '--allow-missing' not in message  # which would lose the row
        assert ('format the column as text' in message) is not written.lower().startswith(('img', 'old', '1.jpg'))
        convert(text, images=images, allow_missing=True)
        assert (
            f"note: images that were left out may be there. One file fits 1 of them: '{written}'"
            in capsys.readouterr().out
        )

    @pytest.mark.parametrize(
        'written', ['1', '03. Jan', 'Feb-01', '1-2-2024', '03.01.2024', '2024-01-03 00:00:00', '1.23457E+11']
    )
    def test_what_a_spreadsheet_program_made_of_a_name(self, convert, written):
        images = ('01.jpg', '001.jpg', '123456789012.jpg', 'x.jpg')  # two that fit are as good as none
        message = refusal(convert, table([['image', 'cow'], [written, '1'], ['x.jpg', '0']]), images=images)
        assert 'One file fits' not in message
        assert '1 look like numbers or dates, which spreadsheet programs make of names' in message

    def test_several_that_fit_are_named(self, convert):
        """Names without their folders, which two cameras gave alike: to leave their rows out would lose the labels."""
        images = ('cam1/1.jpg', 'cam2/1.jpg', 'cam1/2.jpg', 'x.jpg')
        text = table([['image', 'cow'], ['1.jpg', '1'], ['2.jpg', '0'], ['x.jpg', '0']])
        message = refusal(convert, text, images=images)
        assert "One file fits 1 of them: '2.jpg' may be cam1/2.jpg. Write" in message
        assert "Several files fit 1 of them: '1.jpg' may be cam1/1.jpg or cam2/1.jpg. Write which is meant" in message
        assert '--allow-missing' not in message

    def test_none_is_there_for_want_of_zeros(self, convert):
        text = table([['image', 'cow'], ['1', '1'], ['2', '0']])
        message = refusal(convert, text, images=('001.jpg', '002.jpg'), allow_missing=True)
        assert 'none of its images' in message and "'1' may be 001.jpg, '2' may be 002.jpg" in message

    def test_huge_exponent(self, convert):
        message = refusal(convert, table([['image', 'cow'], ['1E+99999999', '1'], ['9E+99', '1']]))
        assert '2 images are not in' in message

    def test_other_folders_are_no_suggestion(self, convert):
        message = refusal(convert, table([['image', 'cow'], ['cam1/1.jpg', '1']]), images=('cam2/1.jpg', 'cam3/2.jpg'))
        assert 'One file fits' not in message and '--allow-missing' in message

    def test_spaces_and_accents_of_the_file_system(self, convert):
        images = tuple(unicodedata.normalize('NFD', f'é\u00a0{number}/ü  {number}.jpg') for number in range(6))
        rows = [[f'é {number}\\ü {number}.jpg', str(number % 2)] for number in range(6)]
        found = convert(table([['image', 'cow'], *rows]), images=images)
        assert labels_of(found) == {name: [number % 2] for number, name in enumerate(images)}


LVIS = {
    'info': {'version': 'v1'},
    'images': [
        {
            'id': 391895,
            'coco_url': 'http://images.cocodataset.org/train2017/000000391895.jpg',
            'flickr_url': 'http://farm9.staticflickr.com/1_z.jpg',
            'license': 3,
            'height': 360,
            'width': 640,
            'date_captured': '2013-11-14 11:18:45',
            'neg_category_ids': [279, 12],
            'not_exhaustive_category_ids': [12],
        },
        {
            'id': 7,
            'coco_url': 'http://images.cocodataset.org/val2017/000000000007.jpg?x=1',
            'neg_category_ids': [],
            'not_exhaustive_category_ids': [],
        },
        {'id': 8, 'file_name': 'extra/8.jpg', 'coco_url': 'http://x/y/z.jpg', 'neg_category_ids': [3]},
    ],
    'annotations': [
        {'id': 1, 'image_id': 391895, 'category_id': 3, 'bbox': [1.5, 2, 3, 4], 'area': 12.25},
        {'id': 2, 'image_id': 7, 'category_id': 279, 'bbox': [1, 2, 3, 4]},
    ],
    'categories': [
        {'id': 3, 'name': 'aerosol_can', 'synset': 'aerosol.n.02', 'frequency': 'c', 'image_count': 64},
        {'id': 12, 'name': 'apron', 'synset': 'apron.n.01'},
        {'id': 279, 'name': 'rat_(rodent)', 'synset': 'rat.n.01'},
    ],
}
LVIS_IMAGES = ('train2017/000000391895.jpg', 'val2017/000000000007.jpg', 'extra/8.jpg')


class TestLVIS:
    def test_labels(self, convert):
        found = convert(json.dumps(LVIS), 'lvis_v1_train.json', images=LVIS_IMAGES)
        assert found[0] == ('aerosol_can', 'apron', 'rat_(rodent)')
        assert labels_of(found) == {
            LVIS_IMAGES[0]: [1, 0, 0],
            LVIS_IMAGES[1]: [-1, -1, 1],
            LVIS_IMAGES[2]: [0, -1, -1],
        }

    def test_records_go_back_as_they_came(self, convert, tmp_path):
        convert(json.dumps(LVIS), 'lvis.json', images=(*LVIS_IMAGES, 'new.jpg'), include_unlabelled=True)
        write_labels_like_source({}, tmp_path / 'data', tmp_path / 'out.json')
        assert json.loads((tmp_path / 'out.json').read_text()) == LVIS
        changes = {LVIS_IMAGES[1]: np.array([0, -1, 1]), 'new.jpg': np.array([-1, 1, -1])}
        write_labels_like_source(changes, tmp_path / 'data', tmp_path / 'out.json')
        expected = json.loads(json.dumps(LVIS))
        expected['images'][1]['neg_category_ids'] = [3]
        expected['images'].append({'id': 391896, 'file_name': 'new.jpg', 'pos_category_ids': [12]})
        assert json.loads((tmp_path / 'out.json').read_text()) == expected

    def test_ids_that_are_texts(self, convert, tmp_path):
        content = {
            'images': [{'id': '1', 'file_name': NAMES[0], 'neg_category_ids': ['/m/01']}],
            'annotations': [{'image_id': '1', 'category_id': '/m/02'}],
            'categories': [{'id': '/m/01', 'name': 'ant'}, {'id': '/m/02', 'name': 'bee'}],
        }
        content['images'].append({'id': '3', 'file_name': NAMES[1], 'pos_category_ids': ['/m/02']})
        found = convert(json.dumps(content), 'labels.json', images=NAMES[:3], include_unlabelled=True)
        assert labels_of(found) == {NAMES[0]: [0, 1], NAMES[1]: [-1, 1], NAMES[2]: [-1, -1]}
        write_labels_like_source({NAMES[2]: np.array([1, -1])}, tmp_path / 'data', tmp_path / 'out.json')
        new = json.loads((tmp_path / 'out.json').read_text())['images'][2]
        assert new == {'id': '2', 'file_name': NAMES[2], 'pos_category_ids': ['/m/01']}

    def test_the_converter_of_complete_labels_refuses_it(self, tmp_path):
        root = make_coco(tmp_path)
        file = root / 'annotations/instances_val2014.json'
        content = json.loads(file.read_text())
        content['images'][1]['neg_category_ids'] = []
        file.write_text(json.dumps(content))
        with pytest.raises(AnnotationError, match=r'images\[1\] \(id 26\) says which classes were .*convert labels'):
            convert_coco2014(root)

    def test_the_converter_of_complete_labels_takes_the_url(self, tmp_path):
        root = make_coco(tmp_path)
        file = root / 'annotations/instances_val2014.json'
        content = json.loads(file.read_text())
        for image in content['images']:
            image['coco_url'] = f'http://images.cocodataset.org/val2014/{image.pop("file_name")}'
        file.write_text(json.dumps(content))
        assert [e['img_path'] for e in load_annotation(convert_coco2014(root)['val'])[1]] == [
            'val2014/f.jpg',
            'val2014/h.jpg',
        ]


def of(key, number, **values):
    """LVIS with a record changed; a value of ... takes the key out."""

    def change(content):
        record = {**content[key][number], **values}
        content[key][number] = {name: value for name, value in record.items() if value is not ...}

    return change


@pytest.mark.parametrize(
    ('change', 'messages'),
    [
        (
            of('images', 1, coco_url=...),
            ['images[1] (id 7): expected "file_name"', "keys ['id', 'neg_cat", '"coco_url"'],
        ),
        (of('images', 1, coco_url='7.jpg'), ['images[1] (id 7): expected "coco_url" to end in', "'7.jpg'"]),
        (of('images', 1, coco_url='http://[x/y/7.jpg'), ['images[1] (id 7): expected "coco_url" to end in']),
        (of('images', 1, coco_url=5), ['images[1] (id 7): expected "coco_url" to be a text, found 5']),
        (of('images', 1, id=...), ['images[1]: expected "id" to be a whole number or a text, found None']),
        (of('images', 1, id=391895), ['images[1] (id 391895): the id is that of an image before it', '391895.jpg']),
        (of('images', 1, id=7.5), ['images[1] (id 7.5): expected "id"', 'found 7.5']),
        (of('images', 1, id=True), ['images[1]', 'found a fraction or a truth value']),
        (
            of('images', 1, neg_category_ids=3),
            ['images[1] (id 7): expected "neg_category_ids" to be a list', 'found 3'],
        ),
        (
            of('images', 1, neg_category_ids=['3']),
            ["category '3', which is not in", 'it has 3, and a text is no number'],
        ),
        (of('images', 1, neg_category_ids=[True]), ['image 7', 'category True']),
        (of('images', 1, neg_category_ids=[{}]), ['image 7', 'category {}']),
        (of('annotations', 0, image_id=...), ['annotations[0] (id 1): expected "image_id"', 'found None', 'the keys']),
        (of('annotations', 0, category_id=None), ['annotations[0] (id 1): expected "category_id"']),
        (of('annotations', 0, image_id='7'), ['of image \'7\', which "images" has not; it has 7, and a text is no']),
        (of('categories', 2, name=...), ['categories[2]: expected "name" to be a text, found None']),
        (of('categories', 2, name='\u200b'), ["categories[2]: the name '\\u200b' of the category 279"]),
        (of('categories', 2, id=3), ["categories[2] (3, 'rat_(rodent)'): the category (3, 'aerosol_can')"]),
        (lambda content: content['images'].append(5), ['images[3]: expected an object, found 5']),
        (lambda content: content.update(annotations=None), ['"annotations" to be a list of objects, found None']),
        (lambda content: content.update(images={'7': {}}), ['"images" to be a list of objects']),
    ],
)
def test_bad_records_are_named(convert, tmp_path, change, messages):
    content = json.loads(json.dumps(LVIS))
    change(content)
    message = refusal(convert, json.dumps(content), name='lvis.json', images=LVIS_IMAGES)
    assert message.startswith(f'{tmp_path / "lvis.json"}: ')
    for part in messages:
        assert part in message
    assert not (tmp_path / 'data').exists()

import json
import runpy
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from sarlp.apps.spreadsheets.csv_labels import convert_csv_labels, read_csv_labels, split_of, write_annotations
from sarlp.apps.spreadsheets.label_source import label_arrays, read_source
from sarlp.datasets.annotation import AnnotationError, load_annotation
from sarlp.labels import holdout_number

from .label_writers import FORMS, long, table, wide

CLASSES = ('cat', 'fire dog', 'sofa; bed', 'zebra', 'été')  # sorted, so that every form has them in one order
NAMES = tuple(f'a/{number}.jpg' for number in range(7)) + tuple(f'{number}.PNG' for number in range(11, 17))


def random_labels(seed=0, shape=(13, 5)):
    labels = np.random.default_rng(seed).choice([1, 0, -1, -1], shape).astype(np.int8)
    labels[:, :2] = np.abs(labels[:, :2])  # each class occurs, in the sparse forms too
    labels[0], labels[1] = 1, 0
    return labels


@pytest.fixture
def photos(tmp_path):
    """A folder of (empty) images; the readers open none."""
    root = tmp_path / 'photos'
    (root / 'a').mkdir(parents=True)
    for name in NAMES:
        (root / name).touch()
    return root


@pytest.fixture
def convert(photos, tmp_path):
    """``convert(text)``: the labels by image, of both splits, for a file with that text."""

    def run(content, name='labels.csv', **options):
        file = tmp_path / name
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        # of few images all may fall into one split; then other seeds are tried
        for seed in [options.pop('seed')] if 'seed' in options else range(20):
            try:
                files = convert_csv_labels(
                    file, photos, tmp_path / 'data', seed=seed, **{'val_fraction': 0.4, **options}
                )
            except AnnotationError as error:
                if 'fall into' not in str(error) or seed == 19:
                    raise
            else:
                assert list(files) == ['trainval', 'test']
                return label_arrays(files.values())

    return run


def refusal(convert, content, **options):
    with pytest.raises(AnnotationError) as error:
        convert(content, **options)
    return str(error.value)


def check(found, labels, names=NAMES, classes=CLASSES):
    assert found[0] == classes
    assert found[1].keys() == set(names)
    np.testing.assert_array_equal(np.stack([found[1][name] for name in names]), labels)


class TestForms:
    @pytest.mark.parametrize('name', FORMS)
    def test_random_labels(self, convert, name, capsys):
        labels = random_labels()
        check(convert(FORMS[name](NAMES, CLASSES, labels), name), labels)
        form = name.split('.')[0]
        form = {'nested': 'wide', 'negatives': 'coco', 'verified': 'coco'}.get(form, form)
        assert f'{name}: {form} form' in capsys.readouterr().out

    @pytest.mark.parametrize('name', FORMS)
    def test_form_can_be_told(self, convert, name):
        labels = random_labels(1)
        form = {'nested': 'wide', 'negatives': 'coco', 'verified': 'coco'}.get(name.split('.')[0], name.split('.')[0])
        check(convert(FORMS[name](NAMES, CLASSES, labels), name, form=form), labels)

    @pytest.mark.parametrize(
        ('positive', 'negative', 'unknown'),
        [
            (['1', '1.0', ' 1 '], ['0', '0.0'], ['', '?', '  ']),
            (['yes', 'Yes', 'Y'], ['no', 'NO', 'n'], ['?', 'n/a']),
            (['true', 'TRUE', 't'], ['false', 'False', 'F'], ['NaN', 'null']),
            (['+'], ['-'], ['']),
            (['present'], ['absent'], ['unknown', 'NA']),
        ],
    )
    def test_spellings(self, convert, positive, negative, unknown):
        labels = random_labels(2)
        rng = np.random.default_rng(0)
        words = {1: positive, 0: negative, -1: unknown}

        class Words(dict):
            def get(self, code):
                return rng.choice(words[int(code)])

        check(convert(wide(NAMES, CLASSES, labels, Words())), labels)

    def test_spellings_of_ones_own(self, convert):
        labels = random_labels(3)
        words = {1: 'ja', 0: '-1', -1: 'weiß nicht'}
        options = dict(positive=['JA'], negative=['-1'], unknown=['weiß nicht'])
        check(convert(wide(NAMES, CLASSES, labels, words), **options), labels)
        check(convert(long(NAMES, CLASSES, labels, words), **options), labels)

    def test_blank_may_mean_no(self, convert):
        labels = np.abs(random_labels(4))
        check(convert(wide(NAMES, CLASSES, labels, {1: 'x', 0: ''}), positive=['x'], negative=['']), labels)

    def test_columns_that_are_no_class(self, convert):
        labels = random_labels(5)
        rows = [['date', 'file', *CLASSES, 'who']]
        rows += [['2024-05-01', n, *map({1: 1, 0: 0, -1: ''}.get, r), 'A'] for n, r in zip(NAMES, labels, strict=True)]
        check(convert(table(rows), ignore_columns=['date', 'who']), labels)
        found = convert(table(rows), class_columns=['zebra', 'cat'])
        check(found, labels[:, [0, 3]], classes=('cat', 'zebra'))

    def test_long_columns_by_name(self, convert):
        rows = [['Source', 'Foto', 'Was', 'Da']]
        rows += [['v', NAMES[0], 'elk', '1'], ['v', NAMES[1], 'elk', '0'], ['v', NAMES[0], 'ant', '?']]
        names = dict(image_column='Foto', class_column='Was', value_column='Da')
        check(convert(table(rows), **names), [[-1, 1], [-1, 0]], NAMES[:2], ('ant', 'elk'))

    def test_open_images(self, convert):
        rows = [['ImageID', 'Source', 'LabelName', 'Confidence']]
        rows += [['a/0', 'verification', '/m/01', '1'], ['a/1', 'verification', '/m/02', '0']]
        rows += [['a/1', 'x', '/m/01', '0']]
        check(convert(table(rows)), [[1, -1], [0, 0]], NAMES[:2], ('/m/01', '/m/02'))

    def test_wide_table_with_classes_named_like_columns(self, convert):
        classes = ('tag', 'state', 'class', 'value')
        labels = random_labels(6, (13, 4))
        check(convert(wide(NAMES, classes, labels)), labels, classes=classes)

    def test_column_of_images_by_what_is_in_it(self, convert):
        rows = [['nr', 'what it shows', 'cat'], *(['1', name, 'yes'] for name in NAMES)]
        assert convert(table(rows), ignore_columns=['nr'])[1].keys() == set(NAMES)

    def test_coco_that_says_positive_without_a_box(self, convert):
        content = {
            'images': [
                {'id': 'x', 'file_name': NAMES[0], 'pos_category_ids': [5], 'neg_category_ids': [2]},
                {'id': 'y', 'file_name': NAMES[1], 'neg_category_ids': [5], 'not_exhaustive_category_ids': [2]},
            ],
            'categories': [{'id': 5, 'name': 'wren'}, {'id': 2, 'name': 'elm'}],
        }
        check(convert(json.dumps(content), 'x.json'), [[1, 0], [0, -1]], NAMES[:2], ('wren', 'elm'))


class TestText:
    @pytest.mark.parametrize(
        ('encoding', 'mark'),
        [
            ('utf-8', ''),
            ('utf-8', '\ufeff'),
            ('utf-16-le', '\ufeff'),
            ('utf-16-be', '\ufeff'),
            ('utf-16-le', ''),
            ('utf-16-be', ''),
            ('utf-32-le', '\ufeff'),
            ('cp1252', ''),
        ],
    )
    @pytest.mark.parametrize('form', ['wide.csv', 'long.csv', 'lists.jsonl'])
    def test_encodings(self, convert, encoding, mark, form, capsys):
        labels = random_labels(7)
        text = FORMS[form](NAMES, CLASSES, labels).replace('\\u00e9', 'é')  # the letter itself in JSON, too
        check(convert((mark + text).encode(encoding), form), labels)
        assert ('not in UTF-8 and was read as cp1252' in capsys.readouterr().out) is (encoding == 'cp1252')

    def test_latin_1(self, convert, capsys):
        rows = b'image,\xe9,note\r\na/0.jpg,1,\x81\r\na/1.jpg,0,\r\n'  # Windows-1252 has no 0x81
        assert convert(rows, ignore_columns=['note'])[0] == ('é',)
        assert 'read as latin-1' in capsys.readouterr().out

    @pytest.mark.parametrize(
        ('word', 'encoding'), [('кошка', 'cp1251'), ('кошка', 'koi8_r'), ('γάτα', 'cp1253'), ('고양이', 'euc_kr')]
    )
    def test_other_scripts_are_not_read_as_accents(self, convert, word, encoding):
        rows = f'image,{word}\na/0.jpg,1\na/1.jpg,0\n'.encode(encoding)
        assert 'name its encoding with --encoding, such as cp1251' in refusal(convert, rows)
        assert convert(rows, encoding=encoding)[0] == (word,)

    def test_words_of_the_west_are(self, convert):
        rows = 'image,naïveté,Öl,à,ÄÖ,Åse\na/0.jpg,1,,,,\na/1.jpg,0,,,,\n'.encode('cp1252')
        assert convert(rows)[0] == ('naïveté', 'Öl', 'à', 'ÄÖ', 'Åse')

    @pytest.mark.parametrize('delimiter', list(',;\t|'))
    @pytest.mark.parametrize('newline', ['\r\n', '\n', '\r'])
    def test_delimiters(self, convert, delimiter, newline):
        # one class has a semicolon in its name, others spaces, and csv.Sniffer would find either
        labels = random_labels(8)
        for form in (wide, long):
            text = form(NAMES, CLASSES, labels, delimiter=delimiter, newline=newline)
            check(convert(text), labels)

    def test_excel_says_its_delimiter(self, convert):
        labels = random_labels(9)
        text = 'sep=|\r\n' + wide(NAMES, CLASSES, labels, delimiter='|')
        check(convert(text), labels)
        assert 'line 4, column' not in refusal(convert, text.replace('yes', 'maybe', 1))
        assert "column 'cat', line 3: 'maybe'" in refusal(convert, text.replace('yes', 'maybe', 1))

    def test_line_breaks_in_cells(self, convert):
        text = 'image,note,cat\n"a/0.jpg","one\ntwo\n\nthree",1\n\n,,\na/1.jpg,,0\na/2.jpg,,perhaps\n'
        message = refusal(convert, text, ignore_columns=['note'])
        assert "column 'cat', line 9: 'perhaps'" in message
        found = convert(text.replace('perhaps', '?'), ignore_columns=['note'])
        check(found, [[1], [0], [-1]], NAMES[:3], ('cat',))


class TestRepeatedRows:
    ROWS = [['image', 'cat', 'dog'], ['a/0.jpg', '1', ''], ['a/1.jpg', '0', '1'], ['a\\0.jpg', '', '0']]

    def test_agreeing_rows_are_merged(self, convert, capsys):
        rows = [*self.ROWS, ['a/0', 'yes', ''], ['a/2.jpg', '', '']]
        check(convert(table(rows)), [[1, 0], [0, 1], [-1, -1]], NAMES[:3], ('cat', 'dog'))
        assert 'rows of an image that has one already, merged: 2\n' in capsys.readouterr().out

    def test_agreeing_labels_of_the_long_form(self, convert, capsys):
        rows = [['image', 'class', 'value'], ['a/0.jpg', 'cat', '1'], ['a/0', 'cat', 'yes'], ['a/1.jpg', 'cat', '0']]
        check(convert(table(rows)), [[1], [0]], NAMES[:2], ('cat',))
        assert 'rows of a label that has one already, merged: 1\n' in capsys.readouterr().out

    def test_contradiction_names_both_lines(self, convert, tmp_path):
        rows = [*self.ROWS, ['a/0.jpg', '0', ''], ['a/0.jpg', '1', '1']]
        message = refusal(convert, table(rows))
        assert '2 labels contradict each other: ' in message
        assert 'a/0.jpg, cat: positive in line 2, negative in line 5' in message
        assert 'a/0.jpg, dog: positive in line 6, negative in line 4' in message
        assert not (tmp_path / 'data').exists()  # nothing half-written

    def test_contradiction_may_be_unknown(self, convert, capsys):
        # the third row does not bring the label back
        rows = [*self.ROWS, ['a/0.jpg', '0', ''], ['a/0.jpg', '1', '']]
        check(convert(table(rows), on_conflict='unknown'), [[-1, 0], [0, 1]], NAMES[:2], ('cat', 'dog'))
        printed = capsys.readouterr().out
        assert 'made unknown: 1: a/0.jpg, cat: positive in line 2, negative in line 5\n' in printed

    def test_contradiction_in_coco(self, convert):
        content = {
            'images': [{'id': 1, 'file_name': NAMES[0], 'neg_category_ids': [5]}],
            'annotations': [{'image_id': 1, 'category_id': 5}],
            'categories': [{'id': 5, 'name': 'wren'}],
        }
        message = refusal(convert, json.dumps(content), name='x.json')
        assert 'a/0.jpg, wren: positive in image id 1, negative in image id 1' in message


class TestImages:
    def test_missing_images(self, convert, capsys):
        labels = random_labels(10, (26, 5))
        names = [*NAMES, *(f'gone/{number}.jpg' for number in range(13))]
        text = wide(names, CLASSES, labels)
        message = refusal(convert, text)
        assert '13 images are not in ' in message and '--allow-missing' in message
        assert "'gone/0.jpg' (line 15)" in message and "'gone/9.jpg'" in message
        assert "'gone/10.jpg'" not in message and message.count('gone/') == 10 and 'and 3 more' in message
        check(convert(text, allow_missing=True), labels[: len(NAMES)])
        assert "images that are not in the folder, left out: 13: 'gone/0.jpg', " in capsys.readouterr().out

    def test_root_is_one_folder_too_deep(self, convert):
        names = [f'photos/{name}' for name in NAMES]
        message = refusal(convert, wide(names, CLASSES, random_labels()))
        assert 'Their paths start with photos/, so the folder of the images should be the one above it.' in message

    def test_none_is_there(self, convert):
        assert 'none of its images' in refusal(convert, 'image,cat\nx.jpg,1\n', allow_missing=True)

    def test_images_in_no_row(self, convert, photos, capsys):
        (photos / 'notes.txt').touch()
        labels = random_labels(11)[:-3]
        text = wide(NAMES[:-3], CLASSES, labels)
        check(convert(text), labels, NAMES[:-3])
        printed = capsys.readouterr().out
        assert f'in no row, left out (--include-unlabelled lists them): 3: {", ".join(NAMES[-3:])}\n' in printed
        check(convert(text, include_unlabelled=True), [*labels, *np.full((3, 5), -1)])
        assert 'in no row, all labels unknown: 3: ' in capsys.readouterr().out

    @pytest.mark.parametrize('written', ['a\\3.jpg', './a/3.jpg', ' a/3.jpg ', 'a//3.jpg', 'a/3', '.\\a\\3'])
    def test_ways_to_write_a_path(self, convert, written, tmp_path):
        convert(f'image,cat\n"{written}",1\na/1.jpg,0\n', val_fraction=0.5)
        assert label_arrays((tmp_path / 'data/labels').glob('t*.json'))[1].keys() == {'a/3.jpg', 'a/1.jpg'}
        assert read_source(tmp_path / 'data')['names'] == {written: 'a/3.jpg'}

    def test_absolute_path_inside(self, convert, photos):
        assert convert(f'image,cat\n{photos}/a/3.jpg,1\na/1.jpg,0\n')[1].keys() == {'a/3.jpg', 'a/1.jpg'}

    def test_accents_of_another_system(self, convert, photos):
        (photos / unicodedata.normalize('NFD', 'thé.jpg')).touch()
        found = convert(f'image,cat\n{unicodedata.normalize("NFC", "thé.jpg")},1\na/1.jpg,0\n')
        assert found[1].keys() == {unicodedata.normalize('NFD', 'thé.jpg'), 'a/1.jpg'}

    @pytest.mark.parametrize('path', ['../photos/a/1.jpg', 'a/../../x.jpg', '/etc/passwd', 'C:\\x.jpg', '..', './'])
    def test_paths_that_lead_elsewhere(self, convert, path):
        message = refusal(convert, f'image,cat\na/0.jpg,1\n{path},1\n')
        assert 'labels.csv, line 3: ' in message and 'is refused' in message

    def test_blank_name(self, convert):
        assert 'labels.csv, line 3: the name of the image is blank' in refusal(convert, 'image,cat\na/0.jpg,1\n,1\n')

    def test_name_of_two_files(self, convert, photos):
        (photos / 'a/3.png').touch()
        message = refusal(convert, 'image,cat\na/3,1\n')
        assert "line 2: 'a/3' stands for several files: a/3.jpg, a/3.png" in message
        assert convert('image,cat\na/3.png,1\na/1.jpg,0\n')[1].keys() == {'a/3.png', 'a/1.jpg'}

    def test_linked_folders_are_followed_once(self, convert, photos, tmp_path):
        (tmp_path / 'elsewhere').mkdir()
        (tmp_path / 'elsewhere/9.jpg').touch()
        (photos / 'link').symlink_to(tmp_path / 'elsewhere')
        (tmp_path / 'elsewhere/circle').symlink_to(photos)
        assert 'link/9.jpg' in convert('image,cat\nlink/9.jpg,1\na/1.jpg,0\na/2.jpg,0\n')[1]


BAD = [
    ('image,cat,dog\na/0.jpg,1,\na/1.jpg,maybe,0\na/2.jpg,hm,0\n', {}, ["column 'cat', line 3: 'maybe' (and 1 more"]),
    ('image,cat,date\na/0.jpg,1,2024\n', {}, ["column 'date', line 2: '2024'", '--ignore-columns']),
    ('image,class,value\na/0.jpg,cat,0.5\n', {}, ["column 'value', line 2: '0.5'"]),
    ('image,cat,\na/0.jpg,1,\n', {}, ['names no class in column 3. Name or delete the column.']),
    ('Holiday,,\nimage,cat,dog\na/0.jpg,1,\n', {'image_column': 'Holiday'}, ['in column 2, 3. Name', 'is a title']),
    ('Holiday\nimage,cat,dog\na/0.jpg,1,\n', {}, ['has only one', 'a title, delete it']),
    ('image,cat, cat \na/0.jpg,1,\n', {}, ["more than one column is called 'cat'"]),
    # which would have been found when labels are written back
    ('image,image,cat\na/0.jpg,1,\n', {}, ["more than one column is called 'image'", 'Rename']),
    ('which,cat,which\na/0.jpg,1,\n', {}, ["more than one column is called 'which'", 'Rename']),
    ('image,label,label\na/0.jpg,cat,1\n', {'form': 'long'}, ["more than one column is called 'label'", 'Rename']),
    ('image,cat\na/0.jpg,1\na/1.jpg,1,\n', {}, ['line 3: 3 cells, but the header has 2']),
    ('image,cat\na/0.jpg,1\n"a/1.jpg,1\na/2.jpg,1\n', {}, ['the record that starts in line 3: it is no CSV']),
    ('image,cat\na/0.jpg,-\na/1.jpg,1\n', {}, ['a dash in a file without a plus', '--negative - or --unknown -']),
    ('image,cat\na/0.jpg,-1\na/1.jpg,1\n', {}, ["line 2: '-1'"]),
    ('image,cat\n', {}, ['no row below']),
    ('', {}, ['it is empty. Expected a line of column names']),
    ('\n \n', {}, ['it is empty']),
    ('\n', {'delimiter': ';'}, ['it is empty']),
    ('image\na/0.jpg\n', {}, ['only one', '--delimiter']),
    ('image,note\na/0.jpg,x\n', {'ignore_columns': ['note']}, ['no column of a class']),
    ('a/0.jpg,1\na/1.jpg,0\n', {}, ['the first line must name the columns']),
    ('x,cat\nno.jpg,1\n', {}, ['which of the columns', '--image-column']),
    ('image,cat\na/0.jpg,1\n', {'image_column': 'photo'}, ["no columns are called 'photo', which --image-column"]),
    ('image,cat\na/0.jpg,1\n', {'ignore_columns': ['dog']}, ["no columns are called 'dog', which --ignore-columns"]),
    ('image,cat\na/0.jpg,1\n', {'form': 'long'}, ['none of the columns', '--class-column']),
    ('image,class,value\na/0.jpg, ,1\n', {'form': 'long'}, ["line 2: the column 'class' is blank"]),
    ('image,cat\na/0.jpg,1\n', {'encoding': 'hex'}, ["no encoding 'hex'"]),
    (b'image,cat\xff\na/0.jpg,1\n', {'encoding': 'utf-8'}, ['expected text in utf-8']),
    (b'\xef\xbb\xbfimage,cat\xff\na/0.jpg,1\n', {}, ['expected text in utf-8']),
    (b'image,cat\x00\na/0.jpg,1\n', {}, ['expected text']),
    (b'PK\x03\x04rest', {}, ['workbook is damaged', 'as CSV']),
    (b'\xd0\xcf\x11\xe0rest', {}, ['an old Excel workbook', 'Save it as .xlsx']),
    ('image,cat\na/0.jpg,1\n', {'delimiter': ',,'}, ['--delimiter']),
    ('image,cat\na/0.jpg,1\n', {'positive': ['x'], 'negative': ['X ']}, ["'X ' is given both as positive and"]),
    ('image,cat\na/0.jpg,1\n', {'val_fraction': 1.0}, ['in (0, 1), found 1.0']),
    ('image,cat\na/0.jpg,1\n', {}, ['fall into ', '--val-fraction']),
    ('{"image": "a/0.jpg", "cat": 1}\n{"image": "a/1.jpg"\n', {}, ['line 2: expected a JSON object']),
    ('{"image": "a/0.jpg", "cat": 1, "cat": 0}\n', {}, ["line 1: ", "the key ['cat'] is there twice"]),
    ('{"image": "a/0.jpg", "cat": [1]}\n', {}, ["column 'cat', line 1: '[1]'"]),
    ('{"image": "a/0.jpg", "positive": "cat", "negative": []}\n', {'form': 'lists'}, ["line 1: expected 'positive'"]),
    ('{"image": "a/0.jpg", "positive": [], "negative": []}\n', {}, ['are empty']),
    ('[{"image": "a/0.jpg", "cat": 1}]', {}, ['this is a list of objects']),
    ('{"metainfo": {"classes": []}, "data_list": []}', {}, ['an annotation file of sarlp already']),
    ('{"images": [{"id": 1, "file_name": "a/0.jpg"}],\n"categories": [{"id": 1, "name": "x"}]}', {}, ['convert coco']),
    ('{"images": [{"id": 1}],\n"categories": []}', {}, ['images[0] (id 1): expected "file_name"', '"coco_url"']),
    (
        '{"images": [{"id":1,"file_name":"a/0.jpg","neg_category_ids":[[7]]}],\n"categories": [{"id":1,"name":"x"}]}',
        {},
        ['image 1 (a/0.jpg) has the category [7]'],
    ),
    ('{"images": [' + '[' * 100000, {'form': 'coco'}, ['expected COCO JSON']),
]  # fmt: skip


@pytest.mark.parametrize(('content', 'options', 'messages'), BAD, ids=[str(index) for index in range(len(BAD))])
def test_bad_files(convert, tmp_path, content, options, messages):
    message = refusal(convert, content, **options)
    for part in messages:
        assert part in message
    assert not (tmp_path / 'data').exists()


class TestSplit:
    def test_is_a_function_of_seed_and_path(self, convert):
        names, labels = NAMES[:9], random_labels(12)
        splits = []
        for some in (NAMES, names[::-1], names):
            convert(wide(some, CLASSES, labels[: len(some)]), seed=5)
            splits.append({name: split_of(name, 0.4, 5) for name in some})
        assert splits[0].items() > splits[1].items() == splits[2].items()

    def test_files_are_as_it_says(self, convert, tmp_path):
        convert(wide(NAMES, CLASSES, random_labels(13)), val_fraction=0.3, seed=3)
        for split in ('trainval', 'test'):
            _, data_list = load_annotation(tmp_path / f'data/labels/{split}.json')
            expected = [name for name in NAMES if split_of(name, 0.3, 3) == split]  # in the order of the file
            assert [entry['img_path'] for entry in data_list] == expected

    def test_the_first_seed_that_leaves_neither_empty(self, tmp_path):
        names = ['c.jpg', 'd.jpg', 'e.jpg']
        for name in names:
            (tmp_path / name).touch()
        (tmp_path / 'a.csv').write_text('image,cat\nc.jpg,1\nd.jpg,0\ne.jpg,\n')
        read = read_csv_labels(tmp_path / 'a.csv', tmp_path)
        by_seed = [{split_of(name, 0.2, seed) for name in names} for seed in range(30)]
        first = next(seed for seed, splits in enumerate(by_seed) if len(splits) == 2)
        assert first > 0, 'of other names, then'
        with pytest.raises(AnnotationError, match='all of the 3 images fall into'):
            write_annotations(read, tmp_path / 'data')
        _, entries = write_annotations(read, tmp_path / 'data', seed=None)
        assert entries == write_annotations(read, tmp_path / 'again', seed=first)[1]

    def test_shares(self):
        names = [f'{number}.jpg' for number in range(5000)]
        tested = [{name for name in names if split_of(name, share, 0) == 'test'} for share in (0.1, 0.2)]
        assert tested[0] < tested[1]
        assert [len(part) / len(names) for part in tested] == pytest.approx([0.1, 0.2], abs=0.02)
        other = {name for name in names if split_of(name, 0.2, 1) == 'test'}
        assert len(other & tested[1]) / len(names) == pytest.approx(0.04, abs=0.01)

    def test_leaves_something_to_hold_out(self):
        # epochs may be selected on a share of the training images, which is drawn in the same way
        names = [f'{number}.jpg' for number in range(5000)]
        train = [name for name in names if split_of(name, 0.2, 0) == 'trainval']
        held_out = [name for name in train if holdout_number(0, name) < 0.1]
        assert len(held_out) / len(train) == pytest.approx(0.1, abs=0.02)


def test_what_is_printed_and_recorded(convert, tmp_path, capsys):
    labels = np.full((len(NAMES), 4), -1)
    tested = np.array([split_of(name, 0.4) == 'test' for name in NAMES])
    labels[:, 0] = np.arange(len(NAMES)) % 2
    labels[tested, 1] = 1  # known in the test split only
    labels[:, 2] = 1
    labels[~tested, 3] = np.arange((~tested).sum()) % 2
    convert(wide(NAMES, ('ant', 'bee', 'cow', 'COW'), labels, delimiter=';'))
    printed = capsys.readouterr().out
    assert "labels.csv: wide form, encoding 'utf-8', delimiter ';', image column 'image'\n" in printed
    assert 'note: these classes differ only in capitals: cow and COW\n' in printed
    assert f'both splits: {len(NAMES)} images, 4 classes\n' in printed
    line = next(line for line in printed.splitlines() if line.startswith('bee '))
    assert line.split() == ['bee', str(tested.sum()), '0', str((~tested).sum()), '0', f'{tested.mean():.1%}']
    for split, chosen in (('trainval', ~tested), ('test', tested)):
        share = (labels[chosen] != -1).mean()
        assert f'{split}.json: {chosen.sum()} images, {share:.1%} of the labels known\n' in printed
    assert 'no positive label is known in trainval: 1: bee\n' in printed
    assert 'no negative label is known in trainval: 2: bee, cow\n' in printed
    assert 'no average precision: 1: COW\n' in printed

    import hashlib

    record = read_source(tmp_path / 'data')
    sha256 = hashlib.sha256((tmp_path / 'labels.csv').read_bytes()).hexdigest()
    assert (record['file'], record['sha256'], record['img_root']) == ('labels.csv', sha256, str(tmp_path / 'photos'))
    assert record['spelling'] == {'1': 'yes', '0': 'no', '-1': ''}
    assert record['options']['val_fraction'] == 0.4
    assert (tmp_path / 'data/labels' / record['copy']).read_bytes() == (tmp_path / 'labels.csv').read_bytes()
    metainfo = load_annotation(tmp_path / 'data/labels/test.json')[0]
    assert metainfo['source'] == {'file': 'labels.csv', 'sha256': sha256, 'form': 'wide'}
    assert metainfo['split'] == 'test'


def test_positives_only(convert, capsys):
    convert(wide(NAMES, CLASSES, np.where(random_labels() == 1, 1, -1)))
    assert 'note: no label is negative. If a blank means no, convert again with ' in capsys.readouterr().out


def test_images_in_the_data_set_are_found_when_it_moves(tmp_path, photos):
    (tmp_path / 'labels.csv').write_text(wide(NAMES, CLASSES, random_labels()))
    convert_csv_labels(tmp_path / 'labels.csv', photos, tmp_path)
    assert read_source(tmp_path)['img_root'] == 'photos'


def test_tool(photos, tmp_path, monkeypatch, capsys):
    tool = str(Path(__file__).parents[3] / 'tools' / 'dataset_converters' / 'csv_labels.py')
    labels = random_labels(14)
    (tmp_path / 'labels.csv').write_text(wide(NAMES, CLASSES, labels, {1: 'x', 0: '-', -1: ''}))
    options = ['--csv', str(tmp_path / 'labels.csv'), '--img-root', str(photos), '--save-dir', str(tmp_path / 'data')]
    monkeypatch.setattr('sys.argv', [tool, *options])
    with pytest.raises(SystemExit) as ending:
        runpy.run_path(tool, run_name='__main__')
    assert ending.value.code == 1
    assert capsys.readouterr().err.startswith('error: ')
    options += ['--positive', 'x', '--negative', '-', '--val-fraction', '0.5', '--seed', '3']
    monkeypatch.setattr('sys.argv', [tool, *options])
    runpy.run_path(tool, run_name='__main__')
    check(label_arrays((tmp_path / 'data/labels').glob('t*.json')), labels)

"""A split that a file of labels has already."""

import json

import pytest

from sarlp.apps.spreadsheets.csv_labels import convert_csv_labels, read_csv_labels
from sarlp.apps.spreadsheets.label_source import label_arrays, write_labels_like_source
from sarlp.datasets.annotation import AnnotationError, load_annotation

NAMES = [f'{number}.jpg' for number in range(23)]
WORDS = {name: ('train', 'Val', 'TEST', 'train', ' train ')[number % 5] for number, name in enumerate(NAMES)}


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / 'photos'
    folder.mkdir()
    for name in NAMES:
        (folder / name).write_bytes(b'')
    return folder


@pytest.fixture
def table(tmp_path):
    """A wide table with a column of splits, and one of groups."""

    def write(words=WORDS, column='split', group=lambda number: ''):
        rows = [f'{name},{number % 2},{group(number)},{words[name]}' for number, name in enumerate(NAMES)]
        (tmp_path / 'labels.csv').write_text('\n'.join([f'image,cat,patient,{column}', *rows]) + '\n')
        return tmp_path / 'labels.csv'

    return write


def splits_of(files):
    return {entry['img_path']: split for split, file in files.items() for entry in load_annotation(file)[1]}


def sides(words, val):
    side = {'train': 'trainval', 'val': val, 'test': 'test', '': 'trainval'}
    return {name: side[word.strip().lower()] for name, word in words.items()}


@pytest.mark.parametrize('column', ['split', 'Subset', 'mine'])
def test_a_column_of_splits_is_taken(photos, table, tmp_path, capsys, column):
    options = dict(split_column='mine') if column == 'mine' else {}
    files = convert_csv_labels(table(column=column), photos, tmp_path / 'data', ignore_columns=['patient'], **options)
    assert splits_of(files) == sides(WORDS, 'trainval')
    said = capsys.readouterr().out
    assert 'split that the file has: train 13 in trainval.json, val 5 in trainval.json, test 5 in test.json' in said
    assert load_annotation(files['test'])[0]['classes'] == ('cat',)
    record = json.loads((tmp_path / 'data/labels/source.json').read_text())
    assert 'val_fraction' not in record['options']
    # and what goes back keeps it
    _, labels = label_arrays(files.values())
    write_labels_like_source(labels, tmp_path / 'data', tmp_path / 'back.csv')
    assert (tmp_path / 'back.csv').read_bytes() == (tmp_path / 'labels.csv').read_bytes()


def test_validation_is_the_test_where_there_is_no_other(photos, table, tmp_path):
    words = {name: 'training' if number % 3 else 'valid' for number, name in enumerate(NAMES)}
    files = convert_csv_labels(table(words), photos, tmp_path / 'data', ignore_columns=['patient'])
    assert splits_of(files) == {name: 'test' if word == 'valid' else 'trainval' for name, word in words.items()}


def test_what_is_blank_is_to_train_on_and_named(photos, table, tmp_path, capsys):
    words = {**WORDS, '2.jpg': '', '7.jpg': ' '}
    (photos / 'more.jpg').write_bytes(b'')
    options = dict(ignore_columns=['patient'], include_unlabelled=True)
    files = convert_csv_labels(table(words), photos, tmp_path / 'data', **options)
    assert splits_of(files) == {**sides(words, 'trainval'), 'more.jpg': 'trainval'}
    assert 'images whose split is blank, in trainval.json: 2: 2.jpg, 7.jpg' in capsys.readouterr().out


@pytest.mark.parametrize('form', ['long', 'jsonl', 'imagefolder', 'cvat'])
def test_other_forms_have_it_too(photos, tmp_path, form):
    if form == 'long':
        rows = [f'{name},{kind},{number % 2},{WORDS[name]}' for number, name in enumerate(NAMES) for kind in 'ab']
        file, text = tmp_path / 'labels.csv', 'image,class,value,split\n' + '\n'.join(rows) + '\n'
    elif form == 'jsonl':
        rows = [json.dumps({'image': name, 'positive': ['a'], 'split': WORDS[name]}) for name in NAMES]
        file, text = tmp_path / 'labels.jsonl', '\n'.join(rows) + '\n'
    elif form == 'imagefolder':
        rows = [json.dumps({'file_name': name, 'tags': ['a'], 'split': WORDS[name]}) for name in NAMES]
        file, text = tmp_path / 'metadata.jsonl', '\n'.join(rows) + '\n'
    else:
        images = [
            f'<image id="{number}" name="{name}" subset="{WORDS[name].strip().capitalize()}"><tag label="a"/></image>'
            for number, name in enumerate(NAMES)
        ]
        file, text = tmp_path / 'annotations.xml', f'<annotations>{"".join(images)}</annotations>'
    file.write_text(text)
    files = convert_csv_labels(file, photos, tmp_path / 'data')
    assert splits_of(files) == sides(WORDS, 'trainval')
    _, labels = label_arrays(files.values())
    write_labels_like_source(labels, tmp_path / 'data', tmp_path / 'back')
    assert (tmp_path / 'back').read_text() == text


def test_a_cvat_task_of_no_project_has_none(photos, tmp_path):
    images = [f'<image name="{name}" subset="default"><tag label="a"/></image>' for name in NAMES]
    (tmp_path / 'a.xml').write_text(f'<annotations>{"".join(images)}</annotations>')
    assert read_csv_labels(tmp_path / 'a.xml', photos).splits == {}


def test_a_class_may_be_called_like_one(photos, table):
    words = {name: '01'[number % 3 > 0] for number, name in enumerate(NAMES)}
    read = read_csv_labels(table(words, 'set'), photos, ignore_columns=['patient'])
    assert read.file.classes == ('cat', 'set') and read.splits == {}
    told = dict(
        ignore_columns=['patient'], class_columns=['cat', 'split'], positive=['train', 'val'], negative=['test']
    )
    read = read_csv_labels(table(), photos, **told)
    assert read.file.classes == ('cat', 'split') and read.splits == {}


def test_one_split_only(photos, table, tmp_path, capsys):
    words = dict.fromkeys(NAMES, 'train')
    files = convert_csv_labels(table(words), photos, tmp_path / 'data', ignore_columns=['patient'])
    assert {*splits_of(files).values()} == {'trainval', 'test'}
    assert 'one split only (train 23 in trainval.json), so that one is drawn' in capsys.readouterr().out
    with pytest.raises(AnnotationError, match='all images of the column of splits are to train'):
        read_csv_labels(table(words, 'mine'), photos, ignore_columns=['patient'], split_column='mine')


def test_groups_on_both_sides(photos, table, monkeypatch):
    with pytest.raises(AnnotationError, match=r"4 groups have images on both sides .*'p0' \(0.jpg, 12.jpg\)"):
        read_csv_labels(
            table(group=lambda number: f'p{number % 6}' if number % 6 < 5 else ''), photos, group_column='patient'
        )
    # 5 is a multiple of what the words repeat by: each group is on one side
    read = read_csv_labels(table(group=lambda number: f'p{number % 5}'), photos, group_column='patient')
    assert len({*read.groups.values()}) == 5 and 'both sides' not in read.describe()
    monkeypatch.setattr(
        'sarlp.apps.spreadsheets.label_groups.near_duplicates',
        lambda root, images: [('1.jpg', '2.jpg'), ('3.jpg', '5.jpg')],
    )
    read = read_csv_labels(table(), photos, near_duplicates='together', ignore_columns=['patient'])
    assert 'show the same are on both sides of the split that the file has: 1 times: 1.jpg and 2.jpg' in read.describe()


def test_blank_beside_test_only_is_a_split(photos, table, tmp_path):
    words = {name: 'test' if number % 4 == 1 else '' for number, name in enumerate(NAMES)}
    for column, told in (('split', {}), ('mine', dict(split_column='mine'))):
        out = tmp_path / column
        files = convert_csv_labels(table(words, column), photos, out, ignore_columns=['patient'], **told)
        assert splits_of(files) == {name: 'test' if word else 'trainval' for name, word in words.items()}


def test_blank_images_are_on_a_side_too(photos, table, monkeypatch):
    """They are trained on, so that what belongs with them is not to be tested on."""
    words = {**WORDS, '0.jpg': '', '1.jpg': ''}
    group = {0: 'p', 2: 'p'}  # 2.jpg is to test on
    with pytest.raises(AnnotationError, match=r"1 groups have images on both sides .*'p' \(0.jpg, 2.jpg\)"):
        read_csv_labels(table(words, group=lambda number: group.get(number, '')), photos, group_column='patient')
    (photos / 'more.jpg').write_bytes(b'')
    monkeypatch.setattr(
        'sarlp.apps.spreadsheets.label_groups.near_duplicates',
        lambda root, images: [('1.jpg', '2.jpg'), ('3.jpg', '5.jpg'), ('7.jpg', 'more.jpg')],
    )
    options = dict(near_duplicates='together', ignore_columns=['patient'], include_unlabelled=True)
    said = read_csv_labels(table(words), photos, **options).describe()
    assert 'the split that the file has: 2 times: 1.jpg and 2.jpg, 7.jpg and more.jpg' in said


def test_what_is_not_understood_is_refused(photos, table, tmp_path):
    def read(message, file, **options):
        with pytest.raises(AnnotationError, match=message):
            convert_csv_labels(file, photos, tmp_path / 'data', **{'ignore_columns': ['patient'], **options})

    words = {**WORDS, '4.jpg': 'maybe'}
    read(r"line 6: expected the split of 4.jpg, one of train, .*, found 'maybe'", table(words), split_column='split')
    called = "the column '{}' is called as one of a split is, and has {} instead of train, .*--class-columns"
    read(called.format('split', "'maybe'"), table(words))
    read(called.format('Subset', "'0', '1'"), table({name: '01'[name > '4'] for name in NAMES}, 'Subset'))
    read(called.format('split', 'blank cells only'), table(dict.fromkeys(NAMES, '')))
    read(r"cells that are no label: .*'train'.*--split-column", table(column='mine'))
    read('it says which images are to test on. Leave --val-fraction out', table(), val_fraction=0.3)
    read("--group-column and --split-column both name 'split'", table(), split_column='split', group_column='split')
    read("no columns are called 'none', which --split-column names", table(), split_column='none')
    read('the column of splits is blank', table(dict.fromkeys(NAMES, ''), 'mine'), split_column='mine')
    twice = table()
    twice.write_text(twice.read_text() + '2.jpg,,,train\n')
    read(r'line 25: 2.jpg is to train here, and to test in line 4', twice)
    (tmp_path / 'a.xml').write_text('<annotations><image name="1.jpg"><tag label="a"/></image></annotations>')
    read('--split-column does not go with the form cvat', tmp_path / 'a.xml', split_column='split', ignore_columns=())
    assert not (tmp_path / 'data').exists()

"""A column that names what is there, as people write one, on labels that are known beforehand."""

import csv
import io
import random

import openpyxl
import pytest

from sarlp.apps.spreadsheets.label_files import open_labels, settings_of
from sarlp.datasets.annotation import AnnotationError

CLASSES = ('cat', 'dog', 'traffic light')
IMAGES = tuple(f'{number}.jpg' for number in range(13))
NAMES = {image: random.Random(image).sample(CLASSES, number % 3 + 1) for number, image in enumerate(IMAGES)}
CODES = {image: [1 if name in names else -1 for name in CLASSES] for image, names in NAMES.items()}


def table(cells, header='image,tags'):
    """Cells by image, or rows."""
    rows = [[image, cell] for image, cell in cells.items()] if isinstance(cells, dict) else cells
    stream = io.StringIO(newline='')
    csv.writer(stream, lineterminator='\n').writerows([header.split(','), *rows])
    return stream.getvalue()


def joined(between):
    return {image: between.join(names) for image, names in NAMES.items()}


@pytest.mark.parametrize('between', [',', ', ', ';', ' ; ', '|', '\n'])
@pytest.mark.parametrize('column', ['tags', 'Labels', 'Keywords', 'class'])
def test_several_names_in_a_cell(exchange, between, column):
    found = exchange('a.csv', table(joined(between), f'image,{column}'), IMAGES)
    assert (found.read.file.form, found.read.file.classes, found.labels) == ('tags', CLASSES, CODES)
    assert f'separator {between.strip(" ")!r}' in found.read.describe()


def test_a_row_a_name(exchange):
    rows = [[image, name] for image, names in NAMES.items() for name in names]
    random.Random(0).shuffle(rows)  # those of an image need not be together
    found = exchange('a.csv', table(rows, 'image,class'), IMAGES)
    assert (found.read.file.form, found.labels) == ('tags', CODES)
    told = exchange('a.csv', table(rows, 'image,class'), IMAGES, negative=[''])
    assert told.labels == {image: [max(code, 0) for code in codes] for image, codes in CODES.items()}


def test_names_that_are_filled_in_get_rows(exchange):
    rows = [['0.jpg', 'dog', 'Ann'], ['1.jpg', '', 'Bea'], ['0.jpg', 'cat', 'Ann']]
    found = exchange('a.csv', table(rows, 'image,class,by'), ('0.jpg', '1.jpg', '2.jpg'), include_unlabelled=True)
    written = found.write({'0.jpg': [0, 1], '1.jpg': [1, 1], '2.jpg': [1, 0]}).decode()
    assert written == 'image,class,by\n0.jpg,dog,Ann\n1.jpg,cat,Bea\n0.jpg,,Ann\n1.jpg,dog,\n2.jpg,cat,\n'


@pytest.mark.parametrize('between', [', ', ';'])
def test_names_that_are_filled_in_are_parted_as_the_others(exchange, between):
    cells = {'0.jpg': f'cat{between}dog', '1.jpg': 'cat', '2.jpg': '', '3.jpg': f'dog{between}cat'}
    found = exchange('a.csv', table(cells), [*cells])
    written = found.write({'1.jpg': [1, 1], '2.jpg': [1, 1], '3.jpg': [0, 1]}).decode()
    expected = {**cells, '1.jpg': f'cat{between}dog', '2.jpg': f'cat{between}dog', '3.jpg': 'dog'}
    assert written == table(expected)


def test_a_workbook(exchange):
    book = openpyxl.Workbook()
    for row in [['Photo', 'Rating', 'Tags'], ['0.jpg', 4, 'cat; dog'], ['1.jpg', 2, None], ['2.jpg', 5, 'dog']]:
        book.active.append(row)
    stream = io.BytesIO()
    book.save(stream)
    found = exchange('a.xlsx', stream.getvalue(), ('0.jpg', '1.jpg', '2.jpg'))
    assert found.labels == {'0.jpg': [1, 1], '1.jpg': [-1, -1], '2.jpg': [-1, 1]}
    assert "columns that are not read: 'Rating'" in found.read.describe()
    sheet = openpyxl.load_workbook(io.BytesIO(found.write({'1.jpg': [1, 0], '2.jpg': [1, 1]}))).active
    assert [[cell.value for cell in row] for row in sheet.iter_rows()] == [
        ['Photo', 'Rating', 'Tags'],
        ['0.jpg', 4, 'cat; dog'],
        ['1.jpg', 2, 'cat'],
        ['2.jpg', 5, 'dog; cat'],
    ]


def read(tmp_path, text, **options):
    (tmp_path / 'a.csv').write_text(text, 'utf-8')
    return open_labels(tmp_path / 'a.csv', **options)


@pytest.mark.parametrize(
    ('cells', 'message'),
    [
        (['cat, dog', 'dog; cat'], "';' and ',' may stand between two names. Say which with --separator"),
        (['#cat', 'dog, cat'], "',' and '#' may stand between two names"),
        (['cat dog', 'dog', 'cat'], "'cat dog' in the column 'tags' may be one name, or several. Say which: --separ"),
        (['cat', 'no cat'], "line 3: 'no cat' says that 'cat' is not there, which no name can. Write a row a label"),
        (['cat', 'dog, not_cat'], "line 3: 'not_cat' says that 'cat' is not there"),
        (['cat', 'dog, cat?'], "line 3: 'cat\\?' is a name with a doubt"),
        (['cat', 'dog, yes'], "line 3: 'yes' is a word for a label, and no name"),
        (['cat', 'dog, ?'], "line 3: '\\?' is a word for a label"),
    ],
)
def test_what_may_mean_something_else_is_refused(tmp_path, cells, message):
    with pytest.raises(AnnotationError, match=message):
        read(tmp_path, table(dict(zip(IMAGES, cells, strict=False))))


def test_what_parts_names_can_be_told(tmp_path):
    cells = dict(zip(IMAGES, ['cat dog', 'dog', 'cat'], strict=False))
    assert read(tmp_path, table(cells), separator=' ').classes == ('cat', 'dog')
    found = read(tmp_path, table(cells), separator='')
    assert found.classes == ('cat', 'cat dog', 'dog')
    assert read(tmp_path, table(cells), **settings_of(found)).classes == found.classes
    with pytest.raises(AnnotationError, match='--separator does not go with the form wide'):
        read(tmp_path, 'image,cat\n0.jpg,yes\n', form='wide', separator=',')


@pytest.mark.parametrize(
    ('header', 'rows'),
    [
        ('image,label', [['0.jpg', 'yes'], ['1.jpg', 'no']]),  # labels of one class
        ('image,label', [['0.jpg', 'yes'], ['1.jpg', 'maybe']]),
        ('image,label', [['0.jpg', '3'], ['1.jpg', '7']]),  # counts, or numbers of classes
        ('image,label,confidence', [['0.jpg', 'cat', '0.9'], ['1.jpg', 'dog', '0.2']]),
        ('image,label,score', [['0.jpg', 'cat', '0.9'], ['1.jpg', 'dog', '0.2']]),  # no name of the long form
        ('image,tags,outdoors', [['0.jpg', 'cat', 'yes'], ['1.jpg', 'dog', 'no']]),
        ('image,tags,keywords', [['0.jpg', 'cat', 'cat'], ['1.jpg', 'dog', 'dog']]),
    ],
)
def test_what_may_be_labels_is_not_taken_for_names(tmp_path, header, rows):
    try:
        found = read(tmp_path, table(rows, header))
        list(found.statements())
    except AnnotationError as error:
        assert 'cells that are no label' in str(error)
    else:
        assert found.form == 'wide' and found.classes == ('label',)


def test_a_column_that_is_told(tmp_path):
    rows = [['0.jpg', 'cat', 'yes'], ['1.jpg', 'dog', 'no']]
    for options in (dict(class_column='what'), dict(class_column='what', form='tags')):
        found = read(tmp_path, table(rows, 'image,what,outdoors'), **options)
        assert (found.form, found.classes) == ('tags', ('cat', 'dog'))
    with pytest.raises(AnnotationError, match="'what' has lists.*--form imagefolder"):
        read(tmp_path, table([['0.jpg', '["cat"]']], 'image,what'), class_column='what')


def test_boxes_say_what_is_there(tmp_path):
    rows = [['0.jpg', 5, 7, 30, 40, 'cat'], ['0.jpg', 0, 0, 9, 9, 'cat'], ['1.jpg', 5, 7, 30, 40, 'dog']]
    found = read(tmp_path, table(rows, 'filename,xmin,ymin,xmax,ymax,class'))
    assert [(image, pairs) for _, image, pairs in found.statements()] == [
        ('0.jpg', [(0, 1)]),
        ('0.jpg', [(0, 1)]),
        ('1.jpg', [(1, 1)]),
    ]


def test_a_subject_is_a_keyword_of_exiftool_and_else_may_be_a_patient(tmp_path):
    rows = [['./0.jpg', 'cat, dog'], ['./1.jpg', 'dog']]
    assert read(tmp_path, table(rows, 'SourceFile,Subject'), is_image=lambda name: name[0] == '.').classes == (
        'cat',
        'dog',
    )
    with pytest.raises(AnnotationError, match='cells that are no label'):
        list(read(tmp_path, table(rows, 'image,subject')).statements())


def test_what_is_named_is_shown(tmp_path):
    cells = dict(zip(IMAGES, ['2 cats, dog', 'dog', '2 cats', 'dog'], strict=False))
    assert read(tmp_path, table(cells)).notes()[0] == 'names, and how often each is said: 2: dog (3), 2 cats (2)'


def test_slips_are_noted(tmp_path):
    cells = dict(zip(IMAGES, ['cat', 'dog', 'cat', 'dgo', 'dog'], strict=False))
    assert 'note: names that occur once, which may be slips: 1: dgo' in read(tmp_path, table(cells)).notes()


def test_none_is_written_where_nothing_is_left_open(exchange, capsys):
    """Where a blank is not no, but nobody's look, what is open would be no otherwise."""
    cells = {'0.jpg': 'cat', '1.jpg': 'dog', '2.jpg': '', '3.jpg': '', '4.jpg': ''}
    images = [*cells, '5.jpg', '6.jpg']
    found = exchange('a.csv', table(cells), images, negative=[''], include_unlabelled=True)
    new = {'2.jpg': [0, 0], '3.jpg': [0, -1], '4.jpg': [1, -1], '5.jpg': [0, 0], '6.jpg': [-1, 0]}
    assert found.write(new).decode() == table({**cells, '2.jpg': 'none', '4.jpg': 'cat', '5.jpg': 'none'})
    assert ': 1 labels that are unknown look in it like those that are no' in capsys.readouterr().out


def test_capitals_make_no_other_name(exchange):
    """Whoever types a name in each row types it in both ways."""
    cells = {'0.jpg': 'Dog, cat', '1.jpg': 'dog', '2.jpg': 'CAT, dog', '3.jpg': 'cat'}
    found = exchange('a.csv', table(cells), [*cells], negative=[''])
    assert found.read.file.classes == ('cat', 'dog')
    assert found.labels == {'0.jpg': [1, 1], '1.jpg': [0, 1], '2.jpg': [1, 1], '3.jpg': [1, 0]}
    said = found.read.describe()
    assert 'taken for one class: 2: ' in said and 'CAT and cat' in said and 'Dog and dog' in said
    assert 'classes differ' not in said
    written = found.write({'0.jpg': [1, 1], '2.jpg': [0, 1], '3.jpg': [1, 1]}).decode()
    assert written == table({**cells, '2.jpg': 'dog', '3.jpg': 'cat, dog'})

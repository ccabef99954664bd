"""What whoever has a spreadsheet read is told before anything else."""

import pytest

from .label_writers import table

IMAGES = [f'{number}.jpg' for number in range(53)]
SEEN = 'note: taken as classes, though they look like bookkeeping: '


@pytest.fixture
def remarks(exchange):
    """``remarks({'cat': cells})``: of a spreadsheet with these columns, a cell an image."""

    def read(columns, **options):
        rows = [[name, *cells] for name, *cells in zip(IMAGES, *columns.values(), strict=True)]
        found = exchange('labels.csv', table([['file', *columns], *rows]), IMAGES, **options).read
        head, *lines = found.describe().splitlines()
        assert head.endswith("image column 'file'") and lines[: len(found.remarks)] == found.remarks
        return found.remarks

    return read


def few(code):
    return [('yes', '', 'no', '', '')[(number + code) % 5] for number in range(53)]


def nearly(others):
    return ['0' if number < others else '1' for number in range(53)]


@pytest.mark.parametrize('name', ['reviewed', 'Done', 'is_checked', 'double-checked', 'to be verified', 'Duplicate?'])
def test_a_name_of_bookkeeping(remarks, name):
    (line,) = remarks({'cat': few(0), name: few(1), 'dog': few(2)})
    words = f"'{name}'" if ' ' in name or '?' in name else name
    assert line.startswith(f'{SEEN}{name!r} (by its name). To leave') and line.endswith(f': --ignore-columns {words}')
    assert remarks({'cat': few(0), name: few(1)}, class_columns=['cat', name]) == []


@pytest.mark.parametrize('name', ['used car', 'checked shirt', 'not', 'is', 'red flag', 'underdone', 'set'])
def test_a_name_of_a_thing(remarks, name):
    assert remarks({'cat': few(0), name: few(1)}) == []


def test_what_it_says_to_do_leaves_it_out(remarks):
    columns = {'who': ['me'] * 53, 'cat': few(0), 'dog': few(2), 'used': nearly(20), 'day': nearly(1)}
    (line,) = remarks(columns, ignore_columns=['who'])
    assert "'used' (by its name), 'day' (known of all 53 images, 52 times yes)" in line
    option, *names = line.partition(': --')[2].split()
    assert option == 'ignore-columns' and names == ['who', 'used', 'day']
    assert remarks(columns, ignore_columns=names) == []


def test_nearly_always_the_same(remarks):
    rare = {'cat': few(0), 'dog': few(2), 'day': nearly(1)}
    assert len(remarks(rare)) == 1
    assert remarks({**rare, 'day': nearly(2)}) == []
    assert remarks({**rare, 'day': ['', *nearly(0)[1:]]}) == []  # not known of all
    assert remarks({**rare, 'dog': nearly(17)}) == []  # to know everything is the custom


def test_what_was_filled_in_before(remarks):
    notes = ['', 'cat probability 0.9'] + [''] * 51
    (line,) = remarks({'cat': few(0), 'filled by sarlp': notes})
    assert line.startswith('note: 1 of its cells or rows say that sarlp filled them in before')


def test_rows_of_labels_have_no_such_columns(exchange):
    rows = [[name, thing, 'yes'] for name in IMAGES for thing in ('reviewed', 'cat')]
    read = exchange('labels.csv', table([['image', 'class', 'value'], *rows]), IMAGES).read
    assert read.file.form == 'long' and read.remarks == []


def test_rows_without_a_yes_where_a_blank_means_no(remarks):
    """Nobody may have looked at them."""
    columns = {'cat': ['x'] * 20 + [''] * 33, 'dog': [''] * 19 + ['x'] * 2 + [''] * 32}
    (line,) = remarks(columns, positive=['x'], negative=[''])
    assert line.startswith('note: a blank means no here, and so all is no in 32 images: 21.jpg, 22.jpg, ')
    assert line.endswith('--include-unlabelled lists them')
    assert remarks(columns, positive=['x']) == []
    assert remarks({'cat': columns['cat']}, positive=['x'], negative=['']) == []  # of one class these are the no


def test_two_names_in_a_cell_of_one(exchange):
    rows = [['image', 'class', 'value'], ['0.jpg', 'cat', 'yes'], ['0.jpg', 'dog', 'no'], ['1.jpg', 'cat; dog', 'yes']]
    remarks = exchange('a.csv', table(rows), IMAGES[:2]).read.remarks
    assert remarks == ['note: read as one class each, though they look like several: cat; dog']
    rows[1][1] = 'owl'  # it may be the name of one
    assert exchange('a.csv', table(rows), IMAGES[:2]).read.remarks == []

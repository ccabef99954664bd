"""Words for yes and no in other languages, and what is said of cells that are no label."""

import openpyxl
import pytest

from sarlp.apps.spreadsheets.label_files import open_labels
from sarlp.datasets.annotation import AnnotationError

CODES = [[1, 0], [0, -1], [-1, 1]]


def write(path, yes, no, codes=CODES, header=('image', 'cat', 'dog')):
    rows = [[f'{number}.jpg', *({1: yes, 0: no, -1: ''}[code] for code in row)] for number, row in enumerate(codes)]
    path.write_text('\n'.join(';'.join(row) for row in [header, *rows]) + '\n', 'utf-8')
    return path


def read(path, **options):
    file = open_labels(path, **options)
    return file, [[dict(pairs).get(index, -1) for index in range(2)] for _, _, pairs in file.statements()]


@pytest.mark.parametrize(
    ('yes', 'no'),
    [
        *[('ja', 'nein'), ('Ja', 'Nee'), ('JA', 'NEJ'), ('ja', 'nei'), ('oui', 'non'), ('sí', 'no'), ('sì', 'no')],
        *[('sim', 'não'), ('tak', 'nie'), ('да', 'нет'), ('Да', 'Нет'), ('evet', 'HAYIR'), ('ναι', 'όχι')],
        *[('是', '否'), ('はい', 'いいえ'), ('예', '아니요'), ('WAHR', 'FALSCH'), ('VRAI', 'FAUX'), ('1,0', '0,0')],
        *[('✓', '✗'), ('✔', '✘'), ('✔\ufe0f', '✖\ufe0f'), ('✅', '❌'), ('☑', 'no'), ('✓', 'no')],
    ],
)
def test_yes_and_no_of_others(tmp_path, yes, no):
    file, codes = read(write(tmp_path / 'a.csv', yes, no))
    assert codes == CODES
    assert file.habits()[1] == yes and file.habits()[0] == no  # what is filled in is written so, too


@pytest.mark.parametrize('no', ['✗', '✘', '❌'])
def test_a_cross_alone_may_be_a_yes(tmp_path, no):
    """As an x is: who ticks with it knows no other mark."""
    with pytest.raises(AnnotationError, match=f'{no} may mean no, or yes. Say which: --negative {no} or --positive'):
        read(write(tmp_path / 'a.csv', 'yes', no))
    assert read(tmp_path / 'a.csv', negative=[no])[1] == CODES
    assert read(tmp_path / 'a.csv', positive=[no])[1] == [[1, 1], [1, -1], [-1, 1]]


def refused(path, **options):
    with pytest.raises(AnnotationError) as error:
        read(path, **options)
    return str(error.value)


def test_words_are_named_rather_than_columns(tmp_path):
    said = refused(write(tmp_path / 'a.csv', 'x', '', [[1, 1], [1, -1], [-1, 1]]))
    assert "cells that are no label: 'x' (4 cells, the first in column 'cat', line 2). Understood" in said
    assert 'add --positive x, and --negative "" if a blank means no' in said
    said = refused(write(tmp_path / 'b.csv', 'maybe', 'no'))
    assert 'if neither, --unknown maybe.' in said and 'blank means' not in said
    # as it says
    assert read(tmp_path / 'b.csv', unknown=['maybe'])[1] == [[-1, 0], [0, -1], [-1, -1]]
    assert read(tmp_path / 'a.csv', positive=['x'], negative=[''])[1] == [[1, 1], [1, 0], [0, 1]]


def test_both_words_are_named_at_once(tmp_path):
    """Not the second in the next run."""
    codes = [[1, 0, 1], [0, -1, 0], [-1, 1, 1]]
    said = refused(write(tmp_path / 'a.csv', 'hai', 'iie', codes, ('image', 'cat', 'dog', 'cow')))
    assert "'hai' (4 cells, " in said and "'iie' (3 cells, " in said


def test_counts(tmp_path):
    codes = [['3', '0', '2'], ['0', '', '1'], ['', '2', '0']]
    rows = [['image', 'cat', 'dog', 'cow'], *([f'{n}.jpg', *row] for n, row in enumerate(codes))]
    (tmp_path / 'a.csv').write_text('\n'.join(map(','.join, rows)))
    assert 'If they count what is there, add --positive 3 2.' in refused(tmp_path / 'a.csv')
    assert [pairs for _, _, pairs in open_labels(tmp_path / 'a.csv', positive=['3', '2']).statements()] == [
        [(0, 1), (1, 0), (2, 1)],
        [(0, 0), (2, 1)],
        [(1, 1), (2, 0)],
    ]


def test_cells_with_the_name_of_their_column(tmp_path):
    (tmp_path / 'a.csv').write_text('image,cat,dog\n0.jpg,Cat,no\n1.jpg,,dog\n2.jpg,no,\n')
    assert 'the name of its column for yes, add --positive cat dog.' in refused(tmp_path / 'a.csv')
    assert read(tmp_path / 'a.csv', positive=['cat', 'dog'])[1] == [[1, 0], [-1, 1], [0, -1]]


def test_a_row_of_sums(tmp_path):
    book = openpyxl.Workbook()
    for row in [['photo', 'cat', 'dog'], ['0.jpg', 1, 0], ['1.jpg', 1, 1], ['TOTAL', 2, 7]]:
        book.active.append(row)
    book.save(tmp_path / 'a.xlsx')
    said = refused(tmp_path / 'a.xlsx')
    assert "cell B4: '2'" in said
    assert "All are in one row, of 'TOTAL': if that is no image, but a sum, say, take the row out." in said


def test_the_header_once_more(tmp_path):
    """At the top of each printed page, say."""
    (tmp_path / 'a.csv').write_text(
        'Image,cat,dog\n0.jpg,yes,\nImage,cat,dog\n1.jpg,,no\nimage,cat,dog\n'.replace('im', 'Im')
    )
    said = refused(tmp_path / 'a.csv')
    assert (
        'in rows that have the names of the columns once more: take these out' in said and '--positive cat' not in said
    )

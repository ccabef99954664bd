"""Workbooks as people keep them: a legend in front, rows of groups, hidden columns, sums."""

import openpyxl
import pytest

from sarlp.apps.spreadsheets.label_files import open_labels
from sarlp.datasets.annotation import AnnotationError

from .test_workbooks import write_ods

ROWS = [['', 'cat', 'dog', 'cow'], ['0.jpg', 'yes', 'no', None], ['1.jpg', None, 'yes', 'no']]


def is_image(name):
    return name.endswith('.jpg')


def write(path, rows=ROWS):
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    return book, lambda: book.save(path)


def test_a_legend_in_front(tmp_path):
    book, save = write(tmp_path / 'a.xlsx', [['photo', *ROWS[0][1:]], *ROWS[1:]])
    book.active.title = 'Labels'
    legend = book.create_sheet('Legend', 0)
    legend.append(['sign', 'meaning'])
    legend.append(['yes', 'is there'])
    save()
    with pytest.raises(AnnotationError, match="Only the sheet 'Legend' was read; --sheet names 'Labels'"):
        open_labels(tmp_path / 'a.xlsx', is_image)
    assert open_labels(tmp_path / 'a.xlsx', is_image, sheet='Labels').classes == ('cat', 'dog', 'cow')  # as it says


def test_groups_of_columns_above_their_names(tmp_path):
    _, save = write(tmp_path / 'a.xlsx', [['', 'animals', '', 'more'], *ROWS])
    save()
    with pytest.raises(
        AnnotationError, match='names neither that of the images nor 1 more. If it is a title, or names'
    ):
        open_labels(tmp_path / 'a.xlsx', is_image)
    _, save = write(tmp_path / 'a.xlsx')  # a column of images without a name is one, as pandas writes it
    save()
    assert open_labels(tmp_path / 'a.xlsx', is_image).classes == ('cat', 'dog', 'cow')


def test_hidden_columns_are_read_and_told(tmp_path):
    book, save = write(tmp_path / 'a.xlsx')
    book.active.column_dimensions.group('B', 'C', hidden=True)
    book.active.column_dimensions['H'].hidden = True  # with nothing in it
    save()
    file = open_labels(tmp_path / 'a.xlsx', is_image)
    assert file.classes == ('cat', 'dog', 'cow')
    (note,) = file.sheet.notes()
    assert note.startswith('note: columns are hidden, of which a class is read') and note.endswith(': cat, dog')
    write_ods(tmp_path / 'a.ods', ROWS)
    assert open_labels(tmp_path / 'a.ods', is_image).sheet.notes() == []


def test_a_column_of_sums_that_nobody_computed(tmp_path):
    rows = [[*row, cell] for row, cell in zip(ROWS, ['sum', '=COUNTIF(B2:D2,"yes")', '=1+1'], strict=True)]
    _, save = write(tmp_path / 'a.xlsx', rows)
    save()
    with pytest.raises(AnnotationError, match='cell E2 has a formula .* or leave the column out with --ignore-columns'):
        list(open_labels(tmp_path / 'a.xlsx', is_image).statements())
    assert len(list(open_labels(tmp_path / 'a.xlsx', is_image, ignore_columns=['sum']).statements())) == 2

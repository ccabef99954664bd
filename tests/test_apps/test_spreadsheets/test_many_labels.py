"""Files of very many classes and cells: what is done once a row or file, and what would not fit."""

import json

import openpyxl
import pytest
from odf.namespaces import TABLENS, TEXTNS
from odf.opendocument import OpenDocument
from openpyxl.cell.cell import Cell

from sarlp.apps.spreadsheets.label_files import merge, open_labels, sheets, workbooks
from sarlp.apps.spreadsheets.label_files.cells import LONGEST_TEXT, fitting
from sarlp.datasets.annotation import AnnotationError
from sarlp.names.clean_names import Spellings

from .test_workbooks import WRITERS

NOTE = 'probability 0.0123'


def filled_in(path, classes, rows=2, beside=()):
    """A sheet with one known cell a row, all others of which are filled in with a note; the file that is written."""
    file = open_labels(path, image_column='file')
    known = merge(file, lambda name: name).labels
    changes = {image: {i: 0 for i in range(len(classes)) if known[image][i] < 0} for image in known}
    assert len(changes) == rows
    notes = {image: dict.fromkeys(codes, NOTE) for image, codes in changes.items()}
    written = path.with_stem('written')
    written.write_bytes(file.rewrite(lambda name: name, changes, file.habits(), notes))
    return written


def rows_of(classes, rows=2):
    head = ['file', *classes]
    return [head, *([f'{row}.jpg', *('yes' if i == row else None for i in range(len(classes)))] for row in range(rows))]


def write_csv(path, rows):
    path.write_text(''.join(','.join(cell or '' for cell in row) + '\n' for row in rows))


def write_lines(path, rows):
    head, *body = rows
    path.write_text(''.join(json.dumps(dict(zip(head, row, strict=True))) + '\n' for row in body))


@pytest.mark.parametrize(
    'kind, write, suffix', [('CSVSheet', write_csv, '.csv'), ('JSONLinesSheet', write_lines, '.jsonl')]
)
def test_notes_of_thousands_of_classes_are_written_together_and_read_again(tmp_path, monkeypatch, kind, write, suffix):
    classes = [f'class {number}' for number in range(6000)]
    write(tmp_path / f'labels{suffix}', rows_of(classes))
    sheet, calls = getattr(sheets, kind), []
    annotate = sheet.annotate
    monkeypatch.setattr(sheet, 'annotate', lambda *given: calls.append(1) or annotate(*given))
    written = filled_in(tmp_path / f'labels{suffix}', classes)
    assert len(calls) == 2  # of a row, and not of each of its classes, since each copied the notes of those before
    file = open_labels(written, image_column='file')
    assert file.sheet.filled() == 2
    for name, labels in merge(file, lambda name: name).labels.items():
        assert labels.tolist() == [int(f'{index}.jpg' == name) for index in range(6000)]
    assert written.read_text().count(NOTE) == 2 * 5999


def test_how_a_class_was_written_is_not_looked_for_among_all(monkeypatch):
    spellings = Spellings()
    for written in ('dining  table ', 'dining table', 'chair'):
        spellings[written]
    monkeypatch.setattr(Spellings, 'items', None)
    monkeypatch.setattr(Spellings, '__iter__', None)
    assert [spellings.written(name) for name in ('dining table', 'chair', 'sofa')] == ['dining  table', 'chair', 'sofa']


def test_a_blank_of_a_workbook_takes_no_memory(tmp_path, monkeypatch):
    path = tmp_path / 'labels.xlsx'
    classes = [f'c{number}' for number in range(40)]
    WRITERS['.xlsx'](path, rows_of(classes, 30))
    made = []
    init = Cell.__init__
    monkeypatch.setattr(Cell, '__init__', lambda self, *given, **named: made.append(1) or init(self, *given, **named))
    file = open_labels(path, image_column='file')
    assert len(merge(file, lambda name: name).labels) == 30
    assert len(made) == 2 * (41 + 30 + 30)  # with values and with formulas; of 31 x 41 cells


def test_of_very_many_cells_that_are_filled_in_excel_has_a_column_and_no_comments(tmp_path, monkeypatch):
    monkeypatch.setattr(workbooks, 'MOST_COMMENTS', 17)
    path, classes = tmp_path / 'labels.xlsx', list('abcdefghij')
    WRITERS['.xlsx'](path, rows_of(classes))
    written = filled_in(path, classes)
    sheet = openpyxl.load_workbook(written).active
    assert [cell.value for cell in sheet[1]] == ['file', *classes, sheets.FILLED]
    assert sheet['L2'].value == '; '.join(f'{name} {NOTE}' for name in classes[1:])
    assert not any(cell.comment for row in sheet for cell in row)
    coloured = [cell.coordinate for row in sheet for cell in row if cell.fill.fill_type == 'solid']
    assert len(coloured) == 18 and 'B2' not in coloured
    file = open_labels(written, image_column='file')
    assert file.sheet.filled() == 2 and file.classes == tuple(classes)
    monkeypatch.setattr(workbooks, 'MOST_COMMENTS', 18)
    sheet = openpyxl.load_workbook(filled_in(path, classes)).active
    assert sheet['C2'].comment.text == f'filled in by sarlp: {NOTE}' and sheet.max_column == 11


def test_notes_that_do_not_fit_into_a_cell_are_counted():
    said = [f'class {number} {NOTE}' for number in range(3000)]
    text = fitting(said)
    *shown, more = text.split('; ')
    assert shown == said[: len(shown)] and more == f'and {3000 - len(shown):,} more'
    assert LONGEST_TEXT - 100 < len(text) <= LONGEST_TEXT
    assert fitting(said[:10]) == '; '.join(said[:10])


def test_a_text_that_excel_would_cut_off_is_refused(tmp_path):
    path = tmp_path / 'labels.xlsx'
    classes = [f'class number {number}' for number in range(3000)]
    WRITERS['.xlsx'](
        path,
        [['file_name', 'labels'], ['1.jpg', json.dumps(classes[:1000])], ['2.jpg', json.dumps(classes[1000:2000])]],
    )
    file = open_labels(path)
    changes = {'1.jpg': dict.fromkeys(range(2000), 1)}
    with pytest.raises(AnnotationError, match='B2 would hold'):
        file.rewrite(lambda name: name, changes, file.habits())


def test_cells_of_opendocument_are_filled_in_without_a_search_of_the_document(tmp_path, monkeypatch):
    path, classes = tmp_path / 'labels.ods', list('abcdef')
    rows = rows_of(classes)
    rows[1][3] = rows[2][3] = '?'
    WRITERS['.ods'](path, rows)
    searched = []  # for an element among all of its kind
    search = OpenDocument.remove_from_caches
    monkeypatch.setattr(OpenDocument, 'remove_from_caches', lambda *given: searched.append(given[1]) or search(*given))
    written = filled_in(path, classes)
    assert not [element for element in searched if element.qname[0] in (TABLENS, TEXTNS)]
    for name, labels in merge(open_labels(written, image_column='file'), lambda name: name).labels.items():
        assert labels.tolist() == [int(f'{index}.jpg' == name) for index in range(6)]

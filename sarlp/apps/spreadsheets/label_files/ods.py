"""OpenDocument workbooks (.ods), by odfpy."""

import io
import os
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from itertools import pairwise
from typing import Any

from odf import opendocument, teletype
from odf.element import Element, Text
from odf.namespaces import OFFICENS, STYLENS, TABLENS, TEXTNS
from odf.table import TableCell, TableRow
from odf.text import P

from sarlp.apps.spreadsheets.label_files.cells import Uncomputed, Value
from sarlp.apps.spreadsheets.label_files.merged_cells import Place
from sarlp.apps.spreadsheets.label_files.workbooks import choose_sheet
from sarlp.datasets.annotation import AnnotationError

_CELLS = (TABLENS, 'table-cell'), (TABLENS, 'covered-table-cell')
_ROW, _PARAGRAPH = (TABLENS, 'table-row'), (TEXTNS, 'p')
_COLUMNS_REPEATED, _ROWS_REPEATED = 'number-columns-repeated', 'number-rows-repeated'
_OF_VALUE = {'value-type', 'value', 'date-value', 'time-value', 'boolean-value', 'string-value', 'currency', 'formula'}
_MAX_CELLS = 20_000_000


class OdsBook:
    """See :class:`~.book.Book`."""

    hidden_columns: set[int] = set()  # not looked for
    comments = False  # to colour a cell would take a style of its own for each that there is
    filled = 0
    bytes_to_write = 1200  # measured: 1,174, of 160,000 cells

    def __init__(self, content: bytes, path: str | os.PathLike, sheet: str | None) -> None:
        self._content, self._path = content, path
        document = opendocument.load(io.BytesIO(content))
        tables = _tables(document)
        self.titles = [_get(table, TABLENS, 'name') or '' for table in tables]
        unseen = _unseen(document)
        shown = [_get(table, TABLENS, 'style-name') not in unseen for table in tables]
        self._index = choose_sheet(path, self.titles, shown, sheet)
        self.title = self.titles[self._index]
        self.others = [
            title
            for index, title in enumerate(self.titles)
            if index != self._index and shown[index] and _has_cells(tables[index])
        ]
        self.hidden = 0
        self.cells: dict[Place, Value | Uncomputed] = {}
        self.merged: list[tuple[Place, Place]] = []
        for number, times, row in _rows(tables[self._index]):
            visible = _get(row, TABLENS, 'visibility') in (None, 'visible')
            self.hidden += 0 if visible or not _has_cells(row) else times
            for column, wide, cell in _cells(row):
                spans = [_number(cell, f'number-{kind}-spanned') for kind in ('rows', 'columns')]
                if max(spans) > 1:
                    self.merged.append(((number, column), (number + spans[0] - 1, column + spans[1] - 1)))
                value = _value(cell)
                if value is None:
                    continue
                if len(self.cells) + times * wide > _MAX_CELLS:
                    raise AnnotationError(f'{path}: it has more than {_MAX_CELLS:,} cells. Save the sheet as CSV.')
                for r in range(number, number + times):
                    for c in range(column, column + wide):
                        self.cells[r, c] = value

    def coloured(self) -> int:
        return 0  # that is in styles of styles, and not looked for

    def save(self, changes: Mapping[Place, Value], comments: Mapping[Place, str | None]) -> bytes:
        document = opendocument.load(io.BytesIO(self._content))
        table = _tables(document)[self._index]
        by_row: dict[int, dict[int, Value]] = {}
        for (row, column), value in changes.items():
            by_row.setdefault(row, {})[column] = value
        rows = _parted(table, _rows(table), sorted(by_row), _ROWS_REPEATED, TableRow)
        for number, values in by_row.items():
            row = rows[number]
            cells = _parted(row, _cells(row), sorted(values), _COLUMNS_REPEATED, TableCell)
            for column, value in values.items():
                _set(cells[column], value)
        stream = io.BytesIO()
        document.write(stream)
        return stream.getvalue()


def _tables(document: Any) -> list[Element]:
    return [child for child in document.spreadsheet.childNodes if getattr(child, 'qname', None) == (TABLENS, 'table')]


def _unseen(document: Any) -> set[str | None]:
    """Names of the styles of sheets that are hidden."""
    return {
        _get(style, STYLENS, 'name')
        for style in document.automaticstyles.childNodes
        for properties in style.childNodes
        if getattr(properties, 'qname', None) == (STYLENS, 'table-properties')
        and _get(properties, TABLENS, 'display') == 'false'
    }


def _has_cells(element: Any) -> bool:
    """Whether there is something in a row, or in the rows of a sheet."""
    rows = [element] if getattr(element, 'qname', None) == _ROW else _row_elements(element)
    return any(_value(cell) is not None for row in rows for _, _, cell in _cells(row))


def _get(element: Element, namespace: str, name: str) -> str | None:
    value = element.attributes.get((namespace, name))
    return None if value is None else str(value)


def _number(element: Element, name: str) -> int:
    return int(_get(element, TABLENS, name) or 1)


def _row_elements(element: Element) -> Iterator[Element]:
    """Those of a table, in their groups too."""
    for child in element.childNodes:
        if getattr(child, 'qname', None) == _ROW:
            yield child
        elif getattr(child, 'qname', ('', ''))[1] in ('table-row-group', 'table-header-rows', 'table-rows'):
            yield from _row_elements(child)


def _rows(table: Element) -> Iterator[tuple[int, int, Element]]:
    """Number of each row from 1, how often it is there, and the row."""
    number = 1
    for row in list(_row_elements(table)):
        times = _number(row, _ROWS_REPEATED)
        yield number, times, row
        number += times


def _cells(row: Element) -> Iterator[tuple[int, int, Element]]:
    column = 1
    for cell in [child for child in row.childNodes if getattr(child, 'qname', None) in _CELLS]:
        times = _number(cell, _COLUMNS_REPEATED)
        yield column, times, cell
        column += times


def _value(cell: Element) -> Value | Uncomputed | None:
    """What a cell holds; None for a blank one."""
    kind = _get(cell, OFFICENS, 'value-type')
    formula = _get(cell, TABLENS, 'formula') is not None
    if kind is None:
        return Uncomputed() if formula else None
    if kind in ('float', 'percentage', 'currency'):
        number = float(_get(cell, OFFICENS, 'value') or 'nan')
        return int(number) if number.is_integer() else number
    if kind == 'boolean':
        return _get(cell, OFFICENS, 'boolean-value') == 'true'
    if kind == 'date':
        day = _get(cell, OFFICENS, 'date-value') or ''
        try:
            return datetime.fromisoformat(day) if 'T' in day else date.fromisoformat(day)
        except ValueError:
            return day
    if kind == 'time':
        return _get(cell, OFFICENS, 'time-value') or ''
    text = _get(cell, OFFICENS, 'string-value')
    if text is None:
        paragraphs = [child for child in cell.childNodes if getattr(child, 'qname', None) == _PARAGRAPH]
        text = '\n'.join(map(teletype.extractText, paragraphs))
    return text if text.strip() else None


def _set(cell: Element, value: Value) -> None:
    """Style and comments stay."""
    for key in [key for key in cell.attributes if key[1] in _OF_VALUE]:
        del cell.attributes[key]
    _let(cell, [child for child in cell.childNodes if getattr(child, 'qname', None) != _PARAGRAPH])
    if isinstance(value, bool):
        kind, attribute, written = 'boolean', 'boolean-value', str(value).lower()
    elif isinstance(value, int | float):
        kind, attribute, written = 'float', 'value', str(value)
    else:
        kind, attribute, written = 'string', '', str(value)
    cell.attributes[OFFICENS, 'value-type'] = kind
    if attribute:
        cell.attributes[OFFICENS, attribute] = written
    paragraph = P()
    teletype.addTextToElement(paragraph, written.upper() if isinstance(value, bool) else written)
    cell.addElement(paragraph)


def _copy(element: Element) -> Element:
    """odfpy has none that leaves the document out."""
    new = Element(qname=element.qname, check_grammar=False)
    new.attributes = dict(element.attributes)
    for child in element.childNodes:
        if child.nodeType == Element.nodeType:
            new.addElement(_copy(child), check_grammar=False)
        else:
            new.appendChild(Text(child.data))
    return new


def _parted(
    parent: Element, found: Iterable[tuple[int, int, Element]], wanted: Sequence[int], repeated: str, kind: Any
) -> dict[int, Element]:
    """The element of each wanted number, alone: one that stands for several is parted, one that lacks is added.

    Args:
        parent: where those go that lack.
        found: first number, how many it stands for, and element, in order.
        wanted: sorted.
        repeated: name of the attribute that says how many.
        kind: of odfpy, to make one that lacks.
    """
    result: dict[int, Element] = {}
    parted: dict[Element, dict[Element, list[Element]]] = {}  # by what they are in
    end = 1
    for first, times, element in found:
        end = first + times
        inside = wanted[bisect_left(wanted, first) : bisect_left(wanted, end)]
        if inside and times == 1:
            result[first] = element
        elif inside:
            parts = parted.setdefault(element.parentNode, {})[element] = []
            for start, stop in pairwise(sorted({first, end, *inside, *(number + 1 for number in inside)})):
                part = _copy(element)
                _repeat(part, repeated, stop - start)
                parts.append(part)
                result[start] = part
    for around, of_element in parted.items():
        _let(around, [part for child in around.childNodes for part in of_element.get(child, [child])])
    for number in wanted[bisect_left(wanted, end) :]:
        if number > end:
            filler = kind()
            _repeat(filler, repeated, number - end)
            parent.addElement(filler, check_grammar=False)
        result[number] = kind()
        parent.addElement(result[number], check_grammar=False)
        end = number + 1
    return result


def _let(parent: Element, children: Sequence[Any]) -> None:
    """Give an element other children at once: odfpy looks for each that goes or comes among all of the document."""
    parent.childNodes = []
    for child in children:
        child.parentNode = child.previousSibling = child.nextSibling = None
        parent.appendChild(child)


def _repeat(element: Element, repeated: str, times: int) -> None:
    element.attributes.pop((TABLENS, repeated), None)
    if times > 1:
        element.attributes[TABLENS, repeated] = str(times)


open_book = OdsBook

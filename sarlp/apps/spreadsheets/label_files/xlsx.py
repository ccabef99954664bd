"""Excel workbooks (.xlsx, .xlsm), by openpyxl."""

import io
import os
import warnings
from collections.abc import Mapping
from operator import itemgetter
from typing import Any

import openpyxl
from openpyxl.comments import Comment
from openpyxl.styles import PatternFill

from sarlp.apps.spreadsheets.label_files.cells import LONGEST_TEXT, Uncomputed, Value, cell_name
from sarlp.apps.spreadsheets.label_files.merged_cells import Place
from sarlp.apps.spreadsheets.label_files.sheets import FILLED
from sarlp.apps.spreadsheets.label_files.workbooks import choose_sheet, parts_of
from sarlp.datasets.annotation import AnnotationError
from sarlp.errors import shorten

_FILL = PatternFill('solid', fgColor='FFFFF2CC')  # a pale yellow


class XlsxBook:
    """See :class:`~.book.Book`; both the values and the formulas are read."""

    comments = True
    bytes_to_write = 450  # measured: 437, of 160,000 cells and of 640,000 alike

    def __init__(self, content: bytes, path: str | os.PathLike, sheet: str | None) -> None:
        self._content, self._path = content, path
        self._macros = b'xl/vbaProject.bin' in content
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # of what it leaves out; what that is, is told when it is written
            book = openpyxl.load_workbook(io.BytesIO(content))
        self.titles = [sheet.title for sheet in book.worksheets]
        shown = [sheet.sheet_state == 'visible' for sheet in book.worksheets]
        self._index = choose_sheet(path, self.titles, shown, sheet)
        self.title = self.titles[self._index]
        self.others = [
            one.title
            for index, one in enumerate(book.worksheets)
            if index != self._index and shown[index] and any(cell.value is not None for _, cell in _cells(one))
        ]
        sheet_of_formulas = book.worksheets[self._index]
        formulas = {place for place, cell in _cells(sheet_of_formulas) if cell.data_type == 'f'}
        comments = [cell.comment for _, cell in _cells(sheet_of_formulas) if cell.comment is not None]
        self.filled = sum(comment.author == FILLED for comment in comments)
        hidden = {row for row, dimension in sheet_of_formulas.row_dimensions.items() if dimension.hidden}
        grouped = [one for one in sheet_of_formulas.column_dimensions.values() if one.hidden]
        self.hidden_columns = {column for one in grouped for column in range(one.min, one.max + 1)}
        ranges = sheet_of_formulas.merged_cells.ranges
        self.merged = [((one.min_row, one.min_col), (one.max_row, one.max_col)) for one in ranges]
        del book, sheet_of_formulas, comments  # half a kB a cell, before as much again
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            values = openpyxl.load_workbook(io.BytesIO(content), data_only=True).worksheets[self._index]
        self.cells: dict[Place, Value | Uncomputed] = {}
        for place, cell in _cells(values):
            if cell.value is not None and (not isinstance(cell.value, str) or cell.value.strip()):
                self.cells[place] = cell.value
            elif cell.value is None and place in formulas:
                self.cells[place] = Uncomputed()
        self.hidden = len(hidden & {row for row, _ in self.cells})

    def coloured(self) -> int:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            sheet = openpyxl.load_workbook(io.BytesIO(self._content)).worksheets[self._index]
        return sum(cell.value is None and cell.fill.fill_type == 'solid' for _, cell in _cells(sheet))

    def save(self, changes: Mapping[Place, Value], comments: Mapping[Place, str | None]) -> bytes:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter('always')
            book = openpyxl.load_workbook(io.BytesIO(self._content), rich_text=True, keep_vba=self._macros)
        lost = [str(one.message) for one in said if 'removed' in str(one.message)]
        sheet = book.worksheets[self._index]
        for place, value in changes.items():
            cell = sheet.cell(*place)
            before = cell.value
            cell.value = value
            if isinstance(value, str):
                if len(value) > LONGEST_TEXT:  # openpyxl cuts it off in silence
                    raise AnnotationError(
                        f'{self._path}: {cell_name(place)} would hold {len(value):,} characters, and a cell of Excel '
                        f'holds {LONGEST_TEXT:,}. Save the sheet as CSV.'
                    )
                cell.data_type = 's'  # also where it begins with =
            if place in comments:
                cell.fill = _FILL
            if comments.get(place) is not None:
                lines = [] if cell.comment is None else [cell.comment.text]
                lines.append(f'filled in by sarlp: {comments[place]}')
                was = '' if before is None else str(getattr(before, 'text', before)).strip()
                if was:  # a formula, a word for what is not known, or labels that contradict each other
                    lines.append(f'in place of {was}')
                cell.comment = Comment('\n'.join(lines), FILLED, height=60, width=220)
        stream = io.BytesIO()
        book.save(stream)
        written = stream.getvalue()
        gone = parts_of(self._content) - parts_of(written)
        lost += [f'{kind} ({count})' for kind, count in gone.items() if kind not in ('printerSettings', '_rels')]
        if lost:
            warnings.warn(
                f'{self._path}: what openpyxl does not know is left out of the copy that is written: {shorten(lost)}',
                stacklevel=2,
            )
        return written


def _cells(sheet: Any) -> list[tuple[Place, Any]]:
    """Those that the file has, row by row. To go through the rows, as openpyxl does, makes a cell of each blank."""
    return sorted(sheet._cells.items(), key=itemgetter(0))


open_book = XlsxBook

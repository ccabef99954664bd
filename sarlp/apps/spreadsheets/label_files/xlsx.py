"""Excel workbooks (.xlsx, .xlsm), by openpyxl."""

import io
import os
import warnings
from collections.abc import Mapping

import openpyxl
from openpyxl.comments import Comment
from openpyxl.styles import PatternFill

from sarlp.apps.spreadsheets.label_files.sheets import FILLED
from sarlp.apps.spreadsheets.label_files.workbooks import Place, Uncomputed, Value, choose_sheet, parts_of
from sarlp.errors import shorten

_FILL = PatternFill('solid', fgColor='FFFFF2CC')  # a pale yellow


class XlsxBook:
    """See :class:`~.workbooks.Book`; both the values and the formulas are read."""

    comments = True

    def __init__(self, content: bytes, path: str | os.PathLike, sheet: str | None) -> None:
        self._content, self._path = content, path
        self._macros = b'xl/vbaProject.bin' in content
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # of what it leaves out; what that is, is told when it is written
            values = openpyxl.load_workbook(io.BytesIO(content), data_only=True)
            book = openpyxl.load_workbook(io.BytesIO(content))
        self.titles = [sheet.title for sheet in book.worksheets]
        shown = [sheet.sheet_state == 'visible' for sheet in book.worksheets]
        self._index = choose_sheet(path, self.titles, shown, sheet)
        self.title = self.titles[self._index]
        self.others = [
            one.title
            for index, one in enumerate(book.worksheets)
            if index != self._index and shown[index] and any(cell.value is not None for row in one for cell in row)
        ]
        formulas = book.worksheets[self._index]
        self.cells: dict[Place, Value | Uncomputed] = {}
        self.filled = 0
        for row in values.worksheets[self._index].iter_rows():
            for cell in row:
                if cell.value is not None and (not isinstance(cell.value, str) or cell.value.strip()):
                    self.cells[cell.row, cell.column] = cell.value
                elif cell.value is None and formulas.cell(cell.row, cell.column).data_type == 'f':
                    self.cells[cell.row, cell.column] = Uncomputed()
                self.filled += cell.comment is not None and cell.comment.author == FILLED
        self.hidden = sum(formulas.row_dimensions[row].hidden for row in {row for row, _ in self.cells})
        ranges = formulas.merged_cells.ranges
        self.merged = [((one.min_row, one.min_col), (one.max_row, one.max_col)) for one in ranges]

    def save(self, changes: Mapping[Place, Value], comments: Mapping[Place, str]) -> bytes:
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
                cell.data_type = 's'  # also where it begins with =
            if place in comments:
                lines = [] if cell.comment is None else [cell.comment.text]
                lines.append(f'filled in by sarlp: {comments[place]}')
                was = '' if before is None else str(getattr(before, 'text', before)).strip()
                if was:  # a formula, a word for what is not known, or labels that contradict each other
                    lines.append(f'in place of {was}')
                cell.comment = Comment('\n'.join(lines), FILLED, height=60, width=220)
                cell.fill = _FILL
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


open_book = XlsxBook

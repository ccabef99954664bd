"""Sheets of Excel and OpenDocument workbooks, as rows of the texts that a CSV file would have.

What a program stores is not what it shows: a cell may hold the number 1, the text ``1`` or the truth value ``TRUE``,
and what is written into a cell is of the kind that the sheet has for that word. Cells are named as these programs do.
"""

import importlib
import io
import os
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sarlp.apps.spreadsheets.label_files.book import Book
from sarlp.apps.spreadsheets.label_files.cells import Uncomputed, Value, cell_name, column_letters, fitting, text_of
from sarlp.apps.spreadsheets.label_files.merged_cells import Area, MergedCells, Place
from sarlp.apps.spreadsheets.label_files.sheets import FILLED, Note
from sarlp.datasets.annotation import AnnotationError
from sarlp.errors import first_line, shorten
from sarlp.names.clean_names import clean_name

ZIP, OLE = b'PK\x03\x04', b'\xd0\xcf\x11\xe0'
_MAX_BYTES = 2 << 30  # unpacked
# each takes 6 kB of memory to write, and a program of spreadsheets as much to show: more of them go into a column
MOST_COMMENTS = 20_000
_MUCH_MEMORY = 2 << 30  # of all cells when they are written: of 80 classes and Excel, those of 60,000 images
_MODULES = {'xlsx': 'openpyxl', 'ods': 'odf'}
_ODS = b'application/vnd.oasis.opendocument.spreadsheet'


def workbook_kind(path: str | os.PathLike) -> str | None:
    """``'xlsx'`` or ``'ods'`` by what is in a file, whatever it is called; None for what is no workbook.

    Raises:
        AnnotationError: a workbook of a kind that is not read, or one that unpacks to more than 2 GB.
    """
    with open(path, 'rb') as file:
        head = file.read(4)
    if head == OLE:
        raise AnnotationError(
            f'{path}: this is an old Excel workbook (.xls), or one with a password. Save it as .xlsx without a '
            'password and give that file.'
        )
    if head != ZIP:
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(part.file_size for part in archive.infolist()) > _MAX_BYTES:
                raise AnnotationError(f'{path}: this workbook unpacks to more than 2 GB. Save the sheet as CSV.')
            names = set(archive.namelist())
            if 'xl/workbook.xml' in names:
                return 'xlsx'
            if 'mimetype' in names and archive.read('mimetype').strip().startswith(_ODS):
                return 'ods'
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise AnnotationError(f'{path}: this workbook is damaged ({error}). Save it anew, or as CSV.') from None
    raise AnnotationError(f'{path}: this is no .xlsx and no .ods workbook. Save the sheet as one, or as CSV (UTF-8).')


def open_workbook(kind: str, path: str | os.PathLike, sheet: str | None = None) -> 'WorkbookSheet':
    """Open a sheet of a workbook.

    Args:
        kind: of :func:`workbook_kind`.
        path: the file.
        sheet: name of the sheet; None for the first that is not hidden.

    Raises:
        AnnotationError: what reads it is not installed, or it is not as it must be.
    """
    try:
        importlib.import_module(_MODULES[kind])
    except ImportError:
        raise AnnotationError(f"{path}: to read .{kind} takes a package: pip install 'sarlp[spreadsheets]'.") from None
    with open(path, 'rb') as file:
        content = file.read()
    module: Any = importlib.import_module(f'sarlp.apps.spreadsheets.label_files.{kind}')
    try:
        book: Book = module.open_book(content, path, sheet)
    except AnnotationError:
        raise
    except Exception as error:  # of parsers of XML, whatever they raise
        reason = f'{type(error).__name__}: {first_line(error)}'
        raise AnnotationError(f'{path}: this workbook can not be read ({reason}). Save it anew, or as CSV.') from error
    return WorkbookSheet(book, path, sheet is not None)


def choose_sheet(path: str | os.PathLike, titles: Sequence[str], shown: Sequence[bool], sheet: str | None) -> int:
    """Index of the sheet of a name, or else of the first that is shown.

    Raises:
        AnnotationError: there is none.
    """
    if not titles:
        raise AnnotationError(f'{path}: this workbook has no sheet of cells.')
    if sheet is None:
        return shown.index(True) if any(shown) else 0
    if sheet not in titles:
        raise AnnotationError(
            f'{path}: no sheet is called {sheet!r}, which --sheet names; there are {shorten(list(map(repr, titles)))}.'
        )
    return titles.index(sheet)


@dataclass
class WorkbookRow:
    """A row of a sheet.

    Attributes:
        number: from 1; None for one that is new.
        texts: of its cells, by column.
        changes: values by column.
        notes: names of classes with what there is to say of them, by column.
    """

    number: int | None
    texts: list[str]
    changes: dict[int, Value] = field(default_factory=dict)
    notes: dict[int, list[tuple[str, str]]] = field(default_factory=dict)


class WorkbookSheet:
    """A sheet whose first row that is not blank names the columns. Blank rows and columns are passed over.

    Args:
        book: the sheet.
        path: of the workbook, for messages.
        named: whether a person chose the sheet.

    Raises:
        AnnotationError: the sheet is blank, cells of names are merged, or a name is not to be known.
    """

    class_columns: list[int] | None = None  # all may be

    def __init__(self, book: Book, path: str | os.PathLike, named: bool) -> None:
        self.path, self.book, self._named = str(path), book, named
        self._sheet = f'{path}, sheet {book.title!r}'
        others = f' Of several sheets --sheet names one; there are {shorten(list(map(repr, book.titles)))}.'
        if not book.cells:
            raise AnnotationError(
                f'{self._sheet}: it is empty. Expected a row of column names, and a row an image.{others}'
            )
        numbers = sorted({row for row, _ in book.cells})
        self._head, *body = numbers
        self._columns = sorted({column for _, column in book.cells})
        self._merged = MergedCells(book.merged, numbers, self._columns)
        if of_names := self._merged.in_row(self._head):
            self._fail_merged(
                of_names,
                'The first row that is not blank must name each column in a cell of its own: unmerge them, and delete '
                'titles and groups above the names.',
            )
        where = {column: index for index, column in enumerate(self._columns)}
        texts = {number: [''] * len(where) for number in numbers}
        self._uncomputed: set[tuple[int, int]] = set()
        self._seen: dict[str, Counter[tuple[type, Value]]] = {}  # values by text, below the header
        for (row, column), value in book.cells.items():
            if isinstance(value, Uncomputed):
                if row == self._head:
                    self._fail_uncomputed(row, where[column])
                self._uncomputed.add((row, where[column]))
                continue
            texts[row][where[column]] = text_of(value)
            if row != self._head:
                self._seen.setdefault(text_of(value), Counter())[type(value), value] += 1
        written = texts.pop(self._head)
        self.spellings = [(name,) for name in written]
        self.header = [clean_name(name) for name in written]
        self._rows = [(number, texts[number]) for number in body]
        if not self._rows:
            raise AnnotationError(f'{self._sheet}: there is no row below that of the column names.{others}')
        kinds = {kind for counts in self._seen.values() for kind, _ in counts}
        self._has_numbers, self._has_truths = bool(kinds & {int, float}), bool in kinds

    def settings(self) -> dict[str, Any]:
        return {'sheet': self.book.title}

    def place(self, row: int | None, column: int | None = None) -> str:
        """``cell B7``, or ``row 7``."""
        return f'row {row}' if column is None else f'cell {cell_name((row or 0, self._columns[column]))}'

    def column_name(self, column: int) -> str:
        return column_letters(self._columns[column])

    def rows(self) -> Iterator[tuple[int, Any]]:
        """Number, and a :class:`WorkbookRow`."""
        for number, texts in self._rows:
            yield number, WorkbookRow(number, texts)

    def text(self, row: Any, column: int) -> str:
        self._need(row, (column,))
        return row.texts[column]

    def cells(self, row: Any, columns: Sequence[int]) -> Sequence[str]:
        self._need(row, columns)
        return [row.texts[column] for column in columns]

    def change(self, row: WorkbookRow, column: int, cell: str) -> None:
        row.changes[column] = self._value(cell)

    def annotate(self, row: WorkbookRow, notes: Sequence[Note]) -> None:
        for column, name, note in notes:
            row.notes.setdefault(column, []).append((name, note))

    def cell(self, text: str) -> str:
        """The cell that holds a text."""
        return text

    def new_row(self) -> WorkbookRow:
        return WorkbookRow(None, [''] * len(self.header))

    def format(self, rows: Iterable[WorkbookRow]) -> bytes:
        last = self._rows[-1][0]
        changes: dict[Place, Value] = {}
        comments: dict[Place, str] = {}
        beside: dict[Place, str] = {}
        aside = self._aside()
        for row in rows:
            if row.number is None:
                row.number = last = last + 1
            changes |= {(row.number, self._columns[column]): value for column, value in row.changes.items()}
            for column, notes in row.notes.items():
                alone = len(notes) == 1 and self.book.comments
                said = [note if alone else f'{name} {note}' for name, note in notes]
                comments[row.number, self._columns[column]] = '; '.join(said)
            if row.notes:
                said = [f'{name} {note}' for notes in row.notes.values() for name, note in notes]
                beside[row.number, aside] = fitting(said)
        if beside and (not self.book.comments or len(comments) > MOST_COMMENTS):
            changes |= {(self._head, aside): FILLED, **beside}
            return self.book.save(changes, dict.fromkeys(comments))
        return self.book.save(changes, comments)

    def notes(self) -> list[str]:
        """What the workbook has that is not read, and what is read that is not shown."""
        notes = []
        if self.book.others and not self._named:
            notes.append(
                f'note: only the sheet {self.book.title!r} is read, not {shorten(list(map(repr, self.book.others)))}; '
                '--sheet names another, and what is to be read together must be in one'
            )
        if self.book.hidden:
            notes.append(
                f'note: {self.book.hidden:,} of its rows are hidden, by a filter or by hand, and count like the others'
            )
        hidden = [self.header[i] for i, column in enumerate(self._columns) if column in self.book.hidden_columns]
        if hidden:
            notes.append(f'note: columns are hidden, of which a class is read like the others: {shorten(hidden)}')
        cells = len(self._rows) * len(self._columns)
        if (memory := cells * self.book.bytes_to_write) > _MUCH_MEMORY:
            notes.append(
                f'note: it has {cells:,} cells, and to write so many into a workbook again, at the end, takes about '
                f'{memory / 1e9:.0f} GB of memory, and many minutes. Save the sheet as .csv first and give that, which '
                'takes a fifth of it at most'
            )
        return notes

    def other_sheets(self) -> str:
        """What to say where the wrong sheet may have been read, in a sentence."""
        if self._named or not self.book.others:
            return ''
        return (
            f' Only the sheet {self.book.title!r} was read; --sheet names {" or ".join(map(repr, self.book.others))}.'
        )

    def filled(self) -> int:
        """Cells, or rows with a note of them, that an earlier completion filled in."""
        if FILLED in self.header:
            column = self.header.index(FILLED)
            return sum(bool(texts[column].strip()) for _, texts in self._rows)
        return self.book.filled

    def _aside(self) -> int:
        """The column for notes, where cells can have none."""
        return self._columns[self.header.index(FILLED)] if FILLED in self.header else self._columns[-1] + 1

    def _value(self, text: str) -> Value:
        """What a cell with a text is to hold, after what others with it do."""
        if text in self._seen:
            ((_, value), _), *_ = self._seen[text].most_common(1)
            return value
        if text.upper() in ('TRUE', 'FALSE') and self._has_truths:
            return text.upper() == 'TRUE'
        if text in ('0', '1') and (self._has_numbers or not {'0', '1'} & self._seen.keys()):
            return int(text)
        return text

    def _need(self, row: WorkbookRow, columns: Sequence[int]) -> None:
        if (self._uncomputed or self._merged) and row.number is not None:
            for column in columns:
                if (row.number, column) in self._uncomputed:
                    self._fail_uncomputed(row.number, column)
                if (row.number, self._columns[column]) in self._merged:
                    self._fail_merged(
                        self._merged.in_columns([self._columns[column] for column in columns]),
                        'Each image and label needs a cell of its own: unmerge them and fill in each, or leave out a '
                        'column without labels with --ignore-columns.',
                    )

    def _fail_uncomputed(self, row: int, column: int) -> None:
        raise AnnotationError(
            f'{self._sheet}: {self.place(row, column)} has a formula whose value was not saved with it. Open the file '
            'in Excel or LibreOffice and save it there, put the value in its place, or leave the column out with '
            '--ignore-columns, if it has no labels.'
        )

    def _fail_merged(self, areas: Sequence[Area], advice: str) -> None:
        shown = [f'{cell_name(first)}:{cell_name(last)}' for first, last in areas]
        raise AnnotationError(f'{self._sheet}: merged cells {shorten(shown)}. {advice}')


def parts_of(content: bytes) -> Counter[str]:
    """How many parts of each kind a packed workbook has: ``{'charts': 2}``."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = [name.split('/') for name in archive.namelist()]
    return Counter(words[1] for words in names if len(words) == 3 and words[0] == 'xl')

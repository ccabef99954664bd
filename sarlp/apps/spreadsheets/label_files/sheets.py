"""Rows of cells, of a CSV file or of JSON lines: what :mod:`.tables` reads labels from and writes them to. Those of
workbooks are in :mod:`.workbooks`.

A column is a number; ``header`` has their names, cleaned (:mod:`sarlp.names.clean_names`), and ``spellings`` how the
file writes them. A cell is the text that the file has, which in JSON lines is JSON: ``true``, ``1``, ``"yes"``.
"""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter
from typing import Any

from sarlp.apps.spreadsheets.label_files.text import CSVText, decode, encode
from sarlp.datasets.annotation import AnnotationError
from sarlp.io.json_file import finite_float, unique_keys
from sarlp.names.clean_names import clean_name, show_spellings

Row = Any  # list[str] of a CSVSheet, dict[str, Any] of a JSONLinesSheet; whoever has a sheet only hands rows back to it
NESTED = 'labels'  # the key of JSON lines that may hold the labels as an object of their own
Note = tuple[int, str, str]  # of a label that was filled in: column, name of the class, and what there is to say
FILLED = 'filled by sarlp'  # name of the column, or key, that says which labels a completion filled in


class CSVSheet:
    """A CSV file whose first record names the columns. A row is a list of str.

    Args:
        data: content of the file.
        path: its name, for messages.
        encoding, delimiter: to force them.
        names: lower-case names that the column of the images may have.

    Raises:
        AnnotationError: the file is no text, or has no rows.
    """

    class_columns: list[int] | None = None  # all may be

    def __init__(
        self,
        data: bytes,
        path: str | os.PathLike,
        encoding: str | None = None,
        delimiter: str | None = None,
        names: Sequence[str] = (),
    ) -> None:
        self.path = str(path)
        text, self.encoding, self._mark = decode(data, path, encoding)
        self.csv = CSVText(text, path, delimiter, names)
        head = next((cells for _, cells in self.csv), None)
        if head is None:
            raise AnnotationError(f'{path}: the file is empty. Expected a line of column names, and a row an image.')
        self._head = head
        self.spellings = [(name,) for name in self._head]
        self.header = [clean_name(name) for name in self._head]
        self._aside = self.header.index(FILLED) if FILLED in self.header else len(self.header)
        if next(self.rows(), None) is None:
            raise AnnotationError(f'{path}: there is no row below the line of column names.')

    def settings(self) -> dict[str, Any]:
        return {'json_lines': False, 'encoding': self.encoding, 'delimiter': self.csv.delimiter}

    def place(self, line: int, column: int | None = None) -> str:
        return f'line {line}' if column is None else f'column {self.header[column]!r}, line {line}'

    def column_name(self, column: int) -> str:
        return str(column + 1)

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Line and row.

        Raises:
            AnnotationError: a row has another number of cells than the header.
        """
        records = iter(self.csv)
        next(records)
        width = len(self.header)
        for line, row in records:
            if len(row) != width:
                raise AnnotationError(
                    f'{self.path}, line {line}: {len(row)} cells, but the header has {width}. Unknown labels are blank '
                    'cells; a cell with the delimiter in it needs quotation marks.'
                )
            yield line, row

    def text(self, row: Row, column: int) -> str:
        return row[column]

    def cells(self, row: Row, columns: Sequence[int]) -> Sequence[str]:
        return itemgetter(*columns)(row) if len(columns) > 1 else (row[columns[0]],)

    def change(self, row: Row, column: int, cell: str) -> None:
        row[column] = cell

    def annotate(self, row: Row, notes: Sequence[Note]) -> None:
        """Note beside a row which labels were filled in, all at once: of thousands each would copy those before."""
        row += [''] * (self._aside + 1 - len(row))
        said = [row[self._aside]] * bool(row[self._aside]) + [f'{name} {note}' for _, name, note in notes]
        row[self._aside] = '; '.join(said)

    def filled(self) -> int:
        """Rows with such notes."""
        if FILLED not in self.header:
            return 0
        return sum(bool(row[self._aside].strip()) for _, row in self.rows())

    def cell(self, text: str) -> str:
        """The cell that holds a text."""
        return text

    def new_row(self) -> Row:
        return [''] * len(self.header)

    def format(self, rows: Iterable[Row]) -> bytes:
        records = [self._head, *rows]
        if max(map(len, records)) > len(self._head):
            records[0] = [*self._head, FILLED]
            for record in records:
                record += [''] * (len(records[0]) - len(record))
        text = self.csv.format(records)
        return encode(text, self.path, self.encoding, self._mark)


class JSONLinesSheet:
    """A file with a JSON object a line. A row is that object, a column one of its keys.

    Where there is a key ``labels`` with an object in it, the keys of that are the classes; other keys are none. Keys
    that are one name after cleaning are one column, since another row may be another person's.

    Args:
        data, path, encoding: as for :class:`CSVSheet`.

    Raises:
        AnnotationError: a line is no JSON object, or has a key twice, also in two spellings.
    """

    def __init__(self, data: bytes, path: str | os.PathLike, encoding: str | None = None, **_) -> None:
        self.path = str(path)
        text, self.encoding, self._mark = decode(data, path, encoding)
        self._lines = text.split('\n')  # not splitlines: a string may hold U+2028, which ends a line for Python
        columns: dict[tuple[bool, str], dict[str, None]] = {}  # spellings by whether they are nested, and name
        for line, row in self.rows():
            nested = row[NESTED] if isinstance(row.get(NESTED), dict) else None
            self._collect(columns, line, False, [key for key in row if key != NESTED or nested is None])
            self._collect(columns, line, True, nested or ())
        if not columns:
            raise AnnotationError(f'{path}: the file is empty. Expected a JSON object a line.')
        self._nested = [nested for nested, _ in columns]
        self.spellings = [tuple(spellings) for spellings in columns.values()]
        self.header = [name for _, name in columns]
        self.class_columns = [column for column, nested in enumerate(self._nested) if nested] or None

    def _collect(self, columns: dict, line: int, nested: bool, keys: Iterable[str]) -> None:
        here: dict[str, str] = {}
        for key in keys:
            name = clean_name(key)
            if here.setdefault(name, key) != key:
                raise AnnotationError(
                    f'{self.path}, line {line}: the keys {show_spellings((here[name], key))} are one name, {name!r}, '
                    'written in two ways. Remove one.'
                )
            columns.setdefault((nested, name), {})[key] = None

    def settings(self) -> dict[str, Any]:
        return {'json_lines': True, 'encoding': self.encoding}

    def place(self, line: int, column: int | None = None) -> str:
        return f'line {line}' if column is None else f'column {self.header[column]!r}, line {line}'

    def column_name(self, column: int) -> str:
        return repr(self.header[column])

    def rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        for line, text in enumerate(self._lines, 1):
            if not text.strip():
                continue
            try:
                row = json.loads(text, object_pairs_hook=unique_keys, parse_float=finite_float)
            except (ValueError, RecursionError) as error:
                raise AnnotationError(f'{self.path}, line {line}: expected a JSON object ({error}).') from None
            if not isinstance(row, dict):
                raise AnnotationError(f'{self.path}, line {line}: expected a JSON object, found {text[:60]!r}.')
            yield line, row

    def text(self, row: Row, column: int) -> str:
        value = self._value(row, column)
        return value if isinstance(value, str) else '' if value is None else json.dumps(value, ensure_ascii=False)

    def cells(self, row: Row, columns: Sequence[int]) -> Sequence[str]:
        return [self._dump(self._value(row, column)) for column in columns]

    def change(self, row: Row, column: int, cell: str) -> None:
        part = row.setdefault(NESTED, {}) if self._nested[column] else row
        part[self._key(part, column)] = json.loads(cell)

    def annotate(self, row: Row, notes: Sequence[Note]) -> None:
        said = row.get(FILLED)
        row[FILLED] = {**(said if isinstance(said, dict) else {}), **{name: note for _, name, note in notes}}

    def filled(self) -> int:
        return sum(bool(row.get(FILLED)) for _, row in self.rows())

    def cell(self, text: str) -> str:
        return self._dump(text)

    def new_row(self) -> Row:
        return {}

    def format(self, rows: Iterable[Row]) -> bytes:
        text = ''.join(self._line(row) + '\n' for row in rows)
        return encode(text, self.path, self.encoding, self._mark)

    def _line(self, row: dict[str, Any]) -> str:
        text = self._dump(row)
        try:
            text.encode(self.encoding)
        except UnicodeEncodeError:  # JSON has a way to write any letter in ASCII
            text = json.dumps(row)
        return text

    def _value(self, row: dict[str, Any], column: int) -> Any:
        part = row
        if self._nested[column]:
            part = row[NESTED] if isinstance(row.get(NESTED), dict) else {}
        return part.get(self._key(part, column))

    def _key(self, part: dict[str, Any], column: int) -> str:
        """How a row spells a column; how the first one did, where this row does not have it."""
        spellings = self.spellings[column]
        if len(spellings) == 1:
            return spellings[0]
        return next((key for key in spellings if key in part), spellings[0])

    @staticmethod
    def _dump(value: Any) -> str:
        return json.dumps(value, ensure_ascii=False)

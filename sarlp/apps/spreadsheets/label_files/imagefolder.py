"""``metadata.csv`` and ``metadata.jsonl`` of Hugging Face's ``imagefolder``, with a column of lists of names.

.. code-block:: text

    {"file_name": "train/1.jpg", "labels": ["cat", "dog"], "caption": "..."}     metadata.jsonl

    file_name,labels                                                             metadata.csv, which has no lists:
    train/1.jpg,"[""cat"", ""dog""]"                                             JSON, or as Python and pandas write one

A blank, or null, is an image that nobody labelled. Numbers of classes (``ClassLabel``), whose names stand in another
file, and what ``datasets`` saves as Parquet or Arrow, are refused.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sarlp.apps.spreadsheets.label_files.named import NamedClasses, are_names, named_list
from sarlp.apps.spreadsheets.label_files.tables import Beside, Changes, Notes, OfImages, Sheet, Statement
from sarlp.datasets.annotation import AnnotationError

_ITEM = r"""'[^'\\]*'|"[^"\\]*\""""
# not as Python reads it, where 'a' 'b' without a comma, which NumPy writes, is one text
_PYTHON = re.compile(rf'\[\s*(?:(?:{_ITEM})\s*(?:,\s*(?:{_ITEM})\s*)*(?:,\s*)?)?\]')
FILE_NAME = 'file_name'  # the column of the images
_BLANK = ('', 'null')
_ARROW = (b'PAR1', b'\xff\xff\xff\xff', b'ARRO')  # how Parquet, a stream and a file of Arrow begin
_NUMBERS = re.compile(r'\[[\d\s,]+\]')
_WRITE = 'write metadata.jsonl with lists of names (docs/your_data.md has the lines of Python)'


class ImageFolderMetadata(OfImages, NamedClasses):
    """A table with a column of lists. The classes are those that occur, in alphabetical order.

    Args:
        sheet: the file.
        image: the column of the images.
        names: that of the lists.
        rest_is_no: see :class:`~.named.NamedClasses`.
        beside: its other columns.

    Raises:
        AnnotationError: a cell is no list of names.
    """

    form = 'imagefolder'

    def __init__(self, sheet: Sheet, image: int, names: int, rest_is_no: bool, beside: Beside) -> None:
        super().__init__(sheet.path, rest_is_no)
        self.sheet, self.image, self.names, self.beside = sheet, image, names, beside
        self._like_python = False
        found = {self.spellings[name] for line, row in sheet.rows() for name in self._written(line, row) or ()}
        self._take_classes(sorted(found))

    def _written(self, line: int, row: Any) -> list[str] | None:
        """The names in a row; None if nobody labelled it."""
        (cell,) = self.sheet.cells(row, (self.names,))
        cell = cell.strip()
        if cell in _BLANK:
            return None
        value = _list_of(cell)
        self._like_python |= value is not None and not _is_json(cell)
        place = self.sheet.place(line, self.names)
        return named_list(self.path, place, cell if value is None else value, _hint(cell))

    def settings(self) -> dict[str, Any]:
        header = self.sheet.header
        columns = {'image_column': header[self.image], 'class_column': header[self.names]}
        return {**super().settings(), **self.sheet.settings(), **columns}

    def place(self, line: Any) -> str:
        """Where a statement stands, for messages."""
        return self.sheet.place(line)

    def statements(self) -> Iterator[Statement]:
        """Line, image as written, and (class id, code) of each label that is known, of each row."""
        for line, row in self.sheet.rows():
            names = self._written(line, row)
            yield line, self.sheet.text(row, self.image), [] if names is None else self._pairs(names)

    def rewrite(
        self, path_of: Callable[[str], str], changes: Changes, habits: Mapping[int, str], notes: Notes | None = None
    ) -> bytes:
        """The file with some lists changed.

        For the arguments see :meth:`~sarlp.apps.spreadsheets.label_files.tables.Wide.rewrite`.
        """

        def rows() -> Iterator[Any]:
            seen = set()
            for line, row in self.sheet.rows():
                path = path_of(self.sheet.text(row, self.image))
                seen.add(path)
                yield changed(row, self._written(line, row) or [], path)
            for path in changes:
                if path not in seen:
                    row = self.sheet.new_row()
                    self.sheet.change(row, self.image, self.sheet.cell(path))
                    yield changed(row, [], path)

        def changed(row: Any, before: list[str], path: str) -> Any:
            if path in changes:
                self.sheet.change(row, self.names, self._cell(self._changed(before, changes[path])))
                if said := (notes or {}).get(path, {}):
                    self.sheet.annotate(row, [(self.names, self.classes[index], note) for index, note in said.items()])
            return row

        return self.sheet.format(rows())

    def _cell(self, names: list[str]) -> str:
        cell = repr(names)
        return cell if self._like_python and _PYTHON.fullmatch(cell) else json.dumps(names, ensure_ascii=False)


def list_columns(sheet: Sheet, columns: list[int]) -> list[int]:
    """Those of some columns that hold lists of names, and blanks."""
    possible, filled = {*columns}, set()
    for _, row in sheet.rows():
        for column in [*possible]:
            (cell,) = sheet.cells(row, (column,))
            value = None if cell.strip() in _BLANK else _list_of(cell.strip())
            if cell.strip() not in _BLANK and not are_names(value):
                possible.remove(column)
            elif value:
                filled.add(column)
    return sorted(possible & filled)


def hint_of_lists(sheet: Sheet, columns: Iterable[int]) -> str:
    """What to do about the first list in some columns, of which none has lists of names; '' if there is none."""
    cells = (cell for _, row in sheet.rows() for column in columns for cell in sheet.cells(row, (column,)))
    return next(filter(None, map(_hint, cells)), '')


def refuse_arrow(path: Path) -> None:
    """Refuse what ``datasets`` saves in binary.

    Raises:
        AnnotationError: it is that.
    """
    saved = path.is_dir() and (path / 'dataset_info.json').is_file()
    if path.is_file():
        with open(path, 'rb') as file:
            saved = file.read(4) in _ARROW
    if saved:
        raise AnnotationError(f'{path}: this is a table of Arrow or Parquet, which is not read: {_WRITE}.')


def refuse_class_label(sheet: Sheet, columns: list[int]) -> None:
    """Refuse a column, the only one, that may have numbers of two classes as well as labels of one.

    Raises:
        AnnotationError: it is that.
    """
    names = [sheet.header[column] for column in columns]
    if names not in (['label'], ['labels']) or sheet.class_columns is not None:
        return
    cells = {sheet.cells(row, columns)[0].strip() for _, row in sheet.rows()}
    if cells <= {'0', '1', '0.0', '1.0', *_BLANK}:
        raise AnnotationError(
            f'{sheet.path}: 0 and 1 in the column {names[0]!r} may be the numbers of two classes (ClassLabel of '
            f'datasets) or labels of one. If it is one class, name it: --class-columns {names[0]}. If two: {_WRITE}.'
        )


def _hint(cell: str) -> str:
    """What to do about a cell that is no list of names."""
    if _NUMBERS.fullmatch(cell.strip()):
        return f' These are numbers of classes without their names: {_WRITE}.'
    if cell.strip().startswith('[') and not are_names(_list_of(cell.strip())):
        return f' NumPy writes lists without commas, and so does Dataset.to_csv: {_WRITE}.'
    return ''


def _is_json(cell: str) -> bool:
    try:
        json.loads(cell)
    except (ValueError, RecursionError):
        return False
    return True


def _list_of(cell: str) -> list | None:
    """The list that a cell holds; None if it holds none."""
    if _is_json(cell):
        value = json.loads(cell)
        return value if isinstance(value, list) else None
    if _PYTHON.fullmatch(cell):
        return [item[1:-1] for item in re.findall(_ITEM, cell)]
    return None

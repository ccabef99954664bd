"""Image-level labels of Open Images: a row a label, by whom it was made, and how sure that is.

.. code-block:: text

    ImageID,Source,LabelName,Confidence
    000026e7ee790996,verification,/m/07j7r,1
    000026e7ee790996,machine,/m/0138tl,0.7

Confidence 1 is there and 0 is not, where a person verified it. What is between, and all that is of a machine, is
unknown. A second file, ``class-descriptions.csv`` of the same data set, has names for the classes.
"""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sarlp.apps.spreadsheets.label_files.spelling import Spelling
from sarlp.apps.spreadsheets.label_files.tables import Beside, Long, Sheet
from sarlp.apps.spreadsheets.label_files.text import CSVText, decode
from sarlp.datasets.annotation import AnnotationError
from sarlp.io.json_file import show
from sarlp.labels import NEGATIVE, POSITIVE, UNKNOWN

COLUMNS = ('ImageID', 'Source', 'LabelName', 'Confidence')
_MACHINE = 'machine'
_FILLED = 'sarlp'  # source of labels that are written


class Confidence(Spelling):
    """A number from 0 to 1 is unknown between the two."""

    def __missing__(self, cell: str) -> int | None:
        code = super().__missing__(cell)
        if code is None:
            try:
                number = float(cell)
            except ValueError:
                return None
            if 0 <= number <= 1:
                code = self[cell] = int(number) if number in (NEGATIVE, POSITIVE) else UNKNOWN
        return code


class OpenImages(Long):
    """A long table that says by whom each label is.

    Labels that are written have the source ``sarlp``; a row whose label becomes unknown is left out.

    Args:
        sheet, image, spelling, name, value, beside: as for :class:`~.tables.Long`.
        source: the column of the sources.
        names: of the classes by what the file calls them; who is in none keeps what it is called.
    """

    form = 'openimages'

    def __init__(
        self,
        sheet: Sheet,
        image: int,
        spelling: Spelling,
        name: int,
        value: int,
        source: int,
        beside: Beside,
        names: Mapping[str, str] | None = None,
    ) -> None:
        self.source, self._names = source, names or {}
        self._ids_of: dict[str, str] = {}  # as the file calls them, by name of the class
        super().__init__(sheet, image, spelling, name, value, beside)

    def _class_of(self, line: int, row: Any) -> str:
        called = super()._class_of(line, row)
        name = self._names.get(called, called)
        self._ids_of.setdefault(name, called)
        return name

    def settings(self) -> dict[str, Any]:
        names = {called: name for name, called in self._ids_of.items() if called != name}
        return {**super().settings(), **({'class_names': names} if names else {})}

    def notes(self) -> list[str]:
        found = sum(not self._is_said(row) for _, row in self.sheet.rows())
        lines = [f'labels of a machine that nobody verified, unknown: {found:,}'] if found else []
        without = [called for called in self._ids_of.values() if self._names and called not in self._names]
        return lines + ([f'note: classes of which --class-names says no name: {len(without):,}'] if without else [])

    def _is_said(self, row: Any) -> bool:
        return self.sheet.text(row, self.source).strip().lower() != _MACHINE

    def _called(self, name: str) -> str:
        return self.spellings.written(self._ids_of[name])

    def _answer(self, row: Any, cells: Mapping[int, str], code: int, index: int, notes: Mapping[int, str]) -> bool:
        self.sheet.change(row, self.source, self.sheet.cell(_FILLED))
        return super()._answer(row, cells, code, index, notes) and code != UNKNOWN


def is_open_images(header: Sequence[str]) -> bool:
    """Whether a table is one, by its columns."""
    return {*COLUMNS} <= {*header}


def read_class_names(path: str | os.PathLike) -> dict[str, str]:
    """Names by what Open Images calls a class, of two columns, with a header or without.

    A name that two classes have gets what they are called behind it.

    Raises:
        AnnotationError: there is no such file, or it is another.
    """
    if not Path(path).is_file():
        raise AnnotationError(f'{path}: there is no such file of names of classes.')
    names: dict[str, str] = {}
    for line, cells in CSVText(decode(Path(path).read_bytes(), path)[0], path, ','):
        if len(cells) != 2 or not all(cell.strip() for cell in cells) or cells[0] in names:
            raise AnnotationError(
                f'{path}, line {line}: expected what a class is called, once, and its name, as /m/0pc9,Alphorn; found '
                f'{show(cells)}.'
            )
        if cells != ['LabelName', 'DisplayName']:
            names[cells[0]] = cells[1]
    twice = Counter(names.values())
    return {called: f'{name} ({called})' if twice[name] > 1 else name for called, name in names.items()}

"""Labels as lists of names: JSON lines of ``{"image": "1.jpg", "positive": ["cat"], "negative": ["dog"]}``."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sarlp.apps.spreadsheets.label_files.sheets import JSONLinesSheet
from sarlp.apps.spreadsheets.label_files.tables import Beside, Changes, Notes, OfImages, Statement
from sarlp.datasets.annotation import AnnotationError
from sarlp.labels import NEGATIVE, POSITIVE
from sarlp.names.clean_names import Spellings

LISTS = {'positive': POSITIVE, 'negative': NEGATIVE}


class NameLists(OfImages):
    """Two lists of class names an image. The classes are those that occur, in alphabetical order.

    Args:
        sheet: the file.
        image: the column of the images.
        beside: its other columns.

    Raises:
        AnnotationError: a list is none, or holds something else than names.
    """

    form = 'lists'
    once = True  # an image has one row
    sheet: JSONLinesSheet

    def __init__(self, sheet: JSONLinesSheet, image: int, beside: Beside) -> None:
        self.sheet, self.image, self.path, self.beside = sheet, image, sheet.path, beside
        self.spellings = Spellings()
        names = {
            self.spellings[n] for line, row in sheet.rows() for key in LISTS for n in self._written(line, row, key)
        }
        if not names:
            raise AnnotationError(f'{self.path}: the lists {" and ".join(LISTS)} of all images are empty.')
        self.classes = tuple(sorted(names))
        self._ids = {name: index for index, name in enumerate(self.classes)}

    def _written(self, line: int, row: Mapping[str, Any], key: str) -> list[str]:
        names = row.get(key)
        names = [] if names is None else names
        if not isinstance(names, list) or not all(isinstance(name, str) and self.spellings[name] for name in names):
            raise AnnotationError(f'{self.path}, line {line}: expected {key!r} to be a list of class names.')
        return names

    def settings(self) -> dict[str, Any]:
        return {**self.sheet.settings(), 'image_column': self.sheet.header[self.image]}

    def place(self, line: Any) -> str:
        """Where a statement stands, for messages."""
        return f'line {line}'

    def habits(self) -> dict[int, str]:
        """There is one way only."""
        return {}

    def statements(self) -> Iterator[Statement]:
        """Line, image as written, and (class id, code) of each label that is known, of each row."""
        for line, row in self.sheet.rows():
            pairs = [
                (self._ids[self.spellings[name]], code)
                for key, code in LISTS.items()
                for name in self._written(line, row, key)
            ]
            yield line, self.sheet.text(row, self.image), pairs

    def rewrite(
        self, path_of: Callable[[str], str], changes: Changes, habits: Mapping[int, str], notes: Notes | None = None
    ) -> bytes:
        """The file with some labels changed.

        For the arguments see :meth:`~sarlp.apps.spreadsheets.label_files.tables.Wide.rewrite`.
        Notes go to a key of their own.
        """

        def rows() -> Iterator[Any]:
            seen = set()
            for line, row in self.sheet.rows():
                path = path_of(self.sheet.text(row, self.image))
                seen.add(path)
                yield changed(line, row, path)
            for path in changes:
                if path not in seen:
                    row = self.sheet.new_row()
                    self.sheet.change(row, self.image, self.sheet.cell(path))
                    yield changed(0, row, path)

        def changed(line: int, row: dict[str, Any], path: str) -> dict[str, Any]:
            if said := (notes or {}).get(path, {}):
                self.sheet.annotate(row, [(self.image, self.classes[index], note) for index, note in said.items()])
            return self._changed(line, row, changes.get(path, {}))

        return self.sheet.format(rows())

    def _changed(self, line: int, row: dict[str, Any], codes: Mapping[int, int]) -> dict[str, Any]:
        if codes:
            moved = {self.classes[index] for index in codes}
            for key, code in LISTS.items():
                stay = [name for name in self._written(line, row, key) if self.spellings[name] not in moved]
                came = [self.classes[index] for index in codes if codes[index] == code]
                row[key] = stay + list(map(self.spellings.written, came))
        return row

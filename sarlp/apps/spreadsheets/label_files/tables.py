"""Labels in tables, of CSV, JSON lines or a workbook: one column a class, or one row a label."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sarlp.apps.spreadsheets.label_files.bad_cells import NAMING_COLUMNS, BadCells
from sarlp.apps.spreadsheets.label_files.sheets import CSVSheet, JSONLinesSheet
from sarlp.apps.spreadsheets.label_files.spelling import NAMES, Spelling
from sarlp.apps.spreadsheets.label_files.workbooks import WorkbookSheet
from sarlp.datasets.annotation import AnnotationError
from sarlp.errors import shorten
from sarlp.labels import NEGATIVE, POSITIVE, UNKNOWN
from sarlp.names.clean_names import Spellings, look_alike, show_spellings

# lower-case names of columns, most telling first
IMAGE_COLUMNS = (
    *('image', 'img', 'image_path', 'img_path', 'imagepath', 'file_name', 'filename', 'file', 'path', 'image_name'),
    *('image_id', 'imageid', 'img_id', 'photo', 'picture', 'bild', 'datei'),
)
CLASS_COLUMNS = ('class', 'class_name', 'classname', 'category', 'labelname', 'label_name', 'tag', 'label', 'klasse')
VALUE_COLUMNS = ('value', 'present', 'answer', 'state', 'confidence', 'label', 'wert')

Statement = tuple[Any, str, list[tuple[int, int]]]
Changes = Mapping[str, Mapping[int, int]]
Notes = Mapping[str, Mapping[int, str]]
Sheet = CSVSheet | JSONLinesSheet | WorkbookSheet


@dataclass(frozen=True)
class Beside:
    """Columns with what a table says of images beside their labels.

    Attributes:
        group: of the groups, or None.
        split: of the splits, or None.
        told: whether a person named the column of the splits.
    """

    group: int | None = None
    split: int | None = None
    told: bool = False


class OfImages:
    """A table in which a row is of an image."""

    sheet: Sheet
    image: int
    beside: Beside

    @property
    def splits_told(self) -> bool:
        """Whether a person named the column of the splits."""
        return self.beside.told

    def groups(self) -> Iterator[tuple[int, str, str]]:
        """Line, image as written and group of each row that names one."""
        if self.beside.group is not None:
            for line, row in self.sheet.rows():
                if name := self.sheet.text(row, self.beside.group).strip():
                    yield line, self.sheet.text(row, self.image), name

    def splits(self) -> Iterator[tuple[int, str, str]]:
        """Line, image as written and split as written, or nothing, of each row, if there is a column of them."""
        if self.beside.split is not None:
            for line, row in self.sheet.rows():
                yield line, self.sheet.text(row, self.image), self.sheet.text(row, self.beside.split).strip()


class _Table(OfImages):
    """What the two kinds of tables have in common.

    Args:
        sheet: the file.
        image: its column of the images.
        spelling: what its cells mean.
        beside: its other columns.
    """

    def __init__(self, sheet: Sheet, image: int, spelling: Spelling, beside: Beside) -> None:
        self.sheet, self.image, self.spelling, self.beside = sheet, image, spelling, beside
        self.classes: tuple[str, ...] = ()
        self.spellings = Spellings()  # of the classes
        self.used: Counter[str] = Counter()
        self._bad = BadCells(sheet.header, self._place_in)

    @property
    def path(self) -> str:
        return self.sheet.path

    def settings(self) -> dict[str, Any]:
        words = {NAMES[code]: list(words) for code, words in self.spelling.given.items()}
        return {**self.sheet.settings(), 'image_column': self.sheet.header[self.image], **words}

    def place(self, line: Any) -> str:
        """Where a statement stands, for messages."""
        return self.sheet.place(line)

    def habits(self) -> dict[int, str]:
        """How the file spells each code, once :meth:`statements` were gone through."""
        return self.spelling.habits(self.used)

    def _new_row(self, image: str) -> Any:
        row = self.sheet.new_row()
        self.sheet.change(row, self.image, self.sheet.cell(image))
        return row

    def _start(self) -> None:
        self.used, self._bad = Counter(), BadCells(self.sheet.header, self._place_in)

    def _place_in(self, column: int, line: int) -> str:
        """A cell of a workbook by its column, too, which is what options name."""
        place, name = self.sheet.place(line, column), f'column {self.sheet.header[column]!r}'
        return place if name in place else f'{name}, {place}'

    def _finish(self) -> None:
        if self._bad:
            has_no = any(self.spelling[cell] == NEGATIVE for cell in self.used)
            raise AnnotationError(
                f'{self.path}: cells that are no label: {self._bad.describe()}. Understood are: '
                f'{self.spelling.describe()}. {self._bad.advice(self._naming(), self._alone, has_no)}'
            )
        self.spelling.check_signs(self.used, self.path)

    @property
    def _alone(self) -> bool:
        """Whether one column has all labels."""
        return True

    def _naming(self) -> list[str]:
        """Columns that seem to name what is there instead of having labels."""
        return []


class Wide(_Table):
    """A column of images and a column for each class.

    Args:
        sheet, image, spelling, beside: see above.
        columns: those of the classes.

    Raises:
        AnnotationError: a class has no name, or two have the same.
    """

    form = 'wide'
    once = True  # an image has one row

    def __init__(self, sheet: Sheet, image: int, spelling: Spelling, columns: Sequence[int], beside: Beside) -> None:
        super().__init__(sheet, image, spelling, beside)
        self.columns = list(columns)
        self.classes = tuple(sheet.header[column] for column in self.columns)
        nameless = [sheet.column_name(column) for column in self.columns if not sheet.header[column]]
        if nameless:
            alone = len(nameless) == len(self.columns)
            raise AnnotationError(
                f'{sheet.path}: the header names no class in column {shorten(nameless)}. Name or delete the column'
                + ('; or, if the line that was taken for the header is a title, that line.' if alone else '.')
            )
        for column in self.columns:
            for written in sheet.spellings[column]:
                self.spellings[written]
        twice = [name for name, count in Counter(self.classes).items() if count > 1]
        if twice:
            alike = [show_spellings(group) for group in look_alike(written.strip() for written in self.spellings)]
            unseen = f' (written {shorten(alike)})' if alike else ''
            raise AnnotationError(
                f'{sheet.path}: more than one column is called {shorten(list(map(repr, twice)))}{unseen}. Rename or '
                'delete one.'
            )
        if not self.columns:
            raise AnnotationError(
                f'{sheet.path}: there is no column of a class beside {shorten(list(map(repr, sheet.header)))}.'
            )

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), 'class_columns': list(self.classes)}

    def _naming(self) -> list[str]:
        # yes, no and unknown in a language of its own are three words
        sure = self._alone and sum(self.spelling[cell] is None for cell in self.used) > 3
        return [name for name in self._bad.names() if name.lower().rstrip('0123456789 _') in NAMING_COLUMNS or sure]

    @property
    def _alone(self) -> bool:
        return len(self.columns) == 1

    def statements(self) -> Iterator[Statement]:
        """Line, image as written, and (class id, code) of each label that is known, of each row."""
        self._start()
        codes, counts = self.spelling, self.used
        for line, row in self.sheet.rows():
            cells = self.sheet.cells(row, self.columns)
            counts.update(cells)
            pairs = []
            for index, cell in enumerate(cells):
                code = codes[cell]
                if code is None:
                    self._bad.add(self.columns[index], line, cell, self.sheet.text(row, self.image))
                elif code != UNKNOWN:
                    pairs.append((index, code))
            yield line, self.sheet.text(row, self.image), pairs
        self._finish()

    def rewrite(
        self, path_of: Callable[[str], str], changes: Changes, habits: Mapping[int, str], notes: Notes | None = None
    ) -> bytes:
        """The file with some cells changed.

        Args:
            path_of: path of an image by how the file writes it.
            changes: codes by class id, by path. Images that the file has not are appended.
            habits: cell by code.
            notes: of some of the changes, what to write beside them, where the form has a place for it.
        """

        def rows() -> Iterator[Any]:
            seen = set()
            for _, row in self.sheet.rows():
                path = path_of(self.sheet.text(row, self.image))
                seen.add(path)
                yield changed(row, path)
            for path in changes:
                if path not in seen:
                    yield changed(self._new_row(path), path)

        def changed(row: Any, path: str) -> Any:
            codes, said = changes.get(path, {}), (notes or {}).get(path, {})
            for index, code in codes.items():
                self.sheet.change(row, self.columns[index], habits[code])
            if of_row := [(self.columns[i], self.classes[i], said[i]) for i in codes if i in said]:
                self.sheet.annotate(row, of_row)
            return row

        return self.sheet.format(rows())


class Long(_Table):
    """A row for each label: image, class and value. The classes are those that occur, in alphabetical order.

    Args:
        sheet, image, spelling, beside: see above.
        name: the column of the classes, which may spell one in several ways.
        value: the column of the values.

    Raises:
        AnnotationError: a row names no class.
    """

    form = 'long'
    once = False

    def __init__(self, sheet: Sheet, image: int, spelling: Spelling, name: int, value: int, beside: Beside) -> None:
        super().__init__(sheet, image, spelling, beside)
        self.name, self.value = name, value
        names = {self._class_of(line, row) for line, row in sheet.rows()}
        self.classes = tuple(sorted(names))
        self._ids = {name: index for index, name in enumerate(self.classes)}

    def _class_of(self, line: int, row: Any) -> str:
        name = self.spellings[self.sheet.text(row, self.name)]
        if not name:
            raise AnnotationError(
                f'{self.path}, {self.place(line)}: the column {self.sheet.header[self.name]!r} is blank.'
            )
        return name

    def settings(self) -> dict[str, Any]:
        header = self.sheet.header
        return {**super().settings(), 'class_column': header[self.name], 'value_column': header[self.value]}

    def _is_said(self, row: Any) -> bool:
        """Whether what a row says counts."""
        return True

    def _called(self, name: str) -> str:
        """How the file writes a class."""
        return self.spellings.written(name)

    def _answer(self, row: Any, cells: Mapping[int, str], code: int, index: int, notes: Mapping[int, str]) -> bool:
        """Put a label into a row; returns whether the row stays."""
        self.sheet.change(row, self.value, cells[code])
        if index in notes:
            self.sheet.annotate(row, [(self.value, self.classes[index], notes[index])])
        return True

    def statements(self) -> Iterator[Statement]:
        """As :meth:`Wide.statements`; a row has one label, or none if that is unknown."""
        self._start()
        codes, counts = self.spelling, self.used
        for line, row in self.sheet.rows():
            (cell,) = self.sheet.cells(row, (self.value,))
            counts[cell] += 1
            code = codes[cell]
            if code is None:
                self._bad.add(self.value, line, cell, self.sheet.text(row, self.image))
            known = code in (POSITIVE, NEGATIVE) and self._is_said(row)
            yield (
                line,
                self.sheet.text(row, self.image),
                [(self._ids[self._class_of(line, row)], code)] if known else [],
            )
        self._finish()

    def rewrite(
        self, path_of: Callable[[str], str], changes: Changes, habits: Mapping[int, str], notes: Notes | None = None
    ) -> bytes:
        """As :meth:`Wide.rewrite`; a label that has no row yet gets one at the end."""

        spelled = list(map(self._called, self.classes))

        def rows() -> Iterator[Any]:
            seen: set[tuple[str, int]] = set()
            written: dict[str, str] = {}
            for line, row in self.sheet.rows():
                image = self.sheet.text(row, self.image)
                path, index = path_of(image), self._ids[self._class_of(line, row)]
                written.setdefault(path, image)
                code = changes.get(path, {}).get(index)
                if code is not None:
                    seen.add((path, index))
                    if not self._answer(row, habits, code, index, (notes or {}).get(path, {})):
                        continue
                yield row
            for path, codes in changes.items():
                for index, code in codes.items():
                    if (path, index) not in seen and code != UNKNOWN:
                        row = self._new_row(written.get(path, path))
                        self.sheet.change(row, self.name, self.sheet.cell(spelled[index]))
                        self._answer(row, habits, code, index, (notes or {}).get(path, {}))
                        yield row

        return self.sheet.format(rows())

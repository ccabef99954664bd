"""A column that names what is there: one name a row, or several in a cell.

.. code-block:: text

    image,class       photo;tags            photo,keywords
    1.jpg,cat         1.jpg;cat, dog        1.jpg,#cat #dog
    1.jpg,dog         2.jpg;sofa            2.jpg,#sofa
    2.jpg,sofa

A blank is an image that nobody labelled, ``none`` one in which nothing is. Who writes so says what there is, and of the
rest nothing: it is unknown, unless told.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import numpy as np

from sarlp.apps.spreadsheets.label_files.bad_cells import NAMING_COLUMNS
from sarlp.apps.spreadsheets.label_files.columns import Columns
from sarlp.apps.spreadsheets.label_files.named import NamedClasses
from sarlp.apps.spreadsheets.label_files.spelling import WORDS, Spelling
from sarlp.apps.spreadsheets.label_files.tables import (
    Beside,
    Changes,
    Notes,
    OfImages,
    Sheet,
    Statement,
)
from sarlp.datasets.annotation import AnnotationError
from sarlp.errors import shorten
from sarlp.io.outputs import is_number
from sarlp.labels import NEGATIVE, POSITIVE, UNKNOWN
from sarlp.names.clean_names import Spellings, clean_name

HASH = '#'  # in front of each name, where others stand between two
ONE = ''  # each cell is one name
_SEPARATORS = ('\n', ';', '|', ',')
_OF_EXIFTOOL = 'SourceFile'  # its column of images
_UNSAID = {*WORDS[UNKNOWN], '-', '–', '—'}  # a dash is what exiftool writes where there is nothing
_NOTHING = ('none', 'nothing')
_WORDS = {word for words in WORDS.values() for word in words if word and not word[0].isdigit()}
_DENIAL = re.compile(r'(?:no|not|non|kein|keine|without)[ _-]+(.+)', re.IGNORECASE)
_ROW_A_LABEL = 'Write a row a label, with columns image, class and value, whose cells say yes and no.'


class Tags(OfImages, NamedClasses):
    """A table with a column of names. The classes are those that occur, in alphabetical order.

    Args:
        sheet: the file.
        image: the column of the images.
        names: that of the names.
        rest_is_no: see :class:`~.named.NamedClasses`.
        beside: its other columns that are read.
        separator: what stands between two names in a cell; ``'#'`` where it stands in front of each, '' where a cell
            is one name; None to find it.
        unread: names of columns that are not read.

    Raises:
        AnnotationError: a name is none, or what parts them is not to be known.
    """

    form = 'tags'
    once = False  # a row may be of one label

    def __init__(
        self,
        sheet: Sheet,
        image: int,
        names: int,
        rest_is_no: bool,
        beside: Beside,
        separator: str | None = None,
        unread: Collection[str] = (),
    ) -> None:
        super().__init__(sheet.path, rest_is_no)
        self.sheet, self.image, self.names, self.beside, self._unread = sheet, image, names, beside, [*unread]
        cells = [cell for cell in _cells(sheet, names) if clean_name(cell).casefold() not in _NOTHING]
        if any(cell.startswith('[') for cell in cells):
            raise AnnotationError(
                f'{self.path}: the column {sheet.header[names]!r} has lists. Leave out what says how its names are '
                'parted, and read the file with --form imagefolder.'
            )
        self.separator = self._find_separator(cells) if separator is None else separator
        written = Counter(name for _, row in sheet.rows() for name in self._written(row) or ())
        self.spellings = _Typed(written)
        self._counts: Counter[str] = Counter()
        for name, count in written.items():
            self._counts[self.spellings[name]] += count
        self._take_classes(sorted(self._counts))
        self._check_names()

    def _find_separator(self, cells: Collection[str]) -> str:
        column = self.sheet.header[self.names]
        without = [cell for cell in cells if not cell.startswith(HASH)]
        found = [separator for separator in _SEPARATORS if any(separator in cell for cell in without)]
        if len(without) < len(cells):
            if not found:
                return HASH
            found.append(HASH)
        if len(found) > 1:
            shown = ' and '.join(map(repr, found))
            raise AnnotationError(
                f'{self.path}: in the column {column!r} {shown} may stand between two names. Say which with '
                '--separator, or write all cells in one way.'
            )
        several = None if found else _of_words_of_others(cells)
        if several is not None:
            raise AnnotationError(
                f'{self.path}: {several!r} in the column {column!r} may be one name, or several. Say which: '
                '--separator "" for one name a cell, --separator " " if a space stands between two.'
            )
        return found[0] if found else ONE

    def _check_names(self) -> None:
        """Refuse what a person writes of a name to say that it is not there, or may not be."""
        lower = {name.casefold() for name in self.classes}
        for line, row in self.sheet.rows():
            for written in self._written(row) or ():
                name = self.spellings[written]
                denied = _DENIAL.fullmatch(name)
                if name.casefold() in _WORDS:
                    said = 'is a word for a label, and no name'
                elif name.endswith('?'):
                    said = 'is a name with a doubt. Leave such names out: what is not named is unknown'
                elif denied and denied[1].casefold() in lower:
                    said = f'says that {denied[1]!r} is not there, which no name can. {_ROW_A_LABEL}'
                else:
                    continue
                place = self.sheet.place(line, self.names)
                raise AnnotationError(f'{self.path}, {place}: {written!r} {said}.'.replace('..', '.'))

    def _written(self, row: Any) -> list[str] | None:
        """The names in a row; None if it says nothing."""
        cell = self.sheet.text(row, self.names).strip()
        if not _is_said(cell):
            return None
        if clean_name(cell).casefold() in _NOTHING:
            return []
        names = [cell] if self.separator == ONE else cell.split(self.separator)
        if self.separator == HASH:
            names = [name.strip().strip(',;') for name in names]
        return [*dict.fromkeys(name.strip() for name in names if clean_name(name))]

    def settings(self) -> dict[str, Any]:
        header = self.sheet.header
        columns = {'image_column': header[self.image], 'class_column': header[self.names]}
        return {**super().settings(), **self.sheet.settings(), **columns, 'separator': self.separator}

    def place(self, line: Any) -> str:
        """Where a statement stands, for messages."""
        return self.sheet.place(line)

    def notes(self) -> list[str]:
        shown = [f'{name} ({count:,})' for name, count in self._counts.most_common()]
        lines = [f'names, and how often each is said: {len(shown):,}: {shorten(shown)}', *super().notes()]
        if self._unread:
            lines.append(f'columns that are not read: {shorten([*map(repr, self._unread)])}')
        once = [name for name in self.classes if self._counts[name] == 1]
        if once:
            lines.append(f'note: names that occur once, which may be slips: {len(once):,}: {shorten(once)}')
        return lines

    def unsaid(self, labels: Mapping[str, np.ndarray]) -> list[str]:
        if self.rest_is_no:  # an image of which nothing is named while a class is open stays blank
            labels = {image: codes for image, codes in labels.items() if (codes == POSITIVE).any()}
        return super().unsaid(labels)

    def statements(self) -> Iterator[Statement]:
        """Line, image as written, and (class id, code) of each label that is known, of each row.

        What is no in an image, where that is told, stands in its first row: a row need not name all that is there.
        """
        named: dict[str, set[str]] = {}
        if self.rest_is_no:
            for _, row in self.sheet.rows():
                if (names := self._written(row)) is not None:
                    named.setdefault(self._image(row), set()).update(self.spellings[name] for name in names)
        for line, row in self.sheet.rows():
            there = {self.spellings[name] for name in self._written(row) or ()}
            pairs = [(index, POSITIVE) for index, name in enumerate(self.classes) if name in there]
            of_image = named.pop(self._image(row), None)
            if of_image is not None:
                pairs += [(index, NEGATIVE) for index, name in enumerate(self.classes) if name not in of_image]
            yield line, self.sheet.text(row, self.image), pairs

    def _image(self, row: Any) -> str:
        return self.sheet.text(row, self.image).strip()

    def rewrite(
        self, path_of: Callable[[str], str], changes: Changes, habits: Mapping[int, str], notes: Notes | None = None
    ) -> bytes:
        """The file with some names more or less; where a cell has one, what is new gets rows at the end.

        For the arguments see :meth:`~sarlp.apps.spreadsheets.label_files.tables.Wide.rewrite`.
        Only what is there has a place, and so have notes on it, or on all where nothing is.
        """
        new = {path: [i for i, code in codes.items() if code == POSITIVE] for path, codes in changes.items()}
        between = self._between()

        def nothing_is_there(path: str) -> bool:  # not where a class is left open, of which it would say no
            return self.rest_is_no and len(changes[path]) == len(self.classes)

        def rows() -> Iterator[Any]:
            written: dict[str, str] = {}
            for _, row in self.sheet.rows():
                image = self.sheet.text(row, self.image)
                path = path_of(image)
                written.setdefault(path, image)
                if path in changes:
                    change(row, path)
                yield row
            for path in new:
                stranger = path not in written and nothing_is_there(path)
                while new[path] or stranger:
                    stranger = False
                    row = self.sheet.new_row()
                    self.sheet.change(row, self.image, self.sheet.cell(written.get(path, path)))
                    change(row, path)
                    yield row

        def change(row: Any, path: str) -> None:
            before = self._written(row) or []
            stay = [name for name in before if self._ids[self.spellings[name]] not in changes[path]]
            room = len(new[path]) if self.separator != ONE else 0 if stay else 1
            added, new[path] = new[path][:room], new[path][room:]
            said_of: Collection[int] = added
            if added or stay != before or (self._written(row) is None and nothing_is_there(path)):
                names = stay + [self.spellings.written(self.classes[index]) for index in added]
                first = HASH if self.separator == HASH else ''
                cell = first + between.join(names) if names else _NOTHING[0] if self.rest_is_no else ''
                self.sheet.change(row, self.names, self.sheet.cell(cell))
                said_of = added if names else changes[path]  # what none says is of all of them
            said = (notes or {}).get(path, {})
            if of_row := [(self.names, self.classes[index], said[index]) for index in said_of if index in said]:
                self.sheet.annotate(row, of_row)

        return self.sheet.format(rows())

    def _between(self) -> str:
        """What mostly stands between two names, with the spaces around it."""
        found = Counter(
            part
            for _, row in self.sheet.rows()
            for part in re.findall(rf'(?<=\S)\s*{re.escape(self.separator)}\s*(?=\S)', self.sheet.text(row, self.names))
            if self.separator
        )
        return found.most_common(1)[0][0] if found else ' #' if self.separator == HASH else self.separator


class _Typed(Spellings):
    """Names that are typed again in each row: those that differ in capitals alone are one, as it is written mostly.

    Args:
        written: how often each is.
    """

    def __init__(self, written: Mapping[str, int]) -> None:
        super().__init__()
        self._mostly: dict[str, str] = {}
        for name in sorted(written, key=lambda name: (-written[name], name)):
            self._mostly.setdefault(clean_name(name).casefold(), name)
        for name in written:
            self[name]

    def __missing__(self, written: str) -> str:
        mostly = self._mostly.get(clean_name(written).casefold(), written)
        name = self[written] = clean_name(mostly)
        self._first.setdefault(name, mostly.strip())
        return name

    def notes(self) -> list[str]:
        groups: dict[str, set[str]] = {}
        for written, name in self.items():
            groups.setdefault(name, set()).add(clean_name(written))
        alike = [' and '.join(sorted(group)) for group in groups.values() if len(group) > 1]
        said = f'note: names that differ only in capitals, taken for one class: {len(alike):,}: {shorten(alike)}'
        return super().notes() + [said] * bool(alike)


def column_of_names(table: Sheet, columns: Columns, image: int) -> int | None:
    """The one column that, by its name and its cells, names what is there; None if there is none, or it is not sure.

    Beside labels, or numbers that may say how sure a name is, it may be anything.
    """
    free = [column for column in columns.free if column != image]
    names = {*NAMING_COLUMNS} - ({'subject'} if _OF_EXIFTOOL not in table.header else set())  # often a patient
    naming = [column for column in free if table.header[column].lower() in names]
    if table.class_columns is not None or len(naming) != 1 or not _has_names(table, naming[0]):
        return None
    return None if any(_may_be_labels(table, column) for column in free if column != naming[0]) else naming[0]


def _is_said(cell: str) -> bool:
    return clean_name(cell).casefold() not in _UNSAID


def _cells(table: Sheet, column: int) -> dict[str, None]:
    """What is said in a column, each once."""
    return dict.fromkeys(cell for _, row in table.rows() if _is_said(cell := table.text(row, column).strip()))


def _has_names(table: Sheet, column: int) -> bool:
    spelling = Spelling()
    cells = _cells(table, column)
    labels = any(spelling[cell] is not None for cell in cells)
    lists = any(cell.startswith(('[', '{')) for cell in cells)
    return bool(cells) and not labels and not lists and not all(map(is_number, cells))


def _may_be_labels(table: Sheet, column: int) -> bool:
    spelling = Spelling()
    cells = _cells(table, column)
    return bool(cells) and all(
        spelling[cell] is not None or (is_number(cell) and 0 <= float(cell) <= 1) for cell in cells
    )


def _of_words_of_others(cells: Collection[str]) -> str | None:
    """A cell of several words, each of which other cells have, too: no sign of whether it is one name or several."""
    words = {cell: dict.fromkeys(cell.split()) for cell in cells}
    counts = Counter(word for found in words.values() for word in found)
    return next(
        (cell for cell, found in words.items() if len(found) > 1 and min(counts[word] for word in found) > 1), None
    )

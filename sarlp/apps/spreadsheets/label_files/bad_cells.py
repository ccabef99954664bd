"""Cells of a table that are no label: what to say of them, and what may be done."""

import shlex
from collections.abc import Callable, Collection

from sarlp.errors import shorten
from sarlp.names.clean_names import clean_name

_FEW = 6  # words that are named one by one; more are cells of something else

# they name what is there, if they have no labels
NAMING_COLUMNS = {
    *('class', 'class_name', 'classname', 'category', 'labelname', 'label_name', 'tag', 'label', 'klasse', 'labels'),
    *('tags', 'classes', 'categories', 'class_names', 'keyword', 'keywords', 'subject'),
}


class BadCells:
    """Those of a table, collected while it is read.

    Args:
        header: names of the columns.
        place: name of a cell by column and line.
    """

    def __init__(self, header: list[str], place: Callable[[int, int], str]) -> None:
        self._header, self._place = header, place
        self.columns: dict[int, list] = {}  # line and text of the first, and how many there are
        self._words: dict[str, list] = {}  # column and line of the first, and how many there are
        self._rows: dict[int, str] = {}  # image as written by line, of the first two
        self._like_header = True
        self._repeated = True  # in rows that have the names of the columns once more

    def add(self, column: int, line: int, cell: str, image: str) -> None:
        self.columns.setdefault(column, [line, cell, 0])[2] += 1
        word = cell.strip()
        self._repeated &= clean_name(image) in self._header
        self._like_header &= word.casefold() == self._header[column].casefold()
        if word in self._words or len(self._words) <= _FEW:
            self._words.setdefault(word, [column, line, 0])[2] += 1
        if len(self._rows) < 2:
            self._rows[line] = image

    def __bool__(self) -> bool:
        return bool(self.columns)

    def names(self) -> list[str]:
        """Of the columns that have any."""
        return [self._header[column] for column in self.columns]

    def describe(self) -> str:
        """By word, where a few words are all; else the first of each column."""
        if len(self._words) <= _FEW and len(self._words) < len(self.columns):
            found = [
                f'{word[:60]!r} ({count:,} cells, the first in {self._place(column, line)})'
                for word, (column, line, count) in self._words.items()
            ]
        else:
            found = [
                f'{self._place(column, line)}: {cell[:60]!r}'
                + (f' (and {count - 1:,} more in this column)' if count > 1 else '')
                for column, (line, cell, count) in self.columns.items()
            ]
        return shorten(found)

    def advice(self, naming: Collection[str], alone: bool, has_no: bool) -> str:
        """What may be done.

        Args:
            naming: columns that seem to name what is there instead of having labels.
            alone: whether there is no other column of labels.
            has_no: whether other cells say no.
        """
        lists = any(cell.lstrip().startswith('[') for _, cell, _ in self.columns.values())
        if naming and not lists:  # a spelling for each name would make one class of all of them
            first, *others = naming
            return (
                f'{first!r} seems to name what is there. If it does, read the file with --form tags'
                + ('.' if alone else f' --class-column {shlex.quote(first)}.')
                + (' Names of several columns go into one, parted by ;.' if others else '')
            )
        words = self._words if len(self._words) <= _FEW else {}
        told = ' '.join(map(shlex.quote, words))
        lines = []
        if self._repeated and self._like_header:
            lines.append('They are in rows that have the names of the columns once more: take these out.')
        elif len(self._rows) == 1 and len(self.columns) > 1:
            ((line, image),) = self._rows.items()
            lines.append(f'All are in one row, of {image!r}: if that is no image, but a sum, say, take the row out.')
        elif self._like_header:
            names = ' '.join(map(shlex.quote, dict.fromkeys(self.names())))
            lines.append(f'Where a cell has the name of its column for yes, add --positive {names}.')
        elif words and all(word.isdecimal() for word in words):
            lines.append(f'If they count what is there, add --positive {told}.')
        elif len(words) == 1:
            blank = '' if has_no else ', and --negative "" if a blank means no'
            lines.append(
                f'If it means yes, add --positive {told}{blank}; if it means no, --negative {told}; if neither, '
                f'--unknown {told}.'
            )
        lines.append(
            'Add a spelling with --positive, --negative or --unknown; leave out a column that is no class with '
            '--ignore-columns; --split-column and --group-column are for those of a split and of groups.'
        )
        if lists:
            lines.append('A column of lists of class names is read with --form imagefolder.')
        return ' '.join(lines)

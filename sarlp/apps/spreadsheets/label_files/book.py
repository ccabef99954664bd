"""What a kind of workbook gives, to be read and written as a sheet."""

from collections.abc import Mapping
from typing import Protocol

from sarlp.apps.spreadsheets.label_files.cells import Uncomputed, Value
from sarlp.apps.spreadsheets.label_files.merged_cells import Area, Place


class Book(Protocol):
    """One sheet of a workbook.

    Attributes:
        title: of the sheet.
        titles: of all sheets.
        others: titles of the other sheets that are shown and not blank.
        hidden: rows with something in them that are not shown.
        hidden_columns: numbers of columns that are not shown, as far as that is looked for.
        cells: what is not blank.
        merged: first and last place of each group of cells that are shown as one.
        comments: whether a cell can have one.
        filled: number of cells that say they were filled in by sarlp.
        bytes_to_write: memory that a cell takes when it is written.
    """

    title: str
    titles: list[str]
    others: list[str]
    hidden: int
    hidden_columns: set[int]
    cells: dict[Place, Value | Uncomputed]
    merged: list[Area]
    comments: bool
    filled: int
    bytes_to_write: int

    def coloured(self) -> int:
        """Number of blank cells of the sheet that have a colour."""
        ...

    def save(self, changes: Mapping[Place, Value], comments: Mapping[Place, str | None]) -> bytes:
        """The workbook with some cells changed, and everything else as it is.

        Args:
            changes: values by place.
            comments: of those that were filled in, if the kind has any; None for a mark without words.
        """
        ...

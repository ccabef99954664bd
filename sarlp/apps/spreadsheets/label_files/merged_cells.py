"""Cells of a workbook that are shown as one, of which only the first has a value."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence

Place = tuple[int, int]  # row and column, counted from 1
Area = tuple[Place, Place]  # from the first cell to the last


class MergedCells:
    """Those that touch a table.

    Args:
        areas: each group of cells.
        rows, columns: of the table, in order.
    """

    def __init__(self, areas: Iterable[Area], rows: Sequence[int], columns: Sequence[int]) -> None:
        self._areas: list[Area] = []
        self._cells: set[Place] = set()
        for (top, left), (bottom, right) in sorted(areas):
            cells = [
                (row, column)
                for row in rows[bisect_left(rows, top) : bisect_right(rows, bottom)]
                for column in columns[bisect_left(columns, left) : bisect_right(columns, right)]
            ]
            if cells:
                self._cells.update(cells)
                self._areas.append(((top, left), (bottom, right)))

    def __bool__(self) -> bool:
        return bool(self._cells)

    def __contains__(self, place: Place) -> bool:
        return place in self._cells

    def in_row(self, row: int) -> list[Area]:
        return [(first, last) for first, last in self._areas if first[0] <= row <= last[0]]

    def in_columns(self, columns: Sequence[int]) -> list[Area]:
        return [
            (first, last) for first, last in self._areas if any(first[1] <= column <= last[1] for column in columns)
        ]

"""Cells of a workbook that are shown as one, of which only the first has a value."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Place = tuple[int, int]  # row and column, counted from 1


@dataclass(frozen=True)
class Area:
    """Merged cells, from the first to the last."""

    first: Place
    last: Place


class MergedCells:
    """Those that touch a table.

    Args:
        areas: first and last place of each group of cells.
        rows, columns: of the table, in order.
    """

    def __init__(self, areas: Iterable[tuple[Place, Place]], rows: Sequence[int], columns: Sequence[int]) -> None:
        self._areas: list[Area] = []
        self._cells: set[Place] = set()
        for area in (Area(*area) for area in sorted(areas)):
            (top, left), (bottom, right) = area.first, area.last
            cells = [
                (row, column)
                for row in rows[bisect_left(rows, top) : bisect_right(rows, bottom)]
                for column in columns[bisect_left(columns, left) : bisect_right(columns, right)]
            ]
            if cells:
                self._cells.update(cells)
                self._areas.append(area)

    def __bool__(self) -> bool:
        return bool(self._cells)

    def __contains__(self, place: Place) -> bool:
        return place in self._cells

    def in_row(self, row: int) -> list[Area]:
        return [area for area in self._areas if area.first[0] <= row <= area.last[0]]

    def in_columns(self, columns: Sequence[int]) -> list[Area]:
        return [area for area in self._areas if any(area.first[1] <= column <= area.last[1] for column in columns)]

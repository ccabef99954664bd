"""Cells of workbooks: their names, and their values as the texts that a CSV file would have."""

from bisect import bisect_left
from collections.abc import Sequence
from datetime import date, datetime, time
from itertools import accumulate

from sarlp.apps.spreadsheets.label_files.merged_cells import Place

LONGEST_TEXT = 32_767  # characters of a cell of Excel
Value = str | bool | int | float | date | time


class Uncomputed:
    """In place of a value: the formula of a cell whose value was not saved with it."""


def column_letters(column: int) -> str:
    """``A`` of 1, ``AB`` of 28."""
    letters = ''
    while column:
        column, rest = divmod(column - 1, 26)
        letters = chr(65 + rest) + letters
    return letters


def cell_name(place: Place) -> str:
    return f'{column_letters(place[1])}{place[0]}'


def text_of(value: Value) -> str:
    """What a CSV file would have: ``1`` for 1.0, ``TRUE`` or ``FALSE`` for a truth value, dates as in ISO 8601."""
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, datetime) and value.time() == time():
        value = value.date()
    return value.isoformat() if isinstance(value, date | time) else str(value)


def fitting(said: Sequence[str]) -> str:
    """Notes in a row as far as they fit into a cell, and how many do not."""
    text = '; '.join(said)
    if len(text) <= LONGEST_TEXT:
        return text
    ends = [*accumulate(len(one) + 2 for one in said)]
    shown = bisect_left(ends, LONGEST_TEXT - 20)  # room for the number
    return '; '.join([*said[:shown], f'and {len(said) - shown:,} more'])

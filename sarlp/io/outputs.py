"""Whether a file may be written: nothing of a person's is replaced, only what the same command wrote before."""

import csv
import json
import os
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path

from sarlp.errors import UserError

Own = Callable[[Path], bool]


def check_output(path: str | os.PathLike, inputs: Iterable[str | os.PathLike], own: Own) -> None:
    """Refuse to write a file that is an input, or that is there and was not written by the same command.

    Args:
        path: what is to be written; it need not be there.
        inputs: files that are read, which may be missing.
        own: whether an existing file was written by the same command; see :func:`is_table` and the others.

    Raises:
        UserError: says what to do.
    """
    path = Path(path)
    if path.is_dir():
        raise UserError(f'{path}: this is a folder; give a name for the file to write')
    if not path.is_file():
        return
    if any(os.path.isfile(file) and path.samefile(file) for file in inputs):
        raise UserError(f'{path}: this file is read here, so it is not written; choose another name for the output')
    if path.stat().st_size and not own(path):
        raise UserError(
            f'{path}: there is a file of this name that is no earlier output of the same kind. It was left as it is; '
            'choose another name for the output, or move that file'
        )


def begins_with(*beginnings: str) -> Own:
    """Files whose text begins with one of these."""
    encoded = [beginning.encode() for beginning in beginnings]

    def own(path: Path) -> bool:
        with open(path, 'rb') as file:
            head = file.read(max(map(len, encoded)))
        return any(head.startswith(beginning) for beginning in encoded)

    return own


def is_table(columns: Sequence[str], numbers_after: bool = False) -> Own:
    """CSV files with these columns. With ``numbers_after`` others follow, and the first row has numbers there."""

    def own(path: Path) -> bool:
        try:
            with open(path, encoding='utf-8', newline='') as file:
                header, *rows = islice(csv.reader(file), 2)
        except (ValueError, csv.Error):  # no text, nothing in it, or no table
            return False
        if header[: len(columns)] != list(columns) or (len(header) > len(columns)) != numbers_after:
            return False
        return not numbers_after or all(is_number(cell) for row in rows for cell in row[len(columns) :])

    return own


def is_number(cell: str) -> bool:
    """Whether a text is a number, as Python reads it."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


def has_keys(*keys: str, lines: bool = False) -> Own:
    """JSON objects with all these keys; ``lines``: JSON lines whose first object has."""

    def own(path: Path) -> bool:
        try:
            with open(path, encoding='utf-8') as file:
                content = json.loads(file.readline() if lines else file.read())
        except ValueError:
            return False
        return isinstance(content, dict) and content.keys() >= {*keys}

    return own


def loads(load: Callable[[Path], object]) -> Own:
    """Files that a reader of the project takes."""

    def own(path: Path) -> bool:
        try:
            load(path)
        except UserError:
            return False
        return True

    return own

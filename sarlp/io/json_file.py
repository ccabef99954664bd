"""Strict JSON: what Python's reader passes over in silence is an error, and a file can not be too large for the memory.

Refused are the same key twice in one object (where the last one would win), NaN and Infinity, numbers too large to be
finite, bytes that are no UTF-8, nesting that Python can not follow, and what comes after the end.
"""

import json
import math
import os
from collections import Counter
from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np

LIMIT = 1 << 30  # bytes; the annotation file of a million images has a tenth of it


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """For ``object_pairs_hook``."""
    result = dict(pairs)
    if len(result) != len(pairs):
        repeated = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
        raise ValueError(f'the key {show(repeated)} is there twice in the object {show(result)}')
    return result


def no_constant(name: str) -> NoReturn:
    """For ``parse_constant``."""
    raise ValueError(f'{name} is no number of JSON')


def finite_float(text: str) -> float:
    """For ``parse_float``."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f'the number {text[:40]} is too large')
    return number


def read_json(path: str | os.PathLike, limit: int = LIMIT) -> Any:
    """Read a JSON file in UTF-8; a byte-order mark may stand in front, as editors on Windows put it.

    Args:
        path: the file.
        limit: its largest size in bytes.

    Raises:
        OSError: it can not be opened.
        ValueError: it is too large or not JSON; the message does not name the file.
    """
    with open(path, 'rb') as file:
        content = file.read(limit + 1)  # not its size beforehand, which a device or a pipe does not tell
    if len(content) > limit:
        raise ValueError(f'it has more than {limit:,} bytes')
    try:
        return json.loads(
            content.decode('utf-8-sig'),
            object_pairs_hook=unique_keys,
            parse_constant=no_constant,
            parse_float=finite_float,
        )
    except RecursionError:
        raise ValueError('too many levels of nesting') from None


def show(value: Any) -> str:
    """A value in a message, in at most 120 characters."""
    try:
        text = repr(value)
    except RecursionError:  # nested almost too deep to be read
        text = f'a nested value of type {type(value).__name__}'
    except ValueError:  # more digits than Python writes
        text = 'a number of thousands of digits'
    return text if len(text) <= 120 else text[:117] + '...'


def plain(value: Any) -> Any:
    """What strict JSON can hold: numpy's numbers and arrays as Python's, paths as text, numbers that are not finite as
    None."""
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, os.PathLike):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def rounded(score: float) -> float:
    """A score as files and answers have it: to six significant digits."""
    return float(f'{score:.6g}')


def is_deeper(value: Any, levels: int) -> bool:
    """Whether lists and objects are nested more than so many levels deep."""
    level = [value]
    for _ in range(levels):
        level = [
            item
            for holder in level
            if isinstance(holder, (dict, list))
            for item in (holder.values() if isinstance(holder, dict) else holder)
        ]
    return any(isinstance(item, (dict, list)) for item in level)

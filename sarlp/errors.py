"""Errors that whoever runs sarlp can act upon."""

import contextlib
import math
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

_LISTED = 10  # how many of many offenders a message names


class UserError(Exception):
    """Bad input, not a bug: the message names the file, what was expected, what came, and what to do.

    Tools print the message alone, without a traceback; see :func:`sarlp.commands.friendly.friendly_errors`.
    """


class UserValueError(UserError, ValueError):
    """Values of a user that do not fit each other, raised where a ValueError is what a caller in Python expects."""


class GraveWarning(UserWarning):
    """What is hardly ever meant; tools show it as ``warning: message``, and a plain UserWarning as a note."""


@contextlib.contextmanager
def plain_warnings() -> Iterator[None]:
    """Within, a warning for a person is shown without its place in the code: as a note, or as a grave one."""
    before = warnings.formatwarning

    def plain(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
    ) -> str:
        if category not in (UserWarning, GraveWarning):
            return before(message, category, filename, lineno, line)
        return f'{"note" if category is UserWarning else "warning"}: {message}\n'

    warnings.formatwarning = plain
    try:
        yield
    finally:
        warnings.formatwarning = before


def first_line(error: BaseException) -> str:
    """What an error of another library says, in one line, for a message of ours."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def shorten(items: Sequence[Any], most: int = _LISTED) -> str:
    """Name the first of many things in one line."""
    more = f' and {len(items) - most:,} more' if len(items) > most else ''
    return ', '.join(map(str, items[:most])) + more


def check_threshold(value: Any) -> float:
    """Of scores; what a person gave. Raises: UserValueError, it is no number from 0 to 1."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not 0 <= number <= 1:
        raise UserValueError(f'threshold must be a number from 0 to 1, got {value!r}')
    return number

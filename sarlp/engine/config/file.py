"""A config file, read; what is wrong in it is said by file and line."""

import math
import traceback
from collections.abc import Mapping, Set
from numbers import Number
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config

from sarlp.engine.config.options import values_in
from sarlp.errors import UserError, first_line

# of MMEngine, each with the ``filename`` that it reads
_READERS = tuple(
    function.__code__ for function in (Config._is_lazy_import, Config._file2dict, Config._parse_lazy_import)
)

_WRITTEN = Number | np.bool_ | str | bytes | Mapping | list | tuple | Set | range | None


def read_config(file: str | Path) -> Config:
    """MMEngine's ``Config.fromfile``. An error in a module that a config imports is left as it is, for its writer.

    Raises:
        UserError: the file, or one of its bases, is no Python, ends with an error, does not fit its bases, or has a
            value that the copy in the work directory could not be read with.
    """
    try:
        cfg = Config.fromfile(file)
        for key, value in values_in(cfg._cfg_dict):  # what a config imports is imported when it is looked at
            finite = not isinstance(value, float) or math.isfinite(value)
            if not finite or not (cfg._imported_names or isinstance(value, _WRITTEN)):  # those are written by name
                raise UserError(_unwritable(file, key, value))
        return cfg
    except (UserError, OSError):
        raise
    except ImportError as error:
        raise UserError(
            f'{_place(error) or file}: {first_line(_first_of(error))}. What a config imports must be installed, or lie '
            'in a folder that PYTHONPATH names'
        ) from error
    except Exception as error:  # whatever a config raises
        _close(error)
        place = _place(error)
        if place is None and not _is_of_mmengine(error):
            raise
        if 'is already registered in' in first_line(error):
            raise UserError(
                f'{place or file}: {first_line(error)}. Give the class another name, or say that it takes the place of '
                'that one: @MODELS.register_module(force=True), or the registry that it is in'
            ) from error
        reason = error.msg if isinstance(error, SyntaxError) else first_line(error)
        raise UserError(f'{place or file}: {type(error).__name__}: {reason}; correct the config') from error


def _unwritable(file: str | Path, key: str, value: Any) -> str:
    if isinstance(value, type) or callable(value):
        instead = f"write its name, '{getattr(value, '__name__', 'Name')}'"
    else:
        instead = 'write a large number' if isinstance(value, float) else f'write str({value!r})'
    return (
        f'{file}: {key} is {value!r}, which the copy of the config in the work directory can not hold: it has text, '
        f'numbers, lists and dicts; {instead}'
    )


def _close(error: BaseException) -> None:
    """MMEngine leaves its copy of the file open where reading ends with an error."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_code in _READERS and 'temp_config_file' in frame.f_locals:
            frame.f_locals['temp_config_file'].close()


def _place(error: BaseException) -> str | None:
    """The config that was being read, and the line; None where a module was that a config imports."""
    frames = [*traceback.walk_tb(error.__traceback__)]
    read = [frame.f_locals['filename'] for frame, _ in frames if frame.f_code in _READERS]
    if not read:
        return None
    lines = [line for frame, line in frames if frame.f_code.co_filename == read[-1]]
    if isinstance(error, SyntaxError) and error.lineno is not None:
        lines.append(error.lineno)
    return f'{read[-1]}, line {lines[-1]}' if lines else str(read[-1])


def _is_of_mmengine(error: BaseException) -> bool:
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return frame.f_globals.get('__name__', '').startswith('mmengine.')


def _first_of(error: BaseException) -> BaseException:
    """The one that began it: MMEngine raises others of it, which list the folders that were searched."""
    while error.__context__ is not None:
        error = error.__context__
    return error

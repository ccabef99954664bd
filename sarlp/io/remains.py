"""Temporary files: told apart from the remains of processes that were killed while they wrote, which are removed.

Whoever writes a temporary file holds a lock on it, which the system takes back when the process ends, however it does.
One that nobody holds is a remainder, as far as locks can be trusted: within one system, whose name is in that of the
file. What another system may be writing, on a disk of both, has to be a day old, too.
"""

import contextlib
import os
import re
import secrets
import time
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

try:
    import fcntl
except ImportError:  # Windows, where a remainder can not be told
    fcntl = None  # type: ignore[assignment]

_DIGITS = '0123456789abcdefghijklmnopqrstuvwxyz'
_NAME = re.compile(r'\..+\.([0-9a-z]{4})[0-9a-z]{4}\.tmp', re.DOTALL)
_ABANDONED = 86_400  # seconds
_tidied: set[str] = set()


def open_temporary(path: Path, mode: str, **options: Any) -> tuple[IO, Path]:
    """A new file beside ``path``, open for writing and locked, and its place; remains in the folder are removed first.

    Args:
        path: of the file that it is to become.
        mode: ``'x'`` or ``'xb'``.
        **options: of :func:`open`.
    """
    tidy(path.parent)
    while True:
        # not tempfile: its files are closed to everyone else, and the permission would stay after the renaming
        place = path.with_name(f'.{path.name}.{_system()}{_word()}.tmp')
        try:
            file = open(place, mode, **options)  # noqa: SIM115 - whoever asks does
        except FileExistsError:
            continue
        if _hold(file, place):
            return file, place
        file.close()


def tidy(folder: Path) -> None:
    """Remove what processes that were killed have left in a folder; this process looks at each but once."""
    key = os.path.abspath(folder)
    if fcntl is None or key in _tidied:
        return
    _tidied.add(key)
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            name = _NAME.fullmatch(entry.name)
            if name is None or not entry.is_file(follow_symlinks=False):
                continue
            with contextlib.suppress(OSError), open(entry.path, 'r+b') as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if name[1] == _system() or time.time() - os.fstat(file.fileno()).st_mtime > _ABANDONED:
                    os.unlink(entry.path)


def _hold(file: IO, place: Path) -> bool:
    """Lock a new file; False where it was taken for a remainder, and removed, before."""
    if fcntl is None:
        return True
    with contextlib.suppress(OSError):  # of a file system without locks, where nobody else has one either
        fcntl.flock(file, fcntl.LOCK_EX)
    try:
        return os.path.samestat(os.stat(place), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


@lru_cache
def _system() -> str:
    """Of this system since it was started, the same in its containers; where it does not say, of this process alone."""
    try:
        number = int(Path('/proc/sys/kernel/random/boot_id').read_text('ascii').strip().replace('-', ''), 16)
    except (OSError, ValueError):
        return _word()
    return ''.join(_DIGITS[number // 36**place % 36] for place in range(4))


def _word() -> str:
    return ''.join(secrets.choice(_DIGITS) for _ in range(4))

"""Writing files so that a killed process leaves none half-written."""

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import IO


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike, mode: str = 'w', newline: str = '\n') -> Iterator[IO]:
    """Write a file so that its name holds either the whole of it or what was there before.

    The content goes to a temporary name in the same folder, to the disk, and then takes the name over.

    Args:
        path: the file; its folder is made.
        mode: ``'w'`` for text in UTF-8 or ``'wb'`` for bytes.
        newline: as in :func:`open`, of a text file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # not tempfile: its files are closed to everyone else, and the permission would stay after the renaming
    temporary = path.with_name(f'.{path.name}.{secrets.token_hex(4)}.tmp')
    try:
        text = {} if 'b' in mode else {'encoding': 'utf-8', 'newline': newline}
        with open(temporary, mode.replace('w', 'x'), **text) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise

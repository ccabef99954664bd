"""Writing files so that a killed process leaves none half-written."""

import contextlib
import errno
import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from sarlp.errors import UserError
from sarlp.io.remains import open_temporary

try:
    import fcntl
except ImportError:  # Windows, where a second process is not kept out
    fcntl = None  # type: ignore[assignment]


@contextlib.contextmanager
def half_written(temporary: Path, path: str | os.PathLike) -> Iterator[None]:
    """Delete what was written of a file where it can not be finished, which on a full disk would take the room of the
    next attempt; an error of the system without a name, as that of a full disk, has that of the file."""
    try:
        yield
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = os.fspath(path)
        raise


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike, mode: str = 'w', newline: str = '\n', sync: bool = True) -> Iterator[IO]:
    """Write a file so that its name holds either the whole of it or what was there before.

    The content goes to a temporary name in the same folder, to the disk, and then takes the name over. What processes
    that were killed before that have left in the folder is removed (:mod:`sarlp.io.remains`).

    Args:
        path: the file; its folder is made.
        mode: ``'w'`` for text in UTF-8 or ``'wb'`` for bytes.
        newline: as in :func:`open`, of a text file.
        sync: wait for the disk. Without it a power cut may leave a file in part; for files that can tell and be made
            again.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    text: dict[str, Any] = {} if 'b' in mode else {'encoding': 'utf-8', 'newline': newline}
    file, temporary = open_temporary(path, mode.replace('w', 'x'), **text)
    with half_written(temporary, path), file:
        yield file
        file.flush()
        if sync:
            os.fsync(file.fileno())
        renamed = False
        if fcntl is not None:  # while it is locked, so that nobody takes it for a remainder
            with contextlib.suppress(PermissionError):  # of a file system that renames nothing that is open
                os.replace(temporary, path)
                renamed = True
        if not renamed:
            file.close()
            os.replace(temporary, path)
        if sync:
            sync_folder(path.parent)


def sync_folder(path: str | os.PathLike) -> None:
    """Bring the names in a folder to the disk, where the system can: a renamed file otherwise has its old name back
    after a power cut."""
    if hasattr(os, 'O_DIRECTORY'):
        descriptor = os.open(path, os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def keep_others_out(file: IO, message: str) -> None:
    """Let no other process write a file until it is closed. Raises: UserError with this message, another is at it."""
    if fcntl is None:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(message) from None


@dataclass
class _Blocks:
    """Those of :func:`only_process` that this process is in, of one file."""

    files: list[IO] = field(default_factory=list)
    inside: int = 0


_BLOCKS: dict[str, _Blocks] = {}  # by path


@contextlib.contextmanager
def only_process(path: str | os.PathLike, message: str) -> Iterator[None]:
    """Within the block no other process is in a block of the same file, which is made, and stays, empty.

    Unlike with :func:`keep_others_out` the workers that a process forks do not hold on to it when that process is
    killed, and blocks of one process do not keep each other out; the last of them lets others in. Where a file system
    knows no locks, nobody is kept out.

    Raises:
        UserError: with this message, another process is.
    """
    if fcntl is None:
        yield
        return
    file = open(path, 'a')  # noqa: SIM115 - to close it lets others in, whichever block of this process opened it
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            file.close()
            raise UserError(message) from None
    blocks = _BLOCKS.setdefault(os.path.realpath(path), _Blocks())
    blocks.files.append(file)
    blocks.inside += 1
    try:
        yield
    finally:
        blocks.inside -= 1
        while not blocks.inside and blocks.files:
            blocks.files.pop().close()


def sha256_of(stream: IO[bytes]) -> str:
    """In hexadecimal digits, of what is left to read."""
    digest = hashlib.sha256()
    while block := stream.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def sha256_of_file(path: str | os.PathLike) -> str:
    """In hexadecimal digits."""
    with open(path, 'rb') as file:
        return sha256_of(file)


def content_digest(path: str | os.PathLike) -> str:
    """By BLAKE2b, which is faster than SHA-256, in 32 hexadecimal digits: what kept tokens are named by."""
    with open(path, 'rb') as file:
        return hashlib.blake2b(file.read(), digest_size=16).hexdigest()


def digest_of_contents(paths: Iterable[str | os.PathLike]) -> str:
    """In hexadecimal digits, of what is in files, in this order; one that can not be read counts as such."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            digest.update(content_digest(path).encode())
        except OSError:
            digest.update(b'unread')
    return digest.hexdigest()

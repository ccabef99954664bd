"""The folder that holds a completion, from run to run."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sarlp.errors import UserError
from sarlp.io.files import atomic_write, keep_others_out
from sarlp.io.json_file import read_json

RECORD, LOCK = 'complete.json', 'complete.lock'
WRITING = 'writing'  # in the record: what is about to have its name
VERSION = 2  # 1: with the paths of photographs and settings, so that what was moved was something else
_LASTING = {RECORD, LOCK, 'tokens'}  # tokens are of the photographs alone


class CompletionFolder:
    """What one command wrote, so that the same command goes on, and nothing of a person's is replaced.

    Args:
        path: the folder; it need not be there.

    Attributes:
        changed: of :meth:`begun`, keys of ``made_of`` that are not as they were; ``'version'`` alone, where an earlier
            version of sarlp wrote what is there.

    Raises:
        UserError: there is something else.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = Path(path).resolve()  # the same from wherever it is called: records and models name it
        self._record: dict[str, Any] = {}
        self.changed: list[str] = []
        if self.path.is_dir():
            if (self.path / RECORD).is_file():
                self._record = self._read()
            elif any(file.name != LOCK for file in self.path.iterdir()):
                raise UserError(
                    f'{self.path}: this folder holds files, and no earlier completion. They were left as they are; '
                    'choose another folder with --out'
                )
        elif self.path.exists():
            raise UserError(f'{self.path}: this is a file; choose a folder with --out')

    def _read(self) -> dict[str, Any]:
        try:
            record = read_json(self.path / RECORD)
        except (OSError, ValueError) as error:
            raise UserError(f'{self.path / RECORD}: can not be read ({error}); choose another --out') from None
        if not isinstance(record, dict) or record.get('version') not in (1, VERSION):
            raise UserError(f'{self.path / RECORD}: is of another version; choose another --out')
        return record

    @contextmanager
    def begun(self, made_of: Mapping[str, Any]) -> Iterator[Path | None]:
        """Go on with what is there, if it was made of the same; else move it aside. Meanwhile nobody else does.

        Args:
            made_of: what the results depend on, as JSON has it, and no place where it lies: the folder, and what it was
                made of, may be moved.

        Yields:
            Where earlier results went; None if there were none of another kind.

        Raises:
            UserError: another process is at it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with open(self.path / LOCK, 'ab') as lock:
            keep_others_out(
                lock, f'{self.path}: another process is completing into it; wait for it, or choose another --out'
            )
            if (self.path / RECORD).is_file():  # it may have come since
                self._record = self._read()
            yield self._begin(json.loads(json.dumps(made_of)))

    def _begin(self, made_of: dict[str, Any]) -> Path | None:
        moved = None
        before = self._record.get('made_of', made_of)
        self.changed = [name for name in made_of if before.get(name) != made_of[name]]
        if self._record.get('version', VERSION) != VERSION:
            self.changed = ['version']
        if self.changed:
            there = [file for file in self.path.iterdir() if file.name not in _LASTING and not _is_moved(file)]
            if there:
                number = 1 + max([int(file.name[8:]) for file in self.path.iterdir() if _is_moved(file)], default=0)
                moved = self.path / f'earlier_{number}'
                moved.mkdir()
                for file in there:
                    file.rename(moved / file.name)
            self._record = {}
        if not self._record:
            self._write({'version': VERSION, 'made_of': made_of, 'written': {}})
        return moved

    def write(self, name: str, write: Callable[[Path], object]) -> Path:
        """Write a file that a person may go on with: one that was changed since stays, and the new one gets a number.

        What it will be is on record before it has its name, so that a process that is killed on the way leaves nothing
        that the next one takes for a person's.

        Args:
            name: of the file.
            write: writes it to a path of the same suffix.

        Returns:
            Its path.
        """
        stem, suffix = os.path.splitext(name)
        number, path = 1, self.path / name
        while path.exists() and not self._is_own(path):
            number += 1
            path = self.path / f'{stem}_{number}{suffix}'
        unnamed = self.path / f'.unnamed{suffix}'  # of a process that was killed, too: nobody else is in the folder
        write(unnamed)
        digest = _digest(unnamed)
        self._write({**self._record, WRITING: {path.name: digest}})  # until it has its name, the one before counts, too
        os.replace(unnamed, path)
        written = {**self._record['written'], path.name: digest}
        self._write({**self._record, 'written': written, WRITING: {}})
        return path

    def _is_own(self, path: Path) -> bool:
        return _digest(path) in [self._record.get(key, {}).get(path.name) for key in ('written', WRITING)]

    def _write(self, record: dict[str, Any]) -> None:
        with atomic_write(self.path / RECORD) as file:
            file.write(json.dumps(record, ensure_ascii=False, indent=1) + '\n')
        self._record = record


def _is_moved(file: Path) -> bool:
    return file.name.startswith('earlier_') and file.name[8:].isdigit()


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()

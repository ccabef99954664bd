"""The decisions of a reviewer, each on disk before it is acknowledged.

A log in JSON lines that is only ever appended to::

    {"image": "a/1.jpg", "class": "cat", "decision": "positive", "time": "2026-11-23T20:15:02+00:00"}
    {"image": "a/1.jpg", "class": "cat", "decision": null, "undo": true, "time": "2026-11-23T20:15:09+00:00"}

The last line of an image and class holds; null says that nothing is decided. A line that undoes names what it goes back
to, so the log is replayed without knowing more.
"""

import json
import os
import threading
import warnings
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Any, NamedTuple

from sarlp.apps.completion import record_path
from sarlp.errors import UserError
from sarlp.io.files import keep_others_out, sync_folder
from sarlp.io.json_file import finite_float, no_constant, show, unique_keys
from sarlp.labels import CODES, DECISIONS

NAMES: Mapping[int | None, str | None] = {None: None, **{code: name for code, name in DECISIONS.items()}}
_KEYS = {'image', 'class', 'decision', 'time'}

Pair = tuple[str, str]  # image, name of the class


class Undone(NamedTuple):
    """What a decision was made on, and what holds for it again."""

    pair: Pair
    decision: int | None


def log_path(csv_file: str | os.PathLike) -> Path:
    """The log of decisions on a ``recovered.csv``: ``recovered.review.jsonl``."""
    return record_path(csv_file).with_suffix('.review.jsonl')


class DecisionLog:
    """The log, open for reading and, unless ``read_only``, for writing by this process alone.

    Methods may be called by several threads at once.

    Args:
        path: the file; it is made.
        read_only: leave it as it is, and let another process write.

    Attributes:
        decided: 1 positive, 0 negative, -1 undecided by image and class; without those on which nothing is decided.

    Raises:
        UserError: another process writes it, or a line before the last is none of a log. (A last line without an end
            was being written when the process was killed, and acknowledged to nobody: it is cut off with a warning.)
    """

    def __init__(self, path: str | os.PathLike, read_only: bool = False):
        self.path = Path(path)
        self.decided: dict[Pair, int] = {}
        self._done: list[Undone] = []
        self._lock = threading.Lock()
        self._file = None
        self._broken: str | None = None
        self._end = 0
        if read_only and not self.path.exists():
            return
        # without a buffer, so that a write that failed is not tried again at closing
        file = open(self.path, 'rb' if read_only else 'ab+', buffering=0)  # noqa: SIM115  held as long as the log
        try:
            if not read_only:
                keep_others_out(
                    file,
                    f'{self.path}: another review of this file is running and writes to it. Use that one, or end it '
                    'first.',
                )
            file.seek(0)
            self._end = self._replay(file.read(), cut=not read_only)
            if not read_only:
                file.truncate(self._end)
                os.fsync(file.fileno())
                sync_folder(self.path.parent)
        except BaseException:
            file.close()
            raise
        if read_only:
            file.close()
        else:
            self._file = file

    @property
    def undoable(self) -> int:
        """Number of decisions that can be undone one after another."""
        return len(self._done)

    def snapshot(self) -> tuple[dict[Pair, int], int]:
        """What is decided now, and the length of the log in bytes."""
        with self._lock:
            return dict(self.decided), self._end

    def decide(self, pair: Pair, decision: int | None) -> None:
        """Returns once the decision, or None to take it back, is on disk.

        Raises:
            OSError: it is not, and what was decided before holds.
        """
        with self._lock:
            before = self.decided.get(pair)
            if before == decision:
                return
            self._append(pair, decision)
            self._done.append(Undone(pair, before))
            self._set(pair, decision)

    def undo(self, undoable: int) -> Undone | None:
        """Take back the last decision that is not taken back yet, of whichever label.

        Args:
            undoable: as whoever asks knows it. With another number nothing happens: the answer to an undo may have
                been lost, or somebody else decided in the meantime.

        Raises:
            OSError: it is not on disk, and the decision holds.
        """
        with self._lock:
            if not self._done or undoable != len(self._done):
                return None
            last = self._done[-1]
            self._append(*last, undo=True)
            self._done.pop()
            self._set(*last)
            return last

    def close(self) -> None:
        """Let others write."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None

    def __enter__(self) -> 'DecisionLog':
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def _set(self, pair: Pair, decision: int | None) -> None:
        if decision is None:
            self.decided.pop(pair, None)
        else:
            self.decided[pair] = decision

    def _append(self, pair: Pair, decision: int | None, undo: bool = False) -> None:
        file = self._file
        if file is None:
            raise OSError(f'{self.path}: closed, or open for reading only')
        if self._broken is not None:
            raise OSError(f'{self.path}: {self._broken}; start the review again once the disk is in order')
        content: dict[str, Any] = {'image': pair[0], 'class': pair[1], 'decision': NAMES[decision]}
        content |= {'undo': True} if undo else {}
        content['time'] = datetime.now(timezone.utc).isoformat(timespec='seconds')
        line = (json.dumps(content, ensure_ascii=False) + '\n').encode()
        try:
            written = file.write(line)
            if written != len(line):  # a disk that is full takes a part
                raise OSError(f'{self.path}: {written} of {len(line)} bytes could be written; is the disk full?')
            os.fsync(file.fileno())
        except OSError as error:
            self._take_back(file, error)
            raise
        self._end += len(line)

    def _take_back(self, file: IO[bytes], error: OSError) -> None:
        """What was refused must not come up again at the next start."""
        try:
            file.truncate(self._end)
            os.fsync(file.fileno())
        except OSError:
            self._broken = f'writing failed ({error}), and what was written could not be removed'

    def _replay(self, content: bytes, cut: bool) -> int:
        """Returns the number of bytes that hold whole lines."""
        *lines, rest = content.split(b'\n')
        for number, line in enumerate(lines, 1):
            try:
                pair, decision, undo = _parse(line)
            except (ValueError, RecursionError) as error:
                raise UserError(
                    f'{self.path}, line {number}: expected a decision of the review, found {show(line)} ({error}). '
                    'Put the line in order, or remove it if that decision may be lost.'
                ) from None
            if undo and self._done:
                self._done.pop()
            elif not undo:
                self._done.append(Undone(pair, self.decided.get(pair)))
            self._set(pair, decision)
        if rest and cut:
            warnings.warn(
                f'{self.path}: the last line has no end, as the server was killed while writing it. That decision was '
                f'not acknowledged and is dropped: {show(rest)}',
                stacklevel=3,
            )
        return len(content) - len(rest)


def _parse(line: bytes) -> tuple[Pair, int | None, bool]:
    content = json.loads(
        line.decode(), object_pairs_hook=unique_keys, parse_constant=no_constant, parse_float=finite_float
    )
    if not isinstance(content, dict) or not _KEYS <= content.keys() <= _KEYS | {'undo'}:
        raise ValueError(f'the keys must be {", ".join(sorted(_KEYS))}')
    image, name, decision = content['image'], content['class'], content['decision']
    if not isinstance(image, str) or not isinstance(name, str):
        raise ValueError('image and class must be texts')
    if decision is not None and (not isinstance(decision, str) or decision not in CODES):
        raise ValueError(f'the decision must be {", ".join(CODES)} or null')
    if content.get('undo', True) is not True:
        raise ValueError('undo must be true or left out')
    return (image, name), None if decision is None else CODES[decision], 'undo' in content

"""The decisions of reviewers, each on disk before it is acknowledged.

A log in JSON lines that is only ever appended to. A line is an answer, to one label or to a page of them, or takes one
back::

    {"image": "a/1.jpg", "class": "cat", "decision": "positive", "answer": 1, "by": "k3", "time": ...}
    {"labels": [{"image": "a/2.jpg", "class": "cat", "decision": "negative"}, ...], "answer": 2, "by": "w7", ...}
    {"image": "a/1.jpg", "class": "cat", "decision": null, "by": "k3", "undo": 1, "time": ...}

The last line of an image and class holds; null says that nothing is decided. A line that undoes names what it goes back
to, so what holds is known without knowing more.
"""

import os
import threading
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from sarlp.apps.completion import record_path
from sarlp.apps.review.history import Held, History
from sarlp.apps.review.log_line import Line, Pair
from sarlp.errors import UserError
from sarlp.io.files import keep_others_out, sync_folder
from sarlp.io.json_file import show


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
        self._history = History()
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

    def held(self, pair: Pair) -> Held:
        """What is decided on a label, and by which answer."""
        with self._lock:
            return self._history.held(pair)

    def snapshot(self) -> tuple[dict[Pair, int], int]:
        """What is decided now, and the length of the log in bytes."""
        with self._lock:
            return dict(self.decided), self._end

    def undoable(self, by: str | None = None) -> int:
        """The number of the answer that an undo of a person takes back; 0 if there is none."""
        with self._lock:
            return self._history.undoable(by)

    def decide(self, decisions: Mapping[Pair, int | None], by: str | None = None) -> None:
        """Returns once the decisions, None to take one back, are on disk, all of them, as one answer.

        What is decided already is left out, and is no answer.

        Args:
            decisions: by label.
            by: who answers.

        Raises:
            OSError: they are not, and what was decided before holds.
        """
        with self._lock:
            changes = {pair: code for pair, code in decisions.items() if self.decided.get(pair) != code}
            if changes:
                self._append(Line(changes, self._history.last + 1, by))

    def undo(self, undoable: int, by: str | None = None) -> dict[Pair, int | None] | None:
        """Take back a person's last answer that is not taken back yet, of whichever labels.

        Labels that somebody else has answered again since keep that.

        Args:
            undoable: as whoever asks knows it. With another number nothing happens: the answer to an undo may have
                been lost.
            by: who asks.

        Returns:
            What holds again, by label; None where nothing happened.

        Raises:
            OSError: it is not on disk, and the answer holds.
        """
        with self._lock:
            if not undoable or undoable != self._history.undoable(by):
                return None
            back = self._history.taken_back(undoable)
            self._append(Line(back, by=by, undo=undoable))
            return back

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

    def _apply(self, line: Line) -> None:
        self._history.apply(line)
        for pair in line.decisions:
            decision = self._history.held(pair).decision
            if decision is None:
                self.decided.pop(pair, None)
            else:
                self.decided[pair] = decision

    def _append(self, what: Line) -> None:
        file = self._file
        if file is None:
            raise OSError(f'{self.path}: closed, or open for reading only')
        if self._broken is not None:
            raise OSError(f'{self.path}: {self._broken}; start the review again once the disk is in order')
        self._require_it_is_there(file)
        line = what.encode()
        try:
            written = file.write(line)
            if written != len(line):  # a disk that is full takes a part
                raise OSError(f'{self.path}: {written} of {len(line)} bytes could be written; is the disk full?')
            os.fsync(file.fileno())
        except OSError as error:
            self._take_back(file, error)
            raise
        self._end += len(line)
        self._apply(what)

    def _require_it_is_there(self, file: IO[bytes]) -> None:
        """To a file that has no name any more much can be written, and nobody will read it."""
        try:
            is_there = os.path.samestat(os.stat(self.path), os.fstat(file.fileno()))
        except FileNotFoundError:
            is_there = False
        if not is_there:
            raise OSError(
                f'{self.path}: it was removed or replaced while the review was running, so nothing is saved any more; '
                'put it back, or start the review again, which goes on from the file that is there'
            )

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
                self._apply(Line.decode(line))
            except (ValueError, RecursionError) as error:
                raise UserError(
                    f'{self.path}, line {number}: expected a decision of the review, found {show(line)} ({error}). '
                    'Put the line in order, or remove it if that decision may be lost.'
                ) from None
        if rest and cut:
            warnings.warn(
                f'{self.path}: the last line has no end, as the server was killed while writing it. That decision was '
                f'not acknowledged and is dropped: {show(rest)}',
                stacklevel=3,
            )
        return len(content) - len(rest)

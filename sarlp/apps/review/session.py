"""One review: the labels, what is known beside them, the decisions, and what comes of them."""

import os
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sarlp.apps.completion import Record, read_recovered, read_suspects, record_path, suspects_path, write_completed
from sarlp.apps.completion.record import HEADER, Recovered, Suspect, write_table
from sarlp.apps.review.decisions import DecisionLog, log_path
from sarlp.apps.review.known import Answered, answered_since, beside, labels_now
from sarlp.apps.review.learned_file import Kept, Point, read_learned, write_learned
from sarlp.apps.review.log_line import Pair
from sarlp.apps.review.queue import ReviewQueue
from sarlp.apps.review.training_command import training_command
from sarlp.errors import UserError
from sarlp.io.outputs import check_output, is_table
from sarlp.labels import DECISIONS, POSITIVE, UNKNOWN

if TYPE_CHECKING:  # to learn takes torch, which an export does not
    from sarlp.apps.review.learning import Learned


class Known(NamedTuple):
    """A label of an image that is not in question: ``label`` 1 / 0, and whether the reviewer decided it."""

    cls: str
    label: int
    reviewed: bool


class Exported(NamedTuple):
    """The files by the names of :func:`~sarlp.apps.completion.write_completed` and its notes, the command of the next
    training, the number of labels that came from the reviewer and from the model, and the number of decisions that the
    model had learnt from in the review."""

    files: dict[str, Path]
    command: str
    reviewed: int
    suggested: int
    answers: int
    notes: tuple[str, ...]


class Answer(NamedTuple):
    """An answer to an item, by its index: 1 / 0 / -1, or None to take one back; and the number of the answer to it that
    whoever answers knows of, 0 for none (see :class:`~sarlp.apps.review.history.Held`)."""

    item: int
    decision: int | None
    seen: int


class Conflict(UserError):
    """Labels were answered by somebody else meanwhile. Nothing of what was to be saved is saved.

    Attributes:
        items: their indices.
    """

    def __init__(self, items: Sequence[int]):
        super().__init__(
            f'not saved: labels were answered by somebody else meanwhile, {len(items)} of them; see what was decided'
        )
        self.items = items


class Review:
    """The review of a ``recovered.csv``.

    Args:
        csv_file: the table; its record, suspects and log of decisions lie beside it.
        read_only: decide nothing, so that another process may.

    Attributes:
        record: of the completion.
        queue: what is to be reviewed.
        log: the decisions on disk.
        learning: whether a learner renews the queue; see :class:`~sarlp.apps.review.learner.Learner`.
        learning_status: how it stands with that, or why it does not, in one line.
        on_decision: called with the number of labels that were decided, or taken back, together.
        curve: blanks filled after so many decisions, at the beginning and at each renewal.

    Raises:
        UserError: a file is missing or damaged, or another process reviews it.
    """

    def __init__(self, csv_file: str | os.PathLike, read_only: bool = False):
        self.csv_file = Path(csv_file)
        self.record = Record.read(record_path(csv_file))
        recovered = read_recovered(csv_file)
        suspects = read_suspects(suspects_path(csv_file)) if suspects_path(csv_file).exists() else []
        in_question: dict[str, set[str]] = {}
        questions: list[Recovered | Suspect] = [*recovered, *suspects]
        self.known_missing: str | None = None
        self._answered = Answered()
        now: dict[str, np.ndarray] = {}
        try:
            now = labels_now(self.record)
            self._answered = answered_since(self.record, now, questions)
        except UserError as error:  # context only; the review goes on without
            self.known_missing = str(error)
        for row in questions:
            of_image = in_question.setdefault(row.image, set())
            if (row.image, row.cls) not in self._answered.in_annotations:
                of_image.add(row.cls)
        self._known = beside(self.record, now, in_question)
        for note in () if read_only else self._answered.notes:  # an export has words of its own
            warnings.warn(note, stacklevel=2)
        # a suspect is known, too
        positives = Counter(suspect.cls for suspect in suspects if suspect.label == 'positive')
        for labels in self._known.values():
            positives.update(self.record.classes[index] for index in np.flatnonzero(labels == POSITIVE))
        try:
            self.queue = ReviewQueue(recovered, suspects, self.record.classes, positives, self._groups(in_question))
        except UserError as error:
            raise UserError(f'{csv_file}: {error}; write it anew by sarlp recover') from None
        self.queue.leave_out([*self._answered.in_annotations, *self._answered.in_source])
        self.log = DecisionLog(log_path(csv_file), read_only)
        self.learning, self.learning_status = False, 'The review does not learn: that is switched off.'
        self.on_decision: Callable[[int], None] = lambda labels: None
        self.curve = [Point(0, self.queue.blanks()[0])]
        strangers = 0
        for pair, decision in self.log.decided.items():
            index = self.queue.index_of(pair)
            if index is None:
                strangers += 1
            else:
                self.queue.set_decision(index, decision)
                self.queue.look_at(index)
        if strangers:
            warnings.warn(
                f'{self.log.path}: {strangers:,} decisions are on labels that {self.csv_file.name} does not list (any '
                'more). They stay in the log and are not exported.',
                stacklevel=2,
            )
        self._lock = threading.Lock()
        self._kept = read_learned(self.csv_file, self.log.path)
        if self._kept is not None:
            self.curve = [*self._kept.curve]
            self._renew_queue(self._kept)
        else:
            self.queue.sort()

    def _groups(self, images: Mapping[str, set[str]]) -> dict[str, str]:
        try:
            return {image: self.record.group_of(image) for image in images}
        except (UserError, OSError):  # the annotation files are not there; the review goes on without
            return {}

    @property
    def learnt_from(self) -> int:
        """Number of decisions that the present probabilities were learnt from."""
        return 0 if self._kept is None else self._kept.answers

    @property
    def learnt_bytes(self) -> int:
        """The part of the log that these are."""
        return 0 if self._kept is None else self._kept.log_bytes

    def snapshot(self) -> tuple[dict[Pair, int], int]:
        """See :meth:`DecisionLog.snapshot`."""
        return self.log.snapshot()

    def renew(self, image_ids: list[str], learned: 'Learned', log_bytes: int) -> None:
        """Take what was learnt from the first ``log_bytes`` of the log, and keep it on disk.

        What is decided, and what was looked at, stays as it is and where it is.

        Raises:
            OSError: it is not on disk; the next start learns it again.
        """
        kept = Kept(
            image_ids,
            learned.probabilities,
            learned.decisions,
            learned.calibration,
            learned.answers,
            log_bytes,
            self.curve,
        )
        self._renew_queue(kept)
        self.curve.append(self.point())
        self._kept = kept
        write_learned(kept, self.csv_file, self.log.path)

    def _renew_queue(self, kept: Kept) -> None:
        self.queue.renew(*kept.of(self.queue.items))

    def point(self) -> Point:
        """Of the curve, now."""
        return Point(self.queue.reviewed(), self.queue.blanks()[0])

    @property
    def out_dir(self) -> Path:
        """Where an export goes unless told otherwise."""
        return self.csv_file.with_name(f'{self.csv_file.stem}_reviewed')

    def image_path(self, image: str) -> Path:
        """The file of an image.

        Raises:
            UserError: it is outside the folder of the images, also by way of a link.
        """
        root = self.record.img_root.resolve()
        path = (root / image).resolve()
        if not path.is_relative_to(root):
            raise UserError(f'{image}: it leads out of the folder of the images, {root}')
        return path

    def known(self, index: int) -> list[Known]:
        """The labels of an item's image that are known or decided, without its own, in the order of the classes."""
        item = self.queue.items[index]
        result = {}
        labels = self._known.get(item.image)
        if labels is not None:
            for cls in np.flatnonzero(labels != UNKNOWN):
                result[self.record.classes[cls]] = Known(self.record.classes[cls], int(labels[cls]), False)
        for other in self.queue.of_image(item.image):
            row, decision = self.queue.items[other], self.queue.decision(other)
            if decision is None and row.pair not in self._answered.in_annotations:
                decision = row.label
            if decision == UNKNOWN:  # decided here, whatever is known elsewhere
                result.pop(row.cls, None)
            elif decision is not None:
                result[row.cls] = Known(row.cls, decision, self.queue.decision(other) is not None)
        result.pop(item.cls, None)
        return [result[name] for name in self.record.classes if name in result]

    def decide(self, index: int, decision: int | None) -> None:
        """Whatever was decided before; returns once it is on disk, see :meth:`DecisionLog.decide`."""
        with self._lock:
            self._save({index: decision}, None)
        self.on_decision(1)

    def answer(self, answers: Sequence[Answer], by: str | None) -> None:
        """Save all answers or none; returns once they are on disk, see :meth:`DecisionLog.decide`.

        The same answers of the same person a second time are no others: the first reply may have been lost.

        Args:
            answers: to different items.
            by: who answers; None for nobody in particular.

        Raises:
            Conflict: items were answered by somebody else since they were seen.
        """
        with self._lock:
            held = {one: self.log.held(self.queue.items[one.item].pair) for one in answers}
            conflicts = [
                one.item
                for one, now in held.items()
                if now.answer != one.seen and (by is None or (now.by, now.decision) != (by, one.decision))
            ]
            if conflicts:
                raise Conflict(conflicts)
            self._save({one.item: one.decision for one in answers}, by)
        self.on_decision(len(answers))

    def _save(self, decisions: Mapping[int, int | None], by: str | None) -> None:
        self.log.decide({self.queue.items[index].pair: decision for index, decision in decisions.items()}, by)
        for index, decision in decisions.items():
            self.queue.set_decision(index, decision)
            self.queue.look_at(index)

    def undo(self, undoable: int, by: str | None = None) -> list[int] | None:
        """The items, of those still listed, on which an answer was undone; None if none was, see
        :meth:`DecisionLog.undo`."""
        with self._lock:
            undone = self.log.undo(undoable, by)
            if undone is None:
                return None
            items = []
            for pair, decision in undone.items():
                index = self.queue.index_of(pair)
                if index is not None:
                    self.queue.set_decision(index, decision)
                    items.append(index)
        self.on_decision(len(undone))
        return items

    def export(self, out_dir: str | os.PathLike | None = None, reviewed_only: bool = False) -> Exported:
        """Write the labels as they are after the review.

        The reviewer's decision holds for every label that has one; ``undecided`` leaves it unknown, and makes a suspect
        unknown. Of the others, unknown labels get what the model decided, and known labels stay, those that came to be
        known since the completion, too. Where the review has learnt, what the model decides is that of now: the
        spreadsheet says so of each label, and a table like the reviewed one has the probabilities.

        Args:
            out_dir: a folder; None for :attr:`out_dir`.
            reviewed_only: leave out what only the model decided.

        Raises:
            UserError, OSError: nothing can be written; see :func:`~sarlp.apps.completion.write_completed`.
        """
        out_dir = Path(self.out_dir if out_dir is None else out_dir)
        table = out_dir / self.csv_file.name
        if self._kept is not None:
            check_output(table, [self.csv_file], is_table(HEADER))
        with self._lock:
            items, kept = self.queue.items, self._kept
            decisions = [self.queue.decision(index) for index in range(len(items))]
        changes: dict[str, dict[str, int]] = {}
        proposed: dict[str, dict[str, int]] = {}
        notes: dict[str, dict[str, str]] = {}
        rows: list[Recovered] = []
        reviewed = suggested = 0
        for item, decision in zip(items, decisions, strict=True):
            label = decision
            note = 'reviewed'
            if decision is None and item.pair in self._answered.in_source:
                pass  # a person's answer is there, and no guess takes its place
            elif decision is None and item.kind == 'suggested' and not reviewed_only:
                label = item.suggestion
                suggested += 1
                note = f'probability {item.probability:.3g}, learnt from {self.learnt_from:,} answers'
            elif decision is not None:
                reviewed += 1
            if item.kind != 'suspect':
                rows.append(Recovered(*item.pair, item.probability, DECISIONS[UNKNOWN if label is None else label]))
            # an unknown label that stays unknown is no change: a label mask may hide what the spreadsheet has
            if label is not None and (label != UNKNOWN or item.kind == 'suspect'):
                (proposed if decision is None else changes).setdefault(item.image, {})[item.cls] = label
                notes.setdefault(item.image, {})[item.cls] = note
        written = write_completed(self.record, changes, out_dir, None if kept is None else notes, proposed)
        files, command = written.files, training_command(self.record, written.files)
        if kept is not None:
            write_table(table, HEADER, rows)
            files['table'] = table
        return Exported(files, command, reviewed, suggested - written.kept, self.learnt_from, written.notes)

    def close(self) -> None:
        self.log.close()

"""Answers one after another, what holds of each label after them, and what an undo would take back."""

import heapq
from typing import NamedTuple

from sarlp.apps.review.log_line import Line, Pair


class Held(NamedTuple):
    """What is decided on a label, by which answer and by whom; ``Held(0, None)`` where nobody has answered."""

    answer: int
    decision: int | None
    by: str | None = None


class History:
    """What the lines of a log come to.

    A label keeps the answers to it in a pile, the last one on top; undoing takes one out. So people who answer at the
    same time undo each their own, and the number of the answer on top is the revision of the label.

    Attributes:
        last: the highest number of an answer.
    """

    def __init__(self):
        self.last = 0
        self._piles: dict[Pair, list[Held]] = {}
        self._answers: dict[int, tuple[str | None, tuple[Pair, ...]]] = {}  # without those that were taken back
        self._numbers: dict[str | None, dict[int, None]] = {}  # of a person's answers, rising, likewise

    def held(self, pair: Pair) -> Held:
        pile = self._piles.get(pair)
        return pile[-1] if pile else Held(0, None)

    def undoable(self, by: str | None) -> int:
        """The last answer of a person that still holds somewhere; 0 if there is none.

        Answers of nobody in particular, as earlier versions wrote them, are everybody's.
        """
        own = [reversed(self._numbers.get(person, {})) for person in {by, None}]
        for number in heapq.merge(*own, reverse=True):
            if self.taken_back(number):
                return number
        return 0

    def taken_back(self, number: int) -> dict[Pair, int | None]:
        """What holds again once an answer is taken back; not the labels that were answered again since."""
        back: dict[Pair, int | None] = {}
        _, pairs = self._answers.get(number, (None, ()))
        for pair in pairs:
            pile = self._piles[pair]
            if pile[-1].answer == number:
                back[pair] = pile[-2].decision if len(pile) > 1 else None
        return back

    def apply(self, line: Line) -> None:
        """Raises: ValueError, the line can not follow on those before."""
        if line.undo is None:
            number = self.last + 1 if line.answer is None else line.answer
            if number <= self.last:
                raise ValueError(f'answer {number} comes after answer {self.last}')
            self.last = number
            self._answers[number] = line.by, tuple(line.decisions)
            self._numbers.setdefault(line.by, {})[number] = None
            for pair, decision in line.decisions.items():
                self._piles.setdefault(pair, []).append(Held(number, decision, line.by))
            return
        number = next(reversed(self._answers), 0) if line.undo is True else line.undo
        if number in self._answers:
            by, pairs = self._answers.pop(number)
            del self._numbers[by][number]
            for pair in pairs:
                self._piles[pair] = [held for held in self._piles[pair] if held.answer != number]
        for pair, decision in line.decisions.items():
            if self.held(pair).decision != decision:  # somebody removed lines of the file
                self._piles.setdefault(pair, []).append(Held(number, decision))

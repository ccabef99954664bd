"""Labels to be reviewed, perhaps millions: kept as numbers, and an object only for whoever looks at one."""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from sarlp.apps.completion import Recovered, Suspect
from sarlp.apps.review.log_line import Pair
from sarlp.errors import UserError, shorten
from sarlp.labels import CODES, DECISIONS, UNKNOWN

KINDS = ('undecided', 'suggested', 'suspect')


class Item(NamedTuple):
    """A label to be reviewed.

    Attributes:
        image, cls: which.
        probability: that the class is there, says the model.
        kind: ``'undecided'``, a label that is unknown and stays so; ``'suggested'``, one that is unknown and that the
            model decided; ``'suspect'``, one that is known and that the model contradicts.
        suggestion: 1 / 0, what the model says; None where it says nothing.
        label: 1 / 0, what is known of a suspect; None otherwise.
        evidence: whose word it is against a suspect, see :class:`~sarlp.apps.completion.record.Suspect`; else nothing.
    """

    image: str
    cls: str
    probability: float
    kind: str
    suggestion: int | None
    label: int | None
    evidence: str = ''

    @property
    def pair(self) -> Pair:
        return self.image, self.cls


@dataclass(frozen=True, eq=False)  # of arrays
class Items(Sequence[Item]):
    """M items. It does not change; :meth:`renewed` is another.

    Attributes:
        images: names of the N images.
        classes: names of the C classes.
        image, cls: (M,) int64, of them.
        probability: (M,) float64.
        suggestion, label: (M,) int8 of 1 / 0, -1 for none.
        evidence: of the suspects, which are the last ones.
    """

    images: Sequence[str]
    classes: Sequence[str]
    image: np.ndarray
    cls: np.ndarray
    probability: np.ndarray
    suggestion: np.ndarray
    label: np.ndarray
    evidence: Sequence[str]

    @classmethod
    def of(cls, recovered: Iterable[Recovered], suspects: Iterable[Suspect], classes: Sequence[str]) -> 'Items':
        """Raises: UserError, a label is there twice, or of a class that there is not."""
        images: dict[str, int] = {}
        class_of = {name: index for index, name in enumerate(classes)}
        suggestions = {**CODES, DECISIONS[UNKNOWN]: UNKNOWN}
        columns = [array(kind) for kind in 'qqdbb']
        strange: set[str] = set()
        evidence: list[str] = []

        def add(image: str, name: str, *numbers: Any) -> None:
            if name not in class_of:
                strange.add(name)
            place = images.setdefault(image, len(images)), class_of.get(name, 0)
            for column, number in zip(columns, (*place, *numbers), strict=True):
                column.append(number)

        for row in recovered:
            add(row.image, row.cls, row.probability, suggestions[row.decision], UNKNOWN)
        for suspect in suspects:
            label = CODES[suspect.label]
            add(suspect.image, suspect.cls, suspect.probability, 1 - label, label)
            evidence.append(suspect.evidence)
        if strange:
            raise UserError(f'labels of classes that the record does not name: {shorten(sorted(strange))}')
        kinds = (np.int64, np.int64, np.float64, np.int8, np.int8)
        found = [np.array(column, kind) for column, kind in zip(columns, kinds, strict=True)]
        of_image, of_class, p, suggestion, labels = found
        items = cls(tuple(images), tuple(classes), of_image, of_class, p, suggestion, labels, evidence)
        pairs = items.image * len(classes) + items.cls
        order = np.argsort(pairs, kind='stable')
        twice = order[1:][np.diff(pairs[order]) == 0]
        if len(twice):
            pair = items[int(twice.min())].pair
            raise UserError(f'the label {pair[1]!r} of {pair[0]} is listed twice')
        return items

    @property
    def kind(self) -> np.ndarray:
        """(M,) int8, of :data:`KINDS`."""
        return np.where(self.label != UNKNOWN, 2, self.suggestion != UNKNOWN).astype(np.int8)

    def renewed(self, probability: Sequence[float] | np.ndarray, suggestion: Sequence[int] | np.ndarray) -> 'Items':
        """With other probabilities and decisions of the model, 1 / 0 / -1; suspects keep theirs."""
        new = np.where(self.label != UNKNOWN, self.suggestion, np.array(suggestion, np.int8))
        return replace(self, probability=np.array(probability, np.float64), suggestion=new)

    def __len__(self) -> int:
        return len(self.image)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        suggestion, label = int(self.suggestion[index]), int(self.label[index])
        known = label != UNKNOWN
        return Item(
            self.images[self.image[index]],
            self.classes[self.cls[index]],
            float(self.probability[index]),
            KINDS[2 if known else suggestion != UNKNOWN],
            None if suggestion == UNKNOWN else suggestion,
            label if known else None,
            self.evidence[index - len(self)] if known and index >= 0 else '',
        )

    def __iter__(self) -> Iterator[Item]:
        return (self[index] for index in range(len(self)))

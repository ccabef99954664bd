"""What is to be reviewed, which of it, and in which order."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sarlp.apps.completion import Recovered, Suspect
from sarlp.apps.review.filling import expected_filling
from sarlp.apps.review.items import KINDS, Items
from sarlp.apps.review.log_line import Pair
from sarlp.errors import UserValueError
from sarlp.labels import CODES, NEGATIVE, POSITIVE, UNKNOWN

STATES = ('open', 'reviewed', *CODES)
ORDERS = ('filling', 'informative', 'suspects', 'highest', 'lowest', 'image')
OPEN = -2  # beside the label codes: nobody has decided
_SPREAD = 4.0  # a class can count at most so many times as much as the middle one, or as little


@dataclass(frozen=True)
class Selection:
    """Which items are looked at; None and the whole range of probabilities take all.

    Args:
        cls: name of a class.
        kind: one of :data:`KINDS`.
        state: ``'open'``, not decided by the reviewer; ``'reviewed'``; or the decision.
        low, high: range of probabilities, both ends included.
        order: ``'filling'``, what was looked at before, and then what fills most blanks (see
            :func:`~sarlp.apps.review.filling.expected_filling`); ``'informative'`` (see :func:`informativeness`), most
            first; ``'suspects'``, these first as their file has them, the most doubted first, then the others as
            before; ``'highest'`` or ``'lowest'`` probability first; ``'image'``, the labels of an image one after
            another. Equal ones keep the order of the file.
    """

    cls: str | None = None
    kind: str | None = None
    state: str | None = None
    low: float = 0.0
    high: float = 1.0
    order: str = 'informative'

    def __post_init__(self):
        for name, value, words in (('kind', self.kind, KINDS), ('state', self.state, STATES)):
            if value is not None and value not in words:
                raise UserValueError(f'{name} must be one of {", ".join(words)}, got {value!r}')
        if self.order not in ORDERS:
            raise UserValueError(f'order must be one of {", ".join(ORDERS)}, got {self.order!r}')
        if not 0 <= self.low <= self.high <= 1:  # nor NaN
            raise UserValueError(f'probabilities must go from 0 to 1, low to high; got {self.low!r} to {self.high!r}')


class Found(NamedTuple):
    """An item among the selected ones: its number or None, its place among them from 0, and how many there are."""

    item: int | None
    place: int
    total: int


class Page(NamedTuple):
    """Items side by side, how many there are from the first of them on, and how many in all."""

    items: list[int]
    ahead: int
    total: int


def informativeness(
    probability: np.ndarray, cls: np.ndarray, label: np.ndarray, known_positives: Mapping[int, int] | None = None
) -> np.ndarray:
    """How much is learnt from an answer: ``value * weight[class]``.

    An unknown label is worth the entropy of its calibrated probability ``p``, which is the information in the answer:
    1 bit at 0.5. A suspect of label ``y`` is worth ``|p - y|``, the model's probability that the label is wrong: one
    wrong known label outweighs many unknown ones, as the model trains on it.

    Rare classes come earlier: the weight of a class with ``e`` positives is ``sqrt(m / e)``, but at least 1/4 and at
    most 4. ``e`` is the number of known positives and the sum of the probabilities of unknown labels, and ``m`` the
    median of ``e`` over the classes that occur.

    Args:
        probability: (N,) in [0, 1].
        cls: (N,) index of the class.
        label: (N,) 1 / 0 of suspects, -1 of unknown labels.
        known_positives: number by class, as far as it is known.

    Returns:
        (N,) float64.
    """
    if not len(probability):
        return np.empty(0)
    unknown = label == UNKNOWN
    p = np.clip(probability, 1e-12, 1 - 1e-12)
    value = np.where(unknown, -p * np.log2(p) - (1 - p) * np.log2(1 - p), np.abs(probability - label))
    positives = np.bincount(cls, np.where(unknown, probability, 0.0))
    occurs = np.bincount(cls) > 0
    for index, number in (known_positives or {}).items():
        if index < len(positives):
            positives[index] += number
    positives = np.maximum(positives, 1e-3)
    weight = np.clip(np.sqrt(np.median(positives[occurs]) / positives), 1 / _SPREAD, _SPREAD)
    return value * weight[cls]


class ReviewQueue:
    """All labels to be reviewed, and what was decided on them.

    Args:
        recovered: unknown labels.
        suspects: known labels that are contradicted.
        classes: names, all that there are.
        known_positives: by name of the class, for the order.
        groups: of images that are alike, by image; an image that is not in it is alike to none.

    Attributes:
        items: recovered labels first, in the order of the files; an item is named by its index.

    Raises:
        UserError: a label is there twice, or of a class that there is not.
    """

    def __init__(
        self,
        recovered: Iterable[Recovered],
        suspects: Iterable[Suspect],
        classes: Sequence[str],
        known_positives: Mapping[str, int] | None = None,
        groups: Mapping[str, str] | None = None,
    ):
        self.items = Items.of(recovered, suspects, classes)
        self.classes = tuple(classes)
        self._class_of = {name: index for index, name in enumerate(self.classes)}
        number, image = len(self.items), self.items.image
        self._image_of = {name: index for index, name in enumerate(self.items.images)}
        self._of_image = np.argsort(image, kind='stable')  # the items, image by image
        self._starts = np.searchsorted(image[self._of_image], np.arange(len(self._image_of) + 1))
        alike = groups or {}
        names = np.array([alike.get(name, name) for name in self.items.images])
        self._group = np.unique(names, return_inverse=True)[1][image] if number else image
        self._cls, self._label = self.items.cls, self.items.label
        self._decision = np.full(number, OPEN, np.int8)
        self._left_out = np.zeros(number, bool)
        self._positives = {self._class_of[name]: count for name, count in (known_positives or {}).items()}
        self._by_image = image * len(self.classes) + self._cls
        self._looked_at: dict[int, None] = {}  # in this order
        self.sort()

    def sort(self) -> None:
        """Put the items in order anew, by their probabilities and by what is decided and was looked at."""
        number = len(self.items)
        self._kind, self._probability = self.items.kind, self.items.probability
        p = self._probability
        before, looked_at = np.zeros(number), [*self._looked_at]
        before[looked_at] = np.arange(-len(looked_at), 0)
        positives = np.bincount(self._cls[self._decision == POSITIVE], minlength=len(self.classes))
        for index, count in self._positives.items():
            positives[index] += count
        asked = (self._decision == OPEN) & (before == 0) & ~self._left_out
        undecided = (self._kind == 0) & ~self._left_out
        gain = expected_filling(p, self._cls, self._label, undecided, asked, self._group, positives)
        informative = -informativeness(p, self._cls, self._label, self._positives)
        keys = {
            'filling': (-gain, ~asked, before),
            'informative': (informative,),
            'suspects': (np.where(self._label == UNKNOWN, informative, -np.inf),),
            'highest': (-p,),
            'lowest': (p,),
            'image': (self._by_image,),
        }
        order = {name: np.lexsort(key) for name, key in keys.items()}
        # as one, for those who look at it meanwhile
        self._orders = {name: (places, np.argsort(places)) for name, places in order.items()}

    def look_at(self, index: int) -> None:
        """Remember that a person saw an item: it and those before it keep their places when probabilities change."""
        self._looked_at.setdefault(index)

    def leave_out(self, pairs: Iterable[Pair]) -> None:
        """Ask no more for labels that are answered elsewhere, unless they are decided here."""
        places = [index for index in map(self.index_of, pairs) if index is not None]
        if places:
            self._left_out[places] = True
            self.sort()

    def renew(self, probabilities: Sequence[float] | np.ndarray, suggestions: Sequence[int] | np.ndarray) -> None:
        """Take probabilities and the decisions of the model (1 / 0 / -1) anew, item by item.

        What was decided stays decided. A suspect stays one: it is known, and was contradicted once.
        """
        self.items = self.items.renewed(probabilities, suggestions)
        self.sort()

    def blanks(self) -> tuple[int, int]:
        """How many unknown labels are filled, by a yes or no of the person or else of the model; how many there are."""
        unknown = (self._label == UNKNOWN) & ~self._left_out
        by_model = (self._decision == OPEN) & (self._kind == KINDS.index('suggested'))
        by_person = (self._decision == POSITIVE) | (self._decision == NEGATIVE)
        return int((unknown & (by_model | by_person)).sum()), int(unknown.sum())

    def __len__(self) -> int:
        return len(self.items)

    def index_of(self, pair: Pair) -> int | None:
        """The item of an image and class; None if it is not to be reviewed."""
        image, cls = self._image_of.get(pair[0]), self._class_of.get(pair[1])
        if image is None or cls is None:
            return None
        own = self._of_image[self._starts[image] : self._starts[image + 1]]
        found = own[self._cls[own] == cls]
        return int(found[0]) if len(found) else None

    def of_image(self, image: str) -> list[int]:
        """The items of an image."""
        place = self._image_of.get(image)
        return [] if place is None else self._of_image[self._starts[place] : self._starts[place + 1]].tolist()

    def decision(self, index: int) -> int | None:
        """1 / 0 / -1, or None where nothing is decided."""
        code = int(self._decision[index])
        return None if code == OPEN else code

    def set_decision(self, index: int, decision: int | None) -> None:
        self._decision[index] = OPEN if decision is None else decision

    def select(self, selection: Selection) -> np.ndarray:
        """The indices of the selected items, in order."""
        order, _ = self._orders[selection.order]
        return order[self._mask(selection)[order]]

    def find(self, selection: Selection, at: int | None = None, step: int = 0, avoid: Collection[int] = ()) -> Found:
        """The item itself, or the next selected one before or after it in the order.

        Args:
            selection: which items.
            at: an item, which need not be selected (any more); None to begin at the end that ``step`` goes from.
            step: 0 for the item itself, 1 for the next one, -1 for the one before.
            avoid: items that are passed over if there are others.
        """
        (order, rank_of), mask = self._orders[selection.order], self._mask(selection)
        ranks = np.flatnonzero(mask[order])
        if at is None:
            place = len(ranks) - 1 if step < 0 else 0
        else:
            rank = rank_of[at]
            place = int(np.searchsorted(ranks, rank, 'right' if step > 0 else 'left')) - (step < 0)
            if step == 0:
                return Found(at, place, len(ranks))
        if avoid:
            ahead = ranks[: max(place + 1, 0)][::-1] if step < 0 else ranks[place:]
            free = ahead[np.isin(order[ahead], list(avoid), invert=True)]
            place = int(np.searchsorted(ranks, free[0])) if len(free) else place
        found = int(order[ranks[place]]) if 0 <= place < len(ranks) else None
        return Found(found, place, len(ranks))

    def page(self, selection: Selection, at: int | None, step: int, number: int, avoid: Collection[int] = ()) -> Page:
        """Several selected items at a time.

        Args:
            selection: which items.
            at: an item, which need not be selected (any more); None for the first ones.
            step: 0 to begin at it, 1 after it.
            number: how many at most.
            avoid: items that are passed over.
        """
        (order, rank_of), mask = self._orders[selection.order], self._mask(selection)
        ranks = np.flatnonzero(mask[order])
        first = 0 if at is None else int(np.searchsorted(ranks, rank_of[at] + step))
        free = order[ranks[first:]]
        free = free[np.isin(free, list(avoid), invert=True)]
        return Page(free[:number].tolist(), len(free), len(ranks))

    def progress(self) -> dict[str, tuple[int, int]]:
        """By class: how many items are decided, and how many wait for it; classes without any item are left out."""
        chosen = slice(None), self._decision != OPEN, self.waiting()
        there, done, waiting = (np.bincount(self._cls[c], minlength=len(self.classes)).tolist() for c in chosen)
        return {name: (done[i], waiting[i]) for i, name in enumerate(self.classes) if there[i]}

    def progress_of(self, name: str) -> tuple[int, int]:
        """The same of one class."""
        own = self._cls == self._class_of[name]
        return int((own & (self._decision != OPEN)).sum()), int((own & self.waiting()).sum())

    def reviewed(self) -> int:
        """How many items are decided."""
        return int((self._decision != OPEN).sum())

    def waiting(self) -> np.ndarray:
        """Which items, (N,) bool, wait for a decision: the model has none, or contradicts what is known."""
        return (self._decision == OPEN) & (self._kind != KINDS.index('suggested')) & ~self._left_out

    def _mask(self, selection: Selection) -> np.ndarray:
        mask = (self._probability >= selection.low) & (self._probability <= selection.high)
        mask &= ~self._left_out | (self._decision != OPEN)
        if selection.cls is not None:
            if selection.cls not in self._class_of:
                raise UserValueError(f'there is no class {selection.cls!r}')
            mask &= self._cls == self._class_of[selection.cls]
        if selection.kind is not None:
            mask &= self._kind == KINDS.index(selection.kind)
        if selection.state is not None:
            if selection.state in CODES:
                mask &= self._decision == CODES[selection.state]
            else:
                mask &= (self._decision == OPEN) == (selection.state == 'open')
        return mask

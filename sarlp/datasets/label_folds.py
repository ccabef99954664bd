"""Known labels, and not images, parted into folds: what training leaves to choose an epoch or thresholds by."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sarlp.errors import UserError
from sarlp.labels import class_keys, hide_labels, uniform_numbers


@dataclass
class LabelFold:
    """One part of the labels of every image, drawn from (seed, image id, class name) alone.

    Of the labels that may be seen the fold holds one in ``number``, positive and negative ones alike. All images stay
    in both parts.

    Args:
        part: ``'train'``, which hides the labels of the fold, or ``'heldout'``, where only they are known, to metrics
            too.
        index: of the fold, 0 to ``number`` - 1.
        number: of folds, at least 2; no label is in two of them.
        seed: any integer.
    """

    part: str
    index: int = 0
    number: int = 5
    seed: int = 0

    def __post_init__(self):
        whole = type(self.number) is int and type(self.index) is int
        if self.part not in ('train', 'heldout') or not whole or self.number < 2 or not 0 <= self.index < self.number:
            raise UserError(
                "label_fold must have part 'train' or 'heldout', number >= 2 and 0 <= index < number; got "
                f'{self.part!r}, {self.number!r}, {self.index!r}'
            )

    def bind(self, classes: Sequence[str]) -> None:
        """Take the C names in the order of the labels."""
        self._keys = class_keys(classes)

    def holds(self, image_id: str) -> np.ndarray:
        """(C,) bool, True for the labels of the fold."""
        numbers = uniform_numbers(self.seed, image_id, self._keys, 'label fold')
        return (numbers * self.number).astype(int) == self.index

    def __call__(self, image_id: str, observed: np.ndarray, full: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The labels of this part.

        Args:
            image_id: path relative to the image root, forward slashes.
            observed: (C,) of 1 / 0 / -1, what may be seen.
            full: (C,) of 1 / 0 / -1, what metrics compare with.

        Returns:
            Both, of this part.
        """
        held = self.holds(image_id)
        if self.part == 'train':
            return hide_labels(observed, ~held), full
        known = hide_labels(observed, held)
        return known, known

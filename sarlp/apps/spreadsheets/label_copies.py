"""Copies of one photograph whose known labels contradict each other: of two such labels one is a slip."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sarlp.datasets.groups import copies
from sarlp.errors import shorten
from sarlp.labels import DECISIONS, NEGATIVE, POSITIVE, UNKNOWN

_SHOWN = 4  # of many, in a line
COPIES_HEADER = ('image', 'class', 'label', 'copy', 'label_of_copy')


class ContradictingCopy(NamedTuple):
    """A class that is known of two copies, ``positive`` of one and ``negative`` of the other."""

    image: str
    cls: str
    label: str
    copy: str
    label_of_copy: str


def contradicting_copies(
    root: Path, labels: Mapping[str, np.ndarray], classes: Sequence[str], pairs: Iterable[tuple[str, str]]
) -> list[ContradictingCopy]:
    """Of pairs that show the same, those that are copies (:func:`~sarlp.datasets.groups.copies`) and contradict.

    Args:
        root: folder of the images.
        labels: (C,) of 1 / 0 / -1 by path of the image.
        classes: C names.
        pairs: of :func:`~sarlp.datasets.groups.near_duplicates`.
    """
    contradict = {}
    for one, other in pairs:
        a, b = labels[one], labels[other]
        columns = np.flatnonzero((a != UNKNOWN) & (b != UNKNOWN) & (a != b))
        if len(columns):
            contradict[one, other] = columns.tolist()
    return [
        ContradictingCopy(
            one, classes[column], DECISIONS[int(labels[one][column])], other, DECISIONS[int(labels[other][column])]
        )
        for one, other in copies(root, contradict)
        for column in contradict[one, other]
    ]


def say_contradicting(found: Sequence[ContradictingCopy]) -> list[str]:
    """A line about them; none where there are none."""
    if not found:
        return []
    pairs = len({(each.image, each.copy) for each in found})
    said = {DECISIONS[POSITIVE]: 'yes', DECISIONS[NEGATIVE]: 'no'}
    shown = [
        f'{each.cls} is {said[each.label]} in {each.image} and {said[each.label_of_copy]} in {each.copy}'
        for each in found
    ]
    return [
        f'note: photographs are there twice, and known labels of the two contradict each other, so that one is wrong: '
        f'{len(found):,} labels of {pairs:,} pairs: {shorten(shown, _SHOWN)}'
    ]

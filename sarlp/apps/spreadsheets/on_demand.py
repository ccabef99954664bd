"""What is said of each of very many labels, made when it is asked for: dicts of all of it would be gigabytes."""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Generic, TypeVar

import numpy as np

Value = TypeVar('Value')


class OnDemand(Mapping[str, Value], Generic[Value]):
    """Values by image, of which the last one is kept: rows of an image mostly stand together.

    Args:
        images: that have one.
        make: the value of an image.
    """

    def __init__(self, images: Collection[str], make: Callable[[str], Value]) -> None:
        self._images, self._make = dict.fromkeys(images), make
        self._last: tuple[str, Value] | None = None

    def __getitem__(self, image: str) -> Value:
        if image not in self._images:
            raise KeyError(image)
        if self._last is None or self._last[0] != image:
            self._last = image, self._make(image)
        return self._last[1]

    def __contains__(self, image: object) -> bool:  # that of a Mapping makes the value
        return image in self._images

    def __iter__(self) -> Iterator[str]:
        return iter(self._images)

    def __len__(self) -> int:
        return len(self._images)


class Changed(Mapping[int, int]):
    """Codes by class id of the labels that are another now.

    Args:
        before, after: (C,) codes of an image.
    """

    def __init__(self, before: np.ndarray, after: np.ndarray) -> None:
        self._before, self._after = before, after

    def __getitem__(self, index: int) -> int:
        if self._before[index] == self._after[index]:
            raise KeyError(index)
        return int(self._after[index])

    def __iter__(self) -> Iterator[int]:
        return iter(np.flatnonzero(self._before != self._after).tolist())

    def __len__(self) -> int:
        return int(np.count_nonzero(self._before != self._after))

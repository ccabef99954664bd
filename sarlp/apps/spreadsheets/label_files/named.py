"""Files that name what is there in an image, and say nothing of the rest."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from sarlp.datasets.annotation import AnnotationError
from sarlp.errors import shorten
from sarlp.labels import NEGATIVE, POSITIVE, UNKNOWN
from sarlp.names.clean_names import Spellings, clean_name

Codes = Mapping[int, int]


class NamedClasses:
    """What the forms of such files have in common.

    A class that is not named is unknown. If told, it is no, in images of which the file says anything.

    Args:
        path: the file.
        rest_is_no: that it is told.
    """

    form: str
    once = True  # an image is listed once

    def __init__(self, path: str | os.PathLike, rest_is_no: bool) -> None:
        self.path, self.rest_is_no = str(path), rest_is_no
        self.spellings = Spellings()  # of the classes
        self.classes: tuple[str, ...] = ()
        self._ids: dict[str, int] = {}

    def _take_classes(self, names: Iterable[str]) -> None:
        """Those are the classes, in this order."""
        self.classes = tuple(dict.fromkeys(self.spellings[name] for name in names))
        self._ids = {name: index for index, name in enumerate(self.classes)}
        if not self.classes:
            raise AnnotationError(f'{self.path}: it names no class in any image.')

    def _pairs(self, names: Iterable[str]) -> list[tuple[int, int]]:
        """(class id, code) of an image of which these are named."""
        there = {self._ids[self.spellings[name]]: POSITIVE for name in names}
        rest = range(len(self.classes)) if self.rest_is_no else ()
        return [*there.items(), *((index, NEGATIVE) for index in rest if index not in there)]

    def _changed(self, names: Iterable[str], codes: Codes) -> list[str]:
        """Names of an image with some labels changed."""
        stay = [name for name in names if self._ids[self.spellings[name]] not in codes]
        return stay + [self.spellings.written(self.classes[index]) for index, code in codes.items() if code == POSITIVE]

    def settings(self) -> dict[str, Any]:
        return {'negative': ['']} if self.rest_is_no else {}

    def groups(self) -> Iterator[tuple[int, str, str]]:
        """There are none."""
        yield from ()

    splits = groups

    @property
    def splits_told(self) -> bool:
        """Nobody named a column of them."""
        return False

    def habits(self) -> dict[int, str]:
        """There is one way only."""
        return {}

    def notes(self) -> list[str]:
        """Lines for the reader of what was read."""
        if self.rest_is_no:
            return []
        return [
            'note: a class that is not named in an image is unknown there; where that means no, read the file again '
            'with --negative ""'
        ]

    def unsaid(self, labels: Mapping[str, np.ndarray]) -> list[str]:
        """Lines for the reader of what was written.

        Args:
            labels: (C,) codes by image, all that is known then.
        """
        code, what, like = (UNKNOWN, 'unknown', 'no') if self.rest_is_no else (NEGATIVE, 'no', 'unknown')
        count = sum(int((codes == code).sum()) for codes in labels.values())
        if not count:
            return []
        return [
            f'note: the form {self.form} only names what is there: {count:,} labels that are {what} look in it like '
            f'those that are {like}'
        ]


def rest_is_no(path: object, positive: Sequence[str], negative: Sequence[str], unknown: Sequence[str]) -> bool:
    """Whether a file that names what is there is told to be complete, by ``negative=['']``.

    Raises:
        AnnotationError: it is told of words, of which it has none.
    """
    words = [*positive, *unknown, *filter(clean_name, negative)]
    if words:
        raise AnnotationError(
            f'{path}: this file names what is there and has no words for yes and no, such as {shorten(words)}. Leave '
            'them out; --negative "" says that what is not named is not there.'
        )
    return bool(negative)


def are_names(names: Any) -> bool:
    """Whether it is a list of names of classes."""
    return isinstance(names, list) and all(isinstance(name, str) and clean_name(name) for name in names)


def named_list(path: object, where: str, names: Any, hint: str = '') -> list[str]:
    """What should be a list of names of classes.

    Args:
        path: the file.
        where: the place in it.
        names: what is there.
        hint: what to add to the message if it is none.

    Raises:
        AnnotationError: it is none.
    """
    if not are_names(names):
        found = shorten([repr(names)[:120]])
        raise AnnotationError(f'{path}, {where}: expected a list of class names, found {found}.{hint}')
    return names

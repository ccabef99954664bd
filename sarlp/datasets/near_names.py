"""Which file may be meant by a name that no file has, for messages. Nothing is taken for what it may mean."""

import os
import posixpath
import re
from collections.abc import Hashable, Iterable, Iterator, Sequence
from decimal import Decimal

from sarlp.errors import shorten
from sarlp.io.image_files import is_image, list_images
from sarlp.names.clean_names import clean_name

# what spreadsheet programs make of names: 1 of 000001, 1.0 where pandas had a hand in it, 1E+05, 1,00E+05
_NUMBER = re.compile(r'\d+(?:[.,]\d+)?(?:E\+?\d{1,2})?', re.IGNORECASE)
# 03.01.2024, 2024-01-03 00:00:00, 1/2/24; 03. Jan, Jan-03, 3-Jan-2024
_DATE = re.compile(
    r'\d{1,4}([-./])\d{1,2}\1\d{1,4}(?:[ T]\d\d:\d\d(?::\d\d)?)?|'
    r'\d{1,2}[-. ]+[^\W\d_]{3,4}\.?(?:[- ]\d{2,4})?|[^\W\d_]{3,4}[-. ]+\d{2}'
)


def clean_path(name: str) -> str:
    """A relative path with its parts cleaned and ``/`` between them."""
    return '/'.join(clean_name(part) for part in name.replace('\\', '/').split('/'))


def near_names(names: Iterable[str], files: Iterable[str]) -> dict[str, str]:
    """The one file that a name may mean, for each name where there is one.

    Looked for, until anything is found: the name in other capitals; with another suffix or none; with folders in front
    of it, or without those that it has; the same number, which is what a spreadsheet program leaves of ``000001.jpg``.

    Args:
        names: relative paths that no file has.
        files: relative paths.
    """
    return {name: found[0] for name, found in _fitting(names, files).items() if len(found) == 1}


def _fitting(names: Iterable[str], files: Iterable[str]) -> dict[str, list[str]]:
    """The nearest files of each name that has some."""
    wanted = {name: list(_keys(name, of_file=False)) for name in names}
    of_key: dict[Hashable, list[str]] = {key: [] for keys in wanted.values() for key in keys}
    for file in files:
        for key in _keys(file, of_file=True):
            if key in of_key:
                of_key[key].append(file)
    found = {name: next((of_key[key] for key in keys if of_key[key]), []) for name, keys in wanted.items()}
    return {name: fitting for name, fitting in found.items() if fitting}


def hint(names: Sequence[str], files: Iterable[str]) -> str:
    """Sentences that say which files missing images may be and what may have happened to their names; '' if nothing."""
    fitting = _fitting(names, files)
    near = {name: found[0] for name, found in fitting.items() if len(found) == 1}
    sentences = []
    if near:
        pairs = [f'{name!r} may be {file}' for name, file in near.items()]
        sentences.append(
            f'One file fits {len(near):,} of them: {shorten(pairs)}. Write the names as those of the files.'
        )
    several = [f'{name!r} may be {" or ".join(sorted(found)[:2])}' for name, found in fitting.items() if len(found) > 1]
    if several:
        sentences.append(
            f'Several files fit {len(several):,} of them: {shorten(several, 3)}. Write which is meant, with its folder.'
        )
    spoiled = [name for name in names if not is_image(name) and _spoiled(clean_name(name))]
    if spoiled:
        sentences.append(
            f'{len(spoiled):,} look like numbers or dates, which spreadsheet programs make of names such as 000001, '
            '1E5 and 1-2: format the column as text, then enter the names again.'
        )
    return ' '.join(sentences)


def hint_below(names: Sequence[str], root: str | os.PathLike) -> str:
    """:func:`hint` with the images below a folder, behind a space."""
    text = hint(names, list_images(root).images)
    return text and f' {text}'


def _keys(name: str, of_file: bool) -> Iterator[Hashable]:
    """What is equal of a name and a file that are near, the nearest first."""
    path = clean_path(name).casefold()
    folder, base = posixpath.split(path)
    stem = posixpath.splitext(base)[0] if is_image(base) else base
    yield 'path', path
    yield 'path without suffix', folder, stem
    parts = path.split('/')
    tails = ['/'.join(parts[start:]) for start in range(len(parts))]
    # a folder too few in the name, or too many
    yield from ((('below', tail) for tail in tails) if of_file else (('below', path),))
    yield from ((('above', path),) if of_file else (('above', tail) for tail in tails))
    number = _number(stem)
    if number is not None:
        yield 'number', folder, number
        if of_file or not folder:
            yield 'number below', number


def _spoiled(text: str) -> bool:
    return bool(_NUMBER.fullmatch(text) or _DATE.fullmatch(text))


def _number(text: str) -> int | None:
    if not text.isascii() or len(text) > 40 or not _NUMBER.fullmatch(text):
        return None
    number = Decimal(text.replace(',', '.'))
    return int(number) if number == number.to_integral_value() else None

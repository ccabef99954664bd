"""When two names that people typed are the same name.

A spreadsheet, a keyboard and a file system write one name in different ways that nobody can see: an accent is a letter
of its own or not, a space is a no-break one or there are two, and what was copied from a web page has zero-width
characters in it. Names are the same if :func:`clean_name` makes the same of them. Capitals are not touched: names that
differ in them are two.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence

from sarlp.errors import shorten

# white space but for control characters and line breaks, which are refused in names and not repaired
_SPACES = re.compile('[^\\S\x00-\x1f\x7f-\x9f\u2028\u2029]+')
# ignorable characters that Unicode does not count to the format characters (Cf): joiners, fillers, variation selectors
_UNSEEN = frozenset(
    map(chr, (0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, *range(0x180B, 0x1810), 0x3164, *range(0xFE00, 0xFE10), 0xFFA0))
)


def clean_name(text: str) -> str:
    """A name as it is compared and shown.

    Accents composed (NFC), zero-width and other format characters left out, each run of spaces of any kind one space,
    none around it. Done twice it changes nothing more.
    """
    if not text.isascii():
        seen = (c for c in text if unicodedata.category(c) != 'Cf' and c not in _UNSEEN)
        text = unicodedata.normalize('NFC', ''.join(seen))
    return _SPACES.sub(' ', text).strip()


def match_names(wanted: Iterable[str], names: Sequence[str]) -> list[int | None]:
    """Where each wanted name is among others: spelled alike if it is there so, else after cleaning; None if nowhere."""
    place = {clean_name(name): index for index, name in enumerate(names)}
    exact = {name: index for index, name in enumerate(names)}
    return [exact.get(name, place.get(clean_name(name))) for name in wanted]


def look_alike(names: Iterable[str]) -> list[list[str]]:
    """Groups of different names that are the same after cleaning."""
    return _groups(names, clean_name)


def show_spellings(names: Iterable[str]) -> str:
    """Names that look alike, with what sets them apart as escapes."""
    return ' and '.join(map(ascii, names))


def capitals_note(classes: Iterable[str]) -> list[str]:
    """A line for the reader if classes differ only in capitals, else none."""
    alike = [' and '.join(names) for names in _groups(classes, str.casefold)]
    return [f'note: these classes differ only in capitals: {shorten(alike)}'] if alike else []


def _groups(names: Iterable[str], key) -> list[list[str]]:
    groups: dict[str, dict[str, None]] = {}
    for name in names:
        groups.setdefault(key(name), {})[name] = None
    return [list(group) for group in groups.values() if len(group) > 1]


class Spellings(dict):
    """Clean name by how it is written; ``spellings['dining  table']`` cleans, and remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self._first: dict[str, str] = {}  # by clean name: of ten thousand classes it is asked once a label

    def __missing__(self, written: str) -> str:
        name = self[written] = clean_name(written)
        self._first.setdefault(name, written.strip())
        return name

    def written(self, name: str) -> str:
        """How the name was written first; itself if it was not."""
        return self._first.get(name, name)

    def notes(self) -> list[str]:
        """Lines for the reader: which spellings were taken for one class, and which classes differ only in capitals."""
        merged = [show_spellings(group) for group in look_alike(written.strip() for written in self)]
        lines = []
        if merged:
            lines.append(
                'note: spellings that differ only in how accents, spaces or invisible characters are stored, taken for '
                f'one class: {len(merged):,}: {shorten(merged)}'
            )
        return lines + capitals_note(dict.fromkeys(self.values()))

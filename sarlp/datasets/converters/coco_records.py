"""Records of COCO JSON, as COCO, LVIS and others have them: what of each is read, or why it is not."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote, urlsplit

from sarlp.io.json_file import show
from sarlp.names.clean_names import clean_name, show_spellings

NEGATIVES, VERIFIED = (
    'neg_category_ids',
    'verified_category_ids',
)  # in these an image says which classes were looked for


class RecordError(ValueError):
    """What is wrong with a record; :func:`place` says which it is."""


def place(error: RecordError, key: str, number: int, record: Any) -> str:
    """An error with its record, counted from 0: ``annotations[0] (id 1000): expected ...``."""
    known = record.get('id') if isinstance(record, dict) and key != 'categories' else None
    where = f'{key}[{number}]' + ('' if known is None else f' (id {show(known)})')
    return f'{where}{" " if str(error).startswith("(") else ": "}{error}'


def get_value(record: Any, key: str, kinds: tuple[type, ...] = (int, str)) -> Any:
    """A member of a record: an id, which is a whole number or a text, or with ``kinds=(str,)`` a text.

    Raises:
        RecordError: it is not there, or something else.
    """
    value = record.get(key)
    if type(value) not in kinds or value == '':
        expected = 'a text' if kinds == (str,) else 'a whole number or a text'
        # fractions come as bool where they are not needed, see the converter of MS-COCO
        found = 'a fraction or a truth value' if isinstance(value, bool) else show(value)
        keys = '' if key in record else f'; the record has the keys {show(sorted(record))}'
        raise RecordError(f'expected "{key}" to be {expected}, found {found}{keys}')
    return value


def image_file(record: dict, folder: str = '') -> str:
    """How an image record names its file.

    ``file_name``, behind ``folder``; or, as in LVIS v1, which has none, the last two parts of ``coco_url``:
    ``train2017/000000391895.jpg``. LVIS draws its val split from train2017 as well, so the folder is part of the name.

    Raises:
        RecordError: it names none.
    """
    if record.get('file_name') is not None or record.get('coco_url') is None:
        try:
            return folder + get_value(record, 'file_name', (str,))
        except RecordError as error:
            raise RecordError(f'{error}. It names the file; in LVIS "coco_url" does') from None
    url = get_value(record, 'coco_url', (str,))
    try:
        parts = [part for part in unquote(urlsplit(url).path).split('/') if part]
    except ValueError:
        parts = []
    if len(parts) < 2:
        raise RecordError(f'expected "coco_url" to end in a folder and a file, found {show(url)}')
    return '/'.join(parts[-2:])


class Categories:
    """The categories of a file, in its order. A name may be there once, also where it is spelled in two ways.

    Attributes:
        ids: class index by category id.
        names: of the classes, cleaned (:mod:`sarlp.names.clean_names`).
    """

    def __init__(self) -> None:
        self.ids: dict[int | str, int] = {}
        self.names: list[str] = []
        self._written: dict[str, str] = {}

    def __iter__(self) -> Iterator[tuple[int | str, str]]:
        """(id, name) of each."""
        return iter(zip(self.ids, self.names, strict=True))

    def add(self, record: dict) -> None:
        """Raises :class:`RecordError` if it has no id or name, or the id or the name was there before."""
        category, written = get_value(record, 'id'), get_value(record, 'name', (str,))
        name = clean_name(written)
        if not name:
            raise RecordError(f'the name {ascii(written)} of the category {category!r} has no character that is seen')
        if category in self.ids or name in self._written:
            known, known_name = next(pair for pair in self if pair[0] == category or pair[1] == name)
            spellings = {written.strip(), self._written[known_name].strip()}
            alike = ''
            if name == known_name and len(spellings) > 1:
                alike = (
                    f' ({show_spellings(sorted(spellings))}). Give the annotations of both one id, and remove one of '
                    'the categories'
                )
            raise RecordError(
                f'({category}, {name!r}): the category ({known}, {known_name!r}) has the same id or name{alike}'
            )
        self.ids[category] = len(self.names)
        self.names.append(name)
        self._written[name] = written

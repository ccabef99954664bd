"""Text files as people bring them: which encoding, which delimiter, and how to write them back."""

import codecs
import csv
import io
import os
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice
from types import SimpleNamespace

from sarlp.datasets.annotation import AnnotationError
from sarlp.io.json_file import show
from sarlp.names.clean_names import clean_name

DELIMITERS = (',', ';', '\t', '|')
_LONGEST = 1 << 24  # characters of a cell: what was filled in of thousands of classes is more than csv's 131,072
_WESTERN = ('cp1252', 'latin-1')
_ACCENTED = re.compile(r'(?<![^\W\d_])[^\W\d_A-Za-z]{3,}(?![^\W\d_])')  # a whole word of three letters or more
# UTF-32 first: its little-endian mark begins with that of UTF-16
_MARKS = (
    (codecs.BOM_UTF32_LE, 'utf-32-le'),
    (codecs.BOM_UTF32_BE, 'utf-32-be'),
    (codecs.BOM_UTF8, 'utf-8'),
    (codecs.BOM_UTF16_LE, 'utf-16-le'),
    (codecs.BOM_UTF16_BE, 'utf-16-be'),
)


def decode(data: bytes, path: str | os.PathLike, encoding: str | None = None) -> tuple[str, str, bool]:
    """Turn the bytes of a text file into text.

    A byte-order mark decides; without one UTF-8 is tried, then UTF-16 if every other byte is mostly zero, and what is
    neither is taken for Windows-1252, or for Latin-1 where that has no such characters: Western languages. A word of
    which every letter is accented is of none of them, but is what Russian or Greek looks like if it is read so.

    Args:
        data: the file.
        path: its name, for messages.
        encoding: name of a codec of Python, to force it.

    Returns:
        The text without a mark, the codec, and whether a mark was there.

    Raises:
        AnnotationError: the file is no text, or not in the forced encoding, or in one that must be named.
    """
    mark, found = next(((mark, name) for mark, name in _MARKS if data.startswith(mark)), (b'', None))
    if encoding is not None:
        try:
            ''.encode(encoding)  # codecs that make no text of bytes fail here
            name = codecs.lookup(encoding).name.removesuffix('-sig')
        except LookupError:
            raise AnnotationError(f'there is no encoding {encoding!r}; use utf-8, utf-16 or cp1252, say.') from None
        if found is None or not found.startswith(name):
            mark, found = b'', name
    if found is None or not found.startswith(('utf-16', 'utf-32')):
        _refuse_nul(data, path)
    if found is not None:
        candidates = [found]
    elif b'\0' in data:
        odd = data[1::2].count(0) > data[0::2].count(0)
        candidates = ['utf-16-le' if odd else 'utf-16-be']
    else:
        candidates = ['utf-8', *_WESTERN]
    for name in candidates:
        try:
            text = data.removeprefix(mark).decode(name)
        except UnicodeDecodeError:
            continue
        if '\0' in text:
            continue
        strange = None if encoding is not None or name not in _WESTERN else _ACCENTED.search(text)
        if strange is not None:
            raise AnnotationError(
                f'{path}: expected UTF-8, found another encoding, in which {show(strange[0])} would be a word of '
                'accented letters alone. Save the sheet as CSV (UTF-8), or name its encoding with --encoding, such as '
                f'cp1251 (Cyrillic), cp1253 (Greek), shift_jis; {name} if the word is right.'
            )
        return text, name, bool(mark)
    raise AnnotationError(
        f'{path}: expected text in {" or ".join(candidates)}, found bytes that are none. Save the sheet as CSV '
        '(UTF-8), or name its encoding with --encoding.'
    )


def _refuse_nul(data: bytes, path: str | os.PathLike) -> None:
    """Refuse a NUL within a text that is not UTF-16.

    There every other byte is one, and still many are where letters are Chinese: the names of files, the delimiters.
    """
    count = max(data[0::2].count(0), data[1::2].count(0))
    if not count or 4 * count > len(data):
        return
    if 16 * count > len(data):
        try:
            data.decode()
        except UnicodeDecodeError:
            return
    line = data[: data.index(0)].count(b'\n') + 1
    raise AnnotationError(
        f'{path}, line {line}: expected text, found a byte of zero in it. Delete what stands there, which an editor '
        'may not show, and save the file anew.'
    )


class CSVText:
    """The records of a CSV file.

    Args:
        text: of :func:`decode`.
        path: the file, for messages.
        delimiter: between cells; None to find it.
        names: lower-case names that the column of the images may have; they tell a header from a line of text.

    Attributes:
        preamble: Excel's ``sep=;`` in front of the header, with its line end; else ''.
        delimiter: the one in use.
        newline: the line end of most lines.
    """

    def __init__(
        self, text: str, path: str | os.PathLike, delimiter: str | None = None, names: Collection[str] = ()
    ) -> None:
        self.path = path
        self.preamble = ''
        first = text.split('\n', 1)[0].rstrip('\r')
        if len(first) == 5 and first[:4].lower() == 'sep=':
            self.preamble = text[: text.find('\n') + 1] if '\n' in text else text
            delimiter = delimiter or first[4]
        self._text = text[len(self.preamble) :]
        if not self._text.strip():
            raise AnnotationError(f'{path}: it is empty. Expected a line of column names, and a row an image below it.')
        if delimiter is None:
            delimiter = _find_delimiter(self._text, names)
            if delimiter is None:
                raise AnnotationError(
                    f'{path}: expected at least two columns, but the first line has only one, whether cells are '
                    'parted by comma, semicolon, tab or |. Name the character with --delimiter; or, if the line is a '
                    'title, delete it.'
                )
        if len(delimiter) != 1 or delimiter in '"\r\n':
            raise AnnotationError(f'expected --delimiter to be one character, found {delimiter!r}.')
        self.delimiter = delimiter
        both = text.count('\r\n')
        ends = {'\n': text.count('\n') - both, '\r\n': both, '\r': text.count('\r') - both}
        self.newline = max(ends, key=ends.__getitem__)

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        """Line on which it starts, counted from 1, and cells of each record; empty ones are left out.

        Raises:
            AnnotationError: a quotation mark is not closed, or stands where none may.
        """
        before = 1 if self.preamble else 0
        csv.field_size_limit(max(csv.field_size_limit(), _LONGEST))
        reader = csv.reader(io.StringIO(self._text, newline=''), delimiter=self.delimiter, strict=True)
        line = before + 1
        try:
            for cells in reader:
                if any(cells) and any(cell.strip() for cell in cells):
                    yield line, cells
                line = before + reader.line_num + 1
        except csv.Error as error:
            raise AnnotationError(
                f'{self.path}, the record that starts in line {line}: it is no CSV ({error}). A cell that holds the '
                'delimiter, a line break or a quotation mark is put into quotation marks, and those in it are doubled.'
            ) from None

    def format(self, records: Iterable[Sequence[str]]) -> str:
        """Records as text in the way of this file."""
        lines: list[str] = []
        # With another line end Python does not put a cell with a carriage return in it into quotation marks
        writer = csv.writer(SimpleNamespace(write=lines.append), delimiter=self.delimiter, lineterminator='\r\n')
        writer.writerows(records)
        return self.preamble + ''.join(line.removesuffix('\r\n') + self.newline for line in lines)


def _find_delimiter(text: str, names: Collection[str]) -> str | None:
    """The delimiter that names the column of the images, then one that cuts the first records into equally many cells,
    then one that makes the most of them.

    ``csv.Sniffer`` guesses from the frequency of characters, and takes letters and spaces for delimiters.
    """
    best, best_score = None, None
    for delimiter in DELIMITERS:
        records: list[list[str]] = []
        try:
            reader = csv.reader(io.StringIO(text[: 1 << 20], newline=''), delimiter=delimiter)
            records += islice((cells for cells in reader if any(cell.strip() for cell in cells)), 50)
        except csv.Error:  # a field of more than 128 kB: not this delimiter, or an error that reading will name
            pass
        if not records or len(records[0]) < 2:
            continue
        named = any(clean_name(cell).lower() in names for cell in records[0])
        even = sum(len(cells) == len(records[0]) for cells in records) / len(records)
        score = (named, even, len(records[0]))
        if best_score is None or score > best_score:
            best, best_score = delimiter, score
    return best


def encode(text: str, path: str | os.PathLike, encoding: str, mark: bool) -> bytes:
    """The reverse of :func:`decode`.

    Raises:
        AnnotationError: the encoding has no such character.
    """
    try:
        return (('\ufeff' if mark else '') + text).encode(encoding)
    except UnicodeEncodeError as error:
        raise AnnotationError(
            f'{path}: the file it is made from is in {encoding}, which has no {error.object[error.start]!r}. Save that '
            'file in UTF-8 and convert it anew.'
        ) from None

"""Reading a JSON file of gigabytes one record at a time, with the standard library."""

import json
import os
from collections.abc import Callable, Collection, Generator
from typing import IO, Any

from sarlp.io.json_file import finite_float, no_constant, show, unique_keys

_CHUNK = 1 << 22  # characters read at a time; a value that is longer is read in growing pieces
_LONGEST = 1 << 28  # characters of one value
# How close to the end of the window the decoder is not to be believed: there Infinity or two \uXXXX may be cut off,
# which fails, and 2.5e-3, which passes for 2.5.
_NEAR = 16
_SPACE = ' \t\n\r'


def stream_members(
    path: str | os.PathLike, parse_float: Callable[[str], Any] = finite_float, lists: Collection[str] = ()
) -> Generator[tuple[str, Any], None, None]:
    """Go through the object that a JSON file holds.

    The elements of an array come one by one, so that no more than one of them is held; everything else comes whole.

    Args:
        path: the file, UTF-8.
        parse_float: makes a value of the text of each number that is not whole.
        lists: keys that must have an array.

    Yields:
        ``(key, element)`` for each element of an array, ``(key, value)`` for any other member, in the order of the
        file. An empty array yields nothing.

    Raises:
        ValueError: the file holds no JSON object, breaks off, or is not JSON as :mod:`sarlp.io.json_file` has it; the
            message says at which character.
    """
    with open(path, encoding='utf-8-sig') as file:
        decoder = json.JSONDecoder(parse_float=parse_float, parse_constant=no_constant, object_pairs_hook=unique_keys)
        reader, seen = _Reader(file, decoder), set()
        reader.expect('{')
        more = reader.peek() != '}'
        while more:
            key = reader.value()
            if not isinstance(key, str):
                raise ValueError(f'expected a key in front of character {reader.position}, found {show(key)}')
            if key in seen:
                raise ValueError(f'the key {show(key)} in front of character {reader.position} was there before')
            seen.add(key)
            reader.expect(':')
            if reader.peek() == '[':
                reader.expect('[')
                element = reader.peek() != ']'
                while element:
                    yield key, reader.value()
                    element = reader.expect(',]') == ','
                if reader.last != ']':
                    reader.expect(']')
            else:
                value = reader.value()
                if key in lists:
                    raise ValueError(f'expected "{key}" to be a list of objects, found {show(value)}')
                yield key, value
            more = reader.expect(',}') == ','
        if reader.last != '}':
            reader.expect('}')
        if reader.peek():
            raise ValueError(f'there is more after the end of the object, at character {reader.position}')


class _Reader:
    """A window that moves over the text."""

    def __init__(self, file: IO[str], decoder: json.JSONDecoder):
        self._file = file
        self._decoder = decoder
        self._text, self._at, self._before = '', 0, 0
        self._ended = False
        self.last = ''  # what the latest `expect` found

    @property
    def position(self) -> int:
        """Characters of the file in front of the reader."""
        return self._before + self._at

    def _grow(self) -> None:
        """Drop what was read and put more behind it, at least as much again as is there."""
        rest = self._text[self._at :]
        if len(rest) > _LONGEST:
            raise ValueError(f'a value of more than {_LONGEST:,} characters at character {self.position}')
        new = self._file.read(max(_CHUNK, len(rest)))
        self._ended = not new
        self._before += self._at
        self._text, self._at = rest + new, 0

    def peek(self) -> str:
        """The next character that is no white space; '' at the end."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in _SPACE:
                self._at += 1
            if self._at < len(self._text) or self._ended:
                return self._text[self._at : self._at + 1]
            self._grow()

    def expect(self, characters: str) -> str:
        """Read one of ``characters``."""
        self.last = self.peek()
        if self.last == '' or self.last not in characters:
            found = repr(self.last) if self.last else 'the end of the file'
            raise ValueError(f'expected {" or ".join(characters)} at character {self.position}, found {found}')
        self._at += 1
        return self.last

    def value(self) -> Any:
        """Read a value of any kind."""
        self.peek()
        waited = False
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
                if end < len(self._text) - _NEAR or self._ended:
                    self._at = end
                    return value
            except json.JSONDecodeError as error:
                cut_off = error.pos > len(self._text) - _NEAR or error.msg.startswith('Unterminated string')
                if self._ended or not cut_off:
                    raise ValueError(f'{error.msg} at character {self._before + error.pos}') from None
            except ValueError as error:  # of the decoder's helpers, which do not say where; a number may be cut off
                if self._ended or waited:
                    raise ValueError(f'{error}, in the value at character {self.position}') from None
                waited = True
            except RecursionError:
                raise ValueError(f'too many levels of nesting at character {self.position}') from None
            self._grow()

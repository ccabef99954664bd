"""The record of a part of predictions: what was asked for, and how far it is."""

import json
import zlib
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from sarlp.errors import UserError
from sarlp.inference.shards import Shard
from sarlp.io.files import atomic_write
from sarlp.io.json_file import read_json, show

_DIGESTS = {  # what says nothing to a person, in words
    'checkpoint_sha256': 'another checkpoint',
    'config': 'another config',
    'classes': 'other classes',
    'names': 'other names of images',
    'contents': 'other images of the same names',
}


@dataclass
class Record:
    """Of a part: what is asked for, and how far it is.

    Attributes:
        part: its number, from 1.
        of: how many there are.
        asked: what the rows depend on.
        images: how many the part has.
        done: how many of them were gone through, in order.
        skipped: names of those that can not be read.
        header: bytes of the header of the table in CSV.
        bytes: of the rows so far, or of the finished part.
        crc32: of these bytes.
        finished: whether the part is there, and not rows in the making.
    """

    part: int
    of: int
    asked: dict[str, Any]
    images: int
    done: int = 0
    skipped: list[str] = field(default_factory=list)
    header: int = 0
    bytes: int = 0
    crc32: int = 0
    finished: bool = False

    @property
    def shard(self) -> Shard:
        return Shard(self.part, self.of)

    @property
    def rows(self) -> int:
        """How many of the images gone through have one."""
        return self.done - len(self.skipped)


def rows_path(part: Path) -> Path:
    """Where the rows of an unfinished part are."""
    return part.with_name(f'{part.name}.unfinished')


def record_path(part: Path) -> Path:
    """Where the record of a part is."""
    return part.with_name(f'{part.name}.json')


def save_record(part: Path, record: Record) -> None:
    """Write the record of a part, as a whole."""
    with atomic_write(record_path(part)) as file:
        json.dump(asdict(record), file, ensure_ascii=False, indent=1)


def read_record(path: Path) -> Record:
    """Raises :class:`UserError` if it is damaged, or no record."""
    try:
        content = read_json(path)
    except ValueError:
        content = None
    if not isinstance(content, dict) or content.keys() != {entry.name for entry in fields(Record)}:
        raise UserError(f'{path}: is no record of a part of predictions, or damaged; move it')
    return Record(**content)


def require_same(one: dict, other: dict, first: str, second: str, advice: str) -> None:
    """See that two parts were asked for alike; raises :class:`UserError` that begins with ``first``."""
    for key in dict.fromkeys([*one, *other]):
        if one.get(key) != other.get(key):
            if key in _DIGESTS:
                raise UserError(f'{first} {_DIGESTS[key]}; {advice}')
            raise UserError(f'{first} {key} {show(one.get(key))}, {second} {show(other.get(key))}; {advice}')


def check_part(part: Path, record: Record) -> None:
    """See that a finished part is what its record says; raises :class:`UserError`."""
    if not part.is_file() or checksum(part) != (record.bytes, record.crc32):
        raise UserError(f'{part}: is no longer what was written; {begin_anew(part)}')


def checksum(path: Path, most: int | None = None) -> tuple[int, int]:
    """Bytes of a file, of no more than so many, and their CRC-32."""
    size, crc = 0, 0
    with open(path, 'rb') as file:
        while block := file.read(1 << 20 if most is None else min(1 << 20, most - size)):
            size, crc = size + len(block), zlib.crc32(block, crc)
    return size, crc


def begin_anew(part: Path) -> str:
    """Advice: how to."""
    return f'choose another name for the output, or remove {part.name}* in {part.parent} to begin the part anew'

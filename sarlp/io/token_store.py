"""Arrays of one shape by key, on disk: written block by block, read through a memory map."""

import contextlib
import hashlib
import os
import time
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np

from sarlp.errors import UserError
from sarlp.io.files import atomic_write

_NAMES, _EARLIER = ('key', 'input', 'crc', 'values'), ('key', 'crc', 'values')  # of a record
_ABANDONED = 3600  # seconds after which nobody writes to a file any more


def record_type(dtype: str, shape: tuple[int, ...]) -> np.dtype:
    """Of one entry of a block: its key, what it was made of, a checksum, and the array."""
    return np.dtype([('key', 'S32'), ('input', 'S32'), ('crc', '<u4'), ('values', dtype, shape)], align=True)


def as_kept(values: np.ndarray, dtype: str, source: str) -> np.ndarray:
    """``values`` of float32 in the type that they are kept in.

    Args:
        dtype: ``'float32'`` or ``'float16'``.
        source: what gave them, for the message.

    Raises:
        UserError: float16 has no room for some of them.
    """
    with np.errstate(over='ignore'):  # told
        kept = values.astype(dtype)
    if kept.dtype != values.dtype and np.isinf(kept).any() and not np.isinf(values).any():
        raise UserError(
            f'tokens: {source} gives features up to {np.abs(values).max():,.0f}, and float16 ends at 65,504; set '
            'tokens.dtype=float32'
        )
    return kept


class TokenStore:
    """A folder of blocks, each a numpy file (.npy, no pickle) that is written whole and never changed.

    Any number of processes may read and write at once: a block is named by what is in it, so the worst that can come of
    it is that two of them hold the same.

    Args:
        folder: made when it is needed.

    Attributes:
        damaged: blocks that did not agree with their checksums and were removed.
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = Path(folder)
        self.damaged: list[Path] = []

    def find(self, keys: Collection[str]) -> dict[str, np.ndarray]:
        """The arrays that are there, by key, each compared with its checksum.

        A block in which one does not agree is removed, since its disk or file system is not to be trusted with it; what
        it had is absent then.
        """
        wanted = frozenset(key.encode() for key in keys)
        found: dict[bytes, np.ndarray] = {}
        for file in sorted(self.folder.glob('*.npy')):
            try:
                found |= _read(file, wanted - found.keys())
            except OSError:
                if file.exists():
                    raise
            except Exception:  # of numpy's parser of headers, whatever it is
                self.damaged.append(file)
                file.unlink(missing_ok=True)
        return {key.decode(): values for key, values in found.items()}

    def inputs(self) -> dict[str, tuple[Path, int]]:
        """Where an array lies, as for :func:`read_record`, by what it was made of, as far as that was written."""
        places: dict[str, tuple[Path, int]] = {}
        for file in sorted(self.folder.glob('*.npy')):
            with contextlib.suppress(Exception):  # a damaged one is dealt with where it is needed
                made_of = np.load(file, mmap_mode='r', allow_pickle=False)['input'].tolist()
                places |= {name.decode(): (file, place) for place, name in enumerate(made_of) if name}
        return places

    def write(self, arrays: Mapping[str, np.ndarray], inputs: Mapping[str, str] | None = None) -> None:
        """Add a block with these; what a writer that was killed left behind is removed.

        Args:
            arrays: of one shape, by key.
            inputs: a name of what each was made of, by the same keys.
        """
        inputs = inputs or {}
        for remains in self.folder.glob('.*.tmp'):
            with contextlib.suppress(FileNotFoundError):  # another process is tidying up, too, or has just finished
                if time.time() - remains.stat().st_mtime > _ABANDONED:
                    remains.unlink()
        first = next(iter(arrays.values()))
        block = np.zeros(len(arrays), record_type(first.dtype.str, first.shape))
        for record, (key, values) in zip(block, arrays.items(), strict=True):
            record['key'], record['input'], record['values'] = key.encode(), inputs.get(key, '').encode(), values
            record['crc'] = _checksum(record)
        name = hashlib.blake2b(block['key'].tobytes(), digest_size=16).hexdigest()
        with atomic_write(self.folder / f'{name}.npy', 'wb') as stream:
            np.save(stream, block, allow_pickle=False)


def read_record(file: Path, place: int) -> np.ndarray | None:
    """An array of a block; None if the block is gone, or does not agree with its checksum."""
    try:
        record = np.load(file, mmap_mode='c', allow_pickle=False)[place]
        return record['values'] if record['crc'] == _checksum(record) else None
    except Exception:  # of numpy's parser of headers, whatever it is
        return None


def _checksum(record: np.void) -> int:
    start = zlib.crc32(record['key'])
    if 'input' in (record.dtype.names or ()):  # not in those of earlier versions
        start = zlib.crc32(record['input'], start)
    return zlib.crc32(np.ascontiguousarray(record['values']).data, start)


def _read(file: Path, wanted: Collection[bytes]) -> dict[bytes, np.ndarray]:
    block = np.load(file, mmap_mode='c', allow_pickle=False)  # copy on write: what torch takes without a warning
    if block.dtype.names not in (_NAMES, _EARLIER) or block.ndim != 1:
        raise ValueError('no block of tokens')
    found = {}
    for place in [place for place, key in enumerate(block['key'].tolist()) if key in wanted]:
        record = block[place]
        if record['crc'] != _checksum(record):
            raise ValueError('its checksum does not agree')
        found[bytes(record['key'])] = record['values']
    return found

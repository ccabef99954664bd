"""Numpy's ``.npz`` from whomever: no pickle, no more memory than a limit, every array compared with its checksum."""

import io
import os
import zipfile
from collections.abc import Sequence

import numpy as np

LIMIT = 1 << 31  # bytes of an array; the ids of ten million images have less


def read_npz(path: str | os.PathLike, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Read some arrays.

    Unlike ``numpy.load`` this reads each array to its end, so that the checksum of the archive is looked at, and there
    may be nothing behind it: a header that claims less than there is would otherwise shift the numbers.

    Args:
        path: the file.
        names: of the arrays, which must be there; others are passed over.

    Raises:
        FileNotFoundError: there is no such file.
        Exception: it is no such file, damaged, or holds objects; zip, zlib and numpy raise errors of many kinds. The
            message does not name the file.
    """
    arrays = {}
    with open(path, 'rb') as file, zipfile.ZipFile(file) as archive:
        for name in names:
            if f'{name}.npy' not in archive.namelist():
                raise ValueError(f'it has no array "{name}"')
            part = archive.getinfo(f'{name}.npy')
            if part.file_size > LIMIT:
                raise ValueError(f'the array "{name}" has more than {LIMIT:,} bytes')
            content = io.BytesIO(archive.read(part))
            arrays[name] = np.lib.format.read_array(content, allow_pickle=False)
            if content.read(1):
                raise ValueError(f'the array "{name}" is longer than its header says')
    return arrays

"""Resized images on disk, so that an epoch after the first need not decode."""

import hashlib
import io
import os
from pathlib import Path

import cv2
import numpy as np
from mmengine.logging import MMLogger

from sarlp.io.files import atomic_write


class ImageCache:
    """One file an image; any number of processes may read and write it at once.

    A file is one numpy record (.npy, no pickle): modification time and size of the source, a checksum, and what is
    cached. A source that changed, or a file that is damaged, reads as absent and is written anew under the same name,
    so nothing stale is served and nothing stale piles up. Where nothing can be written, say on a full disk, the images
    are not cached, with one warning a process.

    Args:
        folder: made when it is needed.
        size: (width, height) of the cached images.
        settings: whatever else decides the pixels; other settings are other files, as is another version of OpenCV.
    """

    def __init__(self, folder: str | os.PathLike, size: tuple[int, int], settings: object = ''):
        self.folder = Path(folder)
        self._key = repr((tuple(size), settings, cv2.__version__))
        self._writable = True
        self._dtype = np.dtype(
            [
                ('checksum', '<u8'),
                ('source_mtime_ns', '<i8'),
                ('source_bytes', '<i8'),
                ('ori_shape', '<i4', 2),
                ('scale_factor', '<f8', 2),
                ('image', 'u1', (size[1], size[0], 3)),
            ],
            align=True,  # a whole number of 64 bit words
        )
        stream = io.BytesIO()
        np.save(stream, np.zeros(1, self._dtype), allow_pickle=False)
        self._header = np.frombuffer(stream.getvalue()[: -self._dtype.itemsize], np.uint8)

    def file(self, path: str | os.PathLike) -> Path:
        """Where the image of a source lies, or would lie."""
        name = hashlib.blake2b(f'{self._key}\0{os.path.abspath(path)}'.encode(), digest_size=16).hexdigest()
        return self.folder / name[:2] / f'{name}.npy'

    def read(self, path: str | os.PathLike, source: os.stat_result) -> np.void | None:
        """The record of a source that is as ``source`` says, or None. Its ``image`` (h, w, 3) is the caller's own."""
        try:
            content = np.fromfile(self.file(path), np.uint8)
        except OSError:
            return None
        # the header must be what it always is; np.load would parse it, which takes longer than the rest
        at = len(self._header)
        if len(content) != at + self._dtype.itemsize or not np.array_equal(content[:at], self._header):
            return None
        record = content[at:].view(self._dtype)
        if record['checksum'][0] != _checksum(record):
            return None
        record = record[0]
        unchanged = (record['source_mtime_ns'], record['source_bytes']) == (source.st_mtime_ns, source.st_size)
        return record if unchanged else None

    def write(self, path: str | os.PathLike, source: os.stat_result, **fields: object) -> None:
        """Keep ``image``, ``ori_shape`` and ``scale_factor``; ``source`` was taken before the source was read."""
        if not self._writable:
            return
        record = np.zeros(1, self._dtype)
        fields.update(source_mtime_ns=source.st_mtime_ns, source_bytes=source.st_size)
        for key, value in fields.items():
            record[key] = value
        record['checksum'] = _checksum(record)
        try:
            with atomic_write(self.file(path), 'wb', sync=False) as stream:  # synced, it takes eight times as long
                np.save(stream, record, allow_pickle=False)
        except OSError as error:
            self._writable = False
            MMLogger.get_current_instance().warning(
                f'{self.folder}: resized images are not cached any more by this process ({error}); make room, or set '
                'another cache_dir'
            )


def _checksum(record: np.ndarray) -> np.uint64:
    """The sum of all 64 bit words but the first; a CRC takes ten times as long."""
    return record.view('<u8')[1:].sum(dtype=np.uint64)

"""Small pictures of the images, for many at a time."""

import threading
from collections import OrderedDict
from pathlib import Path

from sarlp.apps.review.maps import PictureError, encode, read_picture

_LONGEST = 256  # pixels; twice as many as the page shows, for fine screens
_KEPT = 64 << 20  # bytes
_AT_ONCE = 2  # images in memory in full size


class Thumbnails:
    """JPEGs of at most 256 pixels a side, the last ones of them kept. May be called by several threads at once."""

    def __init__(self):
        self._lock = threading.Lock()
        self._decoding = threading.BoundedSemaphore(_AT_ONCE)
        self._kept: OrderedDict[tuple[Path, int, int], bytes] = OrderedDict()
        self._size = 0

    def picture(self, path: Path) -> bytes:
        """Raises: PictureError, the image can not be read."""
        try:
            stat = path.stat()
        except OSError as error:
            raise PictureError(f'{path}: the image can not be read ({error.strerror})') from None
        key = path, stat.st_mtime_ns, stat.st_size
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        with self._decoding:
            content = encode(read_picture(path, _LONGEST))
        with self._lock:
            if key not in self._kept:
                self._kept[key] = content
                self._size += len(content)
            while self._size > _KEPT:
                self._size -= len(self._kept.popitem(last=False)[1])
        return content

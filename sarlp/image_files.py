"""Image files in folders: which they are, and their pixels."""

import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

SUFFIXES = ('.bmp', '.jpeg', '.jpg', '.png', '.tif', '.tiff', '.webp')


def is_image(name: str) -> bool:
    """Whether a file is an image, by its suffix."""
    return name.lower().endswith(SUFFIXES)


def walk_files(root: str | os.PathLike) -> Iterator[str]:
    """The files below a folder, as paths relative to it with ``/``. Links to folders are followed, but none twice."""
    seen = set()
    for folder, subfolders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            subfolders.clear()
            continue
        seen.add(real)
        relative = Path(folder).relative_to(root).as_posix()
        yield from (name if relative == '.' else f'{relative}/{name}' for name in files)


def read_rgb(path: str | os.PathLike) -> np.ndarray:
    """The pixels of an image that is known to decode: (h, w, 3) uint8, RGB, turned as its EXIF says."""
    return cv2.cvtColor(cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)

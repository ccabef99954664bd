"""Paths in a file that was moved together with what they lead to."""

import os
from pathlib import Path


def follow(path: str, was: str, now: str | os.PathLike) -> str:
    """Where a path leads since the folder of the file that has it was moved, copied or renamed.

    What lay in the folder is looked for in it first: where it was may be something newer of the same name. What lay
    beside it, such as a folder of photographs, is looked for there only once it is gone from where it was.

    Args:
        path: absolute, as it was written; any other is returned as it is.
        was: absolute, the folder of the file when it was written.
        now: the folder of the file at present.

    Returns:
        The path, absolute; as it was written if nothing is there either.
    """
    if not os.path.isabs(path) or not os.path.isabs(was):
        return path
    moved = os.path.normpath(os.path.join(os.path.abspath(now), os.path.relpath(path, was)))
    inside = Path(path).is_relative_to(was)
    return moved if os.path.exists(moved) and (inside or not os.path.exists(path)) else path

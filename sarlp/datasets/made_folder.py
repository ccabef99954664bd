"""A folder of data made on the spot: there as a whole or not at all, and made once for the same parameters."""

import json
import os
import secrets
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from sarlp.errors import UserError
from sarlp.io.files import atomic_write
from sarlp.io.json_file import read_json


def check_least(**found: tuple[int, int]) -> None:
    """Refuse a parameter, (value, least value) by name, that is too small."""
    for name, (value, least) in found.items():
        if value < least:
            raise UserError(f'expected {name} of at least {least}, found {value}.')


def make_folder(
    root: str | os.PathLike, marker: str, made_with: Mapping[str, int], write: Callable[[Path], None]
) -> Path:
    """Let ``write`` make a folder, unless it is there already.

    Made with other parameters before, the folder is replaced with all that is in it; a folder without the marker, which
    somebody else made, is never touched.

    Args:
        root: the folder.
        marker: name of the JSON file in it that says what it was made with.
        made_with: all that the content depends on, a version of the code among it.
        write: is given a folder to make, of another name.

    Returns:
        ``root`` as a path.

    Raises:
        UserError: ``root`` holds something else.
    """
    root = Path(root)
    if _is_finished(root / marker, made_with):
        return root
    if root.exists() and not (root / marker).is_file() and (not root.is_dir() or any(root.iterdir())):
        raise UserError(f'{root}: it was not made here (it has no {marker}), so it is left alone. Name a new folder.')

    root.parent.mkdir(parents=True, exist_ok=True)
    work = root.with_name(f'.{root.name}.{secrets.token_hex(4)}.part')
    try:
        write(work)
        with atomic_write(work / marker) as file:
            file.write(json.dumps(made_with) + '\n')
        if not _is_finished(root / marker, made_with):  # another process may have been faster
            if root.exists():
                old = root.with_name(work.name + '.old')
                os.rename(root, old)
                os.rename(work, root)
                shutil.rmtree(old)
            else:
                os.rename(work, root)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return root


def _is_finished(marker: Path, made_with: Mapping[str, int]) -> bool:
    try:
        return read_json(marker) == made_with
    except (OSError, ValueError):
        return False

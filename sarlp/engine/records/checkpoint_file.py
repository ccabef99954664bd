"""Reading what ``torch.save`` wrote, running no code from the file."""

import re
import zipfile
from pathlib import Path

from mmengine.runner.checkpoint import CheckpointLoader

from sarlp.errors import UserError
from sarlp.names.class_names import check_names


def is_whole(path: Path) -> bool:
    """Whether a file is what ``torch.save`` wrote, to the last byte; by the checksums that are in it."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError, ValueError):
        return False


def read_file(path: str | Path) -> object:
    """Read what ``torch.save`` wrote onto the CPU, running no code from the file.

    Raises:
        UserError: no such file, or nothing that can be read safely.
    """
    try:
        return CheckpointLoader.load_checkpoint(str(path), map_location='cpu', logger='silent')
    except FileNotFoundError as error:
        raise UserError(f'{path}: no such checkpoint') from error
    except Exception as error:  # unpickling, zip and type errors, by what the file is
        found = re.search(r'Unsupported (?:global|operand|class)[^.]*', str(error))  # out of half a page
        reason = found[0] if found else (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f'{path}: is no checkpoint that can be loaded safely ({reason})') from error


def read_checkpoint(path: str | Path) -> dict:
    """Read a checkpoint of the Runner onto the CPU, running no code from the file.

    Raises:
        UserError: no such file, or no checkpoint.
    """
    checkpoint = read_file(path)
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get('state_dict'), dict):
        raise UserError(
            f"{path}: is no checkpoint of sarlp: expected a dict with 'state_dict', got {_describe(checkpoint)}"
        )
    return checkpoint


def trained_classes(checkpoint: dict, path: str | Path) -> tuple[str, ...] | None:
    """The names of the classes that a checkpoint of :func:`read_checkpoint` was trained for; None if it has none.

    Raises:
        UserError: they are no list of names.
    """
    meta = checkpoint.get('meta')
    dataset_meta = meta.get('dataset_meta') if isinstance(meta, dict) else None
    classes = dataset_meta.get('classes') if isinstance(dataset_meta, dict) else None
    return None if classes is None else check_names(classes, f'{path}, meta.dataset_meta.classes')


def _describe(value: object) -> str:
    if isinstance(value, dict):
        return f'a dict with {", ".join(map(repr, list(value)[:5]))}{", ..." if len(value) > 5 else ""}'
    return type(value).__name__

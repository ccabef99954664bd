"""The record of a data set whose labels came from a spreadsheet: where they and the images are.

:mod:`sarlp.apps.spreadsheets.label_source` writes it.
"""

import os
from pathlib import Path
from typing import Any

from sarlp.datasets.annotation import AnnotationError
from sarlp.io.json_file import read_json
from sarlp.io.moved import follow

RECORD = 'labels/source.json'
VERSION = 1


def read_source(root: str | os.PathLike) -> dict[str, Any] | None:
    """The record of a data set; None if its labels were made otherwise.

    Args:
        root: folder of the data set.

    Returns:
        ``file`` (name), ``copy`` (beside the record), ``sha256``, ``path`` (absolute, of the file; where it is now, if
        it was moved together with the data set; those of earlier versions lack it), ``img_root`` (relative to
        ``root``, or absolute; where it is now, likewise), ``root`` (absolute, where the record was written; those of
        earlier versions lack it), ``settings`` (arguments that open the copy as it was opened), ``classes`` (in the
        order of the annotation files; records of earlier versions lack them), ``spelling`` (cell by label code, as
        text), ``options`` (of the conversion) and ``names`` (path by how the file writes it, where the two differ).

    Raises:
        AnnotationError: the record is damaged, or of another version.
    """
    path = Path(root) / RECORD
    try:
        record = read_json(path)
    except FileNotFoundError:
        return None
    except (ValueError, OSError) as error:
        raise AnnotationError(f'{path}: it can not be read ({error}). Convert the labels anew.') from None
    if not isinstance(record, dict) or record.get('version') != VERSION:
        raise AnnotationError(f'{path}: expected a record of version {VERSION}. Convert the labels anew.')
    if isinstance(was := record.get('root'), str) and isinstance(record.get('img_root'), str):
        record['img_root'] = follow(record['img_root'], was, root)
        if isinstance(record.get('path'), str):
            record['path'] = follow(record['path'], was, root)
    return record

"""``_classes.csv`` of Roboflow's multi-label export: ``filename, cat, dog`` and a row of 0 and 1 for each image.

Roboflow writes 0 also where nobody looked for a class, and has no sign of its own for that.
"""

from collections.abc import Sequence
from pathlib import Path

from sarlp.apps.spreadsheets.label_files.tables import Wide
from sarlp.labels import NEGATIVE

_NAME, _FIRST = '_classes.csv', 'filename'


class Roboflow(Wide):
    """A wide table in which 0 is no, unless it is told to be unknown. What is no is then written ``0.0``."""

    form = 'roboflow'

    def notes(self) -> list[str]:
        if self.spelling['0'] != NEGATIVE:
            return []
        return [
            'note: a 0 is taken for no; where Roboflow wrote it because nobody looked for the class, read the file '
            'again with --unknown 0'
        ]


def is_roboflow(path: Path, header: Sequence[str]) -> bool:
    """Whether a table is one, by its name and that of its first column."""
    return path.name == _NAME and header[0] == _FIRST

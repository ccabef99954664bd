"""Whether a spreadsheet says enough to learn from and leaves something to fill in, and what to do where it does not."""

import numpy as np

from sarlp.apps.spreadsheets.csv_labels import ReadLabels
from sarlp.apps.spreadsheets.label_files.named import NamedClasses
from sarlp.apps.spreadsheets.label_files.tables import Wide
from sarlp.errors import UserError
from sarlp.evaluation.calibration import LEAST, require_enough
from sarlp.labels import NEGATIVE, POSITIVE, UNKNOWN

_REST = '--negative ""'
_UNSEEN = 'Photographs that nobody looked at must have no row then; --include-unlabelled lists them'


def check_enough(read: ReadLabels, observed: np.ndarray) -> None:
    """Refuse what can not be completed.

    Args:
        read: the spreadsheet.
        observed: (N, C) of 1 / 0 / -1.

    Raises:
        UserError: too few cells say yes, or no, or none is blank.
    """
    yes, no = (int((observed == code).sum()) for code in (POSITIVE, NEGATIVE))
    if yes >= LEAST and not no:
        raise UserError(f'{read.csv}: {_only_yes(read, yes)}')
    lacking = [word for word, count in (('yes', yes), ('no', no)) if count < LEAST]
    require_enough(observed, f'fill in more cells with {" and with ".join(lacking)}{_colours(read)}')
    if not (observed == UNKNOWN).any():
        raise UserError(f'{read.csv}: no cell is blank, so there is nothing to complete{_nothing_blank(read)}')


def _only_yes(read: ReadLabels, yes: int) -> str:
    if getattr(read.file, 'rest_is_no', False):
        return (
            f'it names in each image all that it names anywhere, {yes:,} times, and nowhere says that nothing is '
            'there; a blank is an image that nobody labelled. Write none, or what the form '
            f'{read.file.form} has for that, into images in which nothing is'
        )
    what = 'what is not named' if isinstance(read.file, NamedClasses) else 'a blank'
    more = 'Write some no, of each class' if isinstance(read.file, Wide) else 'Say of each class of some photographs no'
    if isinstance(read.file, NamedClasses):  # which has no word for it
        more = 'Write a table with a column a class, and say no there'
    return (
        f'it says {yes:,} times what is there, and nowhere what is not, so that nothing can be learnt of that, and no '
        f'precision be measured. {more} ({LEAST} are the least); or, if {what} means no, add {_REST}. {_UNSEEN}'
    )


def _colours(read: ReadLabels) -> str:
    """What to say of a sheet in which colours seem to be the labels."""
    book = getattr(getattr(read.file, 'sheet', None), 'book', None)
    coloured = book.coloured() if book is not None else 0
    return f'. {coloured:,} blank cells are coloured, and colours are not read: write a word into each' * bool(coloured)


def _nothing_blank(read: ReadLabels) -> str:
    said = []
    if '' in read.file.settings().get('negative', ()):
        said.append(f'; with {_REST} all that is not yes is no. {_UNSEEN}')
    elif read.unlisted:
        said.append(f'; {len(read.unlisted):,} images of the folder are in no row, and --include-unlabelled lists them')
    elif isinstance(read.file, Wide) and {cell.casefold() for cell in read.file.used} >= {'true', 'false'}:
        said.append('; if FALSE is only a box that nobody ticked, say --unknown FALSE')
    return ''.join(said)

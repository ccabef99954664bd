"""What of a file of labels whoever had it read ought to know before anything else."""

import re
import shlex
from collections.abc import Mapping, Sequence

import numpy as np

from sarlp.apps.spreadsheets.label_files import LabelFile
from sarlp.apps.spreadsheets.label_files.sheets import FILLED
from sarlp.apps.spreadsheets.label_files.tables import Wide
from sarlp.errors import shorten
from sarlp.labels import NEGATIVE, POSITIVE, UNKNOWN

# words of which, beside fillers, a column of bookkeeping is named
_BOOKKEEPING = {
    *('reviewed', 'review', 'checked', 'check', 'verified', 'verify', 'validated', 'valid', 'invalid', 'confirmed'),
    *('done', 'complete', 'completed', 'finished', 'processed', 'corrected', 'todo', 'status', 'seen', 'ok', 'qa'),
    *('labelled', 'labeled', 'annotated', 'duplicate', 'duplicates', 'duplicated', 'flag', 'flagged', 'approved'),
    *('accepted', 'rejected', 'used', 'usable', 'unusable', 'selected', 'keep', 'skip', 'skipped', 'exclude'),
    *('excluded', 'include', 'included', 'ignore', 'ignored', 'discard', 'discarded', 'qc'),
}
_FILLERS = {
    *('is', 'was', 'to', 'be', 'by', 'has', 'been', 'needs', 'need', 'already', 'double', 'not'),
    *('image', 'photo', 'row', 'label', 'labels'),
}
_LEAST = 20  # images below which that a column is nearly always the same says nothing
_RARE = 0.02  # most of the images that may be of the rarer kind where it is


def remarks_on(
    file: LabelFile, labels: Mapping[str, np.ndarray], ignored: Sequence[str], classes_told: bool
) -> list[str]:
    """Lines, each a note, of what is read as labels and may be none.

    Args:
        file: what was opened.
        labels: (C,) of 1 / 0 / -1 by image.
        ignored: names of columns that a person left out.
        classes_told: whether a person named the columns that are classes.
    """
    lines = []
    if filled := getattr(getattr(file, 'sheet', None), 'filled', int)():
        lines.append(
            f'note: {filled:,} of its cells or rows say that sarlp filled them in before ({FILLED!r}). What stands '
            'there counts as known; to complete the labels anew give the file that a person filled in'
        )
    if isinstance(file, Wide) and len(file.classes) > 1 and file.spelling[''] == NEGATIVE:
        nothing = [image for image, codes in labels.items() if (codes == NEGATIVE).all()]
        if nothing:
            lines.append(
                f'note: a blank means no here, and so all is no in {len(nothing):,} images: {shorten(nothing)}. '
                'Take out the rows of those that nobody looked at; --include-unlabelled lists them'
            )
    if several := [name for name in file.classes if _is_of_others(name, {*file.classes})]:
        lines.append(f'note: read as one class each, though they look like several: {shorten(several)}')
    # only there is a class a column that can be left out, and may be no class
    if type(file) is Wide and file.sheet.class_columns is None and not classes_told:
        found = {name: 'by its name' for name in file.classes if _is_bookkeeping(name)}
        others = [column for column, name in enumerate(file.classes) if name not in found]
        codes = np.stack([*labels.values()])[:, others]
        found |= _hardly_vary([file.classes[column] for column in others], codes)
        if found:
            option = shlex.join(['--ignore-columns', *ignored, *found])
            shown = ', '.join(f'{name!r} ({how})' for name, how in found.items())
            lines.append(
                f'note: taken as classes, though they look like bookkeeping: {shown}. To leave out what '
                f'does not say what a photograph shows: {option}'
            )
    return lines


def _is_bookkeeping(name: str) -> bool:
    words = set(re.split(r'[\W_]+', name.lower())) - {''} - _FILLERS
    return bool(words) and words <= _BOOKKEEPING


def _is_of_others(name: str, classes: set[str]) -> bool:
    """Whether a name is those of other classes in a row: a cell with two, in a form that has one."""
    parts = [part.strip() for part in re.split('[,;|]', name)]
    return len(parts) > 1 and classes.issuperset(parts)


def _hardly_vary(classes: Sequence[str], codes: np.ndarray) -> dict[str, str]:
    """Classes that are known of all images, as few others are, and nearly always the same, and how they are."""
    whole = (codes != UNKNOWN).all(axis=0)
    if len(codes) < _LEAST or 2 * whole.sum() >= len(classes):  # else to know everything is the custom
        return {}
    found = {}
    for name, known, column in zip(classes, whole, codes.T, strict=True):
        yes, no = int((column == POSITIVE).sum()), int((column == NEGATIVE).sum())
        if known and min(yes, no) <= _RARE * len(codes):
            word, number = ('yes', yes) if yes > no else ('no', no)
            found[name] = f'known of all {len(codes):,} images, {number:,} times {word}'
    return found

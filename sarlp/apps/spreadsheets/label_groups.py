"""Which images of a file of labels belong together: by a column of it, and by what they show."""

from collections.abc import Sequence
from pathlib import Path

from sarlp.apps.spreadsheets.label_files import LabelFile, Merged
from sarlp.datasets.annotation import AnnotationError
from sarlp.datasets.groups import join_groups, near_duplicates
from sarlp.errors import shorten

NEAR_DUPLICATES = ('together', 'apart')


def find_groups(
    file: LabelFile, merged: Merged, root: Path, images: Sequence[str], alike: str
) -> tuple[dict[str, str], list[tuple[str, str]], list[str]]:
    """The groups of images, which pairs show the same, and what to say of them.

    Args:
        file: with its column of groups, if it has one.
        merged: what it says.
        root: folder of the images.
        images: paths of those that are listed.
        alike: one of :data:`NEAR_DUPLICATES`: what becomes of images that show the same.

    Returns:
        By path, see :func:`~sarlp.datasets.groups.join_groups`; the pairs, none if these are ``'apart'``; and lines.

    Raises:
        AnnotationError: an image is in two groups.
    """
    if alike not in NEAR_DUPLICATES:
        raise AnnotationError(f'near_duplicates must be one of {", ".join(NEAR_DUPLICATES)}, found {alike!r}.')
    named: dict[str, tuple[str, str]] = {}
    for where, written, group in file.groups():
        path = merged.names.get(written, written)
        if path in merged.labels and named.setdefault(path, (group, file.place(where)))[0] != group:
            raise AnnotationError(
                f'{file.path}, {file.place(where)}: {path} is in the group {group!r} here, and in {named[path][0]!r} '
                f'in {named[path][1]}. Correct the column.'
            )
    by_name: dict[str, list[str]] = {}
    for path, (group, _) in named.items():
        by_name.setdefault(group, []).append(path)
    pairs = near_duplicates(root, images) if alike == NEAR_DUPLICATES[0] else []
    said = []
    if named:
        without = f', and {len(images) - len(named):,} images in none' if len(named) < len(images) else ''
        what = getattr(file, 'groups_of', 'groups of the column')
        said.append(f'{what}: {len(by_name):,}{without}; each is on one side of split and folds')
    if pairs:
        shown = [f'{one} and {other}' for one, other in pairs]
        said.append(
            'images that show the same, kept on one side of folds, and of a split that is drawn (--near-duplicates '
            f'apart draws them one by one): {len(pairs):,} pairs: {shorten(shown)}'
        )
    return join_groups(images, by_name.values(), pairs), pairs, said

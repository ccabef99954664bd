"""Lists of images in an order that a mask knows them by."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from sarlp.errors import UserError, shorten
from sarlp.names.clean_names import clean_name


def match_images(lines: Sequence[str], image_ids: Sequence[str]) -> list[str | None]:
    """The image that each line names: by its path as in the annotation file, or by its file name without suffix.

    Args:
        lines: N names; those of white space only are passed over.
        image_ids: paths relative to the image root, forward slashes.

    Returns:
        At most N paths of ``image_ids``, None for an image that is not among them.
    """
    by_name = {clean_name(PurePosixPath(image_id).stem): image_id for image_id in image_ids}
    by_name |= {clean_name(image_id): image_id for image_id in image_ids}
    return [by_name.get(clean_name(line)) for line in lines if line.strip()]


def read_image_list(path: Path) -> list[str]:
    """The lines of a text file with an image a line.

    Raises:
        UserError: it is not there or no text.
    """
    try:
        return path.read_text('utf-8-sig').split('\n')
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f'{path}: expected a text file with an image a line, in UTF-8 ({error}); correct label_mask.image_list'
        ) from error


def places(
    listed: Sequence[str | None], image_ids: Sequence[str], order: str | Path, source: str | Path
) -> dict[str, int]:
    """The place of each image in a list.

    Args:
        listed: of :func:`match_images`.
        image_ids: all images that must be in it.
        order: what the list is from, for messages.
        source: what the images are from, for messages.

    Raises:
        UserError: an image is in the list more than once, or not at all.
    """
    found = {name: place for place, name in enumerate(listed) if name is not None}
    for problem, names in (
        ('are in it more than once', [name for name, count in Counter(listed).items() if name and count > 1]),
        ('are not in it', [name for name in image_ids if name not in found]),
    ):
        if names:
            raise UserError(f'{order}: {len(names):,} images of {source} {problem}: {shorten(names)}')
    return found

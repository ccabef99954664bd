"""The label masks that published results on VOC 2007 and MS-COCO share, by the law they were drawn by."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sarlp.datasets.converters.coco import COCO_CLASSES
from sarlp.datasets.converters.coco_records import RecordError, image_file
from sarlp.datasets.converters.json_stream import stream_members
from sarlp.datasets.converters.voc2007 import VOC_CLASSES, VOC_SIZES
from sarlp.datasets.image_lists import match_images, places, read_image_list
from sarlp.datasets.label_masks import LabelMask, check_share
from sarlp.errors import UserError
from sarlp.registry import LABEL_MASKS


class _Original(NamedTuple):
    """A data set as it was when its masks were drawn: columns, number of rows, and the file that has their order."""

    name: str
    classes: tuple[str, ...]
    images: int
    order: str  # relative to the folder that has `labels` in it


_ORIGINALS = (
    _Original('VOC 2007', VOC_CLASSES, VOC_SIZES['trainval'], 'ImageSets/Main/trainval.txt'),
    _Original('MS-COCO 2014', COCO_CLASSES, 82_783, 'annotations/instances_train2014.json'),
)


@LABEL_MASKS.register_module()
class HCPKnownLabels(LabelMask):
    """The masks of HCP-MLR-PL (SST, SARB, HST and those who took over its files): each label known at random.

    One uniform matrix (images, classes) is drawn by ``numpy.random.RandomState(seed)``; a label is known where its
    number is less than ``known_ratio``, so what is known at 0.1 is known at 0.2 as well. Rows are the images of VOC
    2007 in the order of ``trainval.txt``, or all of MS-COCO's train2014 in the order of their annotation file, those
    without any annotation among them; columns are VOC's classes by alphabet, COCO's in the order of the file. Images
    are found by name, so that a data set in another order, or with images left out, has the same labels known.

    Args:
        known_ratio: p in (0, 1].
        seed: 0 is that of the published masks.
        image_list: file with the order: VOC's ``trainval.txt``, or COCO's ``instances_train2014.json``. None finds it
            where the data set has it, beside the folder of the annotation file.
    """

    def __init__(self, known_ratio: float, seed: int = 0, image_list: str | Path | None = None):
        self.known_ratio = check_share('known_ratio', known_ratio)
        self.seed = seed
        self.image_list = None if image_list is None else Path(image_list)

    def bind(self, classes: Sequence[str], source: str, data_list: Sequence[dict] = ()) -> None:
        super().bind(classes, source, data_list)
        original = next((one for one in _ORIGINALS if set(one.classes) == set(classes)), None)
        if original is None:
            raise UserError(
                f'{source}: has the classes of neither VOC 2007 nor MS-COCO 2014, for which alone these masks are '
                "published; take label_mask.type='RandomKnownLabels'"
            )
        order = self.image_list or Path(source).parent.parent / original.order
        image_ids = [entry['img_path'] for entry in data_list]
        listed = match_images(_read_order(order), image_ids)
        if len(listed) != original.images:
            raise UserError(
                f'{order}: lists {len(listed):,} images, but the masks were drawn for the {original.images:,} of '
                f"{original.name}. Name the data set's own {Path(original.order).name} with label_mask.image_list"
            )
        rows = places(listed, image_ids, order, source)
        numbers = np.random.RandomState(self.seed).random_sample((original.images, len(classes)))
        known = numbers[:, [original.classes.index(name) for name in classes]] < self.known_ratio
        self._rows = {image: known[row] for image, row in rows.items()}

    def known(self, image_id: str, labels: np.ndarray) -> np.ndarray:
        return self._rows[image_id]


def _read_order(path: Path) -> list[str]:
    """Names of images, in the order of a text file or of the ``images`` of COCO's JSON."""
    if not path.is_file():
        raise UserError(
            f'{path}: is not there, so the order of the images that the masks were drawn in is not known. Name the '
            "data set's own trainval.txt (VOC 2007) or instances_train2014.json (MS-COCO) with label_mask.image_list"
        )
    if path.suffix != '.json':
        return read_image_list(path)
    names = []
    try:
        with contextlib.closing(stream_members(path, parse_float=bool, lists=('images',))) as members:
            for key, record in members:
                if key == 'images':
                    names.append(Path(image_file(record)).stem)
                elif names:  # all of them are read, and the rest is long
                    break
    except (ValueError, RecordError, AttributeError) as error:
        raise UserError(
            f'{path}: expected the annotations of MS-COCO ({error}); correct label_mask.image_list'
        ) from error
    return names

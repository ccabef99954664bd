"""The label masks that the reference code of arXiv 2510.10055 writes while it trains, as a protocol."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from sarlp.datasets.image_lists import match_images, places, read_image_list
from sarlp.datasets.label_masks import LabelMask
from sarlp.errors import UserError, shorten
from sarlp.io.weights_file import read_weights
from sarlp.registry import LABEL_MASKS


@LABEL_MASKS.register_module()
class ReferenceLabelMask(LabelMask):
    """A mask file of the reference code, such as ``partial_label_0.10.pt``: 1 where a label is known, 0 where not.

    The file names neither images nor classes. Columns are taken for the classes in their order; rows for the images of
    the annotation file in their order, unless ``image_list`` gives another.

    Args:
        file: a tensor (N, 1, C) or (N, C) of 0 and 1, saved with ``torch.save``; it is read without running code.
        image_list: text file with an image a line in the order of the rows: its path as in the annotation file, or its
            file name without suffix (as in VOC's ``trainval.txt``). Images that the annotation file lacks are passed
            over.
    """

    def __init__(self, file: str | Path, image_list: str | Path | None = None):
        self.file = Path(file)
        self.image_list = None if image_list is None else Path(image_list)

    def bind(self, classes: Sequence[str], source: str, data_list: Sequence[dict] = ()) -> None:
        super().bind(classes, source, data_list)
        image_ids = [entry['img_path'] for entry in data_list]
        rows: Sequence[str | None] = image_ids
        order: str | Path = source
        if self.image_list is not None:
            rows = match_images(read_image_list(self.image_list), image_ids)
            order = self.image_list
        known = self._load()
        if known.shape != (len(rows), len(classes)):
            raise UserError(
                f'{self.file}: the mask is for {known.shape[0]:,} images and {known.shape[1]:,} classes, but {order} '
                f'has {len(rows):,} images and {source} {len(classes):,} classes. Rows go by position: give the list '
                'of images that the mask was made for with label_mask.image_list'
            )
        self._rows = {image: known[place] for image, place in places(rows, image_ids, order, source).items()}

    def _load(self) -> np.ndarray:
        try:
            mask = read_weights(self.file)
        except FileNotFoundError:
            raise UserError(f'{self.file}: no such label mask') from None
        except Exception as error:  # unpickling raises what it pleases
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise UserError(f'{self.file}: is no file of torch.save that holds a plain tensor ({reason})') from error
        if not isinstance(mask, torch.Tensor) or mask.is_complex():
            kind = type(mask).__name__ if not isinstance(mask, torch.Tensor) else f'tensor of {mask.dtype}'
            raise UserError(f'{self.file}: expected a tensor of 0 and 1, found a {kind}')
        mask = mask.double()  # not every type can be compared
        if mask.ndim == 3 and mask.shape[1] == 1:
            mask = mask[:, 0]
        if mask.ndim != 2 or not ((mask == 0) | (mask == 1)).all():
            raise UserError(
                f'{self.file}: expected a tensor (images, 1, classes) or (images, classes) of 0 unknown and 1 known, '
                f'found the shape {tuple(mask.shape)} and the values {shorten([f"{v:g}" for v in mask.unique()])}'
            )
        return (mask == 1).numpy()

    def known(self, image_id: str, labels: np.ndarray) -> np.ndarray:
        return self._rows[image_id]

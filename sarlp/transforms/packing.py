"""Packing of a sample for the model."""

import warnings
from typing import Any

import cv2
import numpy as np
import torch
from mmpretrain.datasets.transforms import PackInputs

from sarlp.errors import GraveWarning, UserError
from sarlp.registry import TRANSFORMS

_CHANNELS = 3


@TRANSFORMS.register_module()
class PackMultiLabel(PackInputs):
    """mmpretrain's packing with the fields of :class:`~sarlp.datasets.MultiLabelDataset`.

    Returns ``inputs`` (3, h, w) uint8, BGR, and ``data_samples`` with ``gt_score``, ``gt_score_full``, ``ignore`` where
    the sample has them, and ``img_id``, ``img_path``, ``index``, ``ori_shape``, ``img_shape``.
    """

    def __init__(self):
        super().__init__(
            algorithm_keys=('gt_score_full', 'ignore'),
            meta_keys=('img_id', 'img_path', 'index', 'ori_shape', 'img_shape'),
        )

    @staticmethod
    def format_input(image: np.ndarray) -> torch.Tensor:
        """(h, w, 3) to (3, h, w): OpenCV splits channels ten times as fast as torch permutes them."""
        planes = np.empty((image.shape[2], *image.shape[:2]), image.dtype)
        cv2.split(image, list(planes))  # written in place
        return torch.from_numpy(planes)

    def transform(self, results: dict) -> dict:
        if 'img' in results:  # kept tokens have none
            _check_image(results['img'], results.get('img_path'))
        for key in self.algorithm_keys:
            if key in results:
                results[key] = torch.from_numpy(results[key])
        return super().transform(results)


def _check_image(image: Any, path: str | None) -> None:
    if not isinstance(image, np.ndarray) or image.ndim != 3 or (len(image) == _CHANNELS != image.shape[2]):
        found = f'the shape {image.shape}' if isinstance(image, np.ndarray) else type(image).__name__
        raise UserError(
            f'{path}: expected an image (height, width, 3) at the end of the pipeline, got {found}; look for the '
            'transform that changes it'
        )
    if image.dtype.kind == 'f' and 0 < image.max() <= 1:
        warnings.warn(
            'an image reached the end of its pipeline with values of 0 to 1, where 0 to 255 are expected: the model '
            'normalises those. Leave out the transform that divides',
            GraveWarning,
            stacklevel=1,
        )

"""Packing of a sample for the model."""

import cv2
import numpy as np
import torch
from mmpretrain.datasets.transforms import PackInputs

from sarlp.registry import TRANSFORMS


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
        for key in self.algorithm_keys:
            if key in results:
                results[key] = torch.from_numpy(results[key])
        return super().transform(results)

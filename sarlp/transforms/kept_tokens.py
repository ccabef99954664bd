"""Loading of kept tokens in place of images."""

import hashlib
from collections.abc import Mapping, Sequence

import torch

from sarlp.transforms.loading import BadImageError
from sarlp.transforms.packing import PackMultiLabel

Variants = Sequence[torch.Tensor] | str  # of one view of an image; or why it has none


class KeptTokens:
    """The whole of a pipeline whose images went through the backbone before.

    Which variant of an image comes is a function of (seed, epoch, image id, occurrence), the same in all views.

    Args:
        rows: for each image of the data set, by name of the view (None for the only one of a pipeline without
            ``Views``) its variants, (D, H, W) each.

    The sample is that of the pipeline in whose place this stands, but ``inputs`` are feature maps (D, H, W), or a dict
    of them by view, and there is no size of an image.
    """

    def __init__(self, rows: Sequence[Mapping[str | None, Variants]]):
        self.rows = rows
        self._pack = PackMultiLabel()

    def __call__(self, info: dict) -> dict:
        views = self.rows[info['sample_idx']]
        for variants in views.values():
            if isinstance(variants, str):
                raise BadImageError(variants)
        maps = {name: variants[choose(info['seed_key'], len(variants))] for name, variants in views.items()}
        return {'inputs': maps.get(None, maps), **self._pack.transform(info)}


def choose(key: tuple, number: int) -> int:
    """A number from 0 to ``number`` - 1, drawn from the key alone."""
    if number == 1:
        return 0
    return int.from_bytes(hashlib.blake2b(repr(key).encode(), digest_size=8).digest(), 'little') % number

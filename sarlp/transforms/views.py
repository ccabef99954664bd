"""Several views of an image, each with an augmentation of its own."""

import copy
from collections.abc import Sequence
from typing import Any

from mmcv.transforms import BaseTransform
from mmengine.dataset import Compose

from sarlp.errors import UserValueError
from sarlp.registry import TRANSFORMS
from sarlp.transforms.seeding import seeded


@TRANSFORMS.register_module()
class Views(BaseTransform):
    """The end of a pipeline that gives several views of an image to a method that wants them.

    The image is loaded once, by what comes before. The first view draws its random numbers as if it were the only one;
    those of another are a function of (seed, epoch, image, name of the view), so that none depends on the others.

    Args:
        **views: pipeline by name, each ending in ``PackMultiLabel``.

    The sample holds ``inputs``, a dict of the packed images by view, and the ``data_samples`` of the first.
    """

    def __init__(self, **views: Sequence[dict]):
        if not views:
            raise UserValueError('Views needs at least one pipeline: Views(weak=[...], strong=[...])')
        self.views = {name: Compose(pipeline) for name, pipeline in views.items()}

    def transform(self, results: dict) -> dict[str, Any]:
        first, *others = self.views
        copies = {name: copy.deepcopy(results) for name in others}
        packed = {first: self.views[first](results)}
        for name in others:
            with seeded(*results['seed_key'], name):
                packed[name] = self.views[name](copies[name])
        return {
            'inputs': {name: sample['inputs'] for name, sample in packed.items()},
            'data_samples': packed[first]['data_samples'],
        }

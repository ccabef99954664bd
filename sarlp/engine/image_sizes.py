"""The sizes of the images that a model was trained on.

A config without a Resize takes images as they come, so that it says no size; its model gives scores for images of any
size, and worse ones for those of another scale than it has seen.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from mmengine.hooks import Hook
from torch import Tensor

from sarlp.engine.config.option_changes import name_of
from sarlp.models.network import CHANNELS

_KEY = 'image_sizes'  # of the meta
_LEAVE_SIZES = {'LoadImage', 'PackMultiLabel', 'PackInputs'}


class Sizes(NamedTuple):
    """Least and largest width and height of images, in px."""

    least_width: int
    width: int
    least_height: int
    height: int

    def lie_in(self, other: 'Sizes') -> bool:
        """Whether none of these is less or more than all of those."""
        least = self.least_width >= other.least_width and self.least_height >= other.least_height
        return least and self.width <= other.width and self.height <= other.height

    def __str__(self) -> str:
        sides = (self.least_width, self.width), (self.least_height, self.height)
        return ' x '.join(str(least) if least == most else f'{least}-{most}' for least, most in sides)


def sizes_of(images: Iterable[Tensor], before: Sizes | None = None) -> Sizes | None:
    """Of images (3, h, w), and of those ``before``; None where there are none."""
    shapes = [image.shape[-2:] for image in images if image.shape[-3] == CHANNELS]  # no feature maps
    widths, heights = ([shape[axis] for shape in shapes] for axis in (1, 0))
    if before is not None:
        widths, heights = [*widths, *before[:2]], [*heights, *before[2:]]
    return Sizes(min(widths), max(widths), min(heights), max(heights)) if widths else None


def trained_sizes(meta: Mapping, pipeline: Iterable[Mapping]) -> Sizes | None:
    """Of the images that a model was trained on; None, where its checkpoint does not say, or the config resizes.

    Args:
        meta: of the checkpoint.
        pipeline: steps of the config that make test images ready.
    """
    found = meta.get(_KEY)
    if not {name_of(dict(step)) for step in pipeline} <= _LEAVE_SIZES:
        return None
    if not isinstance(found, list | tuple) or len(found) != len(Sizes._fields):
        return None
    return Sizes(*found) if all(type(side) is int for side in found) else None


class ImageSizesHook(Hook):
    """Remember the sizes of the images that the model sees, on this rank; in training, each checkpoint says them."""

    def __init__(self) -> None:
        self.seen: Sizes | None = None

    def change_since(self, trained: Sizes | None) -> tuple[str, ...]:
        """What is otherwise than in the training, if so, in words."""
        if trained is None or self.seen is None or self.seen.lie_in(trained):
            return ()
        return (f'size of the images {trained} -> {self.seen}',)

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        self.seen = sizes_of(_images_in(data_batch['inputs']), self.seen)

    def after_test_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        self.seen = sizes_of(_images_in(data_batch['inputs']), self.seen)

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        if self.seen is not None:
            checkpoint['meta'][_KEY] = list(self.seen)

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        found = checkpoint.get('meta', {}).get(_KEY)
        if runner._resume and found is not None:
            self.seen = Sizes(*found)


def _images_in(inputs: Any) -> Iterator[Tensor]:
    """Of a batch: a list, or one of dicts by view, or a dict of lists."""
    if isinstance(inputs, Tensor):
        yield inputs
    else:
        for part in inputs.values() if isinstance(inputs, Mapping) else inputs:
            yield from _images_in(part)

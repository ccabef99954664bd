"""uint8 images to a normalised batch, on the device."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from mmpretrain.models import ClsDataPreprocessor

from sarlp.errors import UserError, UserValueError, shorten
from sarlp.models.network import CHANNELS
from sarlp.registry import MODELS


@MODELS.register_module()
class DataPreprocessor(ClsDataPreprocessor):
    """mmpretrain's, moving the images without waiting, and leaving the samples where they are.

    The images travel as uint8, a quarter of their size as float32, and are normalised where they arrive. mmpretrain's
    waits for this copy and for that of the labels, which it hands back to their samples one by one; the classifier
    stacks and moves them anyway.

    Args:
        mean: of the channels R, G, B; None takes nothing off. For ``'backbone'`` in a config see
            :class:`~sarlp.models.MultiLabelClassifier`.
        std: of the channels R, G, B.
        to_rgb: whether the images come as BGR.
        non_blocking: copy from pinned memory (``pin_memory`` of the data loader) while the CPU goes on.
    """

    def __init__(
        self,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        to_rgb: bool = False,
        non_blocking: bool = True,
    ):
        for name, values in (('mean', mean), ('std', std)):
            if values is not None and not _are_of_channels(values, positive=name == 'std'):
                above = ' above 0' if name == 'std' else ''
                raise UserValueError(f'{name} must be {CHANNELS} numbers{above}, for R, G, B, got {values!r}')
        super().__init__(mean=mean, std=std, to_rgb=to_rgb)
        self._non_blocking = non_blocking  # MMEngine's base takes it, mmpretrain's class does not hand it on

    def forward(self, data: dict, training: bool = False) -> dict:
        """Args: ``inputs``, (B, 3, h, w) uint8, or a list of (3, h, w), padded to the largest; or a dict of such by
        view. Feature maps (B, D, H, W), float, are no images, and stay as they are. Returns float32."""

        def normalised(inputs: Any) -> Any:
            if inputs[0].is_floating_point() and len(inputs[0]) != CHANNELS:
                maps = torch.stack(inputs) if isinstance(inputs, list) else inputs
                return self.cast_data(maps).float()
            if isinstance(inputs, list) and len({(image.shape, image.dtype) for image in inputs}) == 1:
                inputs = torch.stack(self.cast_data(inputs))  # one kernel each where there would be one an image
            return super(DataPreprocessor, self).forward({'inputs': inputs}, training)['inputs']

        if 'inputs' not in data:
            raise UserError(
                f'a batch reached the model that holds {shorten([*data])} and no inputs; let the pipeline of the data '
                "set end in dict(type='PackMultiLabel')"
            )
        inputs = data['inputs']
        if isinstance(inputs, list) and inputs and isinstance(inputs[0], dict):  # a list of samples, each with views
            inputs = {view: [sample[view] for sample in inputs] for view in inputs[0]}
        if isinstance(inputs, dict):
            inputs = {view: normalised(images) for view, images in inputs.items()}
        else:
            inputs = normalised(inputs)
        return {'inputs': inputs, 'data_samples': data.get('data_samples')}


def _are_of_channels(values: Any, positive: bool) -> bool:
    return (
        isinstance(values, Sequence)
        and len(values) == CHANNELS
        and all(isinstance(value, int | float) and math.isfinite(value) for value in values)
        and (not positive or min(values) > 0)
    )

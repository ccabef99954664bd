"""The averaged network as a teacher."""

from typing import Any

import torch
from torch import Tensor, nn


class Teacher:
    """The average of the weights that is evaluated anyway, as a function of images without gradient.

    There is one average, not two: that of the hook ``ema``. Its hyper-parameters are the hook's; ``warm_start=True``
    there lets the average follow more closely in the first steps, when it is mostly initial weights otherwise.
    """

    def __init__(self) -> None:
        self._bound: tuple[nn.Module, ...] = ()  # a tuple, so that no module takes the network for a part of itself

    def bind(self, network: nn.Module) -> None:
        """Called before the first step with the averaged network."""
        self._bound = (network,)

    def __call__(self, images: Tensor) -> dict[str, Any]:
        """Outputs of the averaged network in evaluation mode for images (B, 3, h, w); see ``Network``."""
        if not self._bound:
            raise RuntimeError('the teacher has no network yet; it is bound before the first step of a run')
        (network,) = self._bound
        with torch.no_grad():
            return network.eval()(images)

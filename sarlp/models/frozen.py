"""A backbone that is not trained, so that its feature maps can be computed once and kept."""

import torch
from torch import Tensor, nn


class Frozen(nn.Module):
    """What :func:`freeze` puts before the class of a backbone."""

    def train(self, mode: bool = True) -> 'Frozen':
        return super().train(False)

    def forward(self, images: Tensor):
        """On a CPU image by image, so that the feature map of an image does not depend on the batch it comes in.

        Convolutions are computed in another order for another size of the batch. Small batches also stay in the cache
        of the processor, so that this is no slower.
        """
        if images.device.type != 'cpu' or len(images) < 2 or torch.compiler.is_compiling() or torch.jit.is_tracing():
            return super().forward(images)
        return _join([super(Frozen, self).forward(image) for image in images.split(1)])


def _join(parts: list | tuple):
    if isinstance(parts[0], Tensor):
        return torch.cat(parts)
    if isinstance(parts[0], tuple | list):
        return type(parts[0])(map(_join, zip(*parts, strict=True)))
    return parts[0]  # a side of the grid


def freeze(backbone: nn.Module) -> nn.Module:
    """Let a backbone stay as it is in training, in place: no gradient, evaluation mode throughout.

    Its parameters keep their names, so that a checkpoint fits a model that trains the same backbone.
    """
    backbone.requires_grad_(False).eval()
    kind = type(backbone)
    backbone.__class__ = type(f'Frozen{kind.__name__}', (Frozen, kind), {})  # as torch's parametrizations do
    return backbone


def is_same_frozen(backbone: nn.Module, other: nn.Module) -> bool:
    """Whether both are frozen, and of the same weights: then one can stand for the other."""
    if not (isinstance(backbone, Frozen) and isinstance(other, Frozen)):
        return False
    state, others = backbone.state_dict(), other.state_dict()
    return state.keys() == others.keys() and all(torch.equal(value, others[name]) for name, value in state.items())

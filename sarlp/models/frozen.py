"""A backbone that is not trained, so that its feature maps can be computed once and kept."""

import torch
from torch import Tensor, nn

from sarlp.models.precision import autocast_as_lowered, lower, precision_of


class Frozen(nn.Module):
    """What :func:`freeze` puts before the class of a backbone."""

    def train(self, mode: bool = True) -> 'Frozen':
        return super().train(False)

    def forward(self, images: Tensor):
        """On a CPU image by image, so that the feature map of an image does not depend on the batch it comes in.

        Convolutions are computed in another order for another size of the batch. Small batches also stay in the cache
        of the processor, so that this is no slower.
        """
        with autocast_as_lowered(self, images.device):
            whole = torch.compiler.is_compiling() or torch.jit.is_tracing()
            if images.device.type != 'cpu' or len(images) < 2 or whole:
                features = super().forward(images)
            else:
                features = _join([super(Frozen, self).forward(image) for image in images.split(1)])
        return features if precision_of(self) == torch.float32 else _to_float(features)


def _join(parts: list | tuple):
    if isinstance(parts[0], Tensor):
        return torch.cat(parts)
    if isinstance(parts[0], tuple | list):
        return type(parts[0])(map(_join, zip(*parts, strict=True)))
    return parts[0]  # a side of the grid


def _to_float(features):
    if isinstance(features, tuple | list):
        return type(features)(map(_to_float, features))
    return features.float() if isinstance(features, Tensor) else features


def freeze(backbone: nn.Module, precision: str = 'float32') -> nn.Module:
    """Let a backbone stay as it is in training, in place: no gradient, evaluation mode throughout.

    Its parameters keep their names, so that a checkpoint fits a model that trains the same backbone.

    Args:
        precision: of convolutions and matrix products, one of :data:`~sarlp.models.precision.PRECISIONS`; the features
            come out as float32.
    """
    backbone.requires_grad_(False).eval()
    lower(backbone, precision)
    kind = type(backbone)
    backbone.__class__ = type(f'Frozen{kind.__name__}', (Frozen, kind), {})  # as torch's parametrizations do
    return backbone


def is_same_frozen(backbone: nn.Module, other: nn.Module) -> bool:
    """Whether both are frozen, and of the same weights: then one can stand for the other."""
    if not (isinstance(backbone, Frozen) and isinstance(other, Frozen)):
        return False
    state, others = backbone.state_dict(), other.state_dict()
    return state.keys() == others.keys() and all(
        value.dtype == others[name].dtype and torch.equal(value, others[name]) for name, value in state.items()
    )

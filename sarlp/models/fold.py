"""BatchNorm of a trained model, multiplied into the layers before it."""

from typing import Any

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from sarlp.models.linear_norm import LinearNorm

_PLAIN = (nn.BatchNorm2d, nn.SyncBatchNorm)


def fold_batch_norm(model: nn.Module) -> int:
    """Fold BatchNorm into the convolution or :class:`LinearNorm` before it, in place; outputs stay as they are.

    In evaluation BatchNorm is a factor and a summand for each channel. It is paired with the convolution that its
    parent lists right before it, which is where networks apply it. With anything in between, as an activation, it
    stays, and so does a subclass that may do more; but of timm's, which also activates, the activation is what stays.
    Behind a convolution of half of the bits it stays, too, since the product would be rounded once more.

    Args:
        model: in evaluation mode, adapters merged; on any device.

    Returns:
        How many were folded.

    Raises:
        ValueError: the model is in training mode, in which BatchNorm depends on the batch.
    """
    if model.training:
        raise ValueError('BatchNorm can be folded in evaluation mode only; call model.eval() first')
    folded = 0
    for module in model.modules():
        if isinstance(module, LinearNorm) and isinstance(module.norm, nn.BatchNorm1d):
            module.linear = fuse_linear_bn_eval(module.linear, module.norm)
            module.norm = nn.Identity()
            folded += 1
        children: list[tuple[str, Any]] = list(module.named_children())
        for (name, child), (norm_name, norm) in zip(children, children[1:], strict=False):
            rest = _after(norm) if type(child) is nn.Conv2d else None
            watched = child._forward_hooks or norm._forward_hooks  # its output is asked for, by LayersBackbone
            if rest is not None and not watched and child.weight.dtype == norm.weight.dtype:
                setattr(module, name, fuse_conv_bn_eval(child, norm))
                setattr(module, norm_name, rest)
                folded += 1
    return folded


def _after(norm: Any) -> nn.Module | None:
    """What a folded BatchNorm leaves to be done; None for what can not be folded."""
    if type(norm) in _PLAIN:
        return nn.Identity()
    if type(norm).__name__ == 'BatchNormAct2d' and type(norm).__module__.startswith('timm.'):
        return nn.Sequential(norm.drop, norm.act)
    return None

"""BatchNorm of a trained model, multiplied into the layers before it."""

from mmcv.cnn import fuse_conv_bn
from torch import nn
from torch.nn.utils.fusion import fuse_linear_bn_eval

from sarlp.models.linear_norm import LinearNorm


def fold_batch_norm(model: nn.Module) -> int:
    """Fold BatchNorm into the convolution or :class:`LinearNorm` before it, in place; outputs stay as they are.

    In evaluation BatchNorm is a factor and a summand for each channel. mmcv pairs a BatchNorm with the convolution
    that its parent lists before it, which is where the ResNets apply it. BatchNorm elsewhere stays.

    Args:
        model: in evaluation mode, adapters merged; on any device.

    Returns:
        How many were folded.

    Raises:
        ValueError: the model is in training mode, in which BatchNorm depends on the batch.
    """
    if model.training:
        raise ValueError('BatchNorm can be folded in evaluation mode only; call model.eval() first')
    before = _count_norms(model)
    for module in model.modules():
        if isinstance(module, LinearNorm) and isinstance(module.norm, nn.BatchNorm1d):
            module.linear = fuse_linear_bn_eval(module.linear, module.norm)
            module.norm = nn.Identity()
    fuse_conv_bn(model)
    return before - _count_norms(model)


def _count_norms(model: nn.Module) -> int:
    return sum(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())

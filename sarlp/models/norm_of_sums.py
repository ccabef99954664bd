"""BatchNorm over all sums of a class's row and an image's row, from the two parts."""

import torch
from mmengine.dist import all_reduce, get_world_size
from torch import Tensor, nn


class _SumOverRanks(torch.autograd.Function):
    """Sum of a tensor over the ranks; its gradient is the sum of the ranks' gradients."""

    @staticmethod
    def forward(ctx, value: Tensor) -> Tensor:
        value = value.clone()
        all_reduce(value)
        return value

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        return _SumOverRanks.apply(grad)


def _moments(rows: Tensor, ranks: int) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of (N, J) over the rows, of all ranks if there is more than one."""
    if ranks == 1:
        variance, mean = torch.var_mean(rows, 0, correction=0)
        return mean, variance
    count = _SumOverRanks.apply(rows.new_tensor([float(len(rows))]))
    mean = _SumOverRanks.apply(rows.sum(0)) / count
    return mean, _SumOverRanks.apply((rows - mean).square().sum(0)) / count


def batch_norm_of_sums(
    norm: nn.BatchNorm1d | nn.SyncBatchNorm, of_class: Tensor, of_image: Tensor
) -> tuple[Tensor, Tensor]:
    """Normalise the B * C rows ``of_class[c] + of_image[b]`` without making them.

    Over all pairs of a class and an image the mean of the sums is the sum of the means, and the variance is the sum of
    the variances.

    Args:
        norm: BatchNorm over J channels; in training its running statistics are updated as by its own ``forward``. A
            SyncBatchNorm takes the statistics over the images of all ranks (here on the CPU too).
        of_class: (C, J), the same on every rank.
        of_image: (B, J).

    Returns:
        (C, J) and (B, J), whose sums are the normalised rows; of the dtype of ``of_class``, computed in float32 at
        least.

    Raises:
        ValueError: in training, a single row has no variance.
    """
    dtype = of_class.dtype
    of_class, of_image = (part.to(torch.promote_types(dtype, torch.float32)) for part in (of_class, of_image))
    running_mean, running_var = norm.running_mean, norm.running_var
    assert running_mean is not None and running_var is not None  # of every norm that tracks, as these do
    image_mean: Tensor | int
    if norm.training:
        ranks = get_world_size() if isinstance(norm, nn.SyncBatchNorm) else 1
        count = len(of_class) * len(of_image) * ranks
        if count == 1:
            raise ValueError('BatchNorm in training needs more than one row: more than one image or class a batch')
        class_mean, class_variance = _moments(of_class, 1)
        image_mean, image_variance = _moments(of_image, ranks)
        variance = class_variance + image_variance
        assert norm.num_batches_tracked is not None and norm.momentum is not None
        with torch.no_grad():
            norm.num_batches_tracked.add_(1)
            running_mean.lerp_((class_mean + image_mean).to(running_mean.dtype), norm.momentum)
            unbiased = variance * (count / (count - 1))
            running_var.lerp_(unbiased.to(running_var.dtype), norm.momentum)
    else:
        class_mean, image_mean, variance = running_mean, 0, running_var
    scale = norm.weight * torch.rsqrt(variance + norm.eps)
    of_class = (of_class - class_mean) * scale + norm.bias
    return of_class.to(dtype), ((of_image - image_mean) * scale).to(dtype)

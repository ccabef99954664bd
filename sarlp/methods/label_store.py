"""Numbers that belong to the labels of the training images: pseudo-labels, soft labels, learnt logits."""

import torch
from mmengine.dist import all_gather
from torch import Tensor, nn

from sarlp.errors import UserError


def require_places(index: Tensor) -> None:
    """Look at the ``index`` (B,) of a batch, on the CPU: the classifier does before it goes to a GPU, which would stop.

    Raises:
        UserError: an image has no place in the training set.
    """
    if index.device.type == 'cpu' and (index < 0).any():
        raise UserError(
            'an image of the batch has no place in the training set (index), which a label store needs; let '
            'the training pipeline end in PackMultiLabel'
        )


class LabelStore(nn.Module):
    """An (N, C) table, a row for each place in the training set.

    As a buffer of a method it is saved with every checkpoint and resumed to the last bit. It is the same on all ranks,
    since each writes what any of them does.

    Args:
        num_images: N.
        num_classes: C.
        fill: value before anything is written.
        dtype: of the numbers; N * C of them are held, and saved.

    Attributes:
        values: (N, C), read it as you like; write by :meth:`write`.
    """

    values: Tensor

    def __init__(self, num_images: int, num_classes: int, fill: float = 0.0, dtype: torch.dtype = torch.float32):
        super().__init__()
        self.register_buffer('values', torch.full((num_images, num_classes), fill, dtype=dtype))

    @property
    def nbytes(self) -> int:
        """Bytes in memory, and in each checkpoint."""
        return self.values.nbytes

    def read(self, index: Tensor) -> Tensor:
        """Rows (B, C) of the images at ``index`` (B,), see :class:`~sarlp.methods.Batch`; a copy."""
        require_places(index)
        return self.values[index]

    @torch.no_grad()
    def write(self, index: Tensor, values: Tensor) -> None:
        """Replace the rows of the images at ``index`` (B,) by ``values`` (B, C), of all ranks.

        All ranks must call it together, with batches of one size. Of an image that occurs twice, as the last batch of
        an epoch may be filled up with the first images, the last row counts.
        """
        require_places(index)
        values = values.detach().to(self.values.dtype)
        indices, rows = torch.cat(all_gather(index)), torch.cat(all_gather(values))
        # of equal indices the order of writing is left open by torch, so each of them writes the row of the last
        places = torch.arange(len(indices), device=indices.device)
        last = torch.full((len(self.values),), -1, device=indices.device).scatter_reduce(0, indices, places, 'amax')
        self.values[indices] = rows[last[indices]]

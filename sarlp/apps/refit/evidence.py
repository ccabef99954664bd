"""What the last layer of a network sees of each class, image by image."""

from collections.abc import Iterable
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from sarlp.apps.refit.row import Evidence
from sarlp.errors import UserError
from sarlp.labels import UNKNOWN
from sarlp.models.classifier import MultiLabelClassifier
from sarlp.models.heads import MultiLabelHead
from sarlp.models.query_decoder import GroupWiseLinear


def last_layer(head: nn.Module) -> nn.Linear:
    """The layer of a head that has a row for each class.

    Raises:
        UserError: it has none.
    """
    name = getattr(head, 'last_layer', None)
    if name is None:
        raise UserError(
            f'{type(head).__name__} has no last layer with a row for each class, so that no class of it can be '
            'refitted without the others; a head of your own names it in `last_layer` (sarlp/models/heads.py)'
        )
    return cast(nn.Linear, head.get_submodule(name))  # as every head promises that names it


class Watch:
    """Within a ``with`` block, remembers what went into the last layer of a head.

    Args:
        head: a :class:`~sarlp.models.heads.MultiLabelHead`.
    """

    _input: Tensor

    def __init__(self, head: MultiLabelHead):
        self.head = head
        self.layer = last_layer(head)

    def __enter__(self):
        self._hook = self.layer.register_forward_hook(self._remember)
        return self

    def __exit__(self, *_) -> None:
        self._hook.remove()

    def _remember(self, _module: nn.Module, inputs: tuple[Tensor], _output: Tensor) -> None:
        self._input = inputs[0].detach()

    def derivatives(self, logits: Tensor) -> Tensor:
        """Of the logits (B, C) just computed by their rows and biases: (B, C, F + 1).

        Raises:
            UserError: the logits are not what the head's ``last_layer`` and ``pool`` make.
        """
        inputs = self._input
        with torch.enable_grad():
            scores = self.layer(inputs).detach().requires_grad_()
            pooled = self.head.pool(scores)
            (slope,) = torch.autograd.grad(pooled.sum(), scores)
        if not torch.allclose(pooled, logits.to(pooled.dtype), rtol=1e-3, atol=1e-3):
            raise UserError(
                f'the logits of {type(self.head).__name__} are not what its pool() makes of {self.head.last_layer}; '
                'mend last_layer or pool of the head'
            )
        if isinstance(self.layer, GroupWiseLinear):  # (B, C, F)
            rows = slope[..., None] * inputs
            return torch.cat([rows, slope[..., None]], 2)
        if slope.ndim == 2:
            slope, inputs = slope[:, None], inputs[:, None]
        return torch.cat([slope.transpose(1, 2) @ inputs, slope.sum(1)[..., None]], 2)


@torch.no_grad()
def collect(model: MultiLabelClassifier, images: Iterable, classes: list[int]) -> dict[int, Evidence]:
    """Evidence of the known labels of some classes.

    Args:
        model: of :func:`~sarlp.inference.init_model`.
        images: batches of a loader with the labels (B, C) of 1 / 0 / -1 that are known of them.
        classes: indices.
    """
    found: dict[int, list] = {c: [] for c in classes}
    with Watch(model.head) as watch:
        for batch, observed in images:
            inputs = model.data_preprocessor(batch)['inputs']
            logits = model.network(inputs)['logits'].float()
            rows = watch.derivatives(logits).float().cpu().numpy()
            logits = logits.cpu().numpy()
            for c in classes:
                known = observed[:, c] != UNKNOWN
                found[c].append((rows[known, c], logits[known, c], observed[known, c].astype(np.float64)))
    return {c: Evidence(*map(np.concatenate, zip(*parts, strict=True))) for c, parts in found.items()}

"""What a batch and what a method give each other, looked at on the way: a slip here would be trained, not seen.

Nothing waits for a GPU: labels are looked at on the CPU, and of losses only what is known without their values.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sarlp.errors import GraveWarning, UserError
from sarlp.labels import UNKNOWN

_PIPELINE = 'the pipeline of the training data (train_dataloader.dataset.pipeline)'


def stack_labels(samples: Sequence[Any], num_classes: int) -> Tensor:
    """The labels of a batch.

    Args:
        samples: B packed samples with ``gt_score`` (C,).
        num_classes: C of the model.

    Returns:
        (B, C) of probabilities in [0, 1] or -1.

    Raises:
        UserError: a sample has none, as many as of other classes, or what is no label.
    """
    for sample in samples:
        labels = sample.get('gt_score')
        if labels is None or tuple(labels.shape) != (num_classes,):
            found = 'none' if labels is None else f'gt_score of the shape {tuple(labels.shape)}'
            raise UserError(
                f'image {_name(sample)}: expected a label for each of the {num_classes} classes, found {found}; look '
                f'for the transform in {_PIPELINE} that changes or drops gt_score'
            )
    stacked = torch.stack([sample.gt_score for sample in samples])
    if stacked.is_cuda:  # put there by a loader of one's own; a look would wait
        return stacked
    values = stacked.numpy()
    legal = (values == UNKNOWN) | ((values >= 0) & (values <= 1))
    if not legal.all():
        row, column = np.argwhere(~legal)[0]
        raise UserError(
            f'image {_name(samples[row])}: a label is {values[row, column]:g}; expected 1, 0, a probability '
            f'between, or {UNKNOWN} where it is unknown. Look for the transform in {_PIPELINE} that computes with '
            f'gt_score, and let it leave {UNKNOWN} as it is'
        )
    return stacked


def _name(sample: Any) -> str:
    return sample.get('img_id') or sample.get('img_path') or 'without a name'


def check_losses(losses: Any, method: nn.Module) -> dict[str, Tensor]:
    """What ``loss`` of a method returned, if it can be minimised.

    Raises:
        UserError: it can not.
    """
    where = f'{type(method).__name__}.loss'
    if not isinstance(losses, Mapping):
        raise UserError(f"{where} returned {_kind(losses)}; expected scalars by name, such as {{'loss_known': ...}}")
    for name, value in losses.items():
        if not isinstance(value, Tensor) or value.numel() != 1:
            raise UserError(
                f'{where} returned {_kind(value)} as {name!r}; expected one number, a torch.Tensor with its gradient. '
                'sarlp.losses.functional.reduce_known makes one of losses by label, over the known ones'
            )
    learnt = {name: value for name, value in losses.items() if 'loss' in name}
    if not learnt:
        raise UserError(
            f'{where} returned {", ".join(losses) or "nothing"}: what is to be minimised has a name that holds '
            "'loss', such as 'loss_known'; the others are only logged"
        )
    constant = [name for name, value in learnt.items() if not value.requires_grad]
    if torch.is_grad_enabled() and len(constant) == len(learnt):
        raise UserError(
            f'{where} returned {", ".join(constant)} without a gradient, so that nothing can be learnt; look for '
            'detach(), item() or torch.no_grad() between the outputs of the network and the loss. A loss of nothing is '
            '0 * logits.sum()'
        )
    for name in constant if torch.is_grad_enabled() else ():
        if learnt[name].device.type == 'cpu' and 0 < abs(learnt[name].item()) < math.inf:
            warnings.warn(
                f'{where} returned {name} without a gradient: it teaches nothing. If it is for the log alone, give it '
                "a name without 'loss'",
                GraveWarning,
                stacklevel=1,
            )
    return dict(losses)


def check_graph(losses: Mapping[str, Tensor], network: nn.Module, method: nn.Module) -> None:
    """See that what is minimised depends on the network at all; by the graph of autograd, before the backward pass.

    Args:
        losses: of :func:`check_losses`.
        network: that is trained, in part at least.
        method: whose losses they are; one with parameters of its own may begin with these, which is only told.

    Raises:
        UserError: nothing would be learnt.
    """
    trained = {id(parameter) for parameter in network.parameters() if parameter.requires_grad}
    if not torch.is_grad_enabled() or not trained:
        return
    nodes = [value.grad_fn for name, value in losses.items() if 'loss' in name and value.grad_fn is not None]
    seen = set(nodes)
    while nodes:
        node = nodes.pop()
        if id(getattr(node, 'variable', None)) in trained:
            return
        more = {one for one, _ in node.next_functions if one is not None} - seen
        seen |= more
        nodes += more
    text = (
        f'{type(method).__name__}.loss does not depend on the network, so that it learns nothing; look for detach(), '
        'item(), numpy() or torch.tensor(...) between the outputs of the network and the loss'
    )
    if not any(parameter.requires_grad for parameter in method.parameters()):
        raise UserError(text)
    warnings.warn(f'in the first step {text}', GraveWarning, stacklevel=1)


def _kind(value: Any) -> str:
    return f'a tensor of the shape {tuple(value.shape)}' if isinstance(value, Tensor) else type(value).__name__

"""Losses that are looked at while the GPU goes on, and the promise that none that is not finite is learnt from.

A look at a value on a GPU waits for all that was asked of it before, so a look at the loss before the backward pass,
and another by the log after the step, each let the GPU run dry. Here the losses are copied to the CPU as soon as the
forward pass has them, and looked at when the whole step was asked for. Whether they are finite is meanwhile known on
the GPU, and a fused optimizer changes neither weights nor moments nor its count of steps if not: the way of
``torch.amp``'s gradient scaler. The norm of clipped gradients, which comes later still, is logged with the next step.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from mmengine.dist import all_reduce, get_world_size
from mmengine.optim import OptimWrapper
from torch import Tensor
from torch.optim import Optimizer

from sarlp.engine.unwrap import unwrap
from sarlp.errors import UserError
from sarlp.models.classifier import MultiLabelClassifier, require_finite


class LossWatch:
    """Takes the place of :func:`~sarlp.models.classifier.require_finite` in a classifier, for one optimizer.

    Args:
        optim_wrapper: of a fused optimizer; every step of it is left out whose losses were not finite, on any rank.
    """

    def __init__(self, optim_wrapper: OptimWrapper):
        optimizer: Optimizer = optim_wrapper.optimizer
        self._wrapper = optim_wrapper
        self._norms: list[tuple[Tensor, torch.cuda.Event | None]] = []  # not logged yet
        self._due: list[tuple[Tensor, torch.cuda.Event | None]] = []  # of earlier steps
        if optim_wrapper.clip_grad_kwargs:
            self._clip_func, optim_wrapper.clip_func = optim_wrapper.clip_func, self._clip
        self._device = optimizer.param_groups[0]['params'][0].device
        self._hooks = (
            optimizer.register_step_pre_hook(self._before_step),
            optimizer.register_step_post_hook(self._after_step),
        )

    def close(self) -> None:
        """Let go of the optimizer and its wrapper."""
        for hook in self._hooks:
            hook.remove()
        if self._wrapper.clip_grad_kwargs:
            self._wrapper.clip_func = self._clip_func

    def __call__(self, losses: dict[str, Tensor], images: Sequence[str]) -> dict[str, Tensor]:
        means = [value.detach().mean() for value in losses.values()]  # as MMEngine logs them
        values = torch.stack([mean.to(self._device, torch.float64, non_blocking=True) for mean in means])
        broken = (~values.isfinite()).any().float()
        if get_world_size() > 1:
            all_reduce(broken, 'max')
        self._broken = broken
        self._values, self._copied = _to_cpu(torch.cat([values, broken.double()[None]]))
        self._due, self._norms = self._norms, []  # are there before these losses are
        self._kinds = {name: value.dtype for name, value in losses.items()}
        self._images = images
        return losses

    def read(self) -> dict[str, Tensor]:
        """The losses of the last forward pass, on the CPU; waits for that pass and for nothing after it.

        Raises:
            UserError: one is not finite.
        """
        if self._copied is not None:
            self._copied.synchronize()
        *values, broken = self._values
        losses = {name: value.to(kind) for (name, kind), value in zip(self._kinds.items(), values, strict=True)}
        require_finite(losses, self._images)
        if broken:
            raise UserError('the loss of another process is not finite; its message says which')
        self._log_due()
        return losses

    def log_norms(self) -> None:
        """Log what is not logged yet, for a checkpoint that takes the log along; waits for it."""
        self._due, self._norms = [*self._due, *self._norms], []
        for _, copied in self._due[-1:]:
            if copied is not None:
                copied.synchronize()
        self._log_due()

    def _log_due(self) -> None:
        for norm, _ in self._due:
            self._wrapper.message_hub.update_scalar(f'train/{self._wrapper.grad_name}', float(norm))
        self._due = []

    def _clip(self, *args, **kwargs) -> None:
        """What clips, but MMEngine is given no norm, at which it would look."""
        norm = self._clip_func(*args, **kwargs)
        if norm is not None:  # of clipped values there is none
            self._norms.append(_to_cpu(norm.detach()))

    def _before_step(self, optimizer: Any, args, kwargs) -> None:
        self._found = getattr(optimizer, 'found_inf', None)  # by a gradient scaler, which looks for its own again
        optimizer.found_inf = self._broken if self._found is None else torch.maximum(self._found, self._broken)

    def _after_step(self, optimizer: Any, args, kwargs) -> None:
        if self._found is None:
            del optimizer.found_inf
        else:
            optimizer.found_inf = self._found


def _to_cpu(values: Tensor) -> tuple[Tensor, torch.cuda.Event | None]:
    """A copy that is there once the event has happened; without one, at once."""
    copy = values.to('cpu', non_blocking=True)
    if not values.is_cuda:
        return copy, None
    copied = torch.cuda.Event()
    copied.record()
    return copy, copied


def is_asynchronous(parameter: Tensor) -> bool:
    """Whether the device goes on computing while the CPU does something else."""
    return parameter.is_cuda


@contextlib.contextmanager
def watched(model, optim_wrapper) -> Iterator[LossWatch | None]:
    """Watch the losses of a model on a GPU while it is trained; None where they are looked at at once.

    That is on a CPU, which has nothing to wait for, and with an optimizer that can not leave out a step by itself
    (``fused=True`` can).
    """
    classifier = unwrap(model)
    if not (
        isinstance(classifier, MultiLabelClassifier)
        and is_asynchronous(next(classifier.parameters()))
        and isinstance(optim_wrapper, OptimWrapper)
        and getattr(optim_wrapper.optimizer, '_step_supports_amp_scaling', False)
    ):
        yield None
        return
    watch = classifier.look = LossWatch(optim_wrapper)
    try:
        yield watch
    finally:
        watch.close()
        del classifier.look  # the class has the one of before

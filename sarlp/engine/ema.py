"""The average of the weights that is evaluated and saved."""

import contextlib
from collections.abc import Iterator
from itertools import chain

import torch
from mmengine.dist import all_reduce_params
from mmengine.hooks import EMAHook
from mmengine.model import ExponentialMovingAverage
from torch import Tensor, nn

from sarlp.errors import UserValueError
from sarlp.registry import HOOKS, MODELS


def _floating(module: nn.Module) -> list[Tensor]:
    tensors = chain(module.parameters(), module.buffers())
    return [tensor.detach() for tensor in tensors if tensor.is_floating_point()]


@MODELS.register_module()
class ForeachEMA(ExponentialMovingAverage):
    """MMEngine's exponential moving average, of all tensors in one operation instead of one for each.

    The values are the same to the last bit; what is saved are the kernels, and the state dicts built to find them.
    """

    def update_parameters(self, model: nn.Module) -> None:
        """Average once more; ``model`` is the one that this was made of."""
        if self.steps == 0 or not self.update_buffers:  # the first update copies
            super().update_parameters(model)
            return
        if self.steps % self.interval == 0:
            averages = _floating(self.module)
            sources = [source.to(own.device) for own, source in zip(averages, _floating(model), strict=True)]
            torch._foreach_lerp_(averages, sources, self.momentum)  # as torch.optim.swa_utils does
        self.steps += 1


@contextlib.contextmanager
def _options() -> Iterator[None]:
    try:
        yield
    except (AssertionError, TypeError, KeyError) as error:  # by which MMEngine refuses them
        raise UserValueError(f'default_hooks.ema: {error}') from error


@HOOKS.register_module()
class EMAFromStartHook(EMAHook):
    """MMEngine's EMA, averaging from the initial weights on.

    MMEngine's average starts as a copy of the weights *after* the first step; the reference's starts as a copy of the
    initial ones, and the first step is already averaged in.

    Args:
        ema_type: kind of average.
        **kwargs: of :class:`mmengine.hooks.EMAHook`.

    Raises:
        UserValueError: before the first step, options that MMEngine refuses.
    """

    def __init__(self, ema_type: str = 'sarlp.ForeachEMA', **kwargs):
        super().__init__(ema_type, **kwargs)

    def before_run(self, runner) -> None:
        with _options():
            super().before_run(runner)

    def before_train(self, runner) -> None:
        with _options():
            super().before_train(runner)
        if self.ema_model.steps == 0:
            self.ema_model.update_parameters(self.src_model)  # the first update copies

    def after_train_epoch(self, runner) -> None:
        """Average the ranks' BatchNorm statistics, so that all evaluate, and rank 0 saves, the same model."""
        buffers = [buffer for buffer in self.ema_model.module.buffers() if buffer.is_floating_point()]
        all_reduce_params(buffers, op='mean')

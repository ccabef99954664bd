"""The average of the weights that is evaluated and saved."""

import contextlib
from collections.abc import Iterator
from itertools import chain

import torch
from mmengine.dist import all_reduce_params
from mmengine.hooks import EMAHook
from mmengine.model import ExponentialMovingAverage
from torch import Tensor, nn

from sarlp.engine.unwrap import unwrap
from sarlp.errors import UserValueError
from sarlp.models.frozen import Frozen
from sarlp.registry import HOOKS, MODELS


def _floating(module: nn.Module) -> list[Tensor]:
    """What an average is taken of: no counts, and nothing of a frozen part, which is its own average."""
    frozen = {id(one) for part in module.modules() if isinstance(part, Frozen) for one in _tensors(part)}
    return [one for one in _tensors(module) if one.is_floating_point() and id(one) not in frozen]


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    return chain(module.parameters(), module.buffers())


@MODELS.register_module()
class ForeachEMA(ExponentialMovingAverage):
    """MMEngine's exponential moving average, of all tensors in one operation instead of one for each.

    The values are the same to the last bit; what is saved are the kernels, and the state dicts built to find them.

    Args:
        model: to average.
        momentum: share of the present weights, 1 - decay; MMEngine's default.
        warm_start: begin with the decay ``(1 + t) / (10 + t)`` of step t while that is smaller, so that the average
            follows the weights where it would be mostly initial ones: for a :class:`~sarlp.methods.Teacher`.
        **kwargs: of :class:`mmengine.model.ExponentialMovingAverage`.
    """

    def __init__(self, model: nn.Module, momentum: float = 0.0002, warm_start: bool = False, **kwargs):
        super().__init__(model, momentum, **kwargs)
        self.warm_start = warm_start
        self._momentum = momentum
        self._found: tuple[nn.Module, list[Tensor], list[Tensor]] | None = None

    def update_parameters(self, model: nn.Module) -> None:
        """Average once more; ``model`` is the one that this was made of."""
        if self.warm_start:
            steps = int(self.steps)
            self.momentum = max(self._momentum, 1 - (1 + steps) / (10 + steps))
        if self.steps == 0 or not self.update_buffers:  # the first update copies
            super().update_parameters(model)
            return
        if self.steps % self.interval == 0:
            averages, sources = ([one.detach() for one in part] for part in self._tensors_of(model))
            sources = [source.to(own.device) for own, source in zip(averages, sources, strict=True)]
            torch._foreach_lerp_(averages, sources, self.momentum)  # as torch.optim.swa_utils does
        self.steps += 1

    def _tensors_of(self, model: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
        """What is averaged, and what it is averaged from: to find them takes as long as a small head takes to train."""
        if self._found is None or self._found[0] is not model:
            self._found = model, _floating(self.module), _floating(model)
        return self._found[1:]


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
    initial ones, and the first step is already averaged in. Averaged is the network, without what its method holds.

    Args:
        ema_type: kind of average.
        **kwargs: of :class:`mmengine.hooks.EMAHook`.

    Raises:
        UserValueError: before the first step, options that MMEngine refuses.
    """

    def __init__(self, ema_type: str = 'sarlp.ForeachEMA', **kwargs):
        super().__init__(ema_type, **kwargs)

    def before_run(self, runner) -> None:
        self.src_model = unwrap(runner.model).network
        with _options():
            self.ema_model = MODELS.build(self.ema_cfg, default_args=dict(model=self.src_model))

    def before_train(self, runner) -> None:
        with _options():
            super().before_train(runner)
        if self.ema_model.steps == 0:
            self.ema_model.update_parameters(self.src_model)  # the first update copies

    def after_train_epoch(self, runner) -> None:
        """Average the ranks' BatchNorm statistics, so that all evaluate, and rank 0 saves, the same model."""
        buffers = [buffer for buffer in self.ema_model.module.buffers() if buffer.is_floating_point()]
        all_reduce_params(buffers, op='mean')

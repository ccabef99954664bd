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
from sarlp.io.state_dicts import differences
from sarlp.models.frozen import Frozen
from sarlp.registry import HOOKS, MODELS


class _Floating:
    """The tensors of a module that an average is taken of: no counts, and nothing of a frozen part, which is its own.

    The tree of modules is walked once, and again only when a part of it was exchanged. Kept are the places of the
    tensors and not the tensors, since moving a module puts others there.

    Args:
        module: holds them.
    """

    def __init__(self, module: nn.Module):
        self.module = module
        parts = list(_unfrozen(module))
        self._children = [(part._modules, dict(part._modules)) for part in parts]
        self._holders = [holder for part in parts for holder in (part._parameters, part._buffers)]
        self._held = sum(map(len, self._holders))
        frozen = {id(one) for part in module.modules() if isinstance(part, Frozen) for one in _tensors(part)}
        self._places: list[tuple[dict, str]] = []
        for place in (*_places(module, '_parameters'), *_places(module, '_buffers')):
            tensor = place[0][place[1]]
            if tensor is not None and tensor.is_floating_point() and id(tensor) not in frozen:
                frozen.add(id(tensor))  # a shared one has several places, and counts once
                self._places.append(place)

    def is_of(self, module: nn.Module) -> bool:
        """Whether ``module`` is the one that was walked, with the same parts and places still."""
        return (
            self.module is module
            and all(now == then for now, then in self._children)
            and sum(map(len, self._holders)) == self._held
        )

    def __call__(self) -> list[Tensor]:
        return [holder[name] for holder, name in self._places]


def _unfrozen(module: nn.Module) -> Iterator[nn.Module]:
    """A module and all its parts, but for what is in frozen ones: a pretrained network has hundreds."""
    yield module
    if not isinstance(module, Frozen):
        for part in module.children():
            yield from _unfrozen(part)


def _places(module: nn.Module, kind: str) -> Iterator[tuple[dict, str]]:
    return ((getattr(part, kind), name) for part in module.modules() for name in getattr(part, kind))


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

    _pairs: tuple[_Floating, _Floating] | None = None  # of the average and of the model

    def __init__(self, model: nn.Module, momentum: float = 0.0002, warm_start: bool = False, **kwargs):
        super().__init__(model, momentum, **kwargs)
        self.warm_start = warm_start
        self._momentum = momentum

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Average once more; ``model`` is the one that this was made of."""
        steps = int(self.steps)  # MMEngine keeps it on the CPU
        if self.warm_start:
            self.momentum = max(self._momentum, 1 - (1 + steps) / (10 + steps))
        if steps == 0 or not self.update_buffers:  # the first update copies
            super().update_parameters(model)
            return
        if steps % self.interval == 0:
            averages, sources = self._of_both(model)
            torch._foreach_lerp_(averages, sources, self.momentum)  # as torch.optim.swa_utils does
        self.steps += 1

    def _of_both(self, model: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
        if self._pairs is None or not (self._pairs[0].is_of(self.module) and self._pairs[1].is_of(model)):
            self._pairs = _Floating(self.module), _Floating(model)
        averages, sources = (floating() for floating in self._pairs)
        pairs = zip(averages, sources, strict=True)
        return averages, [source if source.device == own.device else source.to(own.device) for own, source in pairs]

    def __getstate__(self) -> dict:
        """What is copied and pickled: without the places, which would take the model along."""
        return {name: value for name, value in self.__dict__.items() if name != '_pairs'}


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

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Weights of another model are left to the runner, which refuses them in a few lines; MMEngine takes those of
        them that fit, and prints the names of all others."""
        state = {key.removeprefix('module.'): value for key, value in checkpoint['state_dict'].items()}
        if runner._resume or not differences(state, self.src_model.state_dict()):
            super().after_load_checkpoint(runner, checkpoint)

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Frozen parts are the same in both states, and :func:`torch.save` writes a tensor of both once."""
        super().before_save_checkpoint(runner, checkpoint)
        state, average = checkpoint['state_dict'], checkpoint['ema_state_dict']
        for place, part in self.src_model.named_modules():
            if isinstance(part, Frozen):
                for name in part.state_dict(prefix=f'{place}.'):
                    average[f'module.{name}'] = state[name]

    def after_train_epoch(self, runner) -> None:
        """Average the ranks' BatchNorm statistics, so that all evaluate, and rank 0 saves, the same model."""
        buffers = [buffer for buffer in self.ema_model.module.buffers() if buffer.is_floating_point()]
        all_reduce_params(buffers, op='mean')

"""Training in bfloat16 or float16 where it is safe, by torch's autocast."""

from collections.abc import Mapping
from contextlib import contextmanager

import torch
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from sarlp.errors import UserError, UserValueError
from sarlp.registry import OPTIM_WRAPPERS

DTYPES = ('bfloat16', 'float16')


@OPTIM_WRAPPERS.register_module()
class MixedPrecisionOptimWrapper(OptimWrapper):
    """Forward pass in autocast; weights, optimizer and losses stay float32.

    What MMEngine's ``AmpOptimWrapper`` does, but on any device, and without loss scaling for bfloat16, whose range is
    that of float32. In float16 a step whose gradient is not finite is left out and the next loss is scaled by half as
    much; a loss that is not finite stops the run, as ever.

    Args:
        dtype: ``'bfloat16'`` or ``'float16'``.
        loss_scale: arguments of :class:`torch.amp.GradScaler` for float16. It starts at 1 and not at torch's 65,536,
            since the losses of the recipes are a thousand times a sum over the batch: every step would be left out
            until the scale is small.
        **kwargs: of :class:`mmengine.optim.OptimWrapper`, among them the optimizer.

    Raises:
        UserError: the GPU has no bfloat16.
    """

    def __init__(self, dtype: str = 'bfloat16', loss_scale: Mapping | None = None, **kwargs):
        super().__init__(**kwargs)
        if dtype not in DTYPES:
            raise UserValueError(f'optim_wrapper.dtype must be one of {", ".join(DTYPES)}, got {dtype!r}')
        device = self.optimizer.param_groups[0]['params'][0].device.type
        if device == 'cuda' and dtype == 'bfloat16' and not torch.cuda.is_bf16_supported(including_emulation=False):
            raise UserError('this GPU has no bfloat16; train with --cfg-options optim_wrapper.dtype=float16')
        self.dtype = getattr(torch, dtype)
        self.scaler = torch.amp.GradScaler(
            device, enabled=dtype == 'float16', **{'init_scale': 1.0, **(loss_scale or {})}
        )

    @contextmanager
    def optim_context(self, model: nn.Module):
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device, self.dtype):
            yield

    def backward(self, loss: Tensor, **kwargs) -> None:
        super().backward(self.scaler.scale(loss), **kwargs)

    def step(self, **kwargs) -> None:
        if self.clip_grad_kwargs:
            self.scaler.unscale_(self.optimizer)
            self._clip_grad()
        self.scaler.step(self.optimizer, **kwargs)
        self.scaler.update()

    def state_dict(self) -> dict:
        state = super().state_dict()
        if self.scaler.is_enabled():
            state['loss_scaler'] = self.scaler.state_dict()
        return state

    def load_state_dict(self, state_dict: dict) -> None:
        scaler = state_dict.pop('loss_scaler', None)  # absent after a run in another precision
        if scaler and self.scaler.is_enabled():
            self.scaler.load_state_dict(scaler)
        super().load_state_dict(state_dict)

"""One-cycle schedules whose state is plain numbers.

MMEngine's ``OneCycleLR`` keeps a bound method in its state, so a checkpoint with it cannot be loaded without allowing
code, and it has no counterpart for the momentum. The values here equal those of ``torch.optim.lr_scheduler.OneCycleLR``
(two phases, cosine) step by step.
"""

import math

from mmengine.optim.scheduler.momentum_scheduler import MomentumSchedulerMixin
from mmengine.optim.scheduler.param_scheduler import INF, _ParamScheduler

from sarlp.errors import UserValueError
from sarlp.registry import PARAM_SCHEDULERS


def one_cycle(step: int, total_steps: int, warmup: float, start: float, peak: float, final: float) -> float:
    """Value of a one-cycle schedule: cosine from ``start`` to ``peak``, then cosine to ``final``.

    Args:
        step: from 0 to ``total_steps - 1``; a later step keeps the final value.
        total_steps: length of the run.
        warmup: share of the run before the peak, in [0, 1].
        start, peak, final: values at the first step, at the end of the warm-up, at the last step.
    """
    turn = warmup * total_steps - 1
    last = total_steps - 1
    if step <= turn:
        begin, end, share = start, peak, step / turn if turn > 0 else 1.0
    else:
        begin, end = peak, final
        share = min((step - turn) / (last - turn), 1.0)
    return end + (begin - end) / 2 * (1 + math.cos(math.pi * share))


class _OneCycle(_ParamScheduler):
    """One-cycle schedule of one parameter; subclasses say which values it visits."""

    def __init__(self, optimizer, *args, warmup: float = 0.2, begin: int = 0, end: int = INF, **kwargs):
        if end == INF:
            raise UserValueError(f'{type(self).__name__} needs the length of the run: set `end` to the last epoch')
        if not isinstance(warmup, int | float) or not 0 <= warmup <= 1:
            raise UserValueError(f'{type(self).__name__}: warmup must be in [0, 1], got {warmup}')
        self.warmup = warmup
        super().__init__(optimizer, *args, begin=begin, end=end, **kwargs)

    def values(self, base: float) -> tuple[float, float, float]:
        """Start, peak and final value for a parameter group whose configured value is ``base``."""
        raise TypeError(f'{type(self).__name__} has no values(base); a one-cycle schedule defines it')

    def _get_value(self) -> list[float]:
        total = self.end - self.begin
        return [one_cycle(self.last_step, total, self.warmup, *self.values(base)) for base in self.base_values]

    @classmethod
    def build_iter_from_epoch(
        cls, *args, begin: int = 0, end: int = INF, by_epoch: bool = True, epoch_length: int | None = None, **kwargs
    ):
        """MMEngine's ``convert_to_iter_based=True``: from epochs to a value each iteration."""
        if not by_epoch or not epoch_length:
            raise UserValueError('only an epoch-based schedule with a known epoch length can be made iteration-based')
        end = end if end == INF else end * epoch_length
        return cls(*args, begin=begin * epoch_length, end=end, by_epoch=False, **kwargs)


@PARAM_SCHEDULERS.register_module()
class OneCycleLR(_OneCycle):
    """One-cycle learning rate; the optimizer's ``lr`` is the peak.

    Args:
        optimizer: optimizer or its wrapper.
        warmup: share of the run before the peak.
        div_factor: peak / start.
        final_div_factor: start / final.
        begin, end: of the cycle; required, with ``convert_to_iter_based=True`` in epochs.
    """

    def __init__(self, optimizer, *args, div_factor: float = 25.0, final_div_factor: float = 1e4, **kwargs):
        if div_factor <= 0 or final_div_factor <= 0:
            raise UserValueError(f'OneCycleLR: its factors must be positive, got {div_factor} and {final_div_factor}')
        self.div_factor = div_factor
        self.final_div_factor = final_div_factor
        super().__init__(optimizer, 'lr', *args, **kwargs)

    def values(self, base: float) -> tuple[float, float, float]:
        start = base / self.div_factor
        return start, base, start / self.final_div_factor


@PARAM_SCHEDULERS.register_module()
class OneCycleMomentum(MomentumSchedulerMixin, _OneCycle):
    """One-cycle momentum, or beta1 of the Adam family, against the learning rate: high, low at its peak, high.

    Args:
        optimizer: optimizer or its wrapper.
        low, high: the extremes, in [0, 1).
        warmup: share of the run before the low point.
        begin, end: of the cycle; required, with ``convert_to_iter_based=True`` in epochs.
    """

    def __init__(self, optimizer, *args, low: float = 0.85, high: float = 0.95, **kwargs):
        if not 0 <= low < 1 or not 0 <= high < 1:
            raise UserValueError(f'OneCycleMomentum: low and high must be in [0, 1), got {low} and {high}')
        self.low = low
        self.high = high
        super().__init__(optimizer, *args, **kwargs)

    def values(self, base: float) -> tuple[float, float, float]:
        return self.high, self.low, self.high

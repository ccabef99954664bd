"""Schedules that are longer or shorter than their run: epochs where iterations were meant, or the other way round."""

from collections.abc import Iterator, Sequence
from typing import Any

from mmengine.optim.scheduler.param_scheduler import INF


def idle_schedules(schedules: Sequence[Any], epochs: int, epoch_length: int) -> Iterator[str]:
    """A line on everything of a schedule that does not happen within the run, or that is over in its first epoch.

    Args:
        schedules: of MMEngine.
        epochs: of the run.
        epoch_length: iterations.
    """
    for schedule in schedules:
        if not hasattr(schedule, 'by_epoch'):  # of several optimizers the name, or not built yet
            continue
        unit, run = ('epochs', epochs) if schedule.by_epoch else ('iterations', epochs * epoch_length)
        advice = (
            'by_epoch=False counts iterations, and convert_to_iter_based=True makes these of epochs'
            if schedule.by_epoch
            else f'an epoch has {epoch_length}; by_epoch=True counts epochs'
        )
        for what in _idle(schedule, run, epoch_length):
            yield (
                f'param_scheduler: {type(schedule).__name__} counts {unit}, of which the run has {run}, and {what} '
                f'({advice})'
            )


def _idle(schedule: Any, run: int, epoch_length: int) -> Iterator[str]:
    begin, end = getattr(schedule, 'begin', 0), getattr(schedule, 'end', INF)
    milestones, period = sorted(getattr(schedule, 'milestones', ())), getattr(schedule, 'T_max', None)
    if begin >= run:
        yield f'begins at {begin}'
    elif milestones and milestones[0] >= run:
        yield f'has its first milestone at {milestones[0]}'
    elif milestones and not schedule.by_epoch and milestones[-1] < epoch_length < run:
        yield f'has its last milestone at {milestones[-1]}, within the first epoch'
    elif end not in (INF, None) and end > run:
        yield f'ends at {end}'
    elif period is not None and begin + period < min(end, run):
        yield f'has T_max = {period}, after which the value rises again'
    elif period is not None and period > run:
        yield f'has T_max = {period}, of which the end is not reached'

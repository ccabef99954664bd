"""What a resumed run takes from its checkpoint, and what from its config.

The state comes from the checkpoint: weights, averages, moments, counts of steps, random numbers, scores. What a person
sets comes from the config as it is now: the length, the batch size, the optimizer's and the schedules' values. Where
nothing was changed, the run goes on to the same bits. Where something was, the schedules are those of the present
config from their beginning, advanced to where the run is.
"""

import copy
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.optim import OptimWrapper, OptimWrapperDict

from sarlp.engine.config.changes import config_changes, config_values
from sarlp.engine.records.provenance import LABELS
from sarlp.errors import UserError, shorten

# what of a schedule's state is progress, not a value of the config
_PROGRESS = {'optimizer', 'last_step', '_global_step', '_last_value', 'best', 'num_bad_epochs', 'cooldown_counter'}


def adapt_resumed(optimizer: torch.optim.Optimizer) -> None:
    """Let an optimizer that was loaded from a checkpoint compute as its own config says, in place.

    A checkpoint brings along whether the optimizer is fused, and the memory format of what it remembers of each
    parameter. Fused optimizers walk through parameter and memory side by side; if the two are laid out differently,
    they stop, or on the CPU mix up the values silently.
    """
    for group in optimizer.param_groups:
        group.update({name: value for name, value in optimizer.defaults.items() if name in ('fused', 'foreach')})
        for parameter in group['params']:
            state = optimizer.state.get(parameter, {})
            for name, value in state.items():
                if name == 'step' and group.get('fused'):
                    state[name] = value.to(parameter.device)
                elif isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                    state[name] = torch.empty_like(parameter, dtype=value.dtype, requires_grad=False).copy_(value)


def sampling_of(runner) -> dict[str, int]:
    """How a run walks through its images; it is in the meta of its checkpoints."""
    loader = runner.train_dataloader
    return {
        'epoch_length': len(loader),
        'batch_size': loader.batch_size,
        'processes': runner.world_size,
        'images': len(loader.dataset),
    }


def check_resumable(checkpoint: Mapping, path: str | Path) -> None:
    """See that a checkpoint is one to go on from.

    Raises:
        UserError: it holds weights alone.
    """
    meta = checkpoint.get('meta') or {}
    position = meta.get('epoch'), meta.get('iter')
    if not all(isinstance(done, int) and done >= 0 for done in position) or not {'optimizer', 'message_hub'} <= set(
        checkpoint
    ):
        raise UserError(
            f'{path}: holds a model, but nothing to go on from (optimizer, epoch and iteration are wanted, as in '
            'epoch_*.pth and iter_*.pth). To begin a new run with its weights: --cfg-options load_from=FILE'
        )


def take_over(runner, checkpoint: dict, path: str | Path) -> None:
    """Bring a runner to where a checkpoint is: its position, its optimizer, its schedules. In place, with a log line
    about everything that the present config has otherwise.

    Args:
        runner: built for training, its schedules not yet stepped.
        checkpoint: whose weights, averages and message hub were loaded.
        path: of the checkpoint, for messages.

    Raises:
        UserError: the present config can not go on from there.
    """
    meta, loop = checkpoint['meta'], runner.train_loop
    before = meta['cfg'] if isinstance(meta.get('cfg'), str) else ''
    loop._epoch, loop._iter = _position(runner, checkpoint, before, path)
    _check_length(loop, path)
    moved = loop._iter != meta['iter']
    rebuilt = _load_optimizer(runner, checkpoint, moved, path)
    changes = config_changes(before, runner.cfg.pretty_text)
    old = meta.get('sampling') if isinstance(meta.get('sampling'), Mapping) else {}
    now = sampling_of(runner)
    changes += [
        f'{name} {old[name]} -> {now[name]}'
        for name in ('processes', 'images')
        if old.get(name, now[name]) != now[name]
    ]
    if meta.get(LABELS, runner.labels) != runner.labels and not changes:
        changes.append(
            'the labels that the training may see. If the annotation file is the same, its label mask draws anew in '
            'each process, and more is seen than it says'
        )
    if changes:
        runner.logger.warning(f'other than before, from now on: {"; ".join(changes)}')
    if moved:
        length = now['epoch_length']
        runner.logger.warning(
            f'an epoch has {length} iterations now: the end of epoch {loop._epoch} is iteration {loop._iter}'
        )
    if rebuilt:
        rate = runner.optim_wrapper.param_groups[0]['lr']
        runner.logger.warning(
            f'the schedules are those of the present config, at iteration {loop._iter} of {loop.max_iters}: the '
            f'learning rate is {rate:.3g}'
        )


def _position(runner, checkpoint: Mapping, before: str, path: str | Path) -> tuple[int, int]:
    """Epochs and iterations done, in epochs of the present length."""
    epoch, iteration = checkpoint['meta']['epoch'], checkpoint['meta']['iter']
    now = sampling_of(runner)
    old = _sampling_before(checkpoint, before)
    differing = [name for name, value in old.items() if value != now[name]]
    length = old.get('epoch_length', None if differing else now['epoch_length'])
    if length is not None and iteration == epoch * length:
        return epoch, epoch * now['epoch_length']
    seen = iteration - epoch * now['epoch_length']
    if differing or not 0 < seen < now['epoch_length']:
        had, has = _said(old, old) or 'another epoch length', _said(now, old or now)
        raise UserError(
            f'{path}: is from within epoch {epoch + 1} (iteration {iteration} of the run), and which images are left '
            f'of it depends on how the run walked through them: {had}; now {has}. Resume with those values, or from '
            'the end of an epoch (epoch_*.pth), where other ones are taken'
        )
    if not hasattr(runner.train_dataloader.sampler, 'start'):
        raise UserError(
            f'{path}: is from within an epoch, where a {type(runner.train_dataloader.sampler).__name__} cannot go on; '
            'set train_dataloader.sampler.type=ResumableSampler'
        )
    return epoch, iteration


def _said(sampling: Mapping[str, int], names: Iterable[str]) -> str:
    """With the batch size as it is set in a config, that of all processes."""
    of_all = {**sampling, 'batch_size': sampling.get('batch_size', 0) * sampling.get('processes', 1)}
    return ', '.join(f'{name.replace("_", " ")} {of_all[name]}' for name in names)


def _sampling_before(checkpoint: Mapping, before: str) -> dict[str, int]:
    """:func:`sampling_of` of the run that wrote the checkpoint, as far as it is known."""
    meta = checkpoint['meta']
    if isinstance(meta.get('sampling'), Mapping):
        names = ('epoch_length', 'batch_size', 'processes', 'images')
        return {name: meta['sampling'][name] for name in names if isinstance(meta['sampling'].get(name), int)}
    # of an earlier version
    found = {}
    info = checkpoint['message_hub'].get('runtime_info', {})
    name = Path(str(info.get('last_ckpt', ''))).name
    if meta['epoch'] and meta['iter'] % meta['epoch'] == 0 and not name.startswith('iter_'):
        found['epoch_length'] = meta['iter'] // meta['epoch']
    batch_size = config_values(before).get('train_dataloader.batch_size')
    if isinstance(batch_size, int):
        found['batch_size'] = batch_size
    return found


def _check_length(loop, path: str | Path) -> None:
    done = loop._epoch + (loop._iter > loop._epoch * len(loop.dataloader))
    if done > loop.max_epochs:
        raise UserError(
            f'{path}: is of epoch {done}, and train_cfg.max_epochs = {loop.max_epochs} asks for fewer. A run can not '
            f'be shortened afterwards: set it to {done} or more, or begin a new run in another --work-dir'
        )


def _values(group: Mapping, betas_scheduled: bool) -> dict[str, Any]:
    """The configured values of a parameter group: of what is scheduled, the value that the schedule is made from."""
    values = {name: value for name, value in group.items() if name not in ('params', 'param_names', 'fused', 'foreach')}
    for name in [name for name in values if name.startswith('initial_')]:
        values[name.removeprefix('initial_')] = values.pop(name)
    if betas_scheduled and 'betas' in values:  # the first is the scheduled momentum
        values['betas'] = values['betas'][1:]
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def _groups(wrapper_state: Mapping) -> list[dict]:
    base = wrapper_state.get('base_param_settings')
    return [*wrapper_state['param_groups'], *([] if base is None else [base])]


def _load_optimizer(runner, checkpoint: dict, moved: bool, path: str | Path) -> bool:
    """Load the optimizer and the schedules; whether the schedules had to be rebuilt."""
    wrapper, state = runner.optim_wrapper, checkpoint['optimizer']
    if isinstance(wrapper, OptimWrapperDict):
        raise UserError('a run with several optimizers can not be resumed')
    schedules, states = runner.param_schedulers or [], checkpoint.get('param_schedulers') or []
    asked = copy.deepcopy([_without_params(group) for group in wrapper.param_groups])
    _check_groups(wrapper, state, checkpoint['meta'], path)
    before = copy.deepcopy([_without_params(group) for group in _groups(state)])
    wrapper.load_state_dict(state)
    adapt_resumed(wrapper.optimizer)

    scheduled = any(getattr(schedule, 'use_betas', False) for schedule in schedules)
    same_groups = [_values(group, scheduled) for group in asked] == [_values(group, scheduled) for group in before]
    changed = [
        schedule
        for schedule, saved in zip(schedules, states, strict=False)
        if _configured(schedule.state_dict()) != _configured(saved)
    ]
    same_schedules = len(schedules) == len(states) and not changed
    moved = moved and not all(schedule.by_epoch for schedule in schedules)
    if same_groups and same_schedules and not moved:
        for schedule, saved in zip(schedules, states, strict=True):
            schedule.load_state_dict(saved)
        return False
    if any(getattr(schedule, 'need_val_args', False) for schedule in schedules):
        _load_plateaus(schedules, states, changed, same_groups and not moved, path)
        return False
    for group, values in zip(wrapper.param_groups, asked, strict=True):
        params = group['params']
        group.clear()
        group.update(values, params=params)
    _advance(runner, schedules)
    return True


def _without_params(group: Mapping) -> dict:
    return {name: value for name, value in group.items() if name != 'params'}


def _configured(state: Mapping) -> dict[str, Any]:
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in state.items()
        if name not in _PROGRESS
    }


def _check_groups(wrapper: OptimWrapper, state: Mapping, meta: Mapping, path: str | Path) -> None:
    optimizer = wrapper.optimizer
    kind = type(optimizer).__name__
    sizes = [len(group['params']) for group in optimizer.param_groups]
    had = [len(group['params']) for group in state['param_groups']]
    if had != sizes:
        what = f'its optimizer has {had} parameters by group, now {sizes}'
    elif meta.get('optimizer', kind) != kind:
        what = f'its optimizer is {meta["optimizer"]}, now {kind}'
    else:
        own = set(optimizer.param_groups[0]) | {'momentum', 'initial_momentum', 'initial_lr', 'param_names'}
        lost = sorted(set(state['param_groups'][0]) - own)
        if not lost:
            return
        what = f'its optimizer has {shorten(lost)}, which {kind} has not'
    raise UserError(
        f'{path}: can not be gone on from with this config: {what}. Resume with the optimizer and the frozen parts '
        'that the run began with, or begin a new run with the weights: --cfg-options load_from=FILE'
    )


def _load_plateaus(schedules: list, states: list, changed: list, same: bool, path: str | Path) -> None:
    """Schedules that follow the scores have no value for an iteration, so only they themselves may change."""
    if not same or len(schedules) != len(states) or any(not getattr(one, 'need_val_args', False) for one in changed):
        raise UserError(
            f'{path}: its learning rate followed the scores (ReduceOnPlateau), so it can not be worked out for other '
            'values; resume with the learning rate, the schedules and the batch size that the run began with'
        )
    for schedule, saved in zip(schedules, states, strict=True):
        asked = {name: value for name, value in schedule.state_dict().items() if name not in _PROGRESS}
        schedule.load_state_dict({**saved, **asked})


def _advance(runner, schedules: list) -> None:
    """Step schedules that are at their beginning to where the run is, in the order in which a run steps them."""
    runner.optim_wrapper._global_step = 0  # the optimizer has stepped, though not under these schedules
    loop = runner.train_loop
    length, by_iteration = len(loop.dataloader), [one for one in schedules if not one.by_epoch]
    for done in range(1, loop._iter + 1):
        for schedule in by_iteration:
            schedule.step()
        if done % length == 0:
            for schedule in schedules:
                if schedule.by_epoch:
                    schedule.step()

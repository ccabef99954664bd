"""Options of a training that would stop it, or be passed over, only after hours: refused before it starts."""

import difflib
import inspect
from collections.abc import Mapping
from typing import Any

from mmengine.config import Config
from mmengine.hooks import CheckpointHook
from mmengine.registry import OPTIMIZERS
from mmengine.runner import Runner
from torch import nn
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

from sarlp.engine.config.building import no_such_type
from sarlp.engine.training.accumulation import parts_of_step
from sarlp.engine.training.loop import ResumableTrainLoop
from sarlp.errors import UserError
from sarlp.registry import HOOKS, LOOPS

_OF_MMENGINE = ('runtime_info', 'timer', 'sampler_seed', 'logger', 'param_scheduler', 'checkpoint')  # None: without

_OF_CUSTOM_KEYS = ('lr_mult', 'decay_mult')
_OF_PARAMETERS = (
    *('custom_keys', 'bias_lr_mult', 'bias_decay_mult', 'norm_decay_mult', 'flat_decay_mult', 'dwconv_decay_mult'),
    *('dcn_offset_lr_mult', 'bypass_duplicate'),
)


def check_options(cfg: Config) -> None:
    """Look over the options of MMEngine's that bear on a whole training; in place, hooks that are None are left out.

    Raises:
        UserError: some of them do not fit each other, or what sarlp does.
    """
    hooks = cfg.get('default_hooks') or {}
    cfg.default_hooks = {name: hook for name, hook in hooks.items() if hook is not None or name in _OF_MMENGINE}
    _check_hooks(cfg)
    _check_loop(cfg)
    _check_validation(cfg)
    _check_accumulation(cfg)
    _check_scaling(cfg)
    seed = (cfg.get('randomness') or {}).get('seed')
    if seed is not None and not is_seed(seed):
        raise UserError(f'--seed, or randomness.seed, must be a whole number from 0 to 2**32 - 1, got {seed!r}')


def is_seed(value: Any) -> bool:
    """Whether numpy, too, takes it for a seed of a run."""
    return type(value) is int and 0 <= value < 1 << 32


def _check_hooks(cfg: Config) -> None:
    hooks = cfg.default_hooks
    for name, hook in hooks.items():
        if isinstance(hook, Mapping) and 'type' not in hook:
            near = difflib.get_close_matches(name, [other for other in hooks if other != name])
            raise UserError(
                f'default_hooks.{name}: {dict(hook)} has no type, and no hook of that name is inherited'
                + (f'. Is one of these meant: {", ".join(near)}?' if near else '; give it one, as type=...')
            )
    for name in ('runtime_info', 'sampler_seed'):
        if name in hooks and hooks[name] is None:
            raise UserError(f'default_hooks.{name}=None: a training needs this hook; leave the option out')
    if hooks.get('param_scheduler', 0) is None and cfg.get('param_scheduler'):
        raise UserError(
            'default_hooks.param_scheduler=None: the schedules would never be stepped, and every value stay that of '
            'the first step. For a constant learning rate set param_scheduler=None'
        )
    checkpoint = hooks.get('checkpoint', {})
    if checkpoint is not None and not _is_ours(checkpoint):
        raise UserError(
            f'default_hooks.checkpoint.type = {checkpoint.get("type", "CheckpointHook")}: its checkpoints are on no '
            'record, so that the runs of one work directory would mix; set it to ResumableCheckpointHook, or '
            'default_hooks.checkpoint to None for no checkpoints at all'
        )
    if (hooks.get('logger') or {}).get('log_metric_by_epoch', True) is not True:
        raise UserError(
            'default_hooks.logger.log_metric_by_epoch=False: evaluations are logged by epoch, as sarlp report and '
            'the TensorBoard curves take them; leave the option out'
        )


def _is_ours(hook: Mapping) -> bool:
    from sarlp.engine.records.checkpoints import ResumableCheckpointHook  # here: registers itself

    kind = hook.get('type', CheckpointHook)
    kind = HOOKS.get(kind) if isinstance(kind, str) else kind
    return isinstance(kind, type) and issubclass(kind, ResumableCheckpointHook)


def _check_loop(cfg: Config) -> None:
    loop = cfg.get('train_cfg') or {}
    kind = loop.get('type')
    kind = LOOPS.get(kind) if isinstance(kind, str) else kind
    if not isinstance(kind, type) or not issubclass(kind, ResumableTrainLoop) or 'by_epoch' in loop:
        raise UserError(
            'train_cfg: a training goes by epochs, and on within one after an interruption: set '
            f'type=ResumableTrainLoop and max_epochs, no by_epoch; got {dict(loop)}'
        )
    epochs = loop.get('max_epochs')
    if type(epochs) is not int or epochs < 1:
        raise UserError(f'train_cfg.max_epochs must be a whole number of at least 1, got {epochs!r}')
    for name in ('val_interval', 'val_begin'):
        if name in loop and (type(loop[name]) is not int or loop[name] < 1):
            raise UserError(f'train_cfg.{name} must be a whole number of at least 1, got {loop[name]!r}')


def _check_validation(cfg: Config) -> None:
    names = ('val_dataloader', 'val_cfg', 'val_evaluator')
    absent = [name for name in names if cfg.get(name) is None]
    if absent and len(absent) < len(names):
        others = [name for name in names if name not in absent]
        raise UserError(
            f'{" and ".join(absent)} is None, {" and ".join(others)} not: set all three, or all three to None to train '
            'without evaluating'
        )


def _check_accumulation(cfg: Config) -> None:
    wrapper = cfg.get('optim_wrapper')
    parts = wrapper.get('accumulative_counts', 1) if isinstance(wrapper, Mapping) else 1
    if type(parts) is not int or parts < 1:
        raise UserError(
            'optim_wrapper.accumulative_counts must be a whole number of at least 1, the batches whose gradients make '
            f'one step; got {parts!r}'
        )


def _check_scaling(cfg: Config) -> None:
    scaling = cfg.get('auto_scale_lr')
    if scaling is None:
        return
    where = 'auto_scale_lr'
    if not isinstance(scaling, Mapping) or scaling.keys() - {'enable', 'base_batch_size'} or 'enable' not in scaling:
        raise UserError(
            f'{where}: expected dict(enable=True, base_batch_size=N), without enable=True nothing is scaled; got '
            f'{scaling!r}'
        )
    base = scaling.get('base_batch_size')
    if scaling['enable'] and (type(base) is not int or base < 1):
        raise UserError(
            f'{where}.base_batch_size must be a whole number of at least 1, the batch that the learning rate is for; '
            f'got {base!r}'
        )


def check_clipping(optim_wrapper: Mapping) -> None:
    """See that torch takes what ``clip_grad`` says; it would refuse it at the first step, and clip at -1 by turning
    the gradients round.

    Args:
        optim_wrapper: config.

    Raises:
        UserError: it does not.
    """
    options = optim_wrapper.get('clip_grad')
    if not isinstance(options, Mapping):
        return
    where, given = 'optim_wrapper.clip_grad', {name: value for name, value in options.items() if name != 'type'}
    by_value = options.get('type', 'norm') == 'value'
    function, limit = (clip_grad_value_, 'clip_value') if by_value else (clip_grad_norm_, 'max_norm')
    known = [name for name in inspect.signature(function).parameters if name != 'parameters']
    for name in given:
        if name not in known:
            raise UserError(f'{where}.{name}: expected one of {", ".join(known)}')
    numbers = [limit, *(['norm_type'] if 'norm_type' in given else [])]
    for name in numbers:
        value = given.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            raise UserError(f'{where}.{name} must be a number above 0, got {value!r}')


def check_parameter_options(optim_wrapper: Mapping, model: nn.Module) -> None:
    """See that there is such an optimizer, and that ``paramwise_cfg`` says something of some parameter; MMEngine passes
    over what does not.

    Args:
        optim_wrapper: config; one with a ``constructor`` of its own has other options, and is not looked at.
        model: whose parameters it is for.

    Raises:
        UserError: a name in it is none, or of no parameter.
    """
    kind = (optim_wrapper.get('optimizer') or {}).get('type')
    if isinstance(kind, str) and OPTIMIZERS.get(kind) is None:
        raise UserError(f'optim_wrapper.optimizer: {no_such_type(OPTIMIZERS, kind)}')
    if 'constructor' in optim_wrapper:
        return
    where, given = 'optim_wrapper.paramwise_cfg', optim_wrapper.get('paramwise_cfg') or {}
    known: dict[str, tuple[str, ...]] = {name: _OF_PARAMETERS for name in given}
    for key, values in (given.get('custom_keys') or {}).items():
        known |= {f'custom_keys.{key}.{name}': _OF_CUSTOM_KEYS for name in values}
        if not any(key in name for name, _ in model.named_parameters()):
            raise UserError(
                f'{where}.custom_keys.{key}: no parameter has that in its name; the log of a run lists them all'
            )
    for way, names in known.items():
        if way.rpartition('.')[2] not in names:
            raise UserError(
                f'{where}.{way}: expected one of {", ".join(names)}. A key with a dot in it, such as head.score, '
                'can be written in a config of your own only'
            )


def check_run(runner: Runner) -> None:
    """Look over what can be told once a training is built.

    Raises:
        UserError: see :func:`_check_metrics`.
    """
    _check_metrics(runner)
    parts = parts_of_step(runner)
    batches = runner.max_epochs * len(runner.train_dataloader)
    if parts > batches:
        runner.logger.warning(
            f'optim_wrapper.accumulative_counts = {parts} is more than the {batches} batches of the run, so that the '
            'weights move once, at its end'
        )


def _check_metrics(runner: Runner) -> None:
    """See that what selects, slows down or stops the run by a metric names one that is measured.

    Args:
        runner: built for training. Where an evaluator does not say beforehand what it measures, nothing is checked.

    Raises:
        UserError: it is not.
    """
    metrics = [] if runner.val_loop is None else runner.val_loop.evaluator.metrics
    if not metrics or not all(hasattr(metric, 'names') for metric in metrics):
        return
    measured = [name for metric in metrics for name in metric.names()]
    wanted = [('param_scheduler: monitor', getattr(one, 'monitor', None)) for one in runner.param_schedulers or ()]
    for hook in runner.hooks:
        if isinstance(hook, CheckpointHook):
            wanted += [('default_hooks.checkpoint.save_best', name) for name in hook.save_best or () if name != 'auto']
        else:
            wanted.append((f'{type(hook).__name__}: monitor', getattr(hook, 'monitor', None)))
    for where, name in wanted:
        if name is not None and name not in measured:
            raise UserError(f'{where} = {name!r} is not measured by val_evaluator; there are {", ".join(measured)}')

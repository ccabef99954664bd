"""What is trained: the list at the start of a run, and checkpoints that hold nothing else."""

import hashlib
import re
from pathlib import Path

import torch
from mmengine.hooks import Hook
from torch import Tensor, nn

from sarlp.engine.terminal import note
from sarlp.engine.unwrap import unwrap
from sarlp.errors import UserError
from sarlp.models.classifier import MultiLabelClassifier
from sarlp.registry import HOOKS

_DIGEST = 'frozen_sha256'  # the entry of a checkpoint's meta that says which frozen part it goes with


def trainable_parameters(model: nn.Module) -> tuple[dict[str, tuple[int, int]], int, int]:
    """Group the trainable parameters by name, with ``*`` for every number in it.

    Returns:
        ``{group: (tensors, values)}`` in the order of the model; the trainable values; all values.
    """
    groups: dict[str, tuple[int, int]] = {}
    total = 0
    for name, parameter in model.named_parameters():
        total += parameter.numel()
        if parameter.requires_grad:
            group = re.sub(r'(?<=\.)\d+(?=\.)', '*', name)
            tensors, values = groups.get(group, (0, 0))
            groups[group] = (tensors + 1, values + parameter.numel())
    return groups, sum(values for _, values in groups.values()), total


@HOOKS.register_module()
class TrainableParametersHook(Hook):
    """List in the log file, before the first step, which parameters are trained, how many and what share of all."""

    def before_train(self, runner) -> None:
        groups, trained, total = trainable_parameters(unwrap(runner.model))
        lines = [f'{trained:,} of {total:,} parameters are trained ({100 * trained / total:.2f} %):']
        width = max(map(len, groups), default=0)
        lines += [
            f'  {name:<{width}} {values:>12,}{f"  in {tensors} tensors" if tensors > 1 else ""}'
            for name, (tensors, values) in groups.items()
        ]
        note(runner.logger, '\n'.join(lines))


def _frozen_state(model: MultiLabelClassifier) -> dict[str, Tensor]:
    read = getattr(model.backbone, 'frozen_state', None)
    if read is None:
        raise UserError(
            f'a checkpoint without the frozen part needs a backbone that can give it; {type(model.backbone).__name__} '
            'has none (TrainableOnlyHook is for CLIPResNet with lora)'
        )
    return {f'backbone.{name}': value for name, value in read().items()}


def _digest(state: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode())
        digest.update(state[name].cpu().contiguous().numpy().data)
    return digest.hexdigest()


def restore_frozen(model: MultiLabelClassifier, checkpoint: dict, path: str | Path) -> None:
    """Complete a checkpoint of :class:`TrainableOnlyHook`, in place; every other checkpoint stays as it is.

    The frozen entries come from the file of weights that the config names. Only these may be absent, and they must be
    the ones that the checkpoint was trained on.

    Raises:
        UserError: the config names no such file, or it holds other weights.
    """
    expected = checkpoint.get('meta', {}).pop(_DIGEST, None)
    if expected is None:
        return
    frozen = _frozen_state(model)
    if _digest(frozen) != expected:
        raise UserError(
            f'{path}: holds the trained part only, and was trained on another frozen part than '
            f'{model.backbone.weights} has; set model.backbone.weights to the file that it was trained with'
        )
    for name, prefix in (('state_dict', ''), ('ema_state_dict', 'module.')):
        if name in checkpoint:
            checkpoint[name].update({prefix + key: value for key, value in frozen.items()})


@HOOKS.register_module()
class TrainableOnlyHook(Hook):
    """Leave the frozen part out of every checkpoint: megabytes instead of the whole encoder.

    Such a checkpoint needs the encoder's file of weights again wherever it is loaded; its meta holds a checksum of the
    part left out. Running statistics are no parameters, and stay in. After EMAHook, so that its copy is slim too.
    """

    priority = 'LOW'

    def before_train(self, runner) -> None:
        model = unwrap(runner.model)
        frozen = _frozen_state(model)
        if not frozen:
            raise UserError('TrainableOnlyHook has nothing to leave out: every parameter is trained; remove the hook')
        if any(not torch.equal(model.get_parameter(name).cpu(), value) for name, value in frozen.items()):
            raise UserError(
                f'the frozen part of the model is not that of {model.backbone.weights}, since load_from replaced it, '
                'so it must be in the checkpoints: remove TrainableOnlyHook'
            )
        self._names, self._sha256 = set(frozen), _digest(frozen)

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        checkpoint['meta'][_DIGEST] = self._sha256
        for name, prefix in (('state_dict', ''), ('ema_state_dict', 'module.')):
            for key in self._names:
                checkpoint.get(name, {}).pop(prefix + key, None)

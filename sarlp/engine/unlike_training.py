"""Where a model is used unlike it was trained, by the config of its training and the present one.

A model sees numbers. With pixels that are normalised, or images that are resized, otherwise than in the training, or
with another number of heads of attention, it gives scores like any others, only worse; nothing fails.
"""

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Any

from mmengine.config import Config

from sarlp.engine.config.changes import config_values
from sarlp.engine.config.option_changes import defaults_of, name_of, same
from sarlp.engine.kept_tokens import OF_WEIGHTS
from sarlp.engine.preparation import normalisation_changes, preparation_of, step_changes
from sarlp.engine.records.provenance import trained_values
from sarlp.errors import GraveWarning
from sarlp.io.json_file import show
from sarlp.registry import MODELS

_PARTS = ('model.backbone.', 'model.head.')
# options that bear on the training alone, show in the weights, or are asked of the data; dropout comes under many names
_UNSEEN = {
    *OF_WEIGHTS, 'classes', 'file', 'frozen', 'frozen_stages', 'in_channels', 'norm_eval', 'num_classes', 'places',
    'with_cp', 'zero_init_residual',
}  # fmt: skip
_DROP = 'drop'


@dataclass(frozen=True)
class Changes:
    """``Resize.scale (320, 320) -> (448, 448)`` of everything that is otherwise than in the training.

    Attributes:
        normalisation: of the pixels' values, which is hardly ever meant.
        steps: of the pipeline of the test images.
        model: of backbone and head, where it does not show in the weights.
    """

    normalisation: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()
    model: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[str]:
        yield from self.normalisation
        yield from self.steps
        yield from self.model

    @property
    def kind(self) -> str:
        """What a line about it begins with."""
        return 'warning' if self.normalisation else 'note'

    def of_weights(self) -> Iterator[str]:
        """Where a training begins with the weights: the images may change, but not what the weights are of."""
        if self.normalisation:
            yield f'was trained on pixels normalised otherwise ({"; ".join(self.normalisation)})'
        if self.model:
            yield f'its weights were those of another model ({"; ".join(self.model)}) and mean something else here'

    def text(self, checkpoint: str | PathLike) -> str:
        """The line itself, where there is a change."""
        listed = f'{checkpoint}: was trained otherwise ({"; ".join(self)})'
        if self.normalisation:
            return (
                f'{listed}. Of pixels that are normalised otherwise a model can make little, so do not trust these '
                'scores: take the config that lies in its work directory, unless the change is meant'
            )
        return (
            f'{listed}, and may be worse like this. Take the config that lies in its work directory, or go on if the '
            'change is meant'
        )


def changes_since_training(meta: Mapping, cfg: Config) -> Changes:
    """What a config says otherwise of how a model computes scores than that of its training.

    Args:
        meta: of the checkpoint; no change, as far as it does not say how it was trained.
        cfg: the present config.
    """
    old, new = trained_values(meta), config_values(cfg)
    before, now = preparation_of(old), preparation_of(new)
    return Changes(
        tuple(normalisation_changes(before, now)), tuple(step_changes(before, now)), tuple(_model_changes(old, new))
    )


def warn_of_changes(meta: Mapping, cfg: Config, checkpoint: str | PathLike) -> tuple[str, ...]:
    """A warning, if there are :func:`changes_since_training`; returns them, for a file that is about the model."""
    if any(changes := changes_since_training(meta, cfg)):
        kind = GraveWarning if changes.normalisation else UserWarning
        warnings.warn(changes.text(checkpoint), kind, stacklevel=3)
    return tuple(changes)


def _model_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """Of each option that both have, where one that is left out has the default of its part."""
    for key in dict.fromkeys([*new, *old]):
        parts = key.split('.')
        if not key.startswith(_PARTS) or any(part in _UNSEEN or part.startswith(_DROP) for part in parts):
            continue
        owner, _, option = key.rpartition('.')
        one, other = ({option: side[key]} if key in side else {} for side in (old, new))
        types = [{'type': side.get(f'{owner}.type')} for side in (old, new)]
        if option != 'type' and (not one or not other) and name_of(types[0]) == name_of(types[1]):
            defaults = defaults_of(MODELS, types[1])
            default = {option: defaults[option]} if option in defaults else {}
            one, other = one or default, other or default
        if not one or not other:
            continue
        alike = name_of(one) == name_of(other) if option == 'type' else same(one[option], other[option])
        if not alike:
            yield f'{key.removeprefix("model.")} {show(one[option])} -> {show(other[option])}'

"""How images are made ready for a model, by the config of its training and by the present one.

A model sees numbers. Pixels that are normalised, or images that are resized, otherwise than in the training give scores
like any others, only worse; nothing fails.
"""

import inspect
import math
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Any

from mmengine.config import Config
from mmengine.registry import Registry

from sarlp.engine.config_changes import config_values
from sarlp.engine.provenance import trained_values
from sarlp.errors import GraveWarning, shorten
from sarlp.io.json_file import show
from sarlp.models.normalization import ASK, Normalization
from sarlp.registry import MODELS, TRANSFORMS

_PREPROCESSOR, _TEST = 'model.data_preprocessor.', 'test_dataloader.'
_NORMALISE = ('type', 'mean', 'std', 'to_rgb', 'pad_size_divisor', 'pad_value')  # what of it changes a pixel
_PACKING = ('PackMultiLabel', 'PackInputs')
_PLACES = ('backend_args', 'file_client_args', 'cache_dir')  # of a step: from where, and not what
_SIDES = 'scale'
_SLIGHT = 1e-4  # relative; 255 * 0.485 is the mean 123.675

Step = dict[str, Any]


@dataclass(frozen=True)
class Preparation:
    """What makes an image ready.

    Attributes:
        normalisation: options of the preprocessor that change pixels, with its type, which is no matter: those that
            there are normalise alike.
        steps: of the pipeline of the test images, with their types, without packing; None where there is no pipeline.
    """

    normalisation: Step
    steps: list[Step] | None


@dataclass(frozen=True)
class Changes:
    """``Resize.scale (320, 320) -> (448, 448)`` of everything that is otherwise than in the training.

    Attributes:
        normalisation: of the pixels' values, which is hardly ever meant.
        steps: of the pipeline.
    """

    normalisation: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[str]:
        yield from self.normalisation
        yield from self.steps

    @property
    def kind(self) -> str:
        """What a line about it begins with."""
        return 'warning' if self.normalisation else 'note'

    def text(self, checkpoint: str | PathLike) -> str:
        """The line itself, where there is a change."""
        listed = f'{checkpoint}: was trained on images that were made ready otherwise ({"; ".join(self)})'
        if self.normalisation:
            return (
                f'{listed}. Of pixels that are normalised otherwise a model can make little, so do not trust these '
                'scores: take the config that lies in its work directory, unless the change is meant'
            )
        return (
            f'{listed}, and may be worse on these. Take the config that lies in its work directory, or go on if the '
            'change is meant'
        )


def preparation_of(values: Mapping[str, Any]) -> Preparation:
    """Args: ``values`` of :func:`~sarlp.engine.config_changes.config_values`. Of several data sets the first counts."""
    options = {key.removeprefix(_PREPROCESSOR): value for key, value in values.items() if key.startswith(_PREPROCESSOR)}
    numbered: dict[str, dict[int, Step]] = {}
    for key, value in values.items():
        owner, found, rest = key.partition('.pipeline.')
        number, dot, option = rest.partition('.')
        if found and dot and number.isdecimal() and owner.startswith(_TEST):
            numbered.setdefault(owner, {}).setdefault(int(number), {})[option] = value
    steps = None
    if numbered:
        pipeline = next(iter(numbered.values()))
        steps = _only_what_shows([pipeline[number] for number in sorted(pipeline)])
    return Preparation({key: value for key, value in options.items() if key in _NORMALISE}, steps)


def preparation_changes(meta: Mapping, cfg: Config) -> Changes:
    """What a config says otherwise of how images are made ready than that of a training.

    Args:
        meta: of the checkpoint.
        cfg: the present config.

    Returns:
        No change, as far as the checkpoint does not say how it was trained. ``mean='backbone'`` of either is no change:
        the numbers lie in the checkpoint then, or it is refused.
    """
    before, now = preparation_of(trained_values(meta)), preparation_of(config_values(cfg))
    asked = ASK in (before.normalisation.get('mean'), now.normalisation.get('mean'))
    pixels, other = (
        {key: value for key, value in one.normalisation.items() if not asked or key not in Normalization._fields}
        for one in (before, now)
    )
    return Changes(
        tuple(_differences(pixels, other, MODELS)) if before.normalisation else (),
        () if before.steps is None or now.steps is None else tuple(_step_changes(before.steps, now.steps)),
    )


def warn_of_changes(meta: Mapping, cfg: Config, checkpoint: str | PathLike) -> None:
    """A warning, if images are made ready otherwise than in the training; see :func:`preparation_changes`."""
    if any(changes := preparation_changes(meta, cfg)):
        kind = GraveWarning if changes.normalisation else UserWarning
        warnings.warn(changes.text(checkpoint), kind, stacklevel=3)


def _only_what_shows(steps: list[Step]) -> list[Step]:
    """Steps without those, and without those options, that leave the pixels as they are."""
    steps = [part for step in steps for part in _parts(step) if _name(part) not in _PACKING]
    sizes = [pair for step in steps if not step.get('keep_ratio') and (pair := _pair(step.get(_SIDES)))]
    shown = []
    for step in steps:
        least = step.get('min_side')
        enough = bool(sizes) and isinstance(least, int) and least >= min(sizes[0])  # of the pixels, for what follows
        left_out = (*_PLACES, 'min_side') if enough else _PLACES
        shown.append({key: value for key, value in step.items() if key.split('.')[0] not in left_out})
    return shown


def _parts(step: Step) -> list[Step]:
    if _name(step) != 'LoadResizedImage':
        return [step]
    of_resize = {key: step[key] for key in (_SIDES, 'interpolation') if key in step}
    return [
        {**{key: value for key, value in step.items() if key not in of_resize}, 'type': 'LoadImage'},
        {**of_resize, 'type': 'Resize'},
    ]


def _step_changes(before: list[Step], now: list[Step]) -> Iterator[str]:
    old, new = ([_name(step) for step in steps] for steps in (before, now))
    if old != new:
        yield f'steps {shorten(old) or "none"} -> {shorten(new) or "none"}'
    earlier = dict(zip(old, before, strict=True))
    of_one_name = [(earlier[_name(step)], step) for step in now if _name(step) in earlier]
    for one, step in zip(before, now, strict=True) if old == new else of_one_name:
        yield from _differences(one, step, TRANSFORMS, f'{_name(step)}.')


def _differences(before: Step, now: Step, registry: Registry, prefix: str = '') -> Iterator[str]:
    """Of all options but the type."""
    defaults = _defaults(registry, now)
    for key in dict.fromkeys([*now, *before]):
        one, other = (side.get(key, defaults.get(key)) for side in (before, now))
        if key != 'type' and not _same(one, other):
            yield f'{prefix}{key} {show(one)} -> {show(other)}'


def _name(step: Step) -> str:
    kind = step.get('type')
    return (kind if isinstance(kind, str) else getattr(kind, '__name__', '?')).rpartition('.')[2][:40]


def _defaults(registry: Registry, step: Step) -> dict[str, Any]:
    """Of the options that are left out. A type is looked up as the present config has it: to look up what a checkpoint
    names might import it."""
    kind = step.get('type')
    cls = registry.get(kind) if isinstance(kind, str) else kind
    if not callable(cls):
        return {}
    parameters = inspect.signature(cls).parameters.values()
    return {one.name: one.default for one in parameters if one.default is not one.empty}


def _pair(value: Any) -> tuple[int, int] | None:
    sides = tuple(value) if isinstance(value, list | tuple) else (value,) * 2
    return sides if len(sides) == 2 and all(type(side) is int for side in sides) else None


def _same(one: Any, other: Any) -> bool:
    kinds = [isinstance(value, list | tuple) for value in (one, other)]
    if all(kinds):
        return len(one) == len(other) and all(map(_same, one, other))
    if any(kinds):
        return _pair(one) is not None and _pair(one) == _pair(other)
    if all(isinstance(value, int | float) for value in (one, other)):
        try:
            return math.isclose(one, other, rel_tol=_SLIGHT)
        except OverflowError:  # a whole number beyond all floats, from whomever
            return one == other
    return one == other or (any(isinstance(value, float) for value in (one, other)) and str(one) == str(other))  # inf

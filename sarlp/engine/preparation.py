"""How a config makes the images of a test ready for a model."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sarlp.engine.config.option_changes import Options, differences, name_of, pair_of
from sarlp.errors import shorten
from sarlp.models.normalization import ASK, Normalization
from sarlp.registry import MODELS, TRANSFORMS

_PREPROCESSOR, _TEST = 'model.data_preprocessor.', 'test_dataloader.'
_NORMALISE = ('type', 'mean', 'std', 'to_rgb', 'pad_size_divisor', 'pad_value')  # what of it changes a pixel
_PACKING = ('PackMultiLabel', 'PackInputs')
_PLACES = ('backend_args', 'file_client_args', 'cache_dir')  # of a step: from where, and not what
_SIDES = 'scale'
UNSAID = 'image_size'  # in a test_pipeline that a config of earlier versions has beside its data sets


@dataclass(frozen=True)
class Preparation:
    """What makes an image ready.

    Attributes:
        normalisation: options of the preprocessor that change pixels, with its type, which is no matter: those that
            there are normalise alike.
        steps: of the pipeline of the test images, with their types, without packing; None where there is no pipeline.
    """

    normalisation: Options
    steps: list[Options] | None


def preparation_of(values: Mapping[str, Any]) -> Preparation:
    """Args: ``values`` of :func:`~sarlp.engine.config.changes.config_values`. Of several data sets the first counts."""
    options = {key.removeprefix(_PREPROCESSOR): value for key, value in values.items() if key.startswith(_PREPROCESSOR)}
    whole = 'test_dataloader' in values  # which has values itself only where it is None: trained on all images
    numbered: dict[str, dict[int, Options]] = {}
    for key, value in values.items():
        owner, found, rest = key.partition('test_pipeline.' if whole else '.pipeline.')
        number, dot, option = rest.partition('.')
        if found and dot and number.isdecimal() and (owner == '' if whole else owner.startswith(_TEST)):
            numbered.setdefault(owner, {}).setdefault(int(number), {})[option] = value
    steps = [step for _, step in sorted(next(iter(numbered.values()), {}).items())]
    said = steps and not any(UNSAID in step.values() for step in steps)
    normalisation = {key: value for key, value in options.items() if key in _NORMALISE}
    return Preparation(normalisation, _only_what_shows(steps) if said else None)


def _only_what_shows(steps: list[Options]) -> list[Options]:
    """Steps without those, and without those options, that leave the pixels as they are."""
    steps = [part for step in steps for part in _parts(step) if name_of(part) not in _PACKING]
    sizes = [pair for step in steps if not step.get('keep_ratio') and (pair := pair_of(step.get(_SIDES)))]
    shown = []
    for step in steps:
        least = step.get('min_side')
        enough = bool(sizes) and isinstance(least, int) and least >= min(sizes[0])  # of the pixels, for what follows
        left_out = (*_PLACES, 'min_side') if enough else _PLACES
        shown.append({key: value for key, value in step.items() if key.split('.')[0] not in left_out})
    return shown


def _parts(step: Options) -> list[Options]:
    if name_of(step) != 'LoadResizedImage':
        return [step]
    of_resize = {key: step[key] for key in (_SIDES, 'interpolation') if key in step}
    return [
        {**{key: value for key, value in step.items() if key not in of_resize}, 'type': 'LoadImage'},
        {**of_resize, 'type': 'Resize'},
    ]


def step_changes(before: Preparation, now: Preparation) -> Iterator[str]:
    """``Resize.scale (320, 320) -> (448, 448)`` of each step; nothing, where one of both has no pipeline."""
    if before.steps is not None and now.steps is not None:
        yield from _of_steps(before.steps, now.steps)


def normalisation_changes(before: Preparation, now: Preparation) -> Iterator[str]:
    """``to_rgb True -> False`` of each option that changes pixels; nothing, where the older one does not say.

    ``mean='backbone'`` of either is no change: the numbers lie in the checkpoint then, or it is refused.
    """
    if not before.normalisation:
        return
    asked = ASK in (before.normalisation.get('mean'), now.normalisation.get('mean'))
    one, other = (
        {key: value for key, value in side.normalisation.items() if not asked or key not in Normalization._fields}
        for side in (before, now)
    )
    yield from differences(one, other, MODELS)


def _of_steps(before: list[Options], now: list[Options]) -> Iterator[str]:
    old, new = ([name_of(step) for step in steps] for steps in (before, now))
    if old != new:
        yield f'steps {shorten(old) or "none"} -> {shorten(new) or "none"}'
    earlier = dict(zip(old, before, strict=True))
    of_one_name = [(earlier[name_of(step)], step) for step in now if name_of(step) in earlier]
    for one, step in zip(before, now, strict=True) if old == new else of_one_name:
        yield from differences(one, step, TRANSFORMS, f'{name_of(step)}.')

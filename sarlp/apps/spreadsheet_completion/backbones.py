"""Which pretrained backbone a machine can train on."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import torch
from mmengine.runner.checkpoint import CheckpointLoader, get_torchvision_models

from sarlp.errors import UserError, first_line
from sarlp.io.pip_parts import find_part

_RESNET = 'torchvision://resnet50'
_LITE = 'pip://efficientnet-lite0'


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


def choose_backbone(device: torch.device) -> Backbone:
    """The first that can be had: from this machine, from an installed package, from a hub.

    On a GPU it is fine-tuned; elsewhere it is frozen and its tokens are kept, so that to train takes minutes.

    Raises:
        UserError: there is none; the message says how to get one.
    """
    tuned = device.type != 'cpu'
    ending = 'custom' if tuned else 'frozen_custom'
    how = 'fine-tuned' if tuned else 'frozen, its tokens are kept'
    resnet, lite = f'few_r50_{ending}', f'few_lite0_{ending}'
    better = '' if tuned else 'a machine with a GPU, where it is fine-tuned'
    if _can(lambda: _cached(_RESNET)):
        return Backbone(resnet, f"ResNet-50 from this machine's cache of torchvision, {how}", better)
    if _can(lambda: find_part(_LITE)):
        more = f'ResNet-50, by --config {resnet} with a network, once' + (f'; or {better}' if better else '')
        return Backbone(lite, f'EfficientNet-Lite0 from the installed package, {how}', more)
    try:
        CheckpointLoader.load_checkpoint(_RESNET, map_location='cpu', logger='silent')
    except Exception as error:  # no network: each library raises its own
        raise UserError(
            f'there is no pretrained backbone: none is on this machine, none is installed, and {_RESNET} can not be '
            f"fetched ({first_line(error)}). Install one: pip install 'sarlp[real]'; or name a config of your own by "
            '--config'
        ) from None
    return Backbone(resnet, f'ResNet-50, fetched from torchvision, {how}', better)


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

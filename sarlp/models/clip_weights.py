"""Weights of CLIP's image encoder from the files that they come in, without running code from the file.

OpenAI's ``RN101.pt`` is a TorchScript archive: a zip with compiled code, a pickle of the module tree and one file a
storage. ``torch.jit.load`` would bring the code along, and ``torch.load(weights_only=True)`` refuses the archive. So
the pickle is read here with an unpickler that knows tensors, lists and attribute records, and nothing else of the
archive is looked at.
"""

import pickle
import zipfile
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from sarlp.errors import UserError

RN101_URL = (
    'https://openaipublic.azureedge.net/clip/models/'
    '8fa8567bab74a42d41c5915025a8e4538c3bdbe8804a470a72f30b0d94fab599/RN101.pt'
)
PREFIX = 'visual.'

_STORAGES = {
    'FloatStorage': torch.float32,
    'HalfStorage': torch.float16,
    'BFloat16Storage': torch.bfloat16,
    'DoubleStorage': torch.float64,
    'LongStorage': torch.int64,
    'IntStorage': torch.int32,
    'BoolStorage': torch.bool,
}


def read_clip_weights(path: str | Path) -> dict[str, Tensor]:
    """Read the state dict of the image encoder.

    Args:
        path: OpenAI's TorchScript archive; a plain state dict of CLIP or of its image encoder alone; an open_clip
            checkpoint (``state_dict``, perhaps under ``module.``); or ``.safetensors``.

    Returns:
        Names without ``visual.``; floating-point entries in float32, on the CPU.

    Raises:
        UserError: there is no such file, or it holds no weights that can be read safely.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(
            f'{path}: there are no such CLIP weights; fetch RN101.pt from {RN101_URL}, name an open_clip checkpoint of '
            'RN101 with --cfg-options model.backbone.weights=FILE, or train from scratch with '
            '--cfg-options model.backbone.weights=None'
        )
    try:
        state = _read(path)
    except Exception as error:  # unpickling, zip and type errors, by what the file is
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f'{path}: holds no CLIP weights that can be read safely ({reason})') from error
    state = {key.removeprefix('module.'): value for key, value in state.items()}
    if any(key.startswith(PREFIX) for key in state):
        state = {key[len(PREFIX) :]: value for key, value in state.items() if key.startswith(PREFIX)}
    return {key: value.float() if value.is_floating_point() else value for key, value in state.items()}


def _read(path: Path) -> dict[str, Tensor]:
    if path.suffix == '.safetensors':
        from safetensors.torch import load_file

        return load_file(path)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            pickles = [name for name in archive.namelist() if name.count('/') == 1 and name.endswith('/data.pkl')]
            if len(pickles) == 1 and pickles[0].replace('data.pkl', 'constants.pkl') in archive.namelist():
                return _read_torchscript(archive, pickles[0])
    state = torch.load(path, map_location='cpu', weights_only=True)
    state = state.get('state_dict', state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise TypeError('neither a TorchScript archive nor a state dict')
    return state


@dataclass
class _LazyTensor:
    """Where a tensor of a TorchScript archive lies; the text encoder's are never read."""

    storage: tuple[torch.dtype, str]  # and the name of the file under data/
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def read(self, archive: zipfile.ZipFile, folder: str) -> Tensor:
        dtype, name = self.storage
        values = torch.frombuffer(bytearray(archive.read(f'{folder}data/{name}')), dtype=dtype)
        return values.as_strided(self.shape, self.stride, self.offset).clone()


class _Record:
    """A module of a TorchScript archive, as its attributes."""


class _ArchiveUnpickler(pickle.Unpickler):
    """Rebuilds the module tree of a TorchScript archive out of records, lists and tensors; no name leads to code."""

    _known = {
        ('collections', 'OrderedDict'): OrderedDict,
        ('torch._utils', '_rebuild_tensor_v2'): lambda storage, offset, shape, stride, *_: _LazyTensor(
            storage, offset, shape, stride
        ),
        ('torch.jit._pickle', 'restore_type_tag'): lambda value, _: value,
        **{
            ('torch.jit._pickle', f'build_{kind}list'): lambda values: values
            for kind in ('int', 'tensor', 'double', 'bool')
        },
    }

    def find_class(self, module: str, name: str):
        if module.split('.')[0] == '__torch__':
            return _Record
        if module == 'torch' and name in _STORAGES:
            return _STORAGES[name]
        if (module, name) in self._known:
            return self._known[module, name]
        raise pickle.UnpicklingError(f'{module}.{name} is not allowed in a file of weights')

    def persistent_load(self, pid: tuple) -> tuple[torch.dtype, str]:
        _, dtype, name, *_ = pid
        return dtype, name


def _read_torchscript(archive: zipfile.ZipFile, member: str) -> dict[str, Tensor]:
    folder = member.removesuffix('data.pkl')
    with archive.open(member) as stream:
        root = _ArchiveUnpickler(stream).load()
    state, waiting, seen = {}, [('', root)], set()
    while waiting:
        prefix, record = waiting.pop()
        if id(record) in seen:
            continue
        seen.add(id(record))
        for name, value in vars(record).items():
            if isinstance(value, _Record):
                waiting.append((f'{prefix}{name}.', value))
            elif isinstance(value, _LazyTensor) and prefix.startswith(PREFIX):
                state[prefix + name] = value.read(archive, folder)
    if not state:
        raise ValueError('a TorchScript archive without an image encoder under "visual"')
    return state

"""Weights of CLIP from the files that they come in, without running code from the file.

OpenAI's ``RN101.pt`` is a TorchScript archive: a zip with compiled code, a pickle of the module tree and one file a
storage. ``torch.jit.load`` would bring the code along, and ``torch.load(weights_only=True)`` refuses the archive. So
the pickle is read here with an unpickler that knows tensors, lists and attribute records, and nothing else of the
archive is looked at.
"""

import io
import math
import pickle
import pickletools
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import torch
from torch import Tensor

from sarlp.errors import UserError
from sarlp.io.weights_file import check_parts, read_weights

HOW_TO_GET = 'RN101.pt of OpenAI (open_clip.get_pretrained_url("RN101", "openai") has its address)'
PREFIX = 'visual.'
NOT_WEIGHTS = ('attn_mask', 'input_resolution', 'context_length', 'vocab_size')  # in OpenAI's files beside them

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
    state = _read_part(path, lambda name: name.startswith(PREFIX), 'model.backbone.weights')
    if any(key.startswith(PREFIX) for key in state):
        state = {key[len(PREFIX) :]: value for key, value in state.items() if key.startswith(PREFIX)}
    if not state:
        raise UserError(f'{path}: holds no image encoder (nothing under {PREFIX!r})')
    return {key: value.float() if value.is_floating_point() else value for key, value in state.items()}


def read_text_weights(path: str | Path) -> dict[str, Tensor]:
    """Read the state dict of the text encoder; arguments and errors as of :func:`read_clip_weights`.

    Returns:
        Names as in CLIP, where the text encoder has no prefix; floating-point entries in float32, on the CPU.
    """
    state = _read_part(path, lambda name: not name.startswith(PREFIX), 'model.head.text.weights')
    return {
        key: value.float()
        for key, value in state.items()
        if not key.startswith(PREFIX) and key.rpartition('.')[2] not in (*NOT_WEIGHTS, 'logit_scale')
    }


def _read_part(path: str | Path, wanted: Callable[[str], bool], option: str) -> dict[str, Tensor]:
    path = Path(path)
    if not path.is_file():
        raise UserError(
            f'{path}: there are no such CLIP weights; fetch {HOW_TO_GET}, name an open_clip checkpoint of '
            f'RN101 with --cfg-options {option}=FILE, or train from scratch with --cfg-options {option}=None'
        )
    try:
        return read_state_dict(path, wanted)
    except Exception as error:  # unpickling, zip and type errors, by what the file is
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f'{path}: holds no CLIP weights that can be read safely ({reason})') from error


def read_state_dict(path: str | Path, wanted: Callable[[str], bool] = lambda name: True) -> dict[str, Tensor]:
    """Read all tensors of a file of CLIP weights, as they are stored, without a leading ``module.``.

    Args:
        path: see :func:`read_clip_weights`.
        wanted: of a TorchScript archive only the tensors with such names are read.

    Raises:
        Exception: the file cannot be read safely; which error it is depends on the format.
    """
    state = _read(Path(path), wanted)
    return {key.removeprefix('module.'): value for key, value in state.items()}


def is_torchscript(path: str | Path) -> bool:
    """Whether a file is a TorchScript archive, as OpenAI's own are."""
    return _torchscript_pickle(path) is not None


def _torchscript_pickle(path: str | Path) -> str | None:
    if not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    pickles = [name for name in names if name.count('/') == 1 and name.endswith('/data.pkl')]
    if len(pickles) == 1 and pickles[0].replace('data.pkl', 'constants.pkl') in names:
        return pickles[0]
    return None


def _read(path: Path, wanted: Callable[[str], bool]) -> dict[str, Tensor]:
    member = _torchscript_pickle(path)
    if member is not None:
        with zipfile.ZipFile(path) as archive:
            folder = member.removesuffix('data.pkl')  # beside it lies compressed code, which is not read
            data = [part for part in archive.infolist() if part.filename.startswith((member, f'{folder}data/'))]
            check_parts(data, path)
            return _read_torchscript(archive, member, wanted)
    state = read_weights(path)
    is_run = isinstance(state, dict) and 'message_hub' in state
    state = state.get('state_dict', state) if isinstance(state, dict) else state
    if is_run:
        raise TypeError('it is a checkpoint of a training of sarlp, which load_from=FILE begins with')
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise TypeError('neither a TorchScript archive nor a state dict')
    return state


@dataclass
class _LazyTensor:
    """Where a tensor of a TorchScript archive lies; it is read only if it is wanted."""

    storage: tuple[torch.dtype, str]  # and the name of the file under data/
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def read(self, archive: zipfile.ZipFile, folder: str) -> Tensor:
        dtype, name = self.storage
        values = torch.frombuffer(bytearray(archive.read(f'{folder}data/{name}')), dtype=dtype)
        if math.prod(self.shape) > len(values):
            raise ValueError(f'it holds a tensor {tuple(self.shape)} made of fewer numbers')
        return values.as_strided(self.shape, self.stride, self.offset).clone()


class _Record:
    """A module of a TorchScript archive, as its attributes."""


class _ArchiveUnpickler(pickle.Unpickler):
    """Rebuilds the module tree of a TorchScript archive out of records, lists and tensors; no name leads to code."""

    def __init__(self, stream: IO[bytes]):
        super().__init__(stream)
        # made anew for each file, which could write attributes into them
        self._record = type('Record', (_Record,), {})
        self._known = {
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
            return self._record
        if module == 'torch' and name in _STORAGES:
            return _STORAGES[name]
        if (module, name) in self._known:
            return self._known[module, name]
        raise pickle.UnpicklingError(f'{module}.{name} is not allowed in a file of weights')

    def persistent_load(self, pid: tuple) -> tuple[torch.dtype, str]:
        _, dtype, name, *_ = pid
        return dtype, name


def _read_torchscript(archive: zipfile.ZipFile, member: str, wanted: Callable[[str], bool]) -> dict[str, Tensor]:
    folder, content = member.removesuffix('data.pkl'), archive.read(member)
    for operation, argument, _ in pickletools.genops(content):
        if operation.name.endswith('PUT') and int(argument or 0) > len(content):  # python makes room for as many
            raise pickle.UnpicklingError('its pickle is damaged')
    root = _ArchiveUnpickler(io.BytesIO(content)).load()
    state, waiting, seen = {}, [('', root)], set()
    while waiting:
        prefix, record = waiting.pop()
        if id(record) in seen:
            continue
        seen.add(id(record))
        for name, value in vars(record).items():
            if isinstance(value, _Record):
                waiting.append((f'{prefix}{name}.', value))
            elif isinstance(value, _LazyTensor) and wanted(prefix + name):
                state[prefix + name] = value.read(archive, folder)
    return state

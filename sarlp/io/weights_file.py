"""Files of weights from whomever: read without running code, and refused where they are damaged.

``torch.load(weights_only=True)`` calls only what is on a list. To the list of torch itself, MMEngine's log history adds
its own class and four names of numpy. Those of numpy are not given to the file: a forged ``dtype`` makes the bytes of
an array pass for addresses, which is as good as code. What a file gets under these names is defined here, and knows
arrays of plain numbers only. Whatever other libraries put on the list of the process does not count.
"""

import contextlib
import functools
import pickle
import re
import tarfile
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlparse

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from torch import Tensor

_FOLDER = 0x10  # among the attributes of a part, as DOS had them
_NUMBERS = frozenset({'b1', 'u1', 'i4', 'i8', 'f4', 'f8'})


class _Dtype:
    def __init__(self, code: str, align: bool = False, copy: bool = False):
        if code not in _NUMBERS:
            raise ValueError(f'arrays of type {code!r} are not read')
        self.dtype = np.dtype(code)

    def __setstate__(self, state: tuple) -> None:
        _, order, *rest = state
        if rest[:3] != [None, None, None]:
            raise ValueError('arrays of records are not read')
        self.dtype = self.dtype.newbyteorder(order)


class _Array:
    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, fortran, content = state
        self.value = np.frombuffer(content, dtype.dtype).reshape(shape, order='F' if fortran else 'C').copy()


class _History:
    def __setstate__(self, state: dict) -> None:
        self.state = state

    @property
    def value(self) -> HistoryBuffer:
        values, counts = (self.state[name].value for name in ('_log_history', '_count_history'))
        return HistoryBuffer(values, counts, self.state['max_length'])


def _reconstruct(kind: type, shape: tuple, code: bytes) -> _Array:
    return _Array()


def _scalar(dtype: _Dtype, content: bytes) -> np.generic:
    (value,) = np.frombuffer(content, dtype.dtype)
    return value


def _under(path: str, thing: Any) -> Any:
    """``thing`` with the name by which files ask for it; torch puts what is on its list under its own name."""
    thing.__module__, _, thing.__qualname__ = path.rpartition('.')
    thing.__name__ = thing.__qualname__
    return thing


ALLOWED = (
    _under('mmengine.logging.history_buffer.HistoryBuffer', _History),
    _under('numpy.dtype', _Dtype),
    _under('numpy.ndarray', _Array),
    *(
        _under(f'{module}.{name}', functools.partial(function))
        for module in ('numpy._core.multiarray', 'numpy.core.multiarray')  # of numpy 2, of numpy 1
        for name, function in (('_reconstruct', _reconstruct), ('scalar', _scalar))
    ),
)


@contextlib.contextmanager
def _closed_list() -> Iterator[None]:
    """Have torch allow what it needs itself and :data:`ALLOWED`, nothing else."""
    before = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals(list(ALLOWED))
    try:
        yield
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)


def read_weights(path: str | Path, map_location: Any = 'cpu') -> Any:
    """Read what ``torch.save`` or safetensors wrote.

    A damaged archive is found by the checksums in it. Only tensors come out that hold their own numbers: none that are
    sparse, quantised, complex, without data, or blown up from a small storage.

    Args:
        path: file; ``.safetensors`` by its suffix.
        map_location: of ``torch.load``.

    Returns:
        Tensors, numbers, strings, and containers of these; numpy arrays and numbers; MMEngine's ``HistoryBuffer``.

    Raises:
        FileNotFoundError: there is no such file.
        Exception: it can not be read safely; the message says why, and leaves it to the caller to name the file.
    """
    path = Path(path)
    if path.suffix == '.safetensors':
        from safetensors.torch import load_file

        return load_file(path, device=str(map_location))
    with open(path, 'rb') as stream:
        start = stream.read(4)
    if start == b'PK\x03\x04':
        try:
            with zipfile.ZipFile(path) as archive:
                if any(name.endswith('/constants.pkl') for name in archive.namelist()):
                    raise ValueError('it is a TorchScript archive, which holds code')
                check_parts(archive.infolist(), path)
                if any('..' in PurePosixPath(name).parts or name.startswith('/') for name in archive.namelist()):
                    raise ValueError('its parts have names outside of it')
                damaged = archive.testzip()
        except zipfile.BadZipFile as error:
            raise ValueError(f'it is damaged: {error}') from error
        if damaged is not None:
            raise ValueError(f'it is damaged: the checksum of {damaged} is wrong')
    elif _is_tar(path):
        raise ValueError('it is a tar archive, as torch wrote them before version 0.1.10')
    with _closed_list():
        try:
            content = torch.load(path, map_location=map_location, weights_only=True)
        except pickle.UnpicklingError as error:  # half a page, which ends in advice to load the file with its code
            refused = re.search(r'GLOBAL (\S+)', str(error))
            reason = re.search(r'(Unsupported|Trying to|Can only)[^.\n]*', str(error))
            if refused is not None:
                raise ValueError(f'Unsupported: it asks for {refused[1]}, which no weights need') from error
            if reason is None:
                raise
            raise ValueError(reason[0]) from error
    return _plain(content, {})


def check_parts(parts: Sequence[zipfile.ZipInfo], path: Path) -> None:
    """See that torch reads each part of an archive, and that they unpack to no more than there is.

    Raises:
        ValueError: they would unpack to more, or torch would pass over one.
    """
    if any(part.is_dir() or part.external_attr & _FOLDER for part in parts):  # torch: done, with memory as it was
        raise ValueError('one of its parts is marked as a folder')
    if any(part.compress_type != zipfile.ZIP_STORED for part in parts):
        raise ValueError('its parts are compressed, which those of torch are not')
    if sum(part.file_size for part in parts) > path.stat().st_size:
        raise ValueError('its parts are larger than the file')


def _is_tar(path: Path) -> bool:
    try:
        tarfile.open(path, 'r:').close()
    except tarfile.TarError:
        return False
    return True


def _plain(value: Any, done: dict[int, tuple[Any, Any]]) -> Any:
    """The value with numpy's own objects in place of the stand-ins, and every tensor checked.

    ``done`` maps the ids of what was seen to (it, what became of it): a file may hold one list many times over.
    """
    if id(value) in done:
        return done[id(value)][1]
    result = value
    if isinstance(value, Tensor):
        if value.layout != torch.strided or value.is_quantized or value.is_nested or value.device.type == 'meta':
            raise ValueError('it holds a tensor that is sparse, quantised, nested or without data')
        if value.is_complex():  # a real parameter would take the real part alone
            raise ValueError('it holds a tensor of complex numbers')
        if value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise ValueError(f'it holds a tensor {tuple(value.shape)} made of fewer numbers; save a copy of it')
    elif isinstance(value, (_Array, _History)):
        result = value.value
    elif isinstance(value, dict):
        if isinstance(value, OrderedDict) and vars(value).keys() - {'_metadata'}:  # they would hide its methods
            raise ValueError('it holds a dict with attributes')
        for key, item in value.items():
            value[key] = _plain(item, done)
    elif isinstance(value, list):
        value[:] = [_plain(item, done) for item in value]
    elif type(value) is tuple:
        result = tuple(_plain(item, done) for item in value)
    else:
        return value
    done[id(value)] = value, result
    return result


def _check_checkpoint(content: Any) -> Any:
    """See that what calls itself a checkpoint is made as one, so that its readers need not look."""
    if not isinstance(content, dict):
        return content
    for key in ('state_dict', 'ema_state_dict'):
        state = content.get(key)
        if isinstance(state, dict):
            for name, value in state.items():
                if not isinstance(name, str) or not isinstance(value, Tensor):
                    raise ValueError(f'its {key} holds {name!r}: {type(value).__name__}, expected names and tensors')
    meta = content.get('meta', {})
    dataset_meta = meta.get('dataset_meta') or {} if isinstance(meta, dict) else None
    if not isinstance(dataset_meta, dict):
        raise ValueError('its meta, or meta.dataset_meta, is no dict')
    classes = dataset_meta.get('classes')
    names = list(classes) if isinstance(classes, (list, tuple)) else []
    if classes is not None and not (names and all(isinstance(name, str) for name in names)):
        raise ValueError('its meta.dataset_meta.classes is no list of names')
    for key in ('epoch', 'iter', 'seed'):
        if not isinstance(meta.get(key), (int, type(None))):
            raise ValueError(f'its meta.{key} is no whole number')
    return content


def load_from_local(filename: str, map_location: Any = None) -> Any:
    """:func:`read_weights` as MMEngine's ``CheckpointLoader`` calls it; checkpoints are checked to be made as such."""
    return _check_checkpoint(read_weights(Path(filename).expanduser(), map_location or 'cpu'))


def load_url(url: str, model_dir: str | None = None, map_location: Any = None, progress: bool = True, **_: Any) -> Any:
    """Fetch weights into torch's cache, unless they are there, and read them as any other file.

    ``torch.hub.load_state_dict_from_url``, in whose place MMEngine calls this, would run their code.
    """
    folder = Path(model_dir or Path(torch.hub.get_dir()) / 'checkpoints')
    file = folder / PurePosixPath(urlparse(url).path).name
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(file), progress=progress)
    try:
        return load_from_local(str(file), map_location)
    except Exception as error:
        raise ValueError(f'{file}: {str(error).strip() or type(error).__name__}') from error


def load_from_nowhere(filename: str, map_location: Any = None) -> Any:
    """In place of MMEngine's loaders for stores that would run the code of a file."""
    raise ValueError('weights are not read from this kind of address; fetch the file and give its path')

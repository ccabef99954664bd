"""Files that run code, or try to, when they are read the careless way; see test_hostile.py."""

import io
import os
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import torch

_RECONSTRUCT = (np._core if hasattr(np, '_core') else np.core).multiarray._reconstruct


class Touch:
    """Unpickling it makes a file."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f'touch {self.marker}',)


class Reduced:
    """Unpickling it does whatever ``reduce`` says."""

    def __init__(self, *reduce):
        self.reduce = reduce

    def __reduce__(self):
        return self.reduce


def forged_array():
    """An array of numbers whose bytes numpy takes for the address of an object."""
    fields = {'a': (Reduced(np.dtype, ('O', False, True)), 0)}
    dtype = Reduced(np.dtype, ('f8', False, True), (3, '<', None, ('a',), fields, -1, -1, 0))
    return Reduced(_RECONSTRUCT, (np.ndarray, (0,), b'b'), (1, (1,), dtype, False, b'A' * 8))


def archive(path, marker):
    torch.save({'state_dict': {'w': torch.ones(3)}, 'meta': Touch(marker)}, path)


def legacy(path, marker):
    torch.save({'state_dict': {'w': Touch(marker)}}, path, _use_new_zipfile_serialization=False)


def plain_pickle(path, marker):
    Path(path).write_bytes(pickle.dumps({'state_dict': Touch(marker)}, protocol=2))


def tar(path, marker):
    """As torch wrote files in 2016; before 2.6 ``weights_only`` did not hold for them."""
    with tarfile.open(path, 'w:') as file:
        for name in ('sys_info', 'pickle', 'storages', 'tensors'):
            part = tarfile.TarInfo(name)
            content = pickle.dumps(Touch(marker), protocol=2)
            part.size = len(content)
            file.addfile(part, io.BytesIO(content))


def torchscript(path, marker):
    """As far as a reader looks before it unpickles; the code beside it is called by ``torch.jit.load``."""
    with zipfile.ZipFile(path, 'w') as file:
        file.writestr('clip/version', '3\n')
        file.writestr('clip/data.pkl', pickle.dumps({'visual.x': Touch(marker)}, protocol=2))
        file.writestr('clip/constants.pkl', pickle.dumps((Touch(marker),), protocol=2))
        file.writestr('clip/code/__torch__.py', f'import os\nos.system("touch {marker}")\n')


def forged(path, marker):
    torch.save({'state_dict': {'w': torch.ones(3)}, 'message_hub': forged_array()}, path)


def bomb(path, marker):
    """64 MB of zeros in 64 KB."""
    content = io.BytesIO()
    torch.save({'state_dict': {'w': torch.zeros(1 << 24)}}, content)
    with zipfile.ZipFile(content) as whole, zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as file:
        for part in whole.infolist():
            file.writestr(part.filename, whole.read(part))


def blown_up(path, marker):
    """One number that passes for 10^12."""
    torch.save({'state_dict': {'w': torch.zeros(1).expand(10**6, 10**6)}}, path)


def traversal(path, marker):
    """A part whose name leads to the marker, for readers that unpack."""
    torch.save({'state_dict': {'w': torch.ones(3)}}, path)
    with zipfile.ZipFile(path, 'a') as file:
        file.writestr(os.path.relpath(marker, Path(path).parent), 'x')
        file.writestr(str(marker), 'x')


WEIGHTS = (archive, legacy, plain_pickle, tar, torchscript, forged, bomb, blown_up, traversal)


def npz(path, marker):
    """Every array that a reader of the project could ask for is a pickle."""
    names = ('embeddings', 'classes', 'image_ids', 'known', 'sha256', 'kind')
    np.savez(path, **dict.fromkeys(names, np.array([Touch(marker)], object)))

"""Files of arrays and weights spoilt at random, through every reader of them; test_fuzz.py says what must hold."""

import ast
import io
import pickle
import struct
import zipfile
import zlib
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sarlp.datasets.annotation import dump_annotation
from sarlp.datasets.label_masks import load_label_mask, save_label_mask
from sarlp.datasets.reference_label_mask import ReferenceLabelMask
from sarlp.engine import load_config, read_checkpoint
from sarlp.inference import convert_released as convert
from sarlp.io.clip_weights import read_clip_weights
from sarlp.io.embeddings import load_embeddings, save_embeddings

from .fuzzing import SEEDS, Properties, attempt, spoil_bytes, spoil_structure, spoilt_bytes, spoilt_structures

CLASSES = ['cat', 'dog', 'sofa', 'oak tree']
fuzz = Properties()


# ---- arrays ----


def slow_npz(content, names):
    """Arrays of a zip of npy files, by the format's description: signature, version, header, numbers."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for name in names:
            part = archive.getinfo(f'{name}.npy')
            data = archive.read(part)
            assert zlib.crc32(data) == part.CRC and data[:6] == b'\x93NUMPY'
            width = 2 if data[6] == 1 else 4
            (length,) = struct.unpack('<H' if width == 2 else '<I', data[8 : 8 + width])
            header = ast.literal_eval(data[8 + width : 8 + width + length].decode('latin-1'))
            array = np.frombuffer(data[8 + width + length :], header['descr'])
            yield name, array.reshape(header['shape'], order='F' if header['fortran_order'] else 'C')


def spoilt_header(content, edits):
    """The archive with its first array spoilt, and a checksum that fits: damage before it was packed."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, 'w') as new:
        for number, part in enumerate(old.infolist()):
            data = old.read(part)
            if number == 0:
                data = spoil_bytes(data[:128], edits) + data[128:]
            new.writestr(part.filename, data)
    return out.getvalue()


def embeddings_by(spoil):
    def prepare(root):
        path = root / 'a.npz'
        rows = np.random.default_rng(0).normal(size=(4, 7)).astype(np.float32)
        save_embeddings(path, rows, CLASSES, 'own', 'test')
        content = path.read_bytes()

        def check(edits):
            spoilt = spoil(content, edits)
            path.write_bytes(spoilt)
            found = attempt(lambda: load_embeddings(path, CLASSES), path)
            if found is not None:
                arrays = dict(slow_npz(spoilt, ('embeddings', 'classes')))
                assert np.array_equal(found, arrays['embeddings']) and found.dtype == np.float32
                assert arrays['classes'].tolist() == CLASSES

        return check

    return prepare


@fuzz(spoilt_bytes, short=300, slow=10_000)
def embeddings_bytes(root):
    return embeddings_by(spoil_bytes)(root)


@fuzz(spoilt_bytes, short=200, slow=10_000)
def embeddings_header(root):
    return embeddings_by(spoilt_header)(root)


def mask_by(spoil):
    def prepare(root):
        path = root / 'a.npz'
        known = np.random.default_rng(0).random((3, 4)) < 0.5
        images = ['a/1.jpg', 'a/2.jpg', 'b/ü.jpg']
        save_label_mask(path, images, CLASSES, known)
        content = path.read_bytes()

        def check(edits):
            path.write_bytes(spoil(content, edits))
            found = attempt(lambda: load_label_mask(path), path)
            if found is not None:  # its checksum covers all that it says
                assert found[:2] == (images, CLASSES) and np.array_equal(found[2], known)

        return check

    return prepare


@fuzz(spoilt_bytes, short=300, slow=10_000)
def mask_bytes(root):
    return mask_by(spoil_bytes)(root)


@fuzz(spoilt_bytes, short=200, slow=10_000)
def mask_header(root):
    return mask_by(spoilt_header)(root)


# ---- weights ----


def small_archive(content):
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


def spoilt_pickle(content, edits):
    """The archive with its pickle spoilt, and a checksum that fits."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, 'w') as new:
        for part in old.infolist():
            data = old.read(part)
            new.writestr(part.filename, spoil_bytes(data, edits) if part.filename.endswith('data.pkl') else data)
    return out.getvalue()


def plain(value):
    """Of what a checkpoint may hold, what can be compared."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return (value.dtype, value.shape, value.numpy().tobytes()) if isinstance(value, torch.Tensor) else value


CHECKPOINT = {
    'meta': {'epoch': 3, 'seed': 0, 'dataset_meta': {'classes': ('cat', 'dog')}},
    'state_dict': {'w': torch.arange(7.0), 'b': torch.arange(3), 'h': torch.ones(2, 3).half()},
    'message_hub': {'best': np.float64(3.5)},
}


@fuzz(spoilt_bytes, short=200, slow=10_000)
def checkpoint_bytes(root):
    content, path = small_archive(CHECKPOINT), root / 'a.pth'

    def check(edits):
        path.write_bytes(spoil_bytes(content, edits))
        found = attempt(lambda: read_checkpoint(path), path)
        if found is not None:
            assert plain(found) == plain(CHECKPOINT)

    return check


@fuzz(spoilt_bytes, short=200, slow=10_000)
def checkpoint_pickle(root):
    content, path = small_archive(CHECKPOINT), root / 'a.pth'

    def check(edits):
        path.write_bytes(spoilt_pickle(content, edits))
        found = attempt(lambda: read_checkpoint(path), path)
        if found is not None:
            assert all(type(value) is torch.Tensor for value in found['state_dict'].values())

    return check


@fuzz(spoilt_bytes, short=100, slow=5_000)
def reference_mask(root):
    mask, path = torch.tensor([[0, 1, 1, 0], [1, 1, 0, 0], [0, 0, 0, 1]]), root / 'a.pt'
    content = small_archive(mask[:, None])
    entries = [{'img_path': name} for name in ('a', 'b', 'c')]

    def check(edits):
        path.write_bytes(spoil_bytes(content, edits))
        reader = ReferenceLabelMask(path)
        if attempt(lambda: reader.bind(CLASSES, 'ann.json', entries) or True, path):
            assert [reader.known(name, None).tolist() for name in 'abc'] == mask.bool().tolist()

    return check


class _Storage:
    """Pickled as torch does a storage of ``torch.jit.save``."""


class _Pickler(pickle.Pickler):
    def persistent_id(self, value):
        return ('storage', torch.FloatStorage, '0', 'cpu', 7) if isinstance(value, _Storage) else None


class Tensor7:
    def __reduce__(self):
        return torch._utils._rebuild_tensor_v2, (_Storage(), 0, (7,), (1,), False, {})


def torchscript_archive():
    stream, out = io.BytesIO(), io.BytesIO()
    module = type('Visual', (), {})
    module.__module__, module.__qualname__ = '__torch__', 'Visual'
    _Pickler(stream, 2).dump({'x': Tensor7()})
    # {'x': tensor} as a module of that name with this state: GLOBAL, EMPTY_TUPLE, NEWOBJ, state, BUILD
    inner = b'c__torch__\nVisual\n)\x81' + stream.getvalue()[2:-1] + b'b'
    content = b'\x80\x02c__torch__\nCLIP\n)\x81}X\x06\x00\x00\x00visual' + inner + b'sb.'
    with zipfile.ZipFile(out, 'w') as archive:
        archive.writestr('a/data.pkl', content)
        archive.writestr('a/constants.pkl', b'\x80\x02).')
        archive.writestr('a/data/0', np.arange(7, dtype=np.float32).tobytes())
    return out.getvalue()


@fuzz(spoilt_bytes, short=300, slow=10_000)
def torchscript_pickle(root):
    content, path = torchscript_archive(), root / 'a.pt'
    path.write_bytes(content)
    assert read_clip_weights(path)['x'].tolist() == list(range(7))

    def check(edits):
        path.write_bytes(spoilt_pickle(content, edits))
        found = attempt(lambda: read_clip_weights(path), path)
        for value in (found or {}).values():
            assert type(value) is torch.Tensor and value.numel() <= 28

    return check


# ---- the converter of released checkpoints ----

RELEASED = {
    'module.backbone.conv1.weight': torch.randn(2, 3, generator=torch.Generator().manual_seed(0)),
    'module.backbone.bn1.num_batches_tracked': torch.tensor(7),
    'module.fc0.weight': torch.arange(6.0).reshape(2, 3, 1),
    'module.fc0.bias': torch.arange(2.0) / 7,
}
MADE_OF = {
    'backbone.conv1.weight': 'backbone.conv1.weight',
    'backbone.bn1.num_batches_tracked': 'backbone.bn1.num_batches_tracked',
    'fc0.weight': 'head.score.weight',
    'fc0.bias': 'head.score.bias',
}


class TinyModel(torch.nn.Module):
    """The entries above under the names that they get, in the place of a baseline."""

    def __init__(self):
        super().__init__()
        self.backbone, self.head = torch.nn.Module(), torch.nn.Module()
        self.backbone.conv1, self.backbone.bn1 = torch.nn.Linear(3, 2, bias=False), torch.nn.Module()
        self.backbone.bn1.register_buffer('num_batches_tracked', torch.tensor(0))
        self.head.score = torch.nn.Linear(3, 2)


def converter(root):
    """The converter with its config and model at hand: only its reading is tried."""
    cfg = load_config('baseline_r18_digits_p0.1')
    dump_annotation(root / 'ann.json', ['cat', 'dog'], [{'img_path': 'a', 'positive': [], 'negative': []}])
    source, target = root / 'released.pth', root / 'out.pth'

    def check(content):
        source.write_bytes(content)
        target.unlink(missing_ok=True)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(convert, 'load_config', lambda *_: cfg.copy())
            patch.setattr(convert, 'MODELS', SimpleNamespace(build=lambda _: TinyModel()))
            count = attempt(lambda: convert.convert_released(source, target, 'x', root / 'ann.json'), source)
        assert target.exists() == (count is not None)
        if count is None:
            return
        raw, state = torch.load(source, weights_only=True), read_checkpoint(target)['state_dict']
        raw = raw.get('state_dict', raw)
        assert len(raw) == count
        for key, value in raw.items():
            found = state.pop(MADE_OF[key.removeprefix('module.')])
            assert found.isfinite().all() and torch.equal(found.flatten(), value.flatten())
        assert all(key.endswith('num_batches_tracked') and not value.any() for key, value in state.items())

    return check


@fuzz(spoilt_bytes, short=60, slow=2_000)
def released_bytes(root):
    content, check = small_archive(RELEASED), converter(root)
    return lambda edits: check(spoil_bytes(content, edits))


VALUES = (
    *(torch.zeros(2, 3), torch.full((2, 3, 1), torch.nan), torch.arange(2), torch.arange(2.0).double(), torch.zeros(0)),
    *(torch.ones(2).half(), torch.ones(2, dtype=torch.complex64), torch.tensor(3), torch.ones(2) > 0, None, 3, 'text'),
    *({'module.fc0.bias': torch.zeros(2)}, 'module.fc0.bias', 'fc0.bias', 'module.backbone.x', 'state_dict', [], {}),
)


@fuzz(spoilt_structures(VALUES), short=100, slow=2_000)
def released_structure(root):
    check = converter(root)
    return lambda edits: check(small_archive(spoil_structure(RELEASED, edits)))


@pytest.mark.parametrize('name', fuzz.names)
def test_short(tmp_path, name):
    fuzz.run(name, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize('seed', SEEDS)
@pytest.mark.parametrize('name', fuzz.names)
def test_long(tmp_path, name, seed):
    fuzz.run(name, tmp_path, seed)

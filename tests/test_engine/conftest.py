import itertools
import os
import socket
import sys
from pathlib import Path

import pytest

from sarlp.datasets.converters.voc2007 import convert_voc2007
from sarlp.datasets.digits import make_digits
from sarlp.engine import build_runner, load_config

LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


@pytest.fixture(scope='session')
def digits(tmp_path_factory):
    """The built-in scenes, 24 for training and 11 for testing, 48 px."""
    root = tmp_path_factory.mktemp('data') / 'digits'
    convert_voc2007(make_digits(root, num_train=24, num_test=11, size=48))
    return root


def reduced(digits, model='sarlp'):
    """Options that make a digits config run in seconds; a tenth of 240 labels would be too few to learn from."""
    options = {f'{loader}.dataset.data_root': str(digits) for loader in LOADERS}
    options |= {f'{loader}.num_workers': 0 for loader in LOADERS}
    options |= {f'{loader}.persistent_workers': False for loader in LOADERS}
    options |= {
        'train_dataloader.batch_size': 8,
        'train_dataloader.dataset.label_mask.known_ratio': 0.5,
        'val_dataloader.batch_size': 4,
        'test_dataloader.batch_size': 4,
        'train_cfg.max_epochs': 2,
        'model.backbone.base_channels': 4,
        'model.backbone.stem_channels': 4,
        'model.head.in_channels': 32,
    }
    if model == 'sarlp':
        options |= {
            'model.head.label_embedding.dim': 16,
            'model.head.encoder.feedforward_dim': 16,
            'model.head.sgfe.attention_dim': 16,
        }
    return options


@pytest.fixture
def make_config(digits, tmp_path):
    """``make_config('baseline', **{'train_cfg.max_epochs': 3})``: a reduced config with its own work directory."""

    def make(model='sarlp', **options):
        gone = tuple(f'{key}.' for key, value in options.items() if value is None)  # and has no parts to set
        small = {key: value for key, value in reduced(digits, model).items() if not key.startswith(gone)}
        options = {**small, 'work_dir': str(tmp_path / 'work'), **options}
        return load_config(f'{model}_r18_digits_p0.1', options)

    return make


@pytest.fixture
def make_runner(make_config):
    def make(model='sarlp', training=True, **options):
        return build_runner(make_config(model, **options), training=training)

    return make


@pytest.fixture(scope='session', autouse=True)
def unformatted_configs():
    """Formatting the text of a config takes half a second for each checkpoint, and only looks differ."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('mmengine.config.config.FormatCode', lambda text, **kwargs: (text, True))
        yield


@pytest.fixture(scope='session')
def repository():
    return Path(__file__).resolve().parents[2]


def _is_free(port):
    with socket.socket() as probe:
        try:
            probe.bind(('127.0.0.1', port))
        except OSError:
            return False
    return True


@pytest.fixture(scope='session')
def distributed_env(repository):
    """For ``tools/dist_*.sh``: a free port, and the python of this test run as ``python``."""

    # each worker of pytest-xdist has ports of its own, below those that the system hands out
    first = 20_000 + 100 * int(os.environ.get('PYTEST_XDIST_WORKER', 'gw0').removeprefix('gw'))
    ports = itertools.cycle(range(first, first + 100))

    def make():
        port = next(port for port in ports if _is_free(port))
        path = f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}'
        return {**os.environ, 'PORT': str(port), 'PATH': path, 'CUDA_VISIBLE_DEVICES': '', 'OMP_NUM_THREADS': '1'}

    return make

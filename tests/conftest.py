import gc
import os
from pathlib import Path

# Numbers are compared with those of the CPU to the last digits, so that a GPU is hidden, from processes of tests too;
# what a GPU computes is in test_gpu.py
if os.environ.get('SARLP_TEST_GPU') != '1':
    os.environ['CUDA_VISIBLE_DEVICES'] = ''

import numpy as np
import pytest
import torch

import sarlp  # noqa: F401  guards and registers before anything else of the stack is imported

from .place import Place

# two processes of a test must not fight over the cores, nor must the workers of pytest-xdist
_WORKERS = int(os.environ.get('PYTEST_XDIST_WORKER_COUNT', '1'))
if _WORKERS > 1:
    os.environ['OMP_NUM_THREADS'] = '1'  # of processes of tests too: another number of threads rounds differently
torch.set_num_threads(int(os.environ.get('SARLP_TEST_THREADS', '2' if _WORKERS == 1 else '1')))


@pytest.fixture(scope='module', autouse=True)
def _imported_for_good():
    """What is imported stays, and MMEngine looks for garbage at each data set: a third of the time of some."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def golden():
    """Load a file of numbers computed with the authors' code: ``golden('sarlp')['eval/scores']``."""

    def load(name: str) -> dict[str, np.ndarray]:
        with np.load(Path(__file__).parent / 'data' / f'{name}.npz', allow_pickle=False) as data:
            return {key: data[key] for key in data.files}

    return load


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


@pytest.fixture
def refused(place, capsys):
    """``refused('test.py', CONFIG, FILE, names=FILE)``: the message of a tool that must refuse, and names the file."""

    def run(tool, *arguments, names):
        message = place.refused(capsys, tool, *arguments)
        assert str(names) in message
        return message

    return run

"""What makes a training on a CPU faster."""

import platform
import subprocess
import sys

import pytest
import torch

from sarlp.engine.cpu import multiply_by_onednn

FAULTS = """
import resource, torch
from sarlp.engine.cpu import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(7):
        torch.ones(12_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

torch.set_num_threads(1)
before = faults()
keep_freed_memory()
faults()
print(before, faults())
"""


@pytest.fixture(autouse=True)
def torch_settings():
    kept = torch.get_float32_matmul_precision()
    yield
    torch.set_float32_matmul_precision(kept)


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='another C library')
def test_pages_are_asked_for_once():
    done = subprocess.run([sys.executable, '-c', FAULTS], capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert after < before / 10


def test_products_stay_float32(make_runner):
    """Off by what sums of float32 are, where factors in bfloat16 would be off by 2^-9."""
    make_runner('baseline', **{'env_cfg.onednn': True})
    torch.manual_seed(0)
    a, b = torch.rand(67, 1031), torch.rand(1031, 53)
    torch.testing.assert_close((a @ b).double(), a.double() @ b.double(), rtol=1e-5, atol=0)


def test_a_processor_that_would_round_keeps_its_own(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, '__matmul__', lambda a, b: torch.mm(a.bfloat16(), b.bfloat16()).float())
        assert not multiply_by_onednn()
        assert torch.get_float32_matmul_precision() == 'highest'
    if not torch.cpu.get_capabilities().get('amx_bf16', False):
        assert multiply_by_onednn()
        assert torch.get_float32_matmul_precision() == 'medium'

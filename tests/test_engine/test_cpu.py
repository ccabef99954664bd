"""What makes a training on a CPU faster."""

import platform
import subprocess
import sys

import pytest
import torch
from mmengine.hooks import Hook

from sarlp.engine.training.cpu import multiply_by_onednn

FAULTS = """
import resource, torch
from sarlp.engine.training.cpu import keep_freed_memory

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


class Look(Hook):
    """Multiplies in a step, and sees which way."""

    def after_train_iter(self, runner, *_, **__):
        torch.manual_seed(0)
        a, b = torch.rand(67, 1031), torch.rand(1031, 53)
        self.products = (a @ b).double(), a.double() @ b.double()
        self.precision = torch.get_float32_matmul_precision()


def test_products_stay_float32_and_what_is_scored_later_is_as_without(make_runner):
    """Off by what sums of float32 are, where factors in bfloat16 would be off by 2^-9."""
    look = Look()
    runner = make_runner('baseline', **{'env_cfg.onednn': True, 'train_cfg.max_epochs': 1})
    runner.register_hook(look)
    runner.train()
    torch.testing.assert_close(*look.products, rtol=1e-5, atol=0)
    assert look.precision == ('highest' if torch.cpu.get_capabilities().get('amx_bf16', False) else 'medium')
    # of a fold that an interrupted run had trained nothing is trained any more, and its scores are to be the same
    assert torch.get_float32_matmul_precision() == 'highest'


def test_a_processor_that_would_round_keeps_its_own(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, '__matmul__', lambda a, b: torch.mm(a.bfloat16(), b.bfloat16()).float())
        assert not multiply_by_onednn()
        assert torch.get_float32_matmul_precision() == 'highest'
    if not torch.cpu.get_capabilities().get('amx_bf16', False):
        assert multiply_by_onednn()
        assert torch.get_float32_matmul_precision() == 'medium'

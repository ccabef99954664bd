"""The count of a step's memory is that of a hand, and of the kinds of kernels that a GPU has."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

FOLDER = Path(__file__).resolve().parents[1] / 'benchmarks'


@pytest.fixture(scope='module')
def benchmark():
    spec = importlib.util.spec_from_file_location('step_memory', FOLDER / 'step_memory.py')
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(FOLDER))
    spec.loader.exec_module(module)
    sys.path.remove(str(FOLDER))
    return module


@pytest.fixture
def counted(benchmark):
    live = benchmark.Live()
    with benchmark.Shapes(), benchmark.of_a_gpu(), live:
        yield live


def units(values: int, size: int = 4) -> int:
    return -(-values * size // 512) * 512


def test_of_a_hand(counted):
    first, second = torch.empty(31, 37), torch.empty(3)
    total = first @ first.T  # 31 x 31
    view = total[5:]
    assert counted.now == units(31 * 37) + units(3) + units(31 * 31)
    del first, second
    view += 1
    del total
    assert counted.now == units(31 * 31) and counted.peak == units(31 * 37) + units(3) + units(31 * 31)


def test_what_is_kept(counted):
    """A linear layer keeps its input, dropout a byte a value, attention neither scores nor weights."""
    values = torch.empty(7, 2, 101, 16, requires_grad=True)
    before = counted.now
    kept = nn.functional.dropout(values, 0.5)
    assert counted.now - before == units(values.numel()) + units(values.numel(), 1)
    before = counted.now
    kept = nn.functional.scaled_dot_product_attention(kept, kept, kept, dropout_p=0.1)
    of_rows = units(7 * 2 * 128)  # their logarithms, of whole blocks of 32 rows
    assert counted.now - before <= units(values.numel()) + of_rows + 2 * 512  # and the seed
    kept.sum().backward()
    assert values.grad.shape == values.shape


def test_of_a_step(benchmark):
    """Weights, gradients, two moments and the average of a backbone, twice as much of them with twice the width."""
    from mmengine.registry import init_default_scope

    from sarlp.engine import load_config

    init_default_scope('sarlp')
    peaks, weights = [], []
    for width in (16, 32):
        options = {'model.backbone.base_channels': width, 'model.backbone.stem_channels': width}
        cfg = load_config('sarlp_r18_digits_p0.1', {**options, 'model.head.in_channels': 8 * width})
        peaks.append(benchmark.peak_megabytes(cfg, 'backbone', 11, 1, 32))
        step = benchmark.Step(cfg, 'backbone', 11, 1, 32, 'cpu')
        weights.append(sum(one.numel() for one in step.model.parameters()) * 4 / 2**20)
    assert peaks[1] - peaks[0] == pytest.approx(5 * (weights[1] - weights[0]), rel=0.1)


def test_of_each_variant(benchmark):
    """At 1,009 classes the grid (B, P, C, A) is what the literal form keeps and SARLP does not."""
    from mmengine.registry import init_default_scope

    from sarlp.engine import load_config

    init_default_scope('sarlp')
    cfg = load_config('sarlp_r18_digits_p0.1')
    backbone, sarlp, literal = (
        benchmark.peak_megabytes(cfg, name, 1009, 3, 64) for name in ('backbone', 'sarlp', 'literal')
    )
    places, width = (64 // cfg.model.size_divisor) ** 2, cfg.model.head.sgfe.attention_dim
    grid = 3 * places * 1009 * width * 4 / 2**20
    assert backbone < sarlp < literal - grid

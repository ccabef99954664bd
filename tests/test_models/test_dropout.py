"""Dropout by numbers of 16 bits, against what dropout is."""

import pytest
import torch
from scipy.stats import binomtest
from torch import nn

from sarlp.models.dropout import Dropout


def dropped(p, *shape, seed=0, dtype=torch.float32):
    torch.manual_seed(seed)
    return Dropout(p)(torch.ones(shape, dtype=dtype))


@pytest.mark.parametrize('p', [0.1, 0.5, 0.83, 1e-3])
def test_each_value_is_dropped_by_chance_and_the_others_make_up_for_it(p):
    kept = dropped(p, 101, 307, 7)
    values = kept.unique()
    assert len(values) == 2 and values[0] == 0
    assert abs(values[1] - 1 / (1 - p)) < 2e-5 / (1 - p) ** 2
    count = int((kept == 0).sum())
    assert binomtest(count, kept.numel(), p).pvalue > 1e-4
    assert abs(kept.mean() - 1) < 5 * (p / (1 - p) / kept.numel()) ** 0.5


def test_the_four_of_a_draw_do_not_depend_on_each_other():
    gone = (dropped(0.5, 4 * 50_021) == 0).double().view(-1, 4)
    later = torch.cat([gone[:-1], gone[1:]], 1)
    correlations = torch.corrcoef(later.T) - torch.eye(8)
    assert correlations.abs().max() < 5 / 50_021**0.5


@pytest.mark.parametrize('shape', [(1,), (3,), (5, 7), (0,), (2, 3, 11)])
def test_any_shape(shape):
    assert dropped(0.3, *shape).shape == shape
    assert torch.equal(dropped(0.3, *shape), dropped(0.3, *shape))  # from the same seed
    strided = torch.ones(7, 13).T
    assert Dropout(0.3)(strided).shape == (13, 7)


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16, torch.float64])
def test_the_gradient_goes_where_the_value_went(dtype):
    values = torch.randn(17, 31, dtype=dtype, requires_grad=True)
    out = Dropout(0.25)(values)
    assert out.dtype == dtype
    (grad,) = torch.autograd.grad(out.sum(), values)
    assert torch.equal(out, values * grad) and {0.0} < set(grad.unique().tolist())


def test_otherwise_it_is_that_of_torch(monkeypatch):
    values = torch.randn(5, 7)
    assert torch.equal(Dropout(0.5).eval()(values), values)
    for p in (0.0, 1e-6, 1.0):
        torch.manual_seed(0)
        expected = nn.Dropout(p)(values)
        torch.manual_seed(0)
        assert torch.equal(Dropout(p)(values), expected)
    monkeypatch.setattr('torch.compiler.is_compiling', lambda: True)
    torch.manual_seed(0)
    expected = nn.Dropout(0.5)(values)
    torch.manual_seed(0)
    assert torch.equal(Dropout(0.5)(values), expected)

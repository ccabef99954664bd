import math

import pytest
import torch
import torch.nn.functional as F

from sarlp.losses.focal import FocalLoss
from sarlp.losses.functional import read_target


def slow_focal(logits, target, gamma, margin):
    total = 0.0
    for x, y in zip(logits.flatten().tolist(), target.flatten().tolist(), strict=True):
        if y != -1:
            s, positive = 1 / (1 + math.exp(-x)), 1 / (1 + math.exp(margin - x))
            total -= y * (1 - positive) ** gamma * math.log(positive) + (1 - y) * s**gamma * math.log(1 - s)
    return total


@pytest.mark.parametrize(('gamma', 'margin'), [(2, 0), (3, 1), (0.5, 0.5)])
def test_equals_a_slow_loop(gamma, margin):
    generator = torch.Generator().manual_seed(5)
    logits = torch.randn(7, 11, generator=generator, dtype=torch.float64) * 3
    target = torch.randint(-1, 2, (7, 11), generator=generator).double()
    target[0, :5] = torch.tensor([0.25, 0.5, 0.75, 0.1, 0.9])  # soft ones
    loss = FocalLoss(gamma, margin, reduction='sum')(logits, target)
    assert loss.item() == pytest.approx(slow_focal(logits, target, gamma, margin), rel=1e-10)


def test_without_a_focus_it_is_the_cross_entropy():
    logits, target = torch.randn(5, 7), torch.randint(0, 2, (5, 7)).float()
    expected = F.binary_cross_entropy_with_logits(logits, target)
    torch.testing.assert_close(FocalLoss(gamma=0)(logits, target), expected)


def test_the_gradient_flows_through_the_weight():
    """Of a positive by the product rule; with a constant weight it would be the first term alone."""
    x = torch.tensor([[0.4]], dtype=torch.float64, requires_grad=True)
    FocalLoss(gamma=2, margin=1)(x, torch.ones(1, 1)).backward()
    s = 1 / (1 + math.exp(0.6))
    expected = -((1 - s) ** 2) * (1 - s) + 2 * (1 - s) * s * (1 - s) * math.log(s)
    assert x.grad.item() == pytest.approx(expected, rel=1e-10)


def test_far_logits_have_a_finite_gradient():
    logits = torch.tensor([[-200.0, 200.0, -200.0, 200.0]], requires_grad=True)
    loss = FocalLoss(gamma=0.5, reduction='sum')(logits, torch.tensor([[1.0, 1.0, 0.0, 0.0]]))
    loss.backward()
    assert loss.item() == pytest.approx(400)
    assert logits.grad.tolist() == [[-1, 0, 0, 1]]


def test_what_every_loss_starts_from():
    logits, y, known = read_target(torch.zeros(1, 3, dtype=torch.bfloat16), torch.tensor([[1, -1, 0]]))
    assert (logits.dtype, y.dtype) == (torch.float32, torch.float32)
    assert y.tolist() == [[1, 0, 0]]
    assert known.tolist() == [[True, False, True]]
    assert read_target(torch.zeros(1, 1, dtype=torch.float64), torch.ones(1, 1))[1].dtype == torch.float64

import math

import pytest
import torch

from sarlp.losses.hill import HillLoss


@pytest.mark.parametrize(('peak', 'margin', 'gamma'), [(1.5, 1, 2), (2, 0, 1)])
def test_equals_a_slow_loop(peak, margin, gamma):
    generator = torch.Generator().manual_seed(5)
    logits = torch.randn(7, 11, generator=generator, dtype=torch.float64) * 3
    target = torch.randint(-1, 2, (7, 11), generator=generator).double()
    total = 0.0
    for x, y in zip(logits.flatten().tolist(), target.flatten().tolist(), strict=True):
        s, positive = 1 / (1 + math.exp(-x)), 1 / (1 + math.exp(margin - x))
        total += {-1: 0, 0: (peak - s) * s**2, 1: -((1 - positive) ** gamma) * math.log(positive)}[y]
    assert HillLoss(peak, margin, gamma)(logits, target).item() == pytest.approx(total, rel=1e-10)


def negative(x):
    logits = torch.tensor([[x]], dtype=torch.float64, requires_grad=True)
    loss = HillLoss()(logits, torch.zeros(1, 1))
    loss.backward()
    return loss.item(), logits.grad.item()


def test_a_negative_that_scores_high_is_let_go():
    values, gradients = zip(*(negative(x) for x in torch.linspace(-8, 12, 101).tolist()), strict=True)
    assert max(values) <= 0.5 and values[-1] == pytest.approx(0.5)
    assert min(gradients) >= 0  # it never turns round
    assert gradients[-1] < 1e-8 < max(gradients)
    assert values == tuple(sorted(values))

import math

import pytest
import torch

from .steps import build, entries, logits_and_labels, step

B, C = 7, 11
LOGITS, OBSERVED = logits_and_labels(B, C)


def slow_terms(over, q2=0.01, q3=1.0):
    """v [k (1 - s^q2) / q2 + (1 - k) (1 - (1 - s)^q3) / q3] of each unknown label, after this share of the run."""
    slope, centre, width = 2 * over, 0.5 + 0.3 * over, 2 - 1.5 * over
    for _, s, y in entries(LOGITS, OBSERVED):
        if y == -1:
            k = 1 / (1 + math.exp(2 - slope * s))
            v = math.exp(-(((s - centre) / width) ** 2) / 2)
            yield s, v * k, v * (1 - k), v * (k * (1 - s**q2) / q2 + (1 - k) * (1 - (1 - s) ** q3) / q3)


@pytest.mark.parametrize(('at', 'q2', 'q3'), [(0, 0.01, 1.0), (3, 0.01, 1.0), (10, 0.5, 0.7)])
def test_equals_a_slow_loop(at, q2, q3):
    losses = step(build('gr', OBSERVED, q2=q2, q3=q3), LOGITS, OBSERVED, step=at, num_steps=10)
    expected = sum(loss for *_, loss in slow_terms(at / 10, q2, q3)) / (B * C)
    assert losses['loss_unknown'].item() == pytest.approx(expected, rel=1e-6)


def test_neither_the_probability_nor_the_weight_has_a_gradient():
    logits = LOGITS.detach().clone().requires_grad_()
    step(build('gr', OBSERVED), logits, OBSERVED, step=5, num_steps=10)['loss_unknown'].backward()
    expected = [(-p * s**-0.99 + n) * s * (1 - s) / (B * C) for s, p, n, _ in slow_terms(0.5)]
    assert logits.grad[OBSERVED == -1].tolist() == pytest.approx(expected, rel=1e-5, abs=1e-8)


def test_far_logits_have_a_finite_loss():
    logits = torch.tensor([[-300.0, 300.0]], requires_grad=True)
    observed = torch.full((1, 2), -1.0)
    loss = step(build('gr', torch.tensor([[0.0, 1.0]])), logits, observed)['loss_unknown']
    loss.backward()
    assert loss.isfinite() and logits.grad.isfinite().all()

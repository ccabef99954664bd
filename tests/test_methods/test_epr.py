import math

import pytest
import torch

from sarlp.methods import epr
from sarlp.methods.class_stats import class_prior

from .steps import build, entries, logits_and_labels, step, task

B, C = 7, 11
LOGITS, OBSERVED = logits_and_labels(B, C)


@pytest.mark.parametrize('given', [None, 2, 3.5])
def test_equals_a_slow_loop(given):
    k = sum(class_prior(task(OBSERVED)).tolist()) if given is None else given
    count = sum(s for _, s, _ in entries(LOGITS, OBSERVED)) / B
    known = [-math.log(s if y else 1 - s) for _, s, y in entries(LOGITS, OBSERVED) if y != -1]
    losses = step(build('epr', OBSERVED, expected_positives=given), LOGITS, OBSERVED)
    assert losses['loss_count'].item() == pytest.approx(((count - k) / C) ** 2, rel=1e-5)
    assert losses['loss_known'].item() == pytest.approx(sum(known) / (B * C), rel=1e-6)


def test_the_number_expected_is_no_secret_of_the_complete_labels():
    """It is made of the known ones: others that are hidden change nothing, and it is near theirs."""
    generator = torch.Generator().manual_seed(7)
    complete = (torch.rand(4999, C, generator=generator) < torch.linspace(0.02, 0.4, C)).float()
    hidden = torch.rand(4999, C, generator=generator) > 0.1
    method = build('epr', complete.masked_fill(hidden, -1))
    assert method.expected.item() == pytest.approx(complete.sum(1).mean().item(), rel=0.05)
    assert 'expected' in method.state_dict()


def test_two_ranks_have_the_gradient_of_the_global_batch(monkeypatch):
    whole = torch.randn(10, C, dtype=torch.float64, requires_grad=True)
    expected = epr.count_loss(whole, torch.tensor(2.0))
    expected.backward()
    parts = [part.detach().clone().requires_grad_() for part in whole.split(5)]
    counts = [part.detach().float().sigmoid().sum(1).mean() for part in parts]
    monkeypatch.setattr(epr, 'all_reduce', lambda value, op: value.copy_(sum(counts) / 2))
    for part in parts:
        loss = epr.count_loss(part, torch.tensor(2.0))
        loss.backward()
        assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    ddp = torch.cat([part.grad for part in parts]) / 2
    torch.testing.assert_close(ddp, whole.grad, rtol=1e-5, atol=1e-9)

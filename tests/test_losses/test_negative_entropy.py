import pytest
import torch

from sarlp.losses.negative_entropy import NegativeEntropy


def test_equals_the_entropy_of_torch():
    logits = torch.randn(5, 7, dtype=torch.float64)
    target = torch.randint(-1, 2, (5, 7)).double()
    expected = torch.distributions.Bernoulli(logits=logits[target >= 0]).entropy().sum()
    assert NegativeEntropy('sum')(logits, target).item() == pytest.approx(-expected.item(), rel=1e-10)


def test_the_target_says_nothing():
    logits = torch.randn(5, 7)
    losses = [NegativeEntropy()(logits, torch.full((5, 7), value)) for value in (0.0, 0.3, 1.0)]
    assert losses[0] == losses[1] == losses[2]


def test_scores_move_towards_a_half_unless_they_are_sure():
    logits = torch.tensor([[-300.0, -2.0, 0.0, 2.0, 300.0]], requires_grad=True)
    NegativeEntropy('sum')(logits, torch.zeros(1, 5)).backward()
    assert logits.grad.isfinite().all()
    assert logits.grad.sign().tolist() == [[0, -1, 0, 1, 0]]

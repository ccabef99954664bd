"""Unknown labels assumed negative (AN, AN-LS, WAN), of maximal entropy (EM), and under an exponent of their own."""

import math

import pytest
import torch

from sarlp.methods import KnownLabels
from sarlp.methods.known_and_unknown import KnownAndUnknown, highest

from .steps import build, entries, logits_and_labels, step

B, C = 7, 11
LOGITS, OBSERVED = logits_and_labels(B, C)


def total(losses):
    return sum(value.item() for value in losses.values())


def assume_negative(x, s, y, positive=1.0, negative=0.0, factor=1.0):
    y, factor = (negative, factor) if y == -1 else (positive if y else negative, 1)
    return factor * (-y * math.log(s) - (1 - y) * math.log(1 - s))


def entropy_of_the_unknown(x, s, y):
    if y == -1:
        return 0.2 * (s * math.log(s) + (1 - s) * math.log(1 - s))
    return -math.log(s if y else 1 - s)


def partial_asl(x, s, y, gammas=(0, 1, 2)):
    gamma_pos, gamma_neg, gamma_unknown = gammas
    if y == 1:
        return -((1 - s) ** gamma_pos) * math.log(s)
    return -(s ** (gamma_neg if y == 0 else gamma_unknown)) * math.log(1 - s)


@pytest.mark.parametrize(
    ('name', 'of_one', 'divisor'),
    [
        ('an', assume_negative, B * C),
        ('an_ls', lambda *entry: assume_negative(*entry, 0.9, 0.1), B * C),
        ('wan', lambda *entry: assume_negative(*entry, factor=1 / (C - 1)), B * C),
        ('em', entropy_of_the_unknown, B * C),
        ('p_asl', partial_asl, 1),
    ],
)
def test_equals_a_slow_loop(name, of_one, divisor):
    losses = step(build(name, OBSERVED), LOGITS, OBSERVED)
    assert total(losses) == pytest.approx(sum(of_one(*e) for e in entries(LOGITS, OBSERVED)) / divisor, rel=1e-6)


def test_the_weight_of_weakly_assumed_negatives_is_not_that_of_known_ones():
    plain, weak = (step(build(name, OBSERVED), LOGITS, OBSERVED) for name in ('an', 'wan'))
    assert weak['loss_known'] == plain['loss_known']
    assert weak['loss_unknown'].item() == pytest.approx(plain['loss_unknown'].item() / (C - 1))


def test_one_class_has_no_others_to_be_weighed_against():
    logits, observed = logits_and_labels(5, 1)
    assert step(build('wan', observed), logits, observed) == step(build('an', observed), logits, observed)


def test_the_focus_of_partial_asl_has_no_gradient():
    """That of an unknown label is s^2 (dl/dx) = s^3."""
    logits = torch.tensor([[0.7]], dtype=torch.float64, requires_grad=True)
    observed = torch.full((1, 1), -1.0)
    sum(step(build('p_asl', observed), logits, observed).values()).backward()
    assert logits.grad.item() == pytest.approx(1 / (1 + math.exp(-0.7)) ** 3, rel=1e-10)


class Reckless(KnownAndUnknown):
    """Calls everything positive, whatever is known."""

    def assume(self, logits, unknown, batch):
        return torch.ones_like(logits)


def test_a_known_label_is_out_of_reach():
    method = Reckless(dict(type='BinaryCrossEntropy', reduction='sum'))
    logits = LOGITS.detach().clone().requires_grad_()
    losses = step(method, logits, OBSERVED)
    known = step(KnownLabels(dict(type='BinaryCrossEntropy', reduction='sum')), LOGITS, OBSERVED)
    assert losses['loss_known'] == known['loss_known']
    losses['loss_unknown'].backward()
    assert torch.equal(logits.grad == 0, OBSERVED != -1)


class TestHighest:
    logits = torch.tensor([[3.0, 1.0, 5.0], [4.0, 5.0, 0.0]])
    among = torch.tensor([[True, True, False], [True, True, True]])

    @pytest.mark.parametrize(('count', 'chosen'), [(0, []), (1, [4]), (3, [0, 3, 4]), (5, [0, 1, 3, 4, 5])])
    def test_chooses_so_many(self, count, chosen):
        assert highest(self.logits, self.among, count).flatten().nonzero().flatten().tolist() == chosen

    @pytest.mark.parametrize('count', [6, 1000])
    def test_of_fewer_all(self, count):
        assert torch.equal(highest(self.logits, self.among, count), self.among)

    def test_of_equal_ones_no_more(self):
        assert highest(torch.zeros(3, 5), torch.ones(3, 5, dtype=torch.bool), 4).sum() == 4

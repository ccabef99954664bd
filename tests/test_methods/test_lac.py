import pytest
import torch

from sarlp.errors import UserError
from sarlp.methods.lac import LAC

from .steps import Echo, batch, entropy, labels, mean, numbers

LOSS = dict(type='BinaryCrossEntropy', reduction='mean')
B, C = 7, 5


def step(observed, weak, strong, scale=1.0, **options):
    """Losses where the logits are the images times a number."""
    return LAC(LOSS, **options).loss(Echo(scale), batch(observed, weak=weak, strong=strong))


def test_equals_its_formula():
    weak, strong, observed = numbers(0, B, C), numbers(1, B, C), labels(2, B, C)
    losses = step(observed, weak, strong, -0.7, pseudo_weight=2.0)
    assumed, on_strong, chosen = [], [], 0
    for i in range(B):
        for c in range(C):
            assumed.append(entropy(-0.7 * weak[i, c], float(observed[i, c] == 1)))
            p = torch.sigmoid(-0.7 * weak[i, c])
            if observed[i, c] != -1:
                on_strong.append(entropy(-0.7 * strong[i, c], observed[i, c]))
            elif not 0.4 < p < 0.6:
                on_strong.append(entropy(-0.7 * strong[i, c], float(p >= 0.6)))
                chosen += 1
    assert 0 < chosen < (observed == -1).sum()
    assert losses['loss_known'].item() == pytest.approx(mean(assumed), rel=1e-5)
    assert losses['loss_pseudo'].item() == pytest.approx(2 * mean(on_strong), rel=1e-5)


def test_nothing_selected_is_0():
    zeros = torch.zeros(B, C)
    losses = step(torch.full((B, C), -1.0), zeros, zeros)
    assert losses['loss_pseudo'].item() == 0
    assert losses['loss_known'].item() == pytest.approx(entropy(0, 0))


def test_what_is_known_is_no_pseudo_label():
    """Sure of the contrary on the weak view, the strong one still learns what is known."""
    observed = torch.cat([torch.ones(B, 1), torch.zeros(B, C - 1)], 1)
    losses = step(observed, 9 - 18 * observed, torch.full((B, C), 0.7))
    expected = (entropy(0.7, 1) + (C - 1) * entropy(0.7, 0)) / C
    assert losses['loss_pseudo'].item() == pytest.approx(expected, rel=1e-5)


def test_the_views_learn_of_their_own_loss_alone():
    weak, strong = numbers(0, B, C).requires_grad_(), numbers(1, B, C).requires_grad_()
    losses = step(labels(2, B, C), weak, strong)
    losses['loss_pseudo'].backward(retain_graph=True)
    assert strong.grad.any() and not weak.grad.any()
    strong.grad.zero_()
    losses['loss_known'].backward()
    assert weak.grad.any() and not strong.grad.any()


def test_the_network_is_its_own_teacher():
    assert LAC(LOSS).teacher is None


def test_a_threshold_that_would_choose_both_ways():
    with pytest.raises(UserError, match='threshold must be above 0.5'):
        LAC(LOSS, threshold=0.4)

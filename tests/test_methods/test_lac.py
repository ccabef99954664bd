import pytest
import torch

from sarlp.errors import UserError
from sarlp.methods.lac import LAC

from .steps import Echo, batch, entropy, labels, mean, numbers

LOSS = dict(type='BinaryCrossEntropy', reduction='mean')
B, C = 7, 5


def make(teacher=1.0, **options):
    method = LAC(LOSS, **options)
    method.teacher.bind(Echo(teacher))
    return method


def test_equals_its_formula():
    weak, strong, observed = numbers(0, B, C), numbers(1, B, C), labels(2, B, C)
    losses = make(-0.7, pseudo_weight=2.0).loss(Echo(), batch(observed, weak=weak, strong=strong))
    assumed, chosen = [], []
    for i in range(B):
        for c in range(C):
            assumed.append(entropy(weak[i, c], float(observed[i, c] == 1)))
            p = torch.sigmoid(-0.7 * weak[i, c])
            if observed[i, c] == -1 and not 0.4 < p < 0.6:
                chosen.append(entropy(strong[i, c], float(p >= 0.6)))
    assert 0 < len(chosen) < (observed == -1).sum()
    assert losses['loss_known'].item() == pytest.approx(mean(assumed), rel=1e-5)
    assert losses['loss_pseudo'].item() == pytest.approx(2 * mean(chosen), rel=1e-5)


def test_nothing_selected_is_0():
    zeros = torch.zeros(B, C)
    losses = make().loss(Echo(), batch(torch.full((B, C), -1.0), weak=zeros, strong=zeros))
    assert losses['loss_pseudo'].item() == 0
    assert losses['loss_known'].item() == pytest.approx(entropy(0, 0))


def test_only_the_strong_view_learns_from_the_teacher():
    weak, strong = numbers(0, B, C).requires_grad_(), numbers(1, B, C).requires_grad_()
    make().loss(Echo(), batch(labels(2, B, C), weak=weak, strong=strong))['loss_pseudo'].backward()
    assert strong.grad.any() and not weak.grad.any()


def test_a_threshold_that_would_choose_both_ways():
    with pytest.raises(UserError, match='threshold must be above 0.5'):
        LAC(LOSS, threshold=0.4)

import numpy as np
import pytest
import torch
from torch import nn

from sarlp.errors import UserError
from sarlp.methods.st import ST

from .steps import Echo, batch, entropy, labels, mean, numbers

LOSS = dict(type='BinaryCrossEntropy')
B, C = 7, 5


def slow(weak, strong, observed, tau):
    known, chosen = [], []
    for i in range(len(observed)):
        for c in range(observed.shape[1]):
            if observed[i, c] != -1:
                known += [entropy(view[i, c], observed[i, c]) for view in (weak, strong)]
                continue
            p = 1 / (1 + np.exp(-weak[i, c]))
            if p >= tau or 1 - p >= tau:
                chosen.append(entropy(strong[i, c], float(p >= tau)))
    return mean(known), mean(chosen)


@pytest.mark.parametrize('tau', [0.6, 0.9])
def test_each_part_is_divided_by_its_own_count(tau):
    weak, strong, observed = numbers(0, B, C), numbers(1, B, C), labels(2, B, C)
    losses = ST(LOSS, tau, pseudo_weight=3.0).loss(Echo(), batch(observed, weak=weak, strong=strong))
    known, chosen = slow(*(value.double().numpy() for value in (weak, strong, observed)), tau)
    assert losses['loss_known'].item() == pytest.approx(known, rel=1e-5)
    assert losses['loss_pseudo'].item() == pytest.approx(3 * chosen, rel=1e-5)


def test_the_weak_view_is_not_taught_by_the_pseudo_labels():
    weak, strong = numbers(0, B, C).requires_grad_(), numbers(1, B, C).requires_grad_()
    losses = ST(LOSS).loss(Echo(), batch(torch.full((B, C), -1.0), weak=weak, strong=strong))
    assert losses['loss_known'] == 0
    losses['loss_pseudo'].backward()
    assert strong.grad.any() and not weak.grad.any()


def test_nothing_chosen_is_0():
    undecided = torch.zeros(B, C)
    losses = ST(LOSS).loss(Echo(), batch(torch.full((B, C), -1.0), weak=undecided, strong=undecided))
    assert sum(losses.values()).item() == 0


class Plain(nn.Module):
    """Its other output is sure of the opposite."""

    def forward(self, images):
        return {'logits': images, 'plain_logits': -images}


def test_the_output_that_makes_the_pseudo_labels_is_chosen():
    views = dict(weak=torch.full((B, C), 4.0), strong=torch.full((B, C), 4.0))
    unknown = torch.full((B, C), -1.0)
    own = ST(LOSS).loss(Plain(), batch(unknown, **views))['loss_pseudo']
    other = ST(LOSS, pseudo_from='plain_logits').loss(Plain(), batch(unknown, **views))['loss_pseudo']
    assert own.item() == pytest.approx(entropy(4, 1), rel=1e-5)
    assert other.item() == pytest.approx(entropy(4, 0), rel=1e-5)
    with pytest.raises(UserError, match="pseudo_from is 'other', and the head gives logits, plain_logits"):
        ST(LOSS, pseudo_from='other').loss(Plain(), batch(unknown, **views))


def test_a_threshold_that_would_choose_both_ways():
    with pytest.raises(UserError, match='threshold must be above 0.5'):
        ST(LOSS, threshold=0.5)

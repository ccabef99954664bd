import numpy as np
import pytest
import torch

from sarlp.errors import UserError
from sarlp.methods.taught import Taught

from .steps import Echo, batch, entropy, labels, mean, numbers

LOSS = dict(type='BinaryCrossEntropy')
B, C = 7, 5


def taught(**options):
    method = Taught(LOSS, **options)
    method.teacher.bind(Echo())
    return method


def slow(weak, strong, observed, temperature):
    known, unknown = [], []
    for i in range(len(observed)):
        for c in range(observed.shape[1]):
            if observed[i, c] != -1:
                known.append(entropy(strong[i, c], observed[i, c]))
            else:
                unknown.append(entropy(strong[i, c], 1 / (1 + np.exp(-weak[i, c] / temperature))))
    return mean(known), mean(unknown)


@pytest.mark.parametrize('temperature', [0.5, 1.7])
def test_every_unknown_label_is_taught(temperature):
    weak, strong, observed = numbers(0, B, C), numbers(1, B, C), labels(2, B, C)
    losses = taught(pseudo_weight=3.0, temperature=temperature).loss(Echo(), batch(observed, weak=weak, strong=strong))
    known, unknown = slow(*(value.double().numpy() for value in (weak, strong, observed)), temperature)
    assert losses['loss_known'].item() == pytest.approx(known, rel=1e-5)
    assert losses['loss_pseudo'].item() == pytest.approx(3 * unknown, rel=1e-5)


def test_no_gradient_reaches_the_teacher_and_none_is_nan():
    for observed in (torch.full((B, C), -1.0), torch.ones(B, C)):
        weak, strong = numbers(0, B, C).requires_grad_(), numbers(1, B, C).requires_grad_()
        losses = taught().loss(Echo(), batch(observed, weak=weak, strong=strong))
        sum(losses.values()).backward()
        assert weak.grad is None and strong.grad.isfinite().all() and strong.grad.any()


def test_values_that_mean_nothing():
    for options in (dict(temperature=0), dict(pseudo_weight=-1)):
        with pytest.raises(UserError, match='pseudo_weight must be at least 0 and temperature above 0'):
            Taught(LOSS, **options)

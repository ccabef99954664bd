import numpy as np
import pytest
import torch

from sarlp.errors import UserError
from sarlp.methods.class_stats import class_prior
from sarlp.methods.role import ROLE

from .steps import Echo, batch, entropy, labels, numbers, task

LOSS = dict(type='BinaryCrossEntropy', reduction='mean')
N, B, C = 29, 7, 5
INDEX = [11, 3, 28, 0, 17, 5, 23]


def make(observed, **options):
    torch.manual_seed(0)
    method = ROLE(LOSS, **options)
    method.before_train(task(observed))
    return method


def sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x, np.float64)))


def test_equals_its_formula():
    observed, images = labels(0, N, C), numbers(1, B, C)
    method = make(observed, expected_positives=1.5)
    losses = method.loss(Echo(), batch(observed[INDEX], INDEX, image=images))
    scores, stored = sigmoid(images), method.estimates.detach().numpy()[INDEX]
    estimates = np.empty((B, C))
    known = agree = 0.0
    for i in range(B):
        for c in range(C):
            label = observed[INDEX[i], c].item()
            estimates[i, c] = {1: 0.995, 0: 0.005, -1: sigmoid(stored[i, c])}[label]
            logit = np.log(estimates[i, c] / (1 - estimates[i, c]))
            agree += entropy(images[i, c], estimates[i, c]) + entropy(logit, scores[i, c])
            known += entropy(images[i, c], label) if label != -1 else 0
    count = sum(((values.sum(1).mean() - 1.5) / C) ** 2 for values in (scores, estimates))
    assert losses['loss_known'].item() == pytest.approx(known / (B * C) / 2, rel=1e-5)
    assert losses['loss_agree'].item() == pytest.approx(agree / (B * C) / 2, rel=1e-5)
    assert losses['loss_count'].item() == pytest.approx(count / 2, rel=1e-4)


def test_unknown_labels_start_near_a_half():
    start = make(labels(0, 997, C)).estimates.detach().sigmoid()
    assert 0.4 <= start.min() < 0.405 and 0.595 < start.max() <= 0.6


def test_only_what_is_unknown_in_the_batch_is_estimated():
    observed, images = labels(0, N, C), numbers(1, B, C)
    method = make(observed)
    sum(method.loss(Echo(), batch(observed[INDEX], INDEX, image=images)).values()).backward()
    touched = torch.zeros(N, C, dtype=torch.bool)
    touched[INDEX] = observed[INDEX] == -1
    assert torch.equal(method.estimates.grad != 0, touched)


def test_neither_side_moves_the_one_it_learns_of():
    unknown = torch.full((B, C), -1.0)
    images = numbers(1, B, C).requires_grad_()
    method = make(labels(0, N, C))
    with torch.no_grad():
        method.estimates.copy_(numbers(2, N, C))
    method.loss(Echo(), batch(unknown, INDEX, image=images))['loss_agree'].backward()
    estimates = method.estimates.detach()[INDEX]
    slope = (images.detach().sigmoid() - estimates.sigmoid()) / (2 * B * C)  # of each cross entropy at its own logit
    torch.testing.assert_close(images.grad, slope)
    torch.testing.assert_close(method.estimates.grad[INDEX], -slope)


def test_how_many_positives_is_told_by_the_known_labels():
    observed = labels(0, N, C)
    assert make(observed).expected.item() == pytest.approx(class_prior(task(observed)).sum().item())


def test_an_image_without_a_place_is_not_the_last_one():
    observed = labels(0, N, C)
    with pytest.raises(UserError, match='no place in the training set'):
        make(observed).loss(Echo(), batch(observed[:2], [-1, 3], image=numbers(0, 2, C)))


def test_options_without_a_meaning():
    with pytest.raises(UserError, match=r'pinned must lie between 0.5 and 1, .* got 1 and 0.1'):
        ROLE(LOSS, pinned=1)

import math

import pytest
import torch

from sarlp.errors import UserError
from sarlp.methods import Progress
from sarlp.methods.apl import APL

from .steps import Echo, batch, entropy, labels, numbers, task

LOSS = dict(type='BinaryCrossEntropy', reduction='mean')
MAXIMAL_ENTROPY = dict(type='NegativeEntropy', reduction='mean', loss_weight=0.2)
N, C, STEPS, EPOCHS = 29, 5, 5, 6


def make(observed, **options):
    method = APL(LOSS, MAXIMAL_ENTROPY, **{'warmup': 2, **options})
    method.before_train(task(observed))
    return method


def epoch(method, observed, images, number):
    """All images once; the losses of its last step."""
    for place, index in enumerate(torch.arange(N).split(6)):
        progress = Progress(number, number * STEPS + place, STEPS * EPOCHS)
        losses = method.loss(Echo(), batch(observed[index], index, progress, image=images[index]))
    assert place == STEPS - 1
    method.after_epoch()
    return losses


def test_after_each_epoch_the_lowest_scores_become_soft_negatives():
    observed = labels(0, N, C)
    method = make(observed)
    expected = torch.full((N, C), -1.0)
    for number in range(EPOCHS):
        images = numbers(number, N, C)
        epoch(method, observed, images, number)
        if 2 <= number + 1 < EPOCHS:
            for c in range(C):
                unknown = [i for i in range(N) if observed[i, c] == -1]
                waiting = sorted((i for i in unknown if expected[i, c] == -1), key=lambda i: images[i, c])
                for i in waiting[: int(0.9 * len(unknown) / (EPOCHS - 2))]:
                    expected[i, c] = torch.sigmoid(images[i, c])
        torch.testing.assert_close(method.soft_negatives.values, expected)
        assert bool((expected != -1).any()) == (number >= 1)
    assert (expected[observed != -1] == -1).all()


def test_equals_its_formula():
    observed, images = labels(0, N, C), numbers(1, N, C)
    method = make(observed, negative_weight=0.7)
    chosen = (observed == -1) & (numbers(2, N, C) > 0)
    method.soft_negatives.values[chosen] = 0.125
    losses = method.loss(Echo(), batch(observed, image=images))
    known = unknown = negative = 0.0
    for i in range(N):
        for c in range(C):
            s = 1 / (1 + math.exp(-images[i, c]))
            if observed[i, c] != -1:
                known += entropy(images[i, c], float(observed[i, c]))
            elif chosen[i, c]:
                negative += entropy(images[i, c], 0.125)
            else:
                unknown += s * math.log(s) + (1 - s) * math.log(1 - s)
    assert losses['loss_known'].item() == pytest.approx(known / (N * C), rel=1e-5)
    assert losses['loss_unknown'].item() == pytest.approx(0.2 * unknown / (N * C), rel=1e-5)
    assert losses['loss_negative'].item() == pytest.approx(0.7 * negative / (N * C), rel=1e-5)


def test_a_soft_negative_of_0_is_one():
    observed = torch.full((N, C), -1.0)
    images = torch.full((N, C), -500.0)  # the score is 0, in float32
    method = make(observed, warmup=1)
    epoch(method, observed, images, 0)
    zeros = (method.soft_negatives.values == 0).sum(0)
    assert zeros.tolist() == [int(0.9 * N / (EPOCHS - 1))] * C
    losses = method.loss(Echo(), batch(observed, image=torch.ones(N, C)))
    assert losses['loss_negative'].item() == pytest.approx(0.02 * entropy(1, 0) * zeros[0].item() / N, rel=1e-5)
    epoch(method, observed, images, 1)  # and is not chosen a second time
    assert (method.soft_negatives.values == 0).sum(0).tolist() == [2 * zeros[0].item()] * C


def test_fewer_left_than_are_due():
    observed = torch.zeros(N, C)
    observed[:3] = -1
    method = make(observed, warmup=1, share=1.0)
    seen = batch(observed[:2], [0, 1], Progress(0, 0, 2), image=numbers(0, 2, C))  # one epoch of one step, of two
    method.loss(Echo(), seen)
    method.after_epoch()
    assert ((method.soft_negatives.values != -1).sum(0) == 2).all()


def test_options_without_a_meaning():
    with pytest.raises(UserError, match='warmup must be at least 1 and share in .*, got 0 and 0.9'):
        APL(LOSS, MAXIMAL_ENTROPY, warmup=0)

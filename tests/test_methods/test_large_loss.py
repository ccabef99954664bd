import math

import pytest
import torch

from sarlp.methods.large_loss import LargeLoss

from .steps import build, entries, logits_and_labels, step

B, C = 7, 11
LOGITS, OBSERVED = logits_and_labels(B, C)
MODES = ['R', 'Ct', 'Cp']


def make(mode, delta=0.02):
    return build(f'large_loss_{mode.lower()}', OBSERVED, delta=delta)


def slow_loss(mode, k):
    """The unknown part, from a list of losses that is sorted."""
    losses = sorted((-math.log(1 - s), -math.log(s)) for _, s, y in entries(LOGITS, OBSERVED) if y == -1)
    kept, large = losses[: len(losses) - k], losses[len(losses) - k :]
    return (sum(loss for loss, _ in kept) + (sum(flipped for _, flipped in large) if mode != 'R' else 0)) / (B * C)


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('epoch', [0, 1, 3])
def test_equals_a_slow_loop(mode, epoch):
    """k = ceil(77 * 0.02 * epoch), the k-th of them included; for good it is the same in each epoch but the first."""
    k = {0: 0, 1: 2, 3: 5 if mode != 'Cp' else 2}[epoch]
    losses = step(make(mode), LOGITS, OBSERVED, epoch=epoch)
    assert losses['loss_unknown'].item() == pytest.approx(slow_loss(mode, k), rel=1e-6)


@pytest.mark.parametrize('mode', MODES)
def test_a_known_label_is_never_touched(mode):
    """Even where k is more than there are unknown labels, whose losses are all 0."""
    logits = torch.where(OBSERVED == -1, -200.0, LOGITS.detach()).requires_grad_()
    method = make(mode, delta=0.99)
    losses = step(method, logits, OBSERVED, epoch=1)
    losses['loss_unknown'].backward()
    assert logits.grad[OBSERVED != -1].eq(0).all()
    known = step(make('R'), LOGITS, OBSERVED, epoch=0)['loss_known']
    assert losses['loss_known'].item() == pytest.approx(known.item())
    if mode == 'Cp':
        assert torch.equal(method.corrected.values.bool(), OBSERVED == -1)


def test_what_is_corrected_for_good_is_what_was_corrected():
    """Down to the k-th, and from then on it is a positive and leaves its place among the k to others."""
    method = make('Cp')
    scores = torch.where(OBSERVED == -1, LOGITS.detach(), -torch.inf).flatten()
    order = scores.argsort(descending=True).tolist()
    step(method, LOGITS, OBSERVED, epoch=1)
    assert sorted(order[:2]) == method.corrected.values.flatten().nonzero().flatten().tolist()
    losses = step(method, LOGITS, OBSERVED, epoch=2)
    assert sorted(order[:4]) == method.corrected.values.flatten().nonzero().flatten().tolist()
    assert losses['loss_unknown'].item() == pytest.approx(slow_loss('Cp', 4), rel=1e-6)


def test_it_remembers_an_image_and_not_its_place_in_the_batch():
    method = make('Cp', delta=0.01)
    step(method, LOGITS, OBSERVED, epoch=1)
    (place,) = method.corrected.values.flatten().nonzero().flatten().tolist()
    turned = list(range(B))[::-1]
    lower = torch.where(method.corrected.values.bool(), -9.0, LOGITS.detach())
    losses = step(method, lower[turned].requires_grad_(), OBSERVED[turned], index=turned, epoch=1)
    assert method.corrected.values.flatten()[place] == 1
    assert method.corrected.values.sum() == 2
    assert losses['loss_unknown'].item() > 9 / (B * C)  # it is positive still, and scores low now


def test_the_memory_of_it_is_a_byte_a_label():
    assert make('Cp').corrected.nbytes == B * C
    assert not [*make('R').buffers(), *make('Ct').buffers()]


def test_counts_are_no_victims_of_rounding():
    """100 * 0.07 is above 7."""
    logits, observed = logits_and_labels(10, 10)
    method = build('large_loss_r', observed, delta=0.07)
    logits = torch.zeros_like(logits).requires_grad_()
    step(method, logits, torch.full_like(observed, -1), epoch=1)['loss_unknown'].backward()
    assert (logits.grad == 0).sum() == 7


def test_what_is_no_mode_and_no_share():
    loss = dict(type='BinaryCrossEntropy')
    with pytest.raises(ValueError, match="mode must be one of .*, got 'LL-R'"):
        LargeLoss(loss, 'LL-R', 0.005)
    with pytest.raises(ValueError, match=r'delta must be a share in \(0, 1\), got 5'):
        LargeLoss(loss, 'R', 5)

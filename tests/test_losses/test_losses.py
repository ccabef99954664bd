import functools
import math

import pytest
import torch
import torch.nn.functional as F

from sarlp.losses import AsymmetricLoss, BinaryCrossEntropy, asymmetric_loss, binary_cross_entropy
from sarlp.registry import MODELS


@pytest.mark.parametrize('case', [0, 1])
@pytest.mark.parametrize(('kind', 'key', 'reduction'), [('known', 'target', 'sum'), ('soft', 'soft_target', 'mean')])
def test_asymmetric_loss_equals_the_reference(golden, case, kind, key, reduction):
    numbers = {name: torch.from_numpy(value) for name, value in golden('asymmetric_loss').items()}
    gamma_neg, gamma_pos, clip = numbers[f'case{case}/params'].tolist()
    logits = numbers['logits'].clone().requires_grad_()
    loss = AsymmetricLoss(gamma_neg, gamma_pos, clip, reduction=reduction)(logits, numbers[key])
    loss.backward()
    assert loss.item() == pytest.approx(numbers[f'case{case}/{kind}/loss'].item(), rel=1e-5)
    expected = numbers[f'case{case}/{kind}/grad']
    assert (logits.grad - expected).norm() / expected.norm() < 1e-5


def slow_asymmetric_loss(logits, target, gamma_neg, gamma_pos, clip, eps):
    """The formula, a label at a time."""
    total = 0.0
    for x, y in zip(logits.flatten().tolist(), target.flatten().tolist(), strict=True):
        if y == -1:
            continue
        q = 1 / (1 + math.exp(-x))
        n = min(1 - q + clip, 1)
        likelihood = y * math.log(max(q, eps)) + (1 - y) * math.log(max(n, eps))
        total -= (1 - y * q - (1 - y) * n) ** (gamma_pos * y + gamma_neg * (1 - y)) * likelihood
    return total


@pytest.mark.parametrize(('gamma_neg', 'gamma_pos', 'clip'), [(2, 0, 0), (4, 1, 0.05), (0, 0, 0)])
def test_asymmetric_loss_equals_a_slow_loop(gamma_neg, gamma_pos, clip):
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(7, 11, generator=generator, dtype=torch.float64) * 4
    target = torch.randint(-1, 2, (7, 11), generator=generator).double()
    expected = slow_asymmetric_loss(logits, target, gamma_neg, gamma_pos, clip, 1e-5)
    loss = asymmetric_loss(logits, target, gamma_neg, gamma_pos, clip, 1e-5, 'sum')
    assert loss.item() == pytest.approx(expected, rel=1e-10)


def test_binary_cross_entropy_equals_torch_on_the_known_labels():
    logits, target = torch.randn(5, 7), torch.randint(-1, 2, (5, 7)).float()
    known = target >= 0
    expected = F.binary_cross_entropy_with_logits(logits[known], target[known])
    torch.testing.assert_close(binary_cross_entropy(logits, target, 'mean_known'), expected)


asymmetric = functools.partial(asymmetric_loss, gamma_neg=2.0, gamma_pos=1.0, clip=0.05, eps=1e-5)


@pytest.mark.parametrize('loss', [asymmetric, binary_cross_entropy])
@pytest.mark.parametrize('reduction', ['sum', 'mean', 'mean_known'])
def test_reductions(loss, reduction):
    logits, target = torch.randn(5, 7), torch.randint(-1, 2, (5, 7)).float()
    each = loss(logits, target, reduction='none')
    divisor = {'sum': 1, 'mean': 35, 'mean_known': (target >= 0).sum()}[reduction]
    assert each[target == -1].eq(0).all()
    torch.testing.assert_close(loss(logits, target, reduction=reduction), each.sum() / divisor)


@pytest.mark.parametrize('loss', [asymmetric, binary_cross_entropy])
@pytest.mark.parametrize('reduction', ['sum', 'mean', 'mean_known'])
def test_a_batch_without_a_known_label_gives_zero_loss_and_gradient(loss, reduction):
    logits = torch.randn(3, 5, requires_grad=True)
    value = loss(logits, torch.full((3, 5), -1.0), reduction=reduction)
    value.backward()
    assert value.item() == 0
    assert logits.grad.eq(0).all()


def test_half_precision_logits_are_computed_in_float32():
    logits = torch.full((400, 300), 30.0, dtype=torch.float16)  # the sum of the losses overflows float16
    assert asymmetric(logits, torch.zeros(400, 300), reduction='sum').isfinite()


def test_unknown_reduction_and_shape_are_refused():
    with pytest.raises(ValueError, match="reduction must be one of .* got 'average'"):
        BinaryCrossEntropy(reduction='average')
    with pytest.raises(ValueError, match=r'one shape, got \(2, 3\) and \(2, 5\)'):
        asymmetric(torch.zeros(2, 3), torch.zeros(2, 5), reduction='sum')


def test_registered():
    assert isinstance(MODELS.build(dict(type='sarlp.AsymmetricLoss')), AsymmetricLoss)

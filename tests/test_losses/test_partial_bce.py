import math

import pytest
import torch
import torch.nn.functional as F

from sarlp.losses import BinaryCrossEntropy
from sarlp.losses.partial_bce import PartialBCE

GENERATOR = torch.Generator().manual_seed(5)
LOGITS = torch.randn(7, 11, generator=GENERATOR, dtype=torch.float64)
TARGET = torch.randint(-1, 2, (7, 11), generator=GENERATOR).double()
TARGET[2] = -1  # of one image nothing is known


@pytest.mark.parametrize('per_known', [False, True])
@pytest.mark.parametrize('per_image', [False, True])
@pytest.mark.parametrize('gamma', [1.0, -0.5])
def test_equals_a_slow_loop(per_image, per_known, gamma):
    everywhere = (TARGET >= 0).sum().item() / 77
    total = 0.0
    for logits, target in zip(LOGITS.tolist(), TARGET.tolist(), strict=True):
        terms = [math.log(1 + math.exp(-x if y else x)) for x, y in zip(logits, target, strict=True) if y >= 0]
        if terms:
            p = len(terms) / 11 if per_image else everywhere
            total += (0.7 * p**gamma + 0.4) * sum(terms) / (len(terms) if per_known else 11)
    loss = PartialBCE(0.7, 0.4, gamma, per_image, per_known)(LOGITS, TARGET)
    assert loss.item() == pytest.approx(total / 7, rel=1e-10)


@pytest.mark.parametrize(('known', 'weight'), [(10, 1), (1, 5.005)])
def test_its_weight_is_1_of_complete_labels_and_5_of_a_tenth(known, weight):
    """Others by this name weigh each known label by 1 + 1 / (1 + number known): here 12 / 11 and 3 / 2."""
    logits, target = LOGITS[:3, :10], torch.full((3, 10), -1.0)
    target[:, :known] = 1
    entropy = F.binary_cross_entropy_with_logits(logits[:, :known], target[:, :known].double())
    for per_image in (False, True):
        loss = PartialBCE(per_known=True, per_image=per_image)(logits, target)
        assert loss.item() == pytest.approx(weight * entropy.item(), rel=1e-6)


def test_a_label_without_a_loss_counts():
    """The re-implementation counts the losses that are not 0."""
    logits = torch.tensor([[200.0, 0.0, 3.0]])  # the first loss is 0 in float32
    loss = PartialBCE(alpha=0, beta=1, per_known=True)(logits, torch.tensor([[1.0, 1.0, -1.0]]))
    assert loss.item() == pytest.approx(math.log(2) / 2)


@pytest.mark.parametrize('per_known', [False, True])
@pytest.mark.parametrize('per_image', [False, True])
def test_where_nothing_is_known_it_is_0(per_image, per_known):
    logits = LOGITS.clone().requires_grad_()
    loss = PartialBCE(gamma=-1, per_image=per_image, per_known=per_known)(logits, torch.full_like(TARGET, -1))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad.eq(0).all()


def test_images_with_few_known_labels_weigh_as_much_as_others():
    """As the mean of each image does, and the mean over the known labels of the batch does not."""
    logits = torch.zeros(2, 5, requires_grad=True)
    target = torch.tensor([[1.0, -1, -1, -1, -1], [1.0, 1, 1, 1, 1]])
    PartialBCE(alpha=0, beta=1, per_known=True)(logits, target).backward()
    one, many = logits.grad.sum(1).tolist()
    assert one == pytest.approx(many)
    logits.grad = None
    BinaryCrossEntropy()(logits, target).backward()
    one, many = logits.grad.sum(1).tolist()
    assert 5 * one == pytest.approx(many)

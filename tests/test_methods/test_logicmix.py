import itertools

import pytest
import torch
from torch import nn

from sarlp.errors import UserError
from sarlp.methods.logicmix import LogicMix, logic_or

from .steps import batch, labels, numbers

LOSS = dict(type='BinaryCrossEntropy')


def test_the_table_of_the_three_valued_or():
    for size in (1, 2, 3):
        for values in itertools.product((1, 0, -1), repeat=size):
            expected = 1 if 1 in values else -1 if -1 in values else 0
            assert logic_or(torch.tensor(values, dtype=torch.float32).view(size, 1, 1)).item() == expected, values


def test_an_unknown_label_is_not_taken_for_a_negative():
    assert logic_or(torch.tensor([[[0.0, -1]], [[-1.0, -1]]])).tolist() == [[-1, -1]]


class Record(nn.Module):
    def forward(self, images):
        self.images = images
        return {'logits': images.mean((2, 3))}


class Targets(nn.Module):
    def forward(self, logits, target):
        self.seen = target
        return logits.sum()


def test_images_and_labels_are_mixed_alike():
    torch.manual_seed(0)
    images, observed = numbers(0, 11, 3, 5, 7), labels(1, 11, 3)
    method, network = LogicMix(LOSS), Record()
    method.known_loss = Targets()
    torch.manual_seed(5)
    method.loss(network, batch(observed, image=images))
    torch.manual_seed(5)
    parts, sizes = method.draw(11)
    assert {1, 2, 3} == set(sizes.tolist())
    for i, size in enumerate(sizes.tolist()):
        members = parts[i, :size].tolist()
        torch.testing.assert_close(network.images[i], torch.stack([images[m] for m in members]).mean(0))
        assert torch.equal(method.known_loss.seen[i], logic_or(observed[members][:, None])[0])


def test_what_is_drawn():
    torch.manual_seed(0)
    parts, sizes = LogicMix(LOSS, probability=0.3).draw(997)
    for i, size in enumerate(sizes.tolist()):
        row = parts[i].tolist()
        assert row[0] == i and len(set(row[:size])) == size and set(row[size:]) <= {i}
    assert (sizes == 1).float().mean() == pytest.approx(0.7, abs=0.05)  # the others have no known negatives to speak of
    assert (sizes == 2).float().mean() == pytest.approx(0.15, abs=0.04)
    assert len(set(parts[sizes > 1, 1].tolist())) > 100


@pytest.mark.parametrize('number', [1, 2])
def test_a_batch_smaller_than_a_mixture(number):
    torch.manual_seed(0)
    method = LogicMix(LOSS, probability=1.0, sizes=(3,))
    parts, sizes = method.draw(number)
    assert sizes.tolist() == [number] * number and parts.shape == (number, number)
    images = numbers(0, number, 3, 5, 7)
    network = Record()
    method.loss(network, batch(labels(1, number, 3), image=images))
    torch.testing.assert_close(network.images, images.mean(0).expand_as(images))


def test_nothing_known_is_0():
    assert (
        LogicMix(LOSS).loss(Record(), batch(torch.full((5, 3), -1.0), image=numbers(0, 5, 3, 4, 4)))['loss_known'] == 0
    )


def test_options_without_a_meaning():
    with pytest.raises(UserError, match=r'probability must be in \[0, 1\], got 2'):
        LogicMix(LOSS, probability=2)
    with pytest.raises(UserError, match='sizes must be whole numbers of at least 1'):
        LogicMix(LOSS, sizes=())

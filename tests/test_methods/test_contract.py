"""Slips of who writes a method, a loss or a transform, named where they would be trained or end in a traceback."""

import warnings

import pytest
import torch
from mmpretrain.structures import DataSample
from torch import nn

from sarlp.errors import GraveWarning, UserError
from sarlp.methods.contract import check_graph, check_losses, stack_labels


class Mine(nn.Module):
    pass


@pytest.fixture
def loss():
    return torch.ones((), requires_grad=True) * 3


@pytest.mark.parametrize(
    ('returned', 'told'),
    [
        (lambda loss: loss, r'Mine\.loss returned a tensor of the shape \(\); expected scalars by name'),
        (lambda loss: None, r'Mine\.loss returned NoneType; expected scalars by name'),
        (lambda loss: {'known': loss}, "returned known: what is to be minimised has a name that holds 'loss'"),
        (lambda loss: {}, 'returned nothing: what is to be minimised'),
        (lambda loss: {'loss_a': loss.expand(5, 3)}, r"a tensor of the shape \(5, 3\) as 'loss_a'; expected one"),
        (lambda loss: {'loss_a': loss, 'share': 0.5}, "returned float as 'share'; expected one number"),
        (lambda loss: {'loss_a': [loss, loss]}, "returned list as 'loss_a'; expected one number"),
        (lambda loss: {'loss': {'a': loss}}, "returned dict as 'loss'; expected one number"),
        (lambda loss: {'loss_a': loss.detach(), 'b': loss}, 'returned loss_a without a gradient, so that nothing can'),
    ],
)
def test_what_can_not_be_minimised(loss, returned, told):
    with pytest.raises(UserError, match=told):
        check_losses(returned(loss), Mine())


def test_what_can_be_is_left_as_it_is(loss):
    losses = {'loss_a': loss, 'loss_b': loss[None], 'loss_off': torch.zeros(()), 'share': torch.ones(())}
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert check_losses(losses, Mine()) == losses
    with torch.no_grad():  # by who asks for the value alone
        assert check_losses({'loss_a': torch.ones(())}, Mine()) == {'loss_a': 1}


def test_one_of_several_that_teaches_nothing(loss):
    with pytest.warns(GraveWarning, match=r'Mine\.loss returned loss_b without a gradient: it teaches nothing'):
        check_losses({'loss_a': loss, 'loss_b': loss.detach()}, Mine())


class TestGraph:
    def losses(self, value):
        return {'loss_a': value, 'share': torch.ones(())}

    def test_a_loss_that_is_made_of_the_network(self):
        network = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))
        network[0].requires_grad_(False)  # as a frozen backbone
        value = network(torch.ones(7, 3)).sum()
        for one in (value, 0 * value, value * 2 + torch.ones((), requires_grad=True)):
            check_graph(self.losses(one), network, Mine())

    def test_one_that_is_made_of_nothing(self):
        network = nn.Linear(3, 2)
        for one in (torch.ones((), requires_grad=True), torch.ones((), requires_grad=True) * 3):
            with pytest.raises(UserError, match=r'Mine\.loss does not depend on the network'):
                check_graph(self.losses(one), network, Mine())
        logged = {'loss_a': torch.ones((), requires_grad=True), 'share': network(torch.ones(7, 3)).sum()}
        with pytest.raises(UserError, match='does not depend on the network'):
            check_graph(logged, network, Mine())
        with torch.no_grad():
            check_graph(self.losses(torch.ones(())), network, Mine())
        network.requires_grad_(False)  # nothing of it is to be learnt
        check_graph(self.losses(torch.ones((), requires_grad=True)), network, Mine())

    def test_a_method_that_begins_with_parameters_of_its_own(self):
        method = Mine()
        method.own = nn.Linear(3, 2)
        with pytest.warns(GraveWarning, match=r'in the first step Mine\.loss does not depend on the network'):
            check_graph(self.losses(method.own(torch.ones(7, 3)).sum()), nn.Linear(3, 2), method)


def sample(labels, name='a.jpg'):
    made = DataSample(metainfo={'img_id': name})
    if labels is not None:
        made.gt_score = torch.tensor(labels)
    return made


@pytest.mark.parametrize(
    ('labels', 'told'),
    [
        (None, r'image b\.jpg: expected a label for each of the 3 classes, found none; look for the transform'),
        ([1.0, 0.0], r'image b\.jpg: expected a label for each of the 3 classes, found gt_score of the shape \(2,\)'),
        ([[1.0, 0.0, 1.0]], r'found gt_score of the shape \(1, 3\)'),
        ([0.95, 0.05, -0.85], r'image b\.jpg: a label is -0\.85; expected 1, 0, a probability between, or -1'),
        ([1.0, 0.0, float('nan')], r'a label is nan'),
    ],
)
def test_labels_that_a_transform_spoilt(labels, told):
    with pytest.raises(UserError, match=told):
        stack_labels([sample([1.0, -1.0, 0.25]), sample(labels, 'b.jpg')], 3)


def test_labels_and_probabilities():
    stacked = stack_labels([sample([1.0, -1.0, 0.25]), sample([0.0, 1.0, -1.0])], 3)
    assert stacked.tolist() == [[1, -1, 0.25], [0, 1, -1]]

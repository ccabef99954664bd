"""The average in one operation equals MMEngine's, tensor by tensor."""

import copy
import pickle

import pytest
import torch
from mmengine.model import ExponentialMovingAverage
from torch import nn

from sarlp.engine import EMAFromStartHook, ForeachEMA
from sarlp.models.frozen import freeze


class Net(nn.Module):
    """Parameters of several shapes, dtypes and memory formats, one of them shared, and buffers."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3).to(memory_format=torch.channels_last)
        self.norm = nn.BatchNorm2d(5)
        self.linear = nn.Linear(5, 7).double()
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.also_scale = self.scale
        self.register_buffer('constant', torch.tensor([2.0, 3.0]), persistent=False)


def disturb(net):
    with torch.no_grad():
        for index, tensor in enumerate((*net.parameters(), *net.buffers())):
            if tensor.is_floating_point() and tensor is not net.constant:
                tensor += torch.randn(tensor.shape, generator=torch.Generator().manual_seed(index)) / 3
    net.norm.num_batches_tracked += 1


@pytest.mark.parametrize('update_buffers', [True, False])
@pytest.mark.parametrize(('momentum', 'interval'), [(1 - 0.9983, 1), (0.3, 2), (0.5, 1)])
def test_equals_mmengine_to_the_last_bit(momentum, interval, update_buffers):
    torch.manual_seed(0)
    net = Net()
    del net.also_scale  # MMEngine averages a shared parameter once for each of its names
    options = dict(momentum=momentum, interval=interval, update_buffers=update_buffers)
    averages = ExponentialMovingAverage(net, **options), ForeachEMA(net, **options)
    start = net.conv.weight.clone()
    for _ in range(5):
        disturb(net)
        for average in averages:
            average.update_parameters(net)
    expected, actual = (average.state_dict() for average in averages)
    assert actual.keys() == expected.keys()
    for key, value in expected.items():
        assert torch.equal(actual[key], value), key
    assert actual['steps'] == 5
    assert not torch.equal(actual['module.conv.weight'], start)
    assert not torch.equal(actual['module.conv.weight'], net.conv.weight)
    assert torch.equal(averages[1].module.constant, net.constant)


def test_a_frozen_part_is_left_as_it_is():
    """It is its own average; changed here all the same, to show that nobody looks."""
    net = nn.Sequential(Net(), Net())
    freeze(net[0])
    average = ForeachEMA(net, momentum=0.25, update_buffers=True)
    average.update_parameters(net)
    with torch.no_grad():
        for part in net:
            part.scale.fill_(3.0)
            part.norm.running_mean.fill_(2.0)
    average.update_parameters(net)
    frozen, trained = average.module
    assert (frozen.scale, trained.scale) == (1.0, 1.5)
    assert torch.equal(frozen.norm.running_mean, torch.zeros(5))
    assert torch.equal(trained.norm.running_mean, torch.full((5,), 0.5))


def test_a_shared_parameter_is_averaged_once():
    net = Net()
    average = ForeachEMA(net, momentum=0.25, update_buffers=True)
    average.update_parameters(net)
    with torch.no_grad():
        net.scale.fill_(3.0)
    average.update_parameters(net)
    assert average.module.scale.item() == 1.5
    assert average.module.also_scale is average.module.scale


def whole_part(net):
    net.norm = nn.BatchNorm2d(5)
    net.norm.running_mean.fill_(0.5)


def one_more_buffer(net):
    net.norm.register_buffer('late', torch.tensor([0.25, 4.0]))


@pytest.mark.parametrize(
    'change',
    [
        lambda net: net.double(),  # other data in the parameters, other tensors in the place of the buffers
        lambda net: net.norm.register_buffer('running_mean', torch.full((5,), 0.75)),
        whole_part,
        one_more_buffer,
        lambda net: setattr(net, 'linear', nn.Sequential(net.linear)),
    ],
)
def test_what_changed_meanwhile_is_found(change):
    """Against an average that looks anew at every step."""
    torch.manual_seed(0)
    net = Net()
    averages = [ForeachEMA(net, momentum=0.3, update_buffers=True) for _ in range(2)]
    for number in range(5):
        if number == 3:
            for one in (net, *(average.module for average in averages)):
                torch.manual_seed(1)  # a new part begins alike in all of them
                change(one)
        disturb(net)
        for average in averages:
            average.update_parameters(net)
        averages[1]._pairs = None
    kept, anew = (average.module.state_dict() for average in averages)
    assert kept.keys() == net.state_dict().keys()
    for key, value in kept.items():
        assert torch.equal(value, anew[key]), key
        assert key == 'norm.num_batches_tracked' or not torch.equal(value, net.state_dict()[key]), key


@pytest.mark.parametrize('copied', [copy.deepcopy, lambda average: pickle.loads(pickle.dumps(average))])
def test_a_copy_goes_its_own_way(copied):
    net = Net()
    first = ForeachEMA(net, momentum=0.3, update_buffers=True)
    for _ in range(3):
        disturb(net)
        first.update_parameters(net)
    second = copied(first)
    before = copy.deepcopy(first.state_dict())
    disturb(net)
    second.update_parameters(net)
    assert all(torch.equal(value, before[key]) for key, value in first.state_dict().items())
    first.update_parameters(net)
    assert all(torch.equal(value, second.state_dict()[key]) for key, value in first.state_dict().items())
    first.load_state_dict(before)
    first.update_parameters(net)
    assert all(torch.equal(value, second.state_dict()[key]) for key, value in first.state_dict().items())


def test_the_tree_is_walked_once(monkeypatch):
    net, walks = Net(), []
    average = ForeachEMA(net, momentum=0.3, update_buffers=True)
    modules = nn.Module.named_modules
    monkeypatch.setattr(nn.Module, 'named_modules', lambda *a, **k: walks.append(a) or modules(*a, **k))
    average.update_parameters(net)
    average.update_parameters(net)
    assert walks
    walks.clear()
    average.update_parameters(net)
    assert not walks


def test_the_hook_averages_this_way():
    assert EMAFromStartHook(momentum=0.1).ema_cfg == dict(type='sarlp.ForeachEMA', momentum=0.1)
    assert EMAFromStartHook(ema_type='StochasticWeightAverage').ema_cfg['type'] == 'StochasticWeightAverage'

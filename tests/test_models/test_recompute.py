"""A backbone that is computed again in the backward pass, against itself."""

import copy
import pickle

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import nn

from sarlp.errors import UserError
from sarlp.models.recompute import recompute, stages
from sarlp.paths import shipped
from sarlp.registry import MODELS


class Blocks(nn.Module):
    """A model within a wrapper, with a list of blocks that have dropout and statistics."""

    def __init__(self, **norm):
        super().__init__()

        class Block(nn.Module):
            def __init__(self):
                super().__init__()
                self.conv, self.norm = nn.Conv2d(5, 5, 3, padding=1), nn.BatchNorm2d(5, **norm)
                self.calls = 0

            def forward(self, x, *, scale):
                self.calls += 1
                return x + scale * nn.functional.dropout(self.norm(self.conv(x)), 0.3, self.training)

        self.model = nn.Module()
        self.model.stem, self.model.blocks = nn.Conv2d(3, 5, 1), nn.ModuleList(Block() for _ in range(3))

    def forward(self, x):
        x = self.model.stem(x)
        for block in self.model.blocks:
            x = block(x, scale=0.5)
        return (x,)


def resnet():
    init_default_scope('sarlp')
    return MODELS.build(
        Config.fromfile(shipped('configs') / '_base_' / 'models' / 'sarlp_r18_narrow.py').model.backbone
    )


MAKE = {
    'resnet': resnet,
    'blocks': Blocks,
    'cumulative': lambda: Blocks(momentum=None),
    'no statistics': lambda: Blocks(track_running_stats=False),
}


def trained(backbone, steps=3):
    optimizer = torch.optim.SGD(backbone.parameters(), lr=0.1)
    torch.manual_seed(1)
    for _ in range(steps):
        optimizer.zero_grad()
        # twice before the backward pass, as methods with two views do
        sum(backbone(torch.randn(2, 3, 32, 32))[-1].square().mean() for _ in range(2)).backward()
        optimizer.step()
    grads = {name: parameter.grad for name, parameter in backbone.named_parameters()}
    return copy.deepcopy(backbone.state_dict()), grads


@pytest.mark.parametrize('kind', MAKE)
def test_same_to_the_last_bit(kind):
    torch.manual_seed(0)
    plain = MAKE[kind]()
    again = recompute(copy.deepcopy(plain))
    for expected, actual in zip(trained(plain), trained(again), strict=True):
        assert actual.keys() == expected.keys()
        for name, value in expected.items():
            assert torch.equal(actual[name], value), name


@pytest.mark.parametrize('copied', [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))])
def test_a_copy_computes_with_its_own_weights(copied):
    original = recompute(resnet())
    other = copied(original)
    with torch.no_grad():
        for parameter in original.parameters():
            parameter.zero_()
    assert other(torch.randn(2, 3, 32, 32))[-1].std() > 0.01
    other(torch.randn(2, 3, 32, 32))[-1].sum().backward()
    assert all(parameter.grad is None for parameter in original.parameters())
    assert all(parameter.grad is not None for parameter in other.parameters())


def test_twice_in_training_only():
    backbone = recompute(Blocks())
    blocks = backbone.model.blocks
    backbone(torch.randn(2, 3, 8, 8))[-1].sum().backward()
    assert [block.calls for block in blocks] == [2, 2, 2]
    with torch.no_grad():
        backbone(torch.randn(2, 3, 8, 8))
    assert [block.calls for block in blocks] == [3, 3, 3]
    backbone.eval()(torch.randn(2, 3, 8, 8))[-1].sum().backward()
    assert [block.calls for block in blocks] == [4, 4, 4]


def test_less_is_kept():
    kept = []
    for backbone in (resnet(), recompute(resnet())):
        held = 0

        def pack(tensor):
            nonlocal held
            held += tensor.nbytes
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            backbone(torch.randn(2, 3, 64, 64))
        kept.append(held)
    assert kept[1] < kept[0] / 2


def test_stages():
    backbone = resnet()
    assert stages(backbone) == [backbone.layer1, backbone.layer2, backbone.layer3, backbone.layer4]
    blocks = Blocks()
    assert stages(blocks) == list(blocks.model.blocks)
    with pytest.raises(UserError, match='Sequential has no stages.*model.recompute_backbone'):
        stages(nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5)))

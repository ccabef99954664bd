import numpy as np
import pytest
from torch import nn

from sarlp.errors import UserError
from sarlp.methods import KnownLabels, TaskInfo
from sarlp.models.heads import BaselineHead
from sarlp.models.token_head import TokenHead

from .steps import numbers

LOSS = dict(type='BinaryCrossEntropy')
TASK = TaskInfo(('a', 'b', 'c'), 11, np.array([0, 30, 3]), np.array([50, 20, 1]))


def test_the_network_begins_at_the_share_of_the_known_labels():
    network = nn.Module()
    network.head = TokenHead(3, 13)
    nn.init.zeros_(network.head.score.weight)
    method = KnownLabels(LOSS, start_from_prior=True)
    method.meet(network)
    method.before_train(TASK)
    pooled = (33 + 1) / (104 + 2)
    expected = [(0 + 10 * pooled) / 60, (30 + 10 * pooled) / 60, (3 + 10 * pooled) / 14]
    outputs = network.head.eval()(numbers(0, 2, 6, 13), (2, 3))
    assert outputs['logits'].sigmoid().tolist() == [pytest.approx(expected, rel=1e-5)] * 2
    assert not list(method.parameters()) and not method.state_dict()


def test_a_head_that_can_not_begin_anywhere():
    network = nn.Module()
    network.head = BaselineHead(3, 13)
    method = KnownLabels(LOSS, start_from_prior=True)
    method.meet(network)
    with pytest.raises(UserError, match='start_from_prior needs a head that has expect.*BaselineHead has none'):
        method.before_train(TASK)

"""What holds of each method with a store, a teacher or two views that asks the network for logits alone."""

import pytest
import torch
from torch import nn

from sarlp.engine import load_config
from sarlp.methods import Progress, Teacher
from sarlp.registry import METHODS

from .steps import batch, labels, numbers, task

NAMES = ['apl', 'cap', 'lac', 'logicmix', 'plcl', 'role', 'st']
N, C = 29, 5
OBSERVED = labels(0, N, C)


class Means(nn.Module):
    """Logits (B, C) are the means of C channels, in a precision."""

    def __init__(self, dtype):
        super().__init__()
        self.dtype = dtype

    def forward(self, images):
        return {'logits': images.mean((2, 3)).bfloat16().to(self.dtype)}


def epochs(name, dtype, observed):
    """The method of an overlay, and the losses of each of its first steps."""
    config = load_config(f'{name}_r18_digits_p0.1').model.method
    if name in ('apl', 'cap'):
        config.warmup = 1
    torch.manual_seed(0)
    method = METHODS.build(config)
    method.before_train(task(OBSERVED))
    if isinstance(method.teacher, Teacher):
        method.teacher.bind(Means(dtype))
    found = []
    for number in range(3):
        views = {view: numbers(place, N, C, 2, 3) * 2 for place, view in enumerate(method.views)}
        step = batch(observed, progress=Progress(number, number, 3), **views)
        found.append({key: value.item() for key, value in method.loss(Means(dtype), step).items()})
        method.after_epoch()
    return method, found


@pytest.mark.parametrize('name', NAMES)
def test_half_precision_is_that_of_the_logits_alone(name):
    (half, narrow), (full, wide) = (epochs(name, dtype, OBSERVED) for dtype in (torch.bfloat16, torch.float32))
    assert narrow == wide
    for key, value in full.state_dict().items():
        assert torch.equal(half.state_dict()[key], value), key


@pytest.mark.parametrize('name', NAMES)
def test_a_batch_of_which_nothing_is_known(name):
    _, found = epochs(name, torch.float32, torch.full((N, C), -1.0))
    for losses in found:
        assert all(abs(value) < float('inf') for value in losses.values())
        if name not in ('lac', 'plcl'):  # whose unknown labels are negatives, or learnt like known ones
            assert losses['loss_known'] == 0

"""A step of every method on a GPU that is not there: nothing waits for a value, nothing comes from the CPU.

torch's fake tensors have a device but no values. What would need one, a look at a number or a shape that depends on
them, raises; an operation that gives a tensor on the CPU, from where it would have to be copied, is written down.
"""

import copy
import traceback

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from torch import nn
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sarlp.engine import load_config
from sarlp.methods import Batch, KnownLabels, Progress, TaskInfo
from sarlp.paths import shipped
from sarlp.registry import METHODS, MODELS

IMAGES, CLASSES, SIDE = 5, 7, 64
OF_TEXT = {'dualcoop', 'positive_coop'}  # their heads learn prompts, on CLIP; their method is KnownLabels
NAMES = {path.stem for path in (shipped('configs') / '_base_' / 'methods').glob('*.py')} - OF_TEXT
NAMES |= {'baseline', 'sarlp', 'sarlp_wo_jls', 'sarlp_wo_srfl', 'sarlp_wo_srfl_wo_jls'}


class OnTheCPU(TorchDispatchMode):
    """Writes down which operations, of which line, give a tensor that is not on the GPU."""

    def __init__(self):
        super().__init__()
        self.found, self.dtypes = [], set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        outputs = function(*args, **(kwargs or {}))
        tensors = [one for one in tree_leaves(outputs) if isinstance(one, torch.Tensor)]
        self.dtypes |= {one.dtype for one in tensors}
        if any(one.device.type == 'cpu' for one in tensors):
            frame = [frame for frame in traceback.extract_stack() if 'torch' not in frame.filename][-2]
            self.found.append(f'{function} of {frame.filename}:{frame.lineno}: {frame.line}')
        return outputs


def on_a_gpu(model: nn.Module, mode: FakeTensorMode) -> nn.Module:
    """Its parameters and buffers on a GPU, without values, in place."""

    def move(values):
        fake = mode.from_tensor(values.detach())
        with mode:
            return fake.to('cuda')

    for module in model.modules():
        for key, value in module._parameters.items():
            if value is not None:
                module._parameters[key] = nn.Parameter(move(value), requires_grad=value.requires_grad)
        for key, value in module._buffers.items():
            if value is not None:
                module._buffers[key] = move(value)
    return model


def build(name, method=None):
    init_default_scope('sarlp')
    options = {'model.backbone.base_channels': 4, 'model.backbone.stem_channels': 4, 'model.head.in_channels': 32}
    cfg = load_config(f'{name}_r18_digits_p0.1', options)
    cfg.model.head.num_classes = CLASSES
    if method:
        cfg.model.method.type = method
    names = tuple(f'class {c}' for c in range(CLASSES))
    task = TaskInfo(names, 23, np.full(CLASSES, 3), np.full(CLASSES, 5))
    return MODELS.build({**cfg.model, 'task': task}).train()


def step(model, epoch):
    """Losses of one, and what was seen of its operations."""
    mode, cpu = FakeTensorMode(), OnTheCPU()
    network = copy.deepcopy(model.network)
    on_a_gpu(model, mode)
    if model.method.teacher is not None:
        model.method.teacher.bind(on_a_gpu(network, mode))
    with mode, torch.no_grad():
        batch = Batch(
            images={view: torch.randn(IMAGES, 3, SIDE, SIDE, device='cuda') for view in model.method.views},
            observed=torch.randint(-1, 2, (IMAGES, CLASSES), device='cuda').float(),
            index=torch.arange(IMAGES, device='cuda'),
            ids=tuple('abcde'),
            progress=Progress(epoch=epoch, step=20 * epoch, num_steps=200),
        )
        with cpu:
            losses = model.method.loss(model.network, batch)
            model.method.after_step()
    return losses, cpu


@pytest.fixture
def half_precision():
    """What ``torch.autocast('cuda')`` turns on, but where there is a GPU only."""
    torch.set_autocast_enabled('cuda', True)
    torch.set_autocast_dtype('cuda', torch.bfloat16)
    yield
    torch.set_autocast_enabled('cuda', False)
    torch.clear_autocast_cache()


@pytest.mark.parametrize('epoch', [0, 7])
@pytest.mark.parametrize('name', sorted(NAMES))
def test_nobody_waits(name, epoch):
    losses, seen = step(build(name), epoch)
    assert losses and {value.device.type for value in losses.values()} == {'cuda'}
    assert not seen.found


@pytest.mark.parametrize('name', sorted(NAMES))
def test_half_precision(name, half_precision):
    """What is half with a GPU's autocast is not all that is half with a CPU's."""
    losses, seen = step(build(name), 7)
    assert {value.dtype for value in losses.values()} == {torch.float32}
    assert torch.bfloat16 in seen.dtypes
    assert not seen.found


@METHODS.register_module()
class Looks(KnownLabels):
    def loss(self, network, batch):
        losses = super().loss(network, batch)
        return losses if losses['loss_known'] > 0 else {}


@METHODS.register_module()
class Counts(KnownLabels):
    def loss(self, network, batch):
        return self.losses(network(batch.image), batch.observed[(batch.observed == 1).any(1)])


@METHODS.register_module()
class Copies(KnownLabels):
    def loss(self, network, batch):
        return self.losses(network(batch.image), batch.observed * torch.ones(CLASSES).to(batch.observed.device))


def test_who_waits_is_found():
    for method, error in (('Looks', DataDependentOutputException), ('Counts', DynamicOutputShapeException)):
        with pytest.raises(error):
            step(build('baseline', method), 0)
    _, seen = step(build('baseline', 'Copies'), 0)
    assert len(seen.found) == 1 and 'aten.ones.default' in seen.found[0] and 'torch.ones(CLASSES)' in seen.found[0]

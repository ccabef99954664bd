"""Which device is taken; what a GPU computes is in tests/test_gpu.py."""

import pytest
import torch
from mmengine.device import get_device
from mmengine.device import utils as mmengine_devices

from sarlp.engine.devices import announce_device, choose_device, use_device
from sarlp.errors import UserError
from sarlp.inference import init_model
from sarlp.inference.inferencer import MultiLabelInferencer

without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')


@pytest.fixture
def two_gpus(monkeypatch):
    """As far as torch is asked; nothing can be computed there."""
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)


def test_auto_is_what_training_takes():
    assert choose_device().type == choose_device('auto').type == get_device()


def test_auto_takes_the_gpu(two_gpus):
    assert choose_device('auto') == torch.device('cuda')


@pytest.mark.parametrize('name', ['cpu', 'cuda', 'cuda:0', 'cuda:1', torch.device('cuda', 1)])
def test_a_device_that_is_there(two_gpus, name):
    assert choose_device(name) == torch.device(name)


@pytest.mark.parametrize('name', ['cuda:2', 'gpu', 'mps', 'meta', '', 'cuda:x', 'CPU'])
def test_a_device_that_is_not(two_gpus, monkeypatch, name):
    monkeypatch.setattr(torch.backends.mps, 'is_available', lambda: False)
    with pytest.raises(UserError, match=f"^device '{name}' is not on this machine, which has cpu, cuda:0, cuda:1; "):
        choose_device(name)


def test_mac(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(torch.backends.mps, 'is_available', lambda: True)
    assert choose_device('auto') == choose_device('mps') == torch.device('mps')
    with pytest.raises(UserError, match='which has cpu, mps'):
        choose_device('cuda')


def test_it_is_said(capsys):
    assert announce_device('cpu') == torch.device('cpu')
    assert capsys.readouterr().out == 'device: cpu\n'


def test_mmengine_is_told(monkeypatch):
    monkeypatch.setattr(mmengine_devices, 'DEVICE', 'cuda')
    use_device('cpu')
    assert get_device() == 'cpu'


@without_gpu
@pytest.mark.parametrize('make', [init_model, MultiLabelInferencer])
def test_a_model_goes_to_the_gpu_unless_told_otherwise(place, two_gpus, make):
    config, checkpoint = place.config(), place.checkpoint()
    with pytest.raises((RuntimeError, AssertionError), match='NVIDIA|CUDA'):  # there is none, after all
        make(config, checkpoint)
    make(config, checkpoint, device='cpu')


TOOLS = {
    'predict': lambda p: ('predict.py', p.config(), p.checkpoint(), p.root / '0.png', '--out', p.root / 'out.csv'),
    'maps': lambda p: ('visualize_cam.py', p.config(), p.checkpoint(), '--img', p.root, '--out-dir', p.out),
    'test': lambda p: ('test.py', p.config(), p.checkpoint(), '--work-dir', p.out),
    'recover': lambda p: ('recover_labels.py', p.config(), p.checkpoint(), '--out', p.root / 'out.csv'),
    'report': lambda p: ('analysis_tools/report.py', p.root, '--out', p.root / 'out.html'),
}


@without_gpu
@pytest.mark.parametrize('tool', TOOLS)
def test_tools_refuse_what_is_not_there(place, capsys, tool):
    message = place.refused(capsys, *TOOLS[tool](place), '--device', 'cuda:1')
    assert message.startswith("device 'cuda:1' is not on this machine, which has cpu; ")

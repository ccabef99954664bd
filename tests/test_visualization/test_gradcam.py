"""Grad-CAM through the optional grad-cam package."""

import sys

import numpy as np
import pytest
import torch
from torch import nn

from sarlp.visualization import grad_cam_maps

SIZE = (24, 40)


class TwoColours(nn.Module):
    """Class 0 looks at red, class 1 at blue, class 2 at neither."""

    def __init__(self):
        super().__init__()
        self.features = nn.Conv2d(3, 2, 4, stride=4, bias=False)
        self.head = nn.Linear(2, 3, bias=False)
        self.dropout = nn.Dropout(0.5)
        with torch.no_grad():
            self.features.weight.zero_()
            self.features.weight[0, 0] = 1
            self.features.weight[1, 2] = 1
            self.head.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]]))

    def forward(self, images):
        return self.head(self.dropout(self.features(images).mean((2, 3))))


def make_image():
    image = torch.zeros(1, 3, *SIZE)
    image[:, 0, :12, :20] = 1
    image[:, 2, 12:, 20:] = 1
    return image


def test_maps_are_where_the_class_is():
    model = TwoColours()
    maps = grad_cam_maps(model, model.features, make_image(), [0, 1, 2])
    assert maps.shape == (3, *SIZE) and maps.dtype == np.float32
    assert maps.min() >= 0 and maps.max() <= 1
    assert maps[0, 4, 4] > 0.99 and maps[0, 20, 36] < 0.01
    assert maps[1, 20, 36] > 0.99 and maps[1, 4, 4] < 0.01
    assert not maps[2].any()


@pytest.mark.parametrize('context', [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_frozen_model_without_gradients(context):
    model = TwoColours().requires_grad_(False)
    with context():
        maps = grad_cam_maps(model, model.features, make_image(), (1, 0))
    assert maps[0, 20, 36] > 0.99 and maps[1, 4, 4] > 0.99
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_model_is_left_as_it_was():
    model = TwoColours().train()
    model.dropout.eval()
    grad = model.head.weight.grad = torch.ones(3, 2)
    image = make_image()
    grad_cam_maps(model, model.features, image, [0])
    assert model.training and not model.dropout.training
    assert model.head.weight.grad is grad and torch.equal(grad, torch.ones(3, 2))
    assert model.features.weight.grad is None and model.features.weight.requires_grad
    assert not model.features._forward_hooks and not image.requires_grad


def test_no_class():
    model = TwoColours()
    assert grad_cam_maps(model, model.features, make_image(), []).shape == (0, *SIZE)


def test_bad_input_is_named():
    model = TwoColours().train()
    with pytest.raises(ValueError, match=r'\(1, 3, h, w\), but has \(2, 3, 8, 8\)'):
        grad_cam_maps(model, model.features, torch.zeros(2, 3, 8, 8), [0])
    with pytest.raises(ValueError, match='not a module of the model'):
        grad_cam_maps(model, nn.Identity(), make_image(), [0])
    for class_id in (3, -1):
        with pytest.raises(ValueError, match=f'class id {class_id} is out of range for a model of 3 classes'):
            grad_cam_maps(model, model.features, make_image(), [class_id])
    assert model.training and not model.features._forward_hooks


def test_missing_package_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, 'pytorch_grad_cam', None)
    model = TwoColours()
    with pytest.raises(ImportError, match=r'pip install "sarlp\[gradcam\]"'):
        grad_cam_maps(model, model.features, make_image(), [0])

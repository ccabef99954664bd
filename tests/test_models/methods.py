"""What the tests of several methods do with the model of ``<method>_r18_digits_p0.1``: train it, deploy it."""

import copy

import numpy as np
import torch
from mmengine.registry import init_default_scope
from mmpretrain.structures import DataSample
from torch import nn

from sarlp.engine import load_config
from sarlp.inference import prepare_for_inference
from sarlp.inference.onnx import check
from sarlp.inference.onnx.graph import Deployed, to_onnx
from sarlp.registry import MODELS

CLASSES = 7


def build_model(method, change=None, setting='r18_digits_p0.1'):
    """The model of a method, narrower; ``change`` is merged into its config."""
    cfg = load_config(f'{method}_{setting}')
    init_default_scope('sarlp')
    cfg.merge_from_dict({'model.head.num_classes': CLASSES, **(change or {})})
    torch.manual_seed(0)
    return MODELS.build(cfg.model)


def batch(classes=CLASSES, labels=None, side=64):
    """Three images with some labels known, as a collated batch."""
    generator = torch.Generator().manual_seed(0)
    if labels is None:
        labels = torch.randint(-1, 2, (3, classes), generator=generator).float()
    return {
        'inputs': [torch.randint(0, 256, (3, side, side), dtype=torch.uint8, generator=generator) for _ in labels],
        'data_samples': [DataSample(metainfo=dict(img_id=str(i))).set_gt_score(row) for i, row in enumerate(labels)],
    }


def losses(model, **options):
    return model.train()(**model.data_preprocessor(batch(**options), True), mode='loss')


def assert_every_parameter_learns(model):
    """And nothing known in the batch is a loss of 0 that has a gradient."""
    total = sum(losses(model).values())
    assert total.isfinite() and total > 0
    total.backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)
    model.zero_grad()
    nothing = sum(losses(model, labels=torch.full((3, model.head.num_classes), -1.0)).values())
    assert nothing == 0
    nothing.backward()
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())


def assert_onnx_equals(model, size=(40, 24), batches=(1, 2, 5)):
    """The exported graph, for any number of images, against the model in float64."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
    model.eval()
    exact = copy.deepcopy(model).double()
    graph = to_onnx(Deployed(prepare_for_inference(model)).eval(), size, 18)
    session = check.open_session(graph.SerializeToString())
    mean, std = (getattr(exact.data_preprocessor, name).double() for name in ('mean', 'std'))
    spread = []
    for number in batches:
        images = check.scenes(number, size, np.random.default_rng(number))
        scores, maps = session.run(None, {'images': images})
        with torch.no_grad():
            outputs = exact((torch.from_numpy(images).double() - mean) / std)
        places = outputs['token_scores'].softmax(1).transpose(1, 2).numpy()
        assert maps.shape == (number, model.head.num_classes, *outputs['grid'])
        np.testing.assert_allclose(scores, outputs['logits'].sigmoid().numpy(), rtol=0, atol=2e-5)
        np.testing.assert_allclose(maps.reshape(places.shape), places, rtol=0, atol=2e-5)
        spread.append(outputs['logits'])
    assert torch.cat(spread).std(0).max() > 1e-4

"""A step of a method without a run: what it is given, a network that shows through, and the numbers of slow loops."""

import math

import numpy as np
import torch
from torch import nn

from sarlp.engine import load_config
from sarlp.methods import Batch, Progress, TaskInfo
from sarlp.methods.base import IMAGE
from sarlp.registry import METHODS


class Echo(nn.Module):
    """Its logits are the images (B, C), times a number; remembers how often it was asked."""

    def __init__(self, scale=1.0):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))
        self.calls = 0

    def forward(self, images):
        self.calls += 1
        return {'logits': images * self.scale}


def numbers(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 2


def labels(seed, images, classes):
    """(images, classes) of 1 / 0 / -1."""
    return torch.randint(-1, 2, (images, classes), generator=torch.Generator().manual_seed(seed)).float()


def logits_and_labels(images, classes):
    """Logits (B, C) float64 with gradient, and observed labels (B, C) float32 of which about half are unknown."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(images, classes, generator=generator, dtype=torch.float64) * 2
    observed = torch.randint(-2, 2, (images, classes), generator=generator).clamp(min=-1).float()
    return logits.requires_grad_(), observed


def task(observed):
    """What is known of the training data, where these labels (N, C) are all of them."""
    observed = np.asarray(observed)
    names = tuple(f'class {c}' for c in range(observed.shape[1]))
    return TaskInfo(names, len(observed), (observed == 1).sum(0), (observed == 0).sum(0))


def batch(observed, index=None, progress=None, **views):
    """What one step is given; ``views`` are the images by view."""
    index = torch.arange(len(observed)) if index is None else torch.as_tensor(index)
    return Batch(views, observed, index, tuple(map(str, index.tolist())), progress or Progress())


def build(name, observed, **options):
    """The method of an overlay, ready for the first step."""
    options = {f'model.method.{key}': value for key, value in options.items()}
    method = METHODS.build(load_config(f'{name}_r18_digits_p0.1', options).model.method)
    method.before_train(task(observed))
    return method


def step(method, logits, observed, index=None, **progress):
    """Losses by name, of a method that asks for the logits of one view."""
    return method.loss(Echo(), batch(observed, index, Progress(**progress), **{IMAGE: logits}))


def entries(logits, observed):
    """Of each label its logit, score and code as numbers of Python, for slow loops."""
    flat = logits.detach().flatten().tolist()
    return [(x, 1 / (1 + math.exp(-x)), y) for x, y in zip(flat, observed.flatten().tolist(), strict=True)]


def entropy(logit, target):
    """Cross entropy of one label, by hand."""
    p = 1 / (1 + math.exp(-float(logit)))
    return -(float(target) * math.log(p) + (1 - float(target)) * math.log(1 - p))


def mean(values):
    """0 of nothing."""
    values = list(values)
    return sum(values) / max(len(values), 1)

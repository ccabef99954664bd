"""A step of a method by itself: what it is given, and a network that shows through."""

import math

import numpy as np
import torch
from torch import nn

from sarlp.methods import Batch, Progress, TaskInfo


class Echo(nn.Module):
    """Its logits are the images (B, C), times a number; remembers how often it was asked."""

    def __init__(self, scale=1.0):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))
        self.calls = 0

    def forward(self, images):
        self.calls += 1
        return {'logits': images * self.scale}


def labels(seed, images, classes):
    """(images, classes) of 1 / 0 / -1."""
    return torch.randint(-1, 2, (images, classes), generator=torch.Generator().manual_seed(seed)).float()


def numbers(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 2


def task(observed):
    """What is known of a training set with these labels (N, C)."""
    observed = np.asarray(observed)
    names = tuple(f'class {c}' for c in range(observed.shape[1]))
    return TaskInfo(names, len(observed), (observed == 1).sum(0), (observed == 0).sum(0))


def batch(observed, index=None, progress=None, **views):
    """One step; ``views`` are the images by view."""
    index = torch.arange(len(observed)) if index is None else torch.as_tensor(index)
    return Batch(views, observed, index, tuple(map(str, index.tolist())), progress or Progress())


def entropy(logit, target):
    """Cross entropy of one label, by hand."""
    p = 1 / (1 + math.exp(-float(logit)))
    return -(float(target) * math.log(p) + (1 - float(target)) * math.log(1 - p))


def mean(values):
    """0 of nothing."""
    values = list(values)
    return sum(values) / max(len(values), 1)

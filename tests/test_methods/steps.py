"""A step of a method without a run: a network whose logits are given."""

import math

import numpy as np
import torch

from sarlp.engine import load_config
from sarlp.methods import Batch, Progress, TaskInfo
from sarlp.methods.base import IMAGE
from sarlp.registry import METHODS


def labels(images, classes, seed=0):
    """Logits (B, C) float64 with gradient, and observed labels (B, C) float32 of which about half are unknown."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(images, classes, generator=generator, dtype=torch.float64) * 2
    observed = torch.randint(-2, 2, (images, classes), generator=generator).clamp(min=-1).float()
    return logits.requires_grad_(), observed


def task_of(observed):
    """What is known of the training data, where these (N, C) are all of them."""
    classes = tuple(f'class {number}' for number in range(observed.shape[1]))
    counts = [np.asarray((observed == label).sum(0), np.int64) for label in (1, 0)]
    return TaskInfo(classes, len(observed), *counts)


def build(name, observed, **options):
    """The method of an overlay, ready for the first step."""
    options = {f'model.method.{key}': value for key, value in options.items()}
    method = METHODS.build(load_config(f'{name}_r18_digits_p0.1', options).model.method)
    method.before_train(task_of(observed))
    return method


def step(method, logits, observed, index=None, **progress):
    """Losses of the step by name."""
    index = torch.arange(len(observed)) if index is None else torch.tensor(index)
    images = {IMAGE: torch.zeros(len(observed), 3, 2, 2)}
    batch = Batch(images, observed, index, ('',) * len(observed), Progress(**progress))
    return method.loss(lambda images: {'logits': logits}, batch)


def entries(logits, observed):
    """Of each label its logit, score and code as numbers of Python, for slow loops."""
    flat = logits.detach().flatten().tolist()
    return [(x, 1 / (1 + math.exp(-x)), y) for x, y in zip(flat, observed.flatten().tolist(), strict=True)]

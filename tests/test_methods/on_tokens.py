"""A network whose images are tokens, for methods that work on features of classes, and those features by hand."""

import numpy as np
import torch
from torch import nn

from sarlp.methods import Progress
from sarlp.models.heads import BaselineHead

from .steps import batch, task

LOSS = dict(type='BinaryCrossEntropy')
B, C, P, D = 7, 5, 3, 11


class Tokens(nn.Module):
    """Its images are tokens (B, P, D)."""

    def __init__(self, head=BaselineHead):
        super().__init__()
        torch.manual_seed(0)
        self.head = head(C, D)

    def extract_tokens(self, images):
        return images, (1, P)


def make(method, network, observed):
    """A method, ready for the first step."""
    method.meet(network)
    method.before_train(task(observed))
    return method


def run(method, network, observed, tokens, epoch):
    """Losses of a step by name."""
    torch.manual_seed(3)
    return method.loss(network, batch(observed, progress=Progress(epoch), image=tokens))


def by_hand(network, tokens):
    """Features (B, C, D) of classes."""
    scores = network.head.score(tokens).detach().numpy()
    weights = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    return np.array([[(weights[i, :, c, None] * tokens[i].numpy()).sum(0) for c in range(C)] for i in range(B)])

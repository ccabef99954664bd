import numpy as np
import pytest
import torch
from sklearn.metrics import fbeta_score
from torch import nn

from sarlp.methods.d2l import D2L

from .steps import Echo, batch, entropy, labels, mean, numbers, task

LOSS = dict(type='BinaryCrossEntropy')
N, C, P, D = 29, 5, 3, 7


class Tokens(nn.Module):
    """Its images are tokens (B, P, D); the head has zeros for logits, and adds a number to them."""

    def __init__(self):
        super().__init__()
        self.head = nn.Module()
        self.head.in_channels, self.head.num_classes = D, C
        self.head.bias = nn.Parameter(torch.zeros(C))
        self.head.forward = lambda tokens, grid: {'logits': tokens[:, 0, :C] * 0 + self.head.bias}

    def extract_tokens(self, images):
        return images, (1, P)


def make(observed, network, **options):
    torch.manual_seed(0)
    method = D2L(LOSS, **options)
    method.meet(network)
    method.before_train(task(observed))
    method.teacher.bind(Echo())
    return method


def step(method, network, observed, weak, tokens, index=None):
    index = torch.arange(len(observed)) if index is None else index
    return method.loss(network, batch(observed[index], index, weak=weak[index], strong=tokens[index]))


def thresholds_by_hand(observed, weak):
    for c in range(C):
        known = observed[:, c] != -1
        scores, truth = torch.sigmoid(weak[known, c]).numpy(), observed[known, c].numpy()
        tried = [t / 100 for t in range(1, 100)]
        values = [fbeta_score(truth, scores >= t, beta=0.5, zero_division=0.0) for t in tried]
        yield max(t for t, value in zip(tried, values, strict=True) if value > max(values) - 1e-9)


def test_the_known_labels_give_the_thresholds_and_the_second_classifier_learns_the_rest():
    observed, weak, tokens, network = labels(0, N, C), numbers(1, N, C), numbers(2, N, P, D), Tokens()
    method = make(observed, network, pseudo_weight=2.0)
    for index in torch.arange(N).split(7):
        assert step(method, network, observed, weak, tokens, index)['loss_pseudo'] == 0  # no threshold yet
    method.after_epoch()
    thresholds = list(thresholds_by_hand(observed, weak))
    assert method.thresholds.tolist() == pytest.approx(thresholds)

    losses = step(method, network, observed, weak, tokens)
    scores = (tokens @ method.classifier.weight.T + method.classifier.bias).detach().numpy()
    expected = []
    for i, c in np.argwhere(observed.numpy() == -1):
        weights = np.exp(scores[i, :, c]) / np.exp(scores[i, :, c]).sum()
        positive = torch.sigmoid(weak[i, c]).item() >= thresholds[c]
        expected.append(entropy((weights * scores[i, :, c]).sum(), float(positive)))
    assert losses['loss_pseudo'].item() == pytest.approx(2 * mean(expected), rel=1e-5)
    assert losses['loss_known'].item() == pytest.approx(entropy(0, 1), rel=1e-5)


def test_the_head_never_learns_a_pseudo_label():
    observed, weak, network = labels(0, N, C), numbers(1, N, C), Tokens()
    tokens = numbers(2, N, P, D).requires_grad_()
    method = make(observed, network)
    method.thresholds.fill_(0.5)
    step(method, network, observed, weak, tokens)['loss_pseudo'].backward()
    assert network.head.bias.grad is None and method.classifier.weight.grad.any()
    assert tokens.grad.any()  # what lies under both does


def test_a_class_without_a_known_positive_has_no_pseudo_labels():
    observed = labels(0, N, C)
    observed[:, 3] = observed[:, 3].clamp(max=0)
    weak, tokens, network = numbers(1, N, C), numbers(2, N, P, D), Tokens()
    method = make(observed, network)
    step(method, network, observed, weak, tokens)
    method.after_epoch()
    assert method.thresholds.isinf().tolist() == [False, False, False, True, False]
    step(method, network, observed, weak, tokens)['loss_pseudo'].backward()
    assert method.classifier.weight.grad.any(1).tolist() == [True, True, True, False, True]


def test_the_classifier_takes_part_before_there_are_pseudo_labels():
    """Several processes would wait for its gradient."""
    observed, network = labels(0, N, C), Tokens()
    method = make(observed, network)
    sum(step(method, network, observed, numbers(1, N, C), numbers(2, N, P, D)).values()).backward()
    assert method.classifier.weight.grad is not None

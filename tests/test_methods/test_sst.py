import math

import numpy as np
import pytest
import torch
from torch import nn

from sarlp.errors import UserError
from sarlp.methods.sst import SST, Cooccurrence

from . import on_tokens
from .on_tokens import LOSS, B, C, D, P, Tokens, by_hand, run
from .steps import entropy, labels, mean, numbers

PAIR_LOSS = dict(
    type='AsymmetricLoss', gamma_neg=2, gamma_pos=1, clip=0.05, eps=1e-8, scale=1.0, reduction='mean_known'
)
PAIRS = [(i, j) for i in range(C) for j in range(i + 1, C)]


@pytest.fixture
def network():
    return Tokens()


def make(network, observed, **options):
    torch.manual_seed(1)
    return on_tokens.make(SST(LOSS, PAIR_LOSS, narrow_dim=13, pair_dim=17, **options), network, observed)


def pair_probabilities(method, features):
    """(B, C, C) of features (B, C, D) by the layers one after the other, each pair by itself."""
    net = method.cooccurrence
    found = np.zeros((len(features), C, C))
    for b, image in enumerate(torch.as_tensor(features)):
        for number, (i, j) in enumerate(PAIRS):
            joined = net.join(torch.cat([net.narrow(image[i]), net.narrow(image[j])])).relu()
            logit = net.widen(joined) @ net.score.weight[number] + net.score.bias[number]
            found[b, i, j] = found[b, j, i] = logit.sigmoid().item()
    return found


def focused(p, y):
    """The asymmetric loss of a pair."""
    if y == 1:
        return -(1 - p) * math.log(p)
    q = min(1 - p + 0.05, 1)
    return -((1 - q) ** 2) * math.log(q)


@pytest.mark.parametrize('unknown_pairs', ['negative', 'ignored'])
def test_pairs(network, unknown_pairs):
    tokens, observed = numbers(0, B, P, D), labels(1, B, C)
    method = make(network, observed, unknown_pairs=unknown_pairs, pair_weight=3)
    loss = run(method, network, observed, tokens, 0)['loss_pairs']
    probabilities = pair_probabilities(method, by_hand(network, tokens))
    terms = []
    for b in range(B):
        for i, j in PAIRS:
            both = {observed[b, i].item(), observed[b, j].item()}
            if both == {1}:
                terms.append(focused(probabilities[b, i, j], 1))
            elif unknown_pairs == 'negative' or 0 in both:
                terms.append(focused(probabilities[b, i, j], 0))
    assert (len(terms) == B * len(PAIRS)) == (unknown_pairs == 'negative')
    assert loss.item() == pytest.approx(3 * mean(terms), rel=1e-4)


def found_by_hand(network, method, tokens, observed, epoch):
    """What is there, by the two ways: known labels, and what was found in an epoch from the start on."""
    features, margins = by_hand(network, tokens), {}
    probabilities = pair_probabilities(method, features)
    targets = {name: observed.clone() for name in ('within', 'across')}
    for name, first in (('within', method.within_margin), ('across', method.across_margin)):
        margins[name] = max(first - method.margin_step * (epoch - method.start), method.least_margin)
    for b in range(B):
        known = [j for j in range(C) if observed[b, j] == 1]
        for c in range(C):
            if observed[b, c] != -1:
                continue
            if known and mean(probabilities[b, c, j] for j in known) >= margins['within']:
                targets['within'][b, c] = 1
            held = method.memory[c, : min(method.written[c].item(), method.size)].numpy()
            cosines = [(features[b, c] @ row) / np.linalg.norm(features[b, c]) / np.linalg.norm(row) for row in held]
            if cosines and mean(cosines) >= margins['across']:
                targets['across'][b, c] = 1
    return targets


@pytest.mark.parametrize('epoch', [2, 4])
def test_what_is_found(network, epoch):
    tokens, observed = numbers(0, B, P, D), labels(1, B, C)
    observed[3] = torch.where(observed[3] == 1, -1, observed[3])  # nothing is known to be in image 3
    observed[:, 2] = torch.where(observed[:, 2] == 1, -1, observed[:, 2])  # nor class 2 in any
    options = dict(start=2, within_margin=0.51, across_margin=0.3, margin_step=0.02, least_margin=0.02, memory=3)
    method = make(network, observed, **options)
    losses = run(method, network, observed, tokens, epoch)
    targets = found_by_hand(network, method, tokens, observed, epoch)
    logits = network.head(tokens, (1, P))['logits'].detach()
    for name, target in targets.items():
        assert (
            0 < (target != observed).sum() < (observed == -1).sum()
            and (target[observed != -1] == observed[observed != -1]).all()
        )
        expected = mean(entropy(logits[b, c], target[b, c]) for b in range(B) for c in range(C) if target[b, c] != -1)
        assert losses[f'loss_{name}'].item() == pytest.approx(expected, rel=1e-4), name
    assert (targets['within'][3] == observed[3]).all() and (targets['across'][:, 2] == observed[:, 2]).all()
    if epoch == 2:
        before = run(method, network, observed, tokens, 1)
        assert before['loss_within'] == before['loss_across'] == 0 and before['loss_pairs'] > 0


def test_margins(network):
    method = make(network, labels(1, B, C), start=5)
    margins = [round(method._margin(0.95, epoch), 3) for epoch in (5, 6, 12, 13, 30)]
    assert margins == [0.95, 0.925, 0.775, 0.75, 0.75]


def test_what_is_not_remembered_yet_is_like_nothing(network):
    """In the authors' code an empty place is a cosine of 0, so that nothing is found until all places are taken."""
    observed = torch.full((B, C), -1.0)
    observed[0, 0] = 1
    tokens = numbers(0, B, P, D)
    tokens[1:] = tokens[0]  # all images are alike
    method = make(network, observed, start=0, memory=50)
    losses = run(method, network, observed, tokens, 0)
    logits = network.head(tokens, (1, P))['logits'].detach()
    expected = mean(entropy(logits[b, 0], 1) for b in range(B))
    assert losses['loss_across'].item() == pytest.approx(expected, rel=1e-4)
    assert losses['loss_known'].item() == pytest.approx(entropy(logits[0, 0], 1), rel=1e-4)


def test_all_its_layers_learn(network):
    tokens, observed = numbers(0, B, P, D), labels(1, B, C)
    method = make(network, observed, start=0)
    sum(run(method, network, observed, tokens, 0).values()).backward()
    for name, parameter in [*method.named_parameters(), *network.named_parameters()]:
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), name


def test_gradients_are_those_of_the_layers_one_after_the_other():
    torch.manual_seed(0)
    net = Cooccurrence(D, C, 13, 17).double()
    features = numbers(0, B, C, D).double()
    weights = numbers(1, B, len(PAIRS)).double()
    (net(features) * weights).sum().backward()
    found = [parameter.grad.clone() for parameter in net.parameters()]
    net.zero_grad()
    narrow = net.narrow(features)
    one, other = zip(*PAIRS, strict=True)
    hidden = net.widen(net.join(torch.cat([narrow[:, one], narrow[:, other]], 2)).relu())
    ((hidden * net.score.weight + 0).sum(2).add(net.score.bias) * weights).sum().backward()
    for grad, parameter in zip(found, net.parameters(), strict=True):
        torch.testing.assert_close(grad, parameter.grad, rtol=1e-10, atol=1e-12)


def test_nothing_known_teaches_nothing_but_that_pairs_are_rare(network):
    observed = torch.full((B, C), -1.0)
    losses = run(make(network, labels(1, B, C), start=0), network, observed, numbers(0, B, P, D), 0)
    assert losses.pop('loss_pairs') > 0 and sum(losses.values()) == 0
    ignoring = make(network, labels(1, B, C), start=0, unknown_pairs='ignored')
    assert sum(run(ignoring, network, observed, numbers(0, B, P, D), 0).values()) == 0


def test_one_class_has_no_pairs():
    network = Tokens()
    network.head.score = nn.Linear(D, 1)
    with pytest.raises(UserError, match='SST learns which classes come together, and there is one'):
        make(network, labels(1, B, 1))


def test_options():
    with pytest.raises(UserError, match="unknown_pairs must be 'negative' or 'ignored', got 'positive'"):
        SST(LOSS, PAIR_LOSS, unknown_pairs='positive')

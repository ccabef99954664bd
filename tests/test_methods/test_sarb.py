import math

import pytest
import torch

from sarlp.methods.sarb import SARB, cluster

from . import on_tokens
from .on_tokens import LOSS, B, C, D, P, Tokens, by_hand, run
from .steps import entropy, labels, mean, numbers


@pytest.fixture
def network():
    return Tokens()


def make(network, observed, **options):
    return on_tokens.make(SARB(LOSS, **options), network, observed)


def classified(network, feature, c):
    return feature @ network.head.score.weight[c].detach().numpy() + network.head.score.bias[c].item()


def test_instances_are_blended_where_only_the_partner_is_known_to_have_the_class(network):
    tokens, observed = numbers(0, B, P, D), labels(1, B, C)
    observed[:3, :2], observed[5, :2] = -1, 1  # image 5 is the partner of image 1
    method = make(network, observed, start=2)
    with torch.no_grad():
        method.instance_share.fill_(0.7)
    features = by_hand(network, tokens)
    expected, blended = [], 0
    for i in range(B):
        for c in range(C):
            partner = B - 1 - i
            if observed[i, c] == -1 and observed[partner, c] == 1:
                mixed, target = 0.7 * features[i, c] + 0.3 * features[partner, c], 0.3
                blended += 1
            elif observed[i, c] == -1:
                continue
            else:
                mixed, target = features[i, c], observed[i, c]
            expected.append(entropy(classified(network, mixed, c), target))
    assert blended > 2
    assert run(method, network, observed, tokens, 2)['loss_instance'].item() == pytest.approx(mean(expected), rel=1e-4)
    assert run(method, network, observed, tokens, 1)['loss_instance'].item() == 0  # not before the start


def test_one_unknown_class_of_an_image_gets_a_prototype(network):
    tokens, observed = numbers(0, B, P, D), labels(1, B, C)
    observed[4] = 1  # nothing is unknown there
    method = make(network, observed, start=0)
    method.prototypes[:] = numbers(2, C, 10, D)
    method.available[:] = torch.tensor([10, 3, 0, 1, 0])
    unknown = observed == -1
    seen = set()
    for _ in range(40):
        prototypes, places = method._draw(unknown)
        has = (unknown & (method.available > 0)).any(1)
        assert torch.equal(places.sum(1), has.long()) and not (places & ~unknown).any()
        for i, c in places.nonzero().tolist():
            (which,) = (
                (method.prototypes[c, : method.available[c]] == prototypes[i, c]).all(1).nonzero().flatten().tolist()
            )
            seen.add((c, which))
    assert {c for c, _ in seen} == {0, 1, 3} and len({which for c, which in seen if c == 0}) > 5
    assert {which for c, which in seen if c == 1} == {0, 1, 2}

    with torch.no_grad():
        method.prototype_share.fill_(0.8)
    losses = run(method, network, observed, tokens, 0)
    torch.manual_seed(3)
    prototypes, places = method._draw(unknown)
    features = by_hand(network, tokens)
    expected = []
    for i in range(B):
        for c in range(C):
            if places[i, c]:
                mixed = 0.8 * features[i, c] + 0.2 * prototypes[i, c].numpy()
                expected.append(entropy(classified(network, mixed, c), 0.2))
            elif observed[i, c] != -1:
                expected.append(entropy(classified(network, features[i, c], c), observed[i, c]))
    assert losses['loss_prototype'].item() == pytest.approx(mean(expected), rel=1e-4)


def test_the_shares_learn_of_features_and_not_of_targets(network):
    tokens, observed = numbers(0, B, P, D), labels(1, B, C)
    method = make(network, observed, start=0)
    run(method, network, observed, tokens, 0)['loss_instance'].backward()
    features = torch.tensor(by_hand(network, tokens))
    score = network.head.score
    slope, count = 0.0, 0
    for i in range(B):
        for c in range(C):
            count += observed[i, c] != -1
            if observed[i, c] == -1 and observed[B - 1 - i, c] == 1:
                one, other = (classified(network, features[j, c].numpy(), c) for j in (i, B - 1 - i))
                slope += (1 / (1 + math.exp(-(one + other) / 2)) - 0.5) * (one - other)
                count += 1
    assert method.instance_share.grad.item() == pytest.approx(slope / count.item(), rel=1e-3)
    assert score.weight.grad.any()
    with torch.no_grad():
        method.instance_share.fill_(1.2)
        method.prototype_share.fill_(-0.1)
    method.after_step()
    assert (method.instance_share.item(), method.prototype_share.item()) == (1, 0)


def test_prototypes_are_made_when_they_are_due(network):
    observed = labels(1, B, C)
    observed[0] = 1
    observed[:, 2] = 0  # a class without a positive
    method = make(network, observed, start=2, renew=3)
    made = []
    for number in range(6):
        losses = run(method, network, observed, numbers(number, B, P, D), number)
        assert all(value.isfinite() for value in losses.values())
        before = method.prototypes.clone()
        method.after_epoch()
        made.append(not torch.equal(before, method.prototypes))
    assert made == [False, True, False, False, True, False]  # after two epochs, and three more
    assert method.available[2] == 0 and (method.available > 0).sum() == C - 1
    assert not method.prototypes[2].any()


def test_clusters():
    groups = numbers(0, 3, 1, D) * 100 + numbers(1, 3, 13, D) * 0.01
    centres = cluster(groups.flatten(0, 1), 3)
    expected = groups.mean(1)
    order = torch.cdist(expected, centres).argmin(1)
    torch.testing.assert_close(centres[order], expected, atol=1e-3, rtol=0)
    few = numbers(0, 4, D)
    assert sorted(cluster(torch.cat([few, few]), 5).tolist()) == sorted(few.tolist())
    assert len(cluster(torch.empty(0, D), 5)) == 0


def test_nothing_known_is_0(network):
    observed = torch.full((B, C), -1.0)
    losses = run(make(network, labels(1, B, C), start=0), network, observed, numbers(0, B, P, D), 0)
    assert sum(losses.values()).item() == 0

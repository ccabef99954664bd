import numpy as np
import pytest
import torch
from torch.nn import functional as F

from sarlp.errors import UserError
from sarlp.methods.class_features import OnClassFeatures, class_features, contrast
from sarlp.models.saliency import SaliencyHead

from .on_tokens import LOSS, B, C, D, P, Tokens, by_hand, make
from .steps import labels, mean, numbers


@pytest.fixture
def network():
    return Tokens()


def with_memory(network, observed, memory):
    return make(OnClassFeatures(LOSS, memory), network, observed)


def test_the_features_are_what_the_head_classifies(network):
    tokens = numbers(0, B, P, D)
    outputs = network.head(tokens, (1, P))
    features = class_features(tokens, outputs['token_scores'])
    np.testing.assert_allclose(features.detach(), by_hand(network, tokens), atol=1e-5)
    for i in range(B):
        for c in range(C):
            weight, bias = network.head.score.weight[c], network.head.score.bias[c]
            logit = (features[i, c] @ weight + bias).item()
            assert outputs['logits'][i, c].item() == pytest.approx(logit, abs=1e-5)


@pytest.mark.parametrize('negative_pairs', [False, True])
def test_contrast_is_the_mean_over_pairs(negative_pairs):
    features, observed = numbers(0, B, C, D), labels(1, B, C)
    terms = []
    for c in range(C):
        for i in range(B):
            for j in range(i):
                pair = {observed[i, c].item(), observed[j, c].item()}
                cosine = F.cosine_similarity(features[i, c], features[j, c], 0).item()
                if pair == {1}:
                    terms.append(1 - cosine)
                elif pair == {0, 1} or (negative_pairs and pair == {0}):
                    terms.append(1 + cosine)
    assert contrast(features, observed, negative_pairs).item() == pytest.approx(mean(terms), rel=1e-5)
    assert contrast(features, torch.full((B, C), -1.0)) == 0


def test_the_memory_holds_the_latest_positives(network):
    observed = labels(1, B, C)
    method = with_memory(network, observed, 4)
    expected = [[] for _ in range(C)]
    for number in range(5):
        tokens, known = numbers(number, B, P, D), labels(number, B, C)
        if number == 3:
            known[:, 0] = 1  # more than the memory holds
        features = by_hand(network, tokens)
        method.remember(torch.from_numpy(features), known)
        for c in range(C):
            expected[c] += [features[i, c] for i in range(B) if known[i, c] == 1]
    for c in range(C):
        held = sorted(row.tolist() for row in method.memory[c][: method.written[c]])
        np.testing.assert_allclose(held, sorted(row.tolist() for row in expected[c][-4:]), atol=1e-5)
    assert method.written.tolist() == [len(rows) for rows in expected]


def test_every_rank_remembers_the_positives_of_all(network, monkeypatch):
    observed, features = labels(1, B, C), numbers(0, B, C, D)
    others = {id(observed): labels(2, B, C), id(features): numbers(3, B, C, D)}
    one, two = (with_memory(network, observed, 31) for _ in range(2))
    one.remember(torch.cat([features, others[id(features)]]), torch.cat([observed, others[id(observed)]]))
    monkeypatch.setattr('sarlp.methods.class_features.all_gather', lambda value: [value, others[id(value)]])
    two.remember(features, observed)
    assert one.written.tolist() == two.written.tolist() and one.written.sum() > 20
    assert torch.equal(one.memory, two.memory)


def test_another_head_classifies_something_else():
    with pytest.raises(UserError, match='model.head is a SaliencyHead'):
        with_memory(Tokens(SaliencyHead), labels(1, B, C), 3)

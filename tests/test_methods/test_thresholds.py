import numpy as np
import pytest
import torch
from sklearn.metrics import fbeta_score

from sarlp.methods.thresholds import count_threshold, f_beta_threshold, pseudo_labels


def test_pseudo_labels_of_what_is_unknown_alone():
    scores = torch.tensor([[0.9, 0.1, 0.5], [0.6, 0.4, 0.6], [0.7, 0.2, 0.59]])
    observed = torch.tensor([[-1.0, -1, -1], [-1, -1, -1], [0, 1, -1]])
    assert pseudo_labels(scores, observed, 0.6, 0.4).tolist() == [[1, 0, -1], [1, 0, 1], [-1, -1, -1]]
    upper, lower = torch.tensor([0.9, torch.inf, 0.6]), torch.tensor([-torch.inf, 0.1, 0.6])
    by_class = pseudo_labels(scores, observed, upper, lower)
    assert by_class.tolist() == [[1, 0, 0], [-1, -1, -1], [-1, -1, 0]]  # the 0.6 of the last class would be both


@pytest.mark.parametrize('count', [1, 5, 13])
def test_a_count_is_found_by_sorting(count):
    scores = torch.rand(13, generator=torch.Generator().manual_seed(0))
    threshold = count_threshold(scores, count)
    assert threshold == sorted(scores.tolist(), reverse=True)[count - 1]
    assert (scores >= threshold).sum() == count


def test_a_count_of_none_is_no_label_and_not_all():
    assert not (torch.rand(7) >= count_threshold(torch.rand(7), 0)).any()
    assert count_threshold(torch.empty(0), 0) == float('inf')


@pytest.mark.parametrize('beta', [0.5, 2.0])
def test_f_beta_by_trying_them_all(beta):
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 2, 41)
    scores = np.clip(labels * 0.3 + rng.random(41) * 0.7, 0, 1)
    tried = np.arange(1, 100) / 100
    values = [fbeta_score(labels, scores >= t, beta=beta, zero_division=0.0) for t in tried]
    best = max(t for t, value in zip(tried, values, strict=True) if value == pytest.approx(max(values), abs=1e-12))
    found = f_beta_threshold(torch.tensor(scores), torch.tensor(labels), beta)
    assert found == pytest.approx(best)


def test_the_denominator_of_f_beta_has_beta_squared():
    """At beta below 1 the other denominator, as in published code, weighs the recall differently."""
    labels = torch.tensor([1, 1, 1, 0, 0])
    scores = torch.tensor([0.805, 0.305, 0.305, 0.305, 0.305])  # P, R = 1, 1/3 from .31 on, and 3/5, 1 below

    def value(precision, recall, weight):
        return 1.25 * precision * recall / (weight * precision + recall)

    assert value(1, 1 / 3, 0.25) > 0.7 > value(3 / 5, 1, 0.25) > 0.65
    assert value(1, 1 / 3, 0.5) < value(3 / 5, 1, 0.5)
    assert f_beta_threshold(scores, labels, 0.5) == pytest.approx(0.8)
    assert f_beta_threshold(scores, labels, 0.5, squared_below=False) == pytest.approx(0.3)


def test_no_positive_has_no_threshold():
    scores = torch.tensor([0.2, 0.9])
    assert f_beta_threshold(scores, torch.tensor([0, 0]), 0.5) == float('inf')
    assert f_beta_threshold(torch.zeros(2), torch.tensor([1, 0]), 0.5) == float('inf')
    assert f_beta_threshold(torch.empty(0), torch.empty(0), 0.5) == float('inf')

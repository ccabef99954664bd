import math

import pytest
import torch

from sarlp.errors import UserError
from sarlp.methods.class_stats import class_prior

from .steps import build, entries, logits_and_labels, step, task

B, C = 7, 11
LOGITS, OBSERVED = logits_and_labels(B, C)


def slow_unknown(observed, top_k, threshold, gamma=4):
    """Partial ASL of the unknown labels, but for the likely ones."""
    prior = class_prior(task(observed)).tolist()
    unknown = [(s, place % C) for place, (_, s, y) in enumerate(entries(LOGITS, observed)) if y == -1]
    unlikely = sorted(unknown)[: max(len(unknown) - top_k * B, 0)]  # of the batch: from some images more, some none
    return sum(-(s**gamma) * math.log(1 - s) for s, c in unlikely if threshold is None or prior[c] <= threshold)


@pytest.mark.parametrize('top_k', [0, 1, 5])
@pytest.mark.parametrize('threshold', [None, 0.45, 0.54])
def test_equals_a_slow_loop(top_k, threshold):
    method = build('p_asl_selective', OBSERVED, top_k=top_k, prior_threshold=threshold)
    expected = slow_unknown(OBSERVED, top_k, threshold)
    assert step(method, LOGITS, OBSERVED)['loss_unknown'].item() == pytest.approx(expected, rel=1e-6)


def test_the_cases_differ():
    assert len({slow_unknown(OBSERVED, k, t) for k in (0, 1) for t in (None, 0.45, 0.54)}) == 6


def test_its_numbers_are_those_for_random_labels():
    """By the code's default of 0.05 all classes of the digits are frequent, and no unknown label is learnt."""
    observed = torch.full((997, 10), -1.0)
    observed[:100] = 0
    observed[:22] = 1  # in 22 % of the images, as each digit
    assert not build('p_asl_selective', observed).frequent.any()
    assert build('p_asl_selective', observed, prior_threshold=0.05).frequent.all()
    one = torch.full((1, 10), -1.0)
    assert build('p_asl_selective', observed, top_k=0).unknown_loss.gamma_neg == 4
    loss = step(build('p_asl_selective', observed, top_k=0), torch.zeros(1, 10), one)['loss_unknown']
    assert loss.item() == pytest.approx(10 * 0.5**4 * math.log(2))


def test_the_clip_takes_no_part_in_the_ranking():
    """All of these scores are 0 behind the clip, and the highest are still left alone."""
    logits = torch.linspace(-9, -4, B * C).view(B, C).requires_grad_()
    observed = torch.full((B, C), -1.0)
    method = build('p_asl_selective', observed, top_k=1, prior_threshold=None, **{'unknown_loss.clip': 0.05})
    untouched = logits.detach().clone()
    assumed = method.assume(logits.detach(), observed == -1, None)
    assert torch.equal(logits, untouched)
    assert (assumed == -1).flatten().nonzero().flatten().tolist() == list(range(B * C - B, B * C))


def test_classes_that_are_frequent_are_those_of_the_data():
    """In the order of the classes, and the known labels of such a class still count."""
    observed = torch.full((13, 5), -1.0)
    observed[:12, 3] = 1
    observed[:12, [0, 1, 2, 4]] = 0
    method = build('p_asl_selective', observed, top_k=0, prior_threshold=0.5)
    assert method.frequent.tolist() == [False, False, False, True, False]
    logits = torch.zeros(13, 5, requires_grad=True)
    sum(step(method, logits, observed).values()).backward()
    assert torch.equal(logits.grad == 0, (torch.arange(65).view(13, 5) == 12 * 5 + 3))


def test_the_weight_of_unknown_labels_survives_the_selection():
    """Whatever the size of the batch before was."""
    method = build('p_asl_selective', OBSERVED, top_k=1, prior_threshold=0.54, **{'unknown_loss.loss_weight': 0.3})
    step(method, *logits_and_labels(13, C))
    expected = 0.3 * slow_unknown(OBSERVED, 1, 0.54)
    assert step(method, LOGITS, OBSERVED)['loss_unknown'].item() == pytest.approx(expected, rel=1e-6)


def test_positives_alone_tell_no_prior():
    observed = OBSERVED.clone()
    observed[observed == 0] = -1
    with pytest.raises(UserError, match='how often the classes occur can not be told'):
        build('p_asl_selective', observed)
    build('p_asl_selective', observed, prior_threshold=None)

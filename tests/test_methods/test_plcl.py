import pytest
import torch

from sarlp.errors import UserError
from sarlp.methods import Progress
from sarlp.methods.plcl import PLCL, relabel

from .steps import Echo, batch, entropy, labels, mean, numbers, task

LOSS = dict(type='BinaryCrossEntropy')
N, C = 29, 5


def by_hand(logits, strategy, threshold, share, positives_only):
    expected = [[-1] * C for _ in range(N)]
    places = [(i, c) for i in range(N) for c in range(C) if logits[i, c] != float('inf')]
    if strategy == 'threshold':
        chosen = [place for place in places if abs(logits[place]) > threshold]
    else:
        lists = [places] if strategy == 'share_overall' else [[p for p in places if p[1] == c] for c in range(C)]
        chosen = []
        for members in lists:
            members = sorted(members, key=lambda p: -logits[p] if positives_only else -abs(logits[p]))
            chosen += members[: int(share * len(members))]
    for i, c in chosen:
        if logits[i, c] > 0 or not positives_only:
            expected[i][c] = int(logits[i, c] > 0)
    return expected


@pytest.mark.parametrize('positives_only', [False, True])
@pytest.mark.parametrize('strategy', ['threshold', 'share', 'share_overall'])
def test_relabels_what_it_is_certain_of(strategy, positives_only):
    logits = torch.where(labels(0, N, C) == -1, numbers(1, N, C), torch.inf)
    found = relabel(logits, strategy, 1.5, 0.3, positives_only)
    assert found.dtype == torch.int8
    assert found.tolist() == by_hand(logits, strategy, 1.5, 0.3, positives_only)
    assert (found == 1).any() and (found == 0).any() != positives_only


def test_a_share_of_logits_that_are_equal_is_no_more_than_that():
    assert (relabel(torch.full((N, C), 3.0), 'share', 0, 0.5) == 1).sum(0).tolist() == [N // 2] * C


def test_nothing_is_unknown():
    nothing = torch.full((N, C), torch.inf)
    for strategy in ('threshold', 'share', 'share_overall'):
        assert (relabel(nothing, strategy, 0.0, 1.0) == -1).all()


def epoch(method, observed, images, number):
    for index in torch.arange(N).split(7):
        losses = method.loss(Echo(), batch(observed[index], index, Progress(number), image=images[index]))
    method.after_epoch()
    return losses['loss_known'].item()


def test_learns_them_beside_the_known_labels_until_the_next_time():
    observed, first, second = labels(0, N, C), numbers(1, N, C), numbers(2, N, C)
    method = PLCL(LOSS, threshold=1.0, every=2)
    method.before_train(task(observed))

    def expected(images, pseudo):
        targets = torch.where(observed == -1, pseudo, observed)[28:]
        return mean(entropy(x, y) for x, y in zip(images[28:][targets != -1], targets[targets != -1], strict=True))

    def sure(images):
        return torch.where(images.abs() > 1, (images > 0).float(), -1.0)

    none = torch.full((N, C), -1.0)
    for number, images, known in (
        (0, second, none),
        (1, first, none),
        (2, second, sure(first)),
        (3, second, sure(first)),
        (4, first, sure(second)),  # and those of the first time are forgotten
    ):
        assert epoch(method, observed, images, number) == pytest.approx(expected(images, known), rel=1e-5)


def test_a_known_label_is_not_relabelled():
    observed = labels(0, N, C)
    method = PLCL(LOSS, threshold=0.0, every=1)
    method.before_train(task(observed))
    epoch(method, observed, -5 * (2 * observed - 1), 0)  # sure of the contrary of what is known
    assert torch.equal(method.labels.values != -1, observed == -1)


def test_options_without_a_meaning():
    with pytest.raises(UserError, match="strategy must be one of threshold, share, share_overall, got 'top'"):
        PLCL(LOSS, strategy='top')
    with pytest.raises(UserError, match='every at least 1, got 2.0, 0.5 and 0'):
        PLCL(LOSS, every=0)

import math
from types import SimpleNamespace

import pytest
import torch

from sarlp.engine import load_config
from sarlp.errors import UserError
from sarlp.methods import Progress
from sarlp.methods.cap import CAP
from sarlp.models.token_head import TokenHead

from .steps import Echo, batch, entropy, labels, mean, numbers, task

LOSS = dict(type='BinaryCrossEntropy')
N, C = 29, 5


def make(observed, **options):
    method = CAP(LOSS, **options)
    method.before_train(task(observed))
    method.teacher.bind(Echo(0.5))
    return method


def epoch(method, observed, weak, strong, number, size=7, of=None):
    """All images once, a batch at a time, in a run of so many epochs; the losses of the last batch."""
    for index in torch.arange(N).split(size):
        step = batch(observed[index], index, Progress(number, num_epochs=of), weak=weak[index], strong=strong[index])
        losses = method.loss(Echo(), step)
    method.after_epoch()
    return losses


def by_hand(method, observed, weak, share=1.0):
    """For each class the scores that become positive and negative."""
    for c in range(C):
        scores = sorted(torch.sigmoid(weak[i, c] * 0.5).item() for i in range(N) if observed[i, c] == -1)
        count = int(share * method.prior[c].item() * len(scores))
        negatives = int((1 - method.prior[c].item()) * len(scores))
        yield c, scores[len(scores) - count :], scores[:negatives]


@pytest.mark.parametrize('share', [1.0, 0.5])
def test_as_many_positives_as_the_frequency_says(share):
    observed, weak, strong = labels(0, N, C), numbers(1, N, C), numbers(2, N, C)
    method = make(observed, warmup=1, positive_share=share)
    epoch(method, observed, weak, strong, 0)
    for c, positive, negative in by_hand(method, observed, weak, share):
        assert positive and negative
        assert method.upper[c].item() == pytest.approx(positive[0], abs=1e-6)
        assert method.lower[c].item() == pytest.approx(negative[-1], abs=1e-6)

    chosen = []
    for c, positive, negative in by_hand(method, observed, weak, share):
        for i in range(N):
            score = torch.sigmoid(weak[i, c] * 0.5).item()
            if observed[i, c] == -1 and (score in positive or score in negative):
                chosen.append(entropy(strong[i, c], float(score in positive)))
    losses = epoch(method, observed, weak, strong, 1, size=N)
    assert losses['loss_pseudo'].item() == pytest.approx(mean(chosen), rel=1e-5)


def test_a_class_too_rare_for_one_has_no_positive_instead_of_all():
    observed = torch.full((N, C), -1.0)
    observed[:20] = 0
    observed[:19, 1] = 1
    method = make(observed, warmup=0, strength=0.01)
    weak = numbers(1, N, C)
    epoch(method, observed, weak, weak, 0)
    assert math.isinf(method.upper[0]) and not math.isinf(method.upper[1])
    assert (method.scores.values[20:, 0] > 0).all()
    assert not (torch.sigmoid(weak) >= method.upper)[:, 0].any()


def test_equal_scores_are_no_label():
    """Of a teacher that knows nothing yet; each would be positive and negative."""
    observed = labels(0, N, C)
    method = make(observed, warmup=0)
    zeros = torch.zeros(N, C)
    epoch(method, observed, zeros, zeros, 0)
    assert epoch(method, observed, zeros, zeros, 1)['loss_pseudo'].item() == 0


def test_until_the_warm_up_is_over_there_are_no_pseudo_labels():
    observed, weak, strong = labels(0, N, C), numbers(1, N, C), numbers(2, N, C)
    method = make(observed, warmup=2)
    (teacher,) = method.teacher._bound
    found = [epoch(method, observed, weak, strong, number)['loss_pseudo'].item() > 0 for number in range(3)]
    assert found == [False, False, True]
    assert teacher.calls == 2 * len(torch.arange(N).split(7))  # not in the first epoch


@pytest.mark.parametrize(('epochs', 'first'), [(3, 1), (12, 6), (30, 12), (60, 12)])
def test_the_warm_up_takes_half_of_a_short_run_at_most(epochs, first):
    """Of the paper's twelve epochs, and the digits' twelve, nothing would be left."""
    observed, weak, strong = labels(0, N, C), numbers(1, N, C), numbers(2, N, C)
    method = make(observed)
    assert method.warmup == 12 and method.first_epoch(epochs) == first
    found = [epoch(method, observed, weak, strong, i, of=epochs)['loss_pseudo'].item() > 0 for i in range(first + 2)]
    assert found == [False] * first + [True] * 2


def test_it_may_start_from_the_prior():
    observed, head = labels(0, N, C), TokenHead(C, 11, None)
    method = CAP(LOSS, start_from_prior=True)
    method.meet(SimpleNamespace(head=head))
    method.before_train(task(observed))
    torch.testing.assert_close(head.score.bias.sigmoid(), method.prior)
    assert head.score.bias.std() > 0.1
    head.expect(torch.full((C,), 0.5))
    method = CAP(LOSS)
    method.meet(SimpleNamespace(head=head))
    method.before_train(task(observed))
    assert (head.score.bias == 0).all()


def test_its_loss_is_that_of_its_code():
    loss = load_config('cap_r18_digits_p0.1').model.method.loss
    assert (loss.gamma_neg, loss.gamma_pos, loss.clip, loss.eps, loss.scale) == (4, 0, 0.05, 1e-8, 1)


def test_scores_of_known_labels_are_not_counted():
    observed, weak = labels(0, N, C), numbers(1, N, C)
    method = make(observed, warmup=0)
    epoch(method, observed, weak, weak, 0)
    assert torch.equal(method.scores.values == -1, observed != -1)


def test_a_share_above_one():
    with pytest.raises(UserError, match=r'positive_share must be in \[0, 1\], got 1.5'):
        CAP(LOSS, positive_share=1.5)

import math

import pytest

from .steps import build, entries, logits_and_labels, step

LOGITS, OBSERVED = logits_and_labels(7, 11)
METHOD = build('splc', OBSERVED)


def slow_unknown(corrected):
    total = 0.0
    for _, s, y in entries(LOGITS, OBSERVED):
        if y == -1 and corrected and s > 0.6:
            total -= (1 - s) ** 2 * math.log(s)  # as a positive, but without its margin
        elif y == -1:
            total -= s**2 * math.log(1 - s)
    return total


@pytest.mark.parametrize(('epoch', 'corrected'), [(0, False), (1, True), (5, True)])
def test_equals_a_slow_loop(epoch, corrected):
    losses = step(METHOD, LOGITS, OBSERVED, epoch=epoch)
    assert losses['loss_unknown'].item() == pytest.approx(slow_unknown(corrected), rel=1e-6)
    assert slow_unknown(False) != pytest.approx(slow_unknown(True))


def test_known_positives_carry_the_margin_in_every_epoch():
    known = 0.0
    for x, s, y in entries(LOGITS, OBSERVED):
        margin = 1 / (1 + math.exp(1 - x))
        known -= {1: (1 - margin) ** 2 * math.log(margin), 0: s**2 * math.log(1 - s), -1: 0}[y]
    for epoch in (0, 1):
        assert step(METHOD, LOGITS, OBSERVED, epoch=epoch)['loss_known'].item() == pytest.approx(known, rel=1e-6)


def test_from_which_epoch_is_a_choice():
    method = build('splc', OBSERVED, from_epoch=3, threshold=0.9)
    unknown = [step(method, LOGITS, OBSERVED, epoch=epoch)['loss_unknown'].item() for epoch in (2, 3)]
    assert unknown[0] == pytest.approx(slow_unknown(False), rel=1e-6)
    assert slow_unknown(False) != pytest.approx(unknown[1]) != pytest.approx(slow_unknown(True))

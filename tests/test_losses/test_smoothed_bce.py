import math

import pytest
import torch

from sarlp.losses.smoothed_bce import SmoothedBCE


def test_both_sides_move_by_all_of_it():
    """And not by a half of it."""
    logits, target = torch.tensor([[0.3, -1.2, 2.0]]), torch.tensor([[1.0, 0.0, -1.0]])
    terms = []
    for x, y in ((0.3, 0.9), (-1.2, 0.1)):
        s = 1 / (1 + math.exp(-x))
        terms.append(-y * math.log(s) - (1 - y) * math.log(1 - s))
    assert SmoothedBCE()(logits, target).item() == pytest.approx(sum(terms) / 2, rel=1e-6)


def test_more_than_a_half_would_turn_the_labels_round():
    with pytest.raises(ValueError, match=r'smoothing must lie in \[0, 0.5\], got 0.6'):
        SmoothedBCE(0.6)

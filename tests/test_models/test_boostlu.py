"""BoostLU against a loop over the cells."""

import pytest
import torch

from sarlp.engine import load_config
from sarlp.errors import UserValueError
from sarlp.models import BoostLUHead

from .methods import assert_every_parameter_learns, assert_onnx_equals, build_model

BATCH, GRID, DIM, CLASSES = 3, (5, 7), 13, 11


@torch.no_grad()
def test_equals_its_formula():
    head = BoostLUHead(CLASSES, DIM, alpha=3.0)
    rows = torch.randn(BATCH, 35, DIM, generator=torch.Generator().manual_seed(0))
    outputs = head(rows, GRID)
    for b in range(BATCH):
        for c in range(CLASSES):
            cells = [float(rows[b, p] @ head.score.weight[c] + head.score.bias[c]) for p in range(35)]
            boosted = [3 * cell if cell > 0 else cell for cell in cells]
            assert min(cells) < 0 < max(cells)
            assert outputs['logits'][b, c].item() == pytest.approx(sum(boosted) / 35, abs=1e-5)
            assert outputs['token_scores'][b, :, c].tolist() == pytest.approx(boosted, abs=1e-5)


def test_numbers_of_the_paper():
    """The classifier learns ten times as fast as what is before it."""
    head = build_model('boostlu').head
    assert (type(head), head.alpha) == (BoostLUHead, 5)
    wrapper = load_config('boostlu_r18_digits_p0.1').optim_wrapper
    assert wrapper.paramwise_cfg.custom_keys == {'head.score': dict(lr_mult=10)}


def test_refused():
    with pytest.raises(UserValueError, match=r'alpha must be at least 1, got 0\.5'):
        BoostLUHead(CLASSES, DIM, alpha=0.5)


def test_trains():
    assert_every_parameter_learns(build_model('boostlu'))


def test_onnx():
    assert_onnx_equals(build_model('boostlu'))

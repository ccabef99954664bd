"""The head of ST against a loop over the cells."""

import pytest
import torch

from sarlp.errors import UserValueError
from sarlp.models import SaliencyHead

from .methods import assert_every_parameter_learns, assert_onnx_equals, build_model

BATCH, GRID, DIM, CLASSES = 3, (5, 7), 13, 11


def tokens(grid=GRID):
    return torch.randn(BATCH, grid[0] * grid[1], DIM, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
@pytest.mark.parametrize(('grid', 'top_k'), [(GRID, 5), (GRID, 1), ((1, 3), 5)])
def test_equals_its_formula(grid, top_k):
    head = SaliencyHead(CLASSES, DIM, alpha=0.7, top_k=top_k)
    rows = tokens(grid)
    outputs = head(rows, grid)
    for b in range(BATCH):
        for c in range(CLASSES):
            cells = [float(rows[b, p] @ head.score.weight[c] + head.score.bias[c]) for p in range(rows.shape[1])]
            mean, largest = sum(cells) / len(cells), sorted(cells)[-top_k:]
            assert outputs['plain_logits'][b, c].item() == pytest.approx(mean, abs=1e-5)
            assert outputs['logits'][b, c].item() == pytest.approx(mean + 0.7 * sum(largest) / len(largest), abs=1e-5)
            assert outputs['token_scores'][b, :, c].tolist() == pytest.approx(cells, abs=1e-5)


def test_numbers_of_the_paper():
    head = build_model('sr').head
    assert (type(head), head.alpha, head.top_k) == (SaliencyHead, 0.5, 5)


@pytest.mark.parametrize('options', [dict(alpha=-0.1), dict(top_k=0), dict(top_k=2.5)])
def test_refused(options):
    with pytest.raises(UserValueError, match='alpha must be at least 0 and top_k a whole number of at least 1'):
        SaliencyHead(CLASSES, DIM, **options)


def test_trains():
    assert_every_parameter_learns(build_model('sr'))


def test_onnx():
    assert_onnx_equals(build_model('sr'))

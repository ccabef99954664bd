import numpy as np
import pytest
import torch

from sarlp.errors import UserError
from sarlp.models.heads import BaselineHead
from sarlp.models.token_head import TokenHead

B, H, W, D, C = 5, 2, 7, 11, 3


@pytest.mark.parametrize('hidden_dim', [None, 17])
@pytest.mark.parametrize('sharpness', [0.0, 0.25, 3.0])
def test_equals_its_formula(sharpness, hidden_dim):
    torch.manual_seed(0)
    head = TokenHead(C, D, hidden_dim, dropout=0, sharpness=sharpness)
    tokens = 40 * torch.randn(B, H * W, D, dtype=torch.float64) + 7
    outputs = head.double()(tokens, (H, W))
    x = tokens.numpy().reshape(-1, D)
    x = (x - x.mean(0)) / np.sqrt(x.var(0) + head.norm.eps)
    if hidden_dim:
        x = np.maximum(x @ head.hidden.weight.detach().numpy().T + head.hidden.bias.detach().numpy(), 0)
    z = (x @ head.score.weight.detach().numpy().T + head.score.bias.detach().numpy()).reshape(B, H * W, C)
    assert np.allclose(outputs['token_scores'].detach(), z)
    for b in range(B):
        for c in range(C):
            weights = np.exp(sharpness * z[b, :, c])
            expected = (weights / weights.sum() * z[b, :, c]).sum()
            assert outputs['logits'][b, c].item() == pytest.approx(expected)


def test_with_everything_off_it_is_the_baseline():
    torch.manual_seed(0)
    baseline, head = BaselineHead(C, D), TokenHead(C, D, None, normalize=False, dropout=0, sharpness=1)
    head.score.load_state_dict(baseline.score.state_dict())
    tokens = torch.randn(B, H * W, D)
    assert torch.equal(head(tokens, (H, W))['logits'], baseline(tokens, (H, W))['logits'])


def test_values_that_mean_nothing():
    for options in (dict(dropout=1.0), dict(sharpness=-0.5)):
        with pytest.raises(UserError, match='dropout must be in .0, 1. and sharpness at least 0'):
            TokenHead(C, D, **options)

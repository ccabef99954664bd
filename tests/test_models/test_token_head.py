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


def test_no_gradient_of_the_tokens_of_a_frozen_backbone_is_computed():
    torch.manual_seed(0)
    head, reached = TokenHead(C, D, 17), []
    head.hidden.register_full_backward_pre_hook(lambda module, gradients: reached.append(gradients[0].shape))
    features = []
    head.norm.register_forward_hook(lambda module, inputs, output: features.append(output))
    head(40 * torch.randn(B, H * W, D) + 7, (H, W))['logits'].sum().backward()
    assert reached == [(B, H * W, 17)] and not features[0].requires_grad
    assert {name for name, one in head.named_parameters() if one.grad is None} == {'norm.weight', 'norm.bias'}
    # earlier checkpoints have trained ones, and give the scores that they gave
    state = head.state_dict()
    state['norm.weight'], state['norm.bias'] = 1 + torch.rand(D), torch.randn(D)
    head.load_state_dict(state)
    tokens = 40 * torch.randn(B * H * W, D) + 7
    norm = head.norm.eval()
    scaled = (tokens - norm.running_mean) / (norm.running_var + norm.eps).sqrt()
    assert torch.allclose(norm(tokens), scaled * state['norm.weight'] + state['norm.bias'], atol=1e-4)


def test_with_everything_off_it_is_the_baseline():
    torch.manual_seed(0)
    baseline, head = BaselineHead(C, D), TokenHead(C, D, None, normalize=False, dropout=0, sharpness=1)
    head.score.load_state_dict(baseline.score.state_dict())
    tokens = torch.randn(B, H * W, D)
    assert torch.equal(head(tokens, (H, W))['logits'], baseline(tokens, (H, W))['logits'])


def test_a_step_of_training_takes_some_places_of_a_frozen_backbone():
    head = TokenHead(C, D, None, normalize=False, dropout=0, places=3)
    tokens = torch.randn(B, H * W, D)
    everywhere = head.score(tokens)
    counts = np.zeros((B, H * W))
    steps = 2000
    torch.manual_seed(0)
    for _ in range(steps):
        scores = head(tokens, (H, W))['token_scores']
        assert scores.shape == (B, 3, C)
        same = torch.isclose(scores[:, :, None], everywhere[:, None]).all(-1)  # (B, 3, P)
        assert (same.sum(2) == 1).all() and (same.sum(1) <= 1).all()  # of its own image, none twice
        counts += same.sum(1).numpy()
    expected = steps * 3 / (H * W)
    assert np.abs(counts - expected).max() < 5 * np.sqrt(expected * (1 - 3 / (H * W)))
    # the pool is over what was drawn
    outputs = head(tokens, (H, W))
    assert torch.equal(outputs['logits'], head.pool(outputs['token_scores']))


def test_all_places_are_taken_otherwise():
    torch.manual_seed(0)
    tokens = torch.randn(B, H * W, D)
    some, all_of_them = (TokenHead(C, D, 5, dropout=0, places=places) for places in (3, None))
    some.load_state_dict(all_of_them.state_dict())
    trained = tokens.clone().requires_grad_()  # of a backbone that learns
    assert torch.equal(some(trained, (H, W))['logits'], all_of_them(tokens, (H, W))['logits'])
    assert torch.equal(some.eval()(tokens, (H, W))['logits'], all_of_them.eval()(tokens, (H, W))['logits'])
    enough = TokenHead(C, D, 5, dropout=0, places=H * W)
    state = torch.get_rng_state()
    enough(tokens, (H, W))
    assert torch.equal(torch.get_rng_state(), state)  # nothing is drawn where there are no more


def test_values_that_mean_nothing():
    for options in (dict(dropout=1.0), dict(sharpness=-0.5)):
        with pytest.raises(UserError, match='dropout must be in .0, 1. and sharpness at least 0'):
            TokenHead(C, D, **options)
    with pytest.raises(UserError, match='places must be at least 1, got 0'):
        TokenHead(C, D, places=0)

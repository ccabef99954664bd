"""What holds of every method that asks the network for logits alone."""

import pytest
import torch

from .steps import build, logits_and_labels, step

NAMES = [
    *('bce_sum', 'bce_mean', 'durand', 'focal', 'asl', 'hill'),
    *('an', 'an_ls', 'wan', 'p_asl', 'p_asl_selective'),
    *('epr', 'em', 'splc', 'large_loss_r', 'large_loss_ct', 'large_loss_cp', 'gr'),
]
LOGITS, OBSERVED = logits_and_labels(13, 5)
LATE = dict(epoch=3, step=7, num_steps=11)


def losses_of(name, logits=LOGITS, observed=OBSERVED):
    return step(build(name, OBSERVED), logits, observed, **LATE)


@pytest.mark.parametrize('name', NAMES)
def test_a_batch_of_which_nothing_is_known(name):
    """Known labels have no part in it, and what there is to learn of unknown ones is finite."""
    logits = LOGITS.detach().clone().requires_grad_()
    losses = losses_of(name, logits, torch.full_like(OBSERVED, -1))
    assert losses['loss_known'] == 0
    sum(losses.values()).backward()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize('name', NAMES)
def test_a_batch_of_which_all_is_known(name):
    """Unknown labels have no part in it, and a method that looks at them alone is plain training."""
    losses = losses_of(name, observed=OBSERVED.clamp(min=0))
    assert losses.get('loss_unknown', 0) == 0
    assert set(losses) <= {'loss_known', 'loss_unknown', 'loss_count'}


@pytest.mark.parametrize('name', NAMES)
def test_half_precision_is_that_of_the_logits_alone(name):
    """Sums of many losses would leave float16."""
    half = (LOGITS.detach() * 30).half()
    narrow, wide = (losses_of(name, logits) for logits in (half.clone().requires_grad_(), half.float()))
    assert {key: value.dtype for key, value in narrow.items()} == dict.fromkeys(wide, torch.float32)
    for key, value in wide.items():
        assert narrow[key].item() == pytest.approx(value.item(), rel=1e-5)


@pytest.mark.parametrize('name', NAMES)
def test_a_known_label_pulls_to_its_side(name):
    logits = LOGITS.detach().clone().requires_grad_()
    losses_of(name, logits)['loss_known'].backward()
    assert (logits.grad[OBSERVED == 1] <= 0).all() or name == 'an_ls'  # that pulls to 0.9
    assert (logits.grad[OBSERVED == 0] >= 0).all() or name == 'an_ls'
    assert logits.grad[OBSERVED == -1].eq(0).all()
    assert logits.grad.any()

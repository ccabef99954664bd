"""The heads equal the authors' code (commit 2f9e916a) in outputs, losses, gradients and BatchNorm statistics."""

import pytest
import torch
from torch import nn

from sarlp.models.released import rename_released
from sarlp.registry import METHODS, MODELS

GRID, WIDTH, CLASSES, TEXT = (4, 4), 16, 5, 12
LOSS = dict(type='AsymmetricLoss', reduction='sum')
PARTS = dict(
    label_embedding=dict(type='LabelEmbedding', dim=TEXT, file='rows of the golden file'),
    encoder=dict(type='TokenEncoder', num_heads=4),
    sgfe=dict(type='SGFE', attention_dim=8),
)
HEADS = {
    'sarlp': dict(type='SARLPHead', **PARTS, srfl=dict(type='SRFL'), recovery=dict(type='LabelRecovery')),
    'sarlp_wo_jls': dict(type='SARLPHead', **PARTS, srfl=dict(type='SRFL')),
    'sarlp_wo_srfl': dict(type='SARLPHead', **PARTS),
    'sarlp_wo_srfl_wo_jls': dict(type='SARLPHead', **PARTS, srfl=dict(type='SRFL', use_image=False)),
    'baseline': dict(type='BaselineHead'),
    'sarlp_clip_lora': dict(
        type='SARLPHead',
        **PARTS,
        srfl=dict(type='SRFL'),
        recovery=dict(type='LabelRecovery'),
        normalize_tokens=True,
        image_token=True,
        wide_dim=2 * WIDTH,
    ),
}
RECOVERY_WEIGHTS = {'sarlp': 0.8, 'sarlp_clip_lora': 0.1}
# these shift a whole softmax or the input of a BatchNorm, so their gradient is zero but for rounding
ZERO_GRADIENTS = ('head.sgfe.attention.target.bias', 'head.sgfe.attention.hidden.bias', 'head.srfl.joint.bias')
WIDE_ZERO_GRADIENTS = (*ZERO_GRADIENTS, 'head.encoder.layers.0.norm2.bias', 'head.widen.linear.bias')


def method_of(name):
    if name == 'baseline':
        return METHODS.build(dict(type='KnownLabels', loss=LOSS))
    recovery = None
    if name in RECOVERY_WEIGHTS:
        recovery = dict(type='AsymmetricLoss', reduction='mean', loss_weight=RECOVERY_WEIGHTS[name])
    return METHODS.build(dict(type='SARLP', loss=LOSS, recovery_loss=recovery))


def relative_error(actual, expected):
    return ((actual - expected).norm() / expected.norm()).item()


@pytest.fixture(params=HEADS)
def case(request, golden):
    """The head with the golden parameters, and the golden file as tensors."""
    numbers = {key: torch.from_numpy(value) for key, value in golden(request.param).items()}
    head = MODELS.build(dict(HEADS[request.param], num_classes=CLASSES, in_channels=WIDTH))
    released = {key[3:]: value for key, value in numbers.items() if key.startswith('sd/')}
    state = {key.removeprefix('head.'): value.clone() for key, value in rename_released(released).items()}
    missing, unexpected = head.load_state_dict(state, strict=False)
    assert not unexpected
    assert set(missing) <= {'label_embedding.weight'}
    if hasattr(head, 'label_embedding'):
        head.label_embedding.weight.copy_(numbers['embeddings'])
    return head, numbers, request.param


def test_evaluation(case):
    head, numbers, name = case
    outputs = head.eval()(numbers['features'], GRID)
    alpha = numbers['eval/alpha'] if name == 'baseline' else numbers['eval/alpha'].transpose(1, 2)
    assert relative_error(outputs['logits'].sigmoid(), numbers['eval/scores']) < 1e-5
    assert relative_error(outputs['token_scores'], alpha) < 1e-5


def test_training_step(case):
    head, numbers, name = case
    head.train()
    for module in head.modules():  # the golden pass has every dropout set to 0
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(module, nn.MultiheadAttention):
            module.dropout = 0.0
    outputs = head(numbers['features'], GRID)
    losses = method_of(name).losses(outputs, numbers['target'])
    sum(losses.values()).backward()

    assert relative_error(outputs['logits'].sigmoid(), numbers['train/scores']) < 1e-5
    assert relative_error(sum(losses.values()), numbers['train/total_loss']) < 1e-5
    if 'loss_recovery' in losses:
        weight = RECOVERY_WEIGHTS[name]
        assert relative_error(losses['loss_known'], numbers['train/loss_fc']) < 1e-5
        assert relative_error(losses['loss_recovery'] / weight, numbers['train/loss_sam']) < 1e-5

    gradients = {key[5:]: value for key, value in numbers.items() if key.startswith('grad/')}
    parameters = dict(head.named_parameters(prefix='head'))
    expected = rename_released(gradients)
    assert set(expected) == set(parameters)
    for key, value in expected.items():
        if key in (WIDE_ZERO_GRADIENTS if name == 'sarlp_clip_lora' else ZERO_GRADIENTS):
            assert max(parameters[key].grad.abs().max(), value.abs().max()) < 1e-3, key
        else:
            assert relative_error(parameters[key].grad, value) < 1e-4, key

    statistics = {key[6:]: value for key, value in numbers.items() if key.startswith('after/') and value.numel()}
    buffers = dict(head.named_buffers(prefix='head'))
    for key, value in rename_released(statistics).items():
        assert relative_error(buffers[key], value) < 1e-5, key

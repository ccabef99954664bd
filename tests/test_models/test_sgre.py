"""The SGRE head equals its authors' code (commit 8439d14)."""

import pytest
import torch
from torch import nn

from sarlp.losses import asymmetric_loss
from sarlp.models.released import rename_released
from sarlp.registry import METHODS, MODELS

GRID = (4, 4)
# they shift a whole softmax over the tokens
ZERO_GRADIENTS = ('head.attention.target.bias', 'head.attention.hidden.bias')


METHOD = METHODS.build(
    dict(
        type='SGRE',
        loss=dict(type='AsymmetricLoss', reduction='mean'),
        class_feature_loss=dict(type='AsymmetricLoss', reduction='mean', loss_weight=0.1),
    )
)


def relative_error(actual, expected):
    return ((actual - expected).norm() / expected.norm()).item()


def make_head(**options):
    return MODELS.build(
        dict(
            type='SGREHead',
            num_classes=5,
            in_channels=16,
            label_embedding=dict(type='LabelEmbedding', dim=12, file='rows of the golden file'),
            encoder=dict(type='TokenEncoder', num_heads=4),
            attention_dim=8,
            **options,
        )
    )


@pytest.fixture
def numbers(golden):
    return {key: torch.from_numpy(value) for key, value in golden('sgre').items()}


@pytest.fixture
def head(numbers):
    head = make_head()
    released = {key[3:]: value.clone() for key, value in numbers.items() if key.startswith('sd/')}
    state = {key.removeprefix('head.'): value for key, value in rename_released(released).items()}
    head.load_state_dict({**state, 'label_embedding.weight': numbers['embeddings']})
    for module in head.modules():  # the golden pass has every dropout set to 0
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(module, nn.MultiheadAttention):
            module.dropout = 0.0
    return head


def test_evaluation(head, numbers):
    outputs = head.eval()(numbers['features'], GRID)
    assert relative_error(outputs['logits'], numbers['eval/logits']) < 1e-5
    assert relative_error(outputs['token_scores'].softmax(1).transpose(1, 2), numbers['eval/alpha']) < 1e-5


def test_training_step(head, numbers):
    outputs = head.train()(numbers['features'], GRID)
    losses = METHOD.losses(outputs, numbers['target'])
    total = sum(losses.values())
    total.backward()
    assert relative_error(outputs['logits'], numbers['train/logits']) < 1e-5
    assert relative_error(total, numbers['train/total_loss']) < 1e-5

    gradients = rename_released({key[5:]: value for key, value in numbers.items() if key.startswith('grad/')})
    parameters = dict(head.named_parameters(prefix='head'))
    assert set(gradients) == set(parameters)
    for key, value in gradients.items():
        if key in ZERO_GRADIENTS:
            assert max(parameters[key].grad.abs().max(), value.abs().max()) < 1e-3, key
        else:
            assert relative_error(parameters[key].grad, value) < 1e-4, key
    statistics = {key[6:]: value for key, value in numbers.items() if key.startswith('after/')}
    buffers = dict(head.named_buffers(prefix='head'))
    for key, value in rename_released(statistics).items():
        assert relative_error(buffers[key], value) < 1e-5, key


def test_unknown_labels_are_left_out(head, numbers):
    target = numbers['target'].clone()
    target[0, 1] = target[2, 3] = -1
    known = target != -1
    outputs = head.eval()(numbers['features'], GRID)
    losses = METHOD.losses(outputs, target)
    for name, logits, weight in (
        ('loss_known', outputs['logits'], 1.0),
        ('loss_class_feature', outputs['class_feature_logits'], 0.1),
    ):
        loss = asymmetric_loss(
            logits[known], target[known], gamma_neg=2, gamma_pos=0, clip=0, eps=1e-5, reduction='sum'
        )
        expected = 1000 * weight * loss / target.numel()
        assert torch.allclose(losses[name], expected), name


def test_temperature_sharpens_the_attention(numbers):
    torch.manual_seed(0)
    head = make_head(temperature=0.5).eval()
    head.label_embedding.weight.copy_(numbers['embeddings'])
    sharp = head(numbers['features'], GRID)['token_scores']
    head.temperature = 1.0
    assert torch.allclose(sharp, 2 * head(numbers['features'], GRID)['token_scores'])

"""The parts of the models against slow or hand-written counterparts."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sarlp.io.embeddings import save_embeddings
from sarlp.methods import pseudo_targets
from sarlp.models import LabelEmbedding, LowRankBilinearAttention, TokenEncoder
from sarlp.models.token_encoder import sine_position_code

BATCH, GRID, DIM, CLASSES, TEXT, HIDDEN = 3, (5, 7), 16, 11, 13, 17
TOKENS = GRID[0] * GRID[1]


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


class TestSinePositionCode:
    def test_equals_the_reference(self, golden):
        numbers = golden('position_embedding')
        (expected,) = (value for value in numbers.values() if value.shape == (1, 16, 4, 5))
        actual = sine_position_code(4, 5, 16)
        assert actual.dtype == torch.float32
        expected = torch.from_numpy(expected)[0].flatten(1).T
        torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-6)

    def test_equals_a_slow_loop(self):
        height, width, channels = 3, 7, 20
        actual = sine_position_code(height, width, channels)
        half = channels // 2
        for row in range(height):
            for column in range(width):
                for offset, number, length in ((0, row, height), (half, column, width)):
                    for channel in range(half):
                        angle = (number + 1) / (length + 1e-6) * 2 * math.pi / 10000 ** (2 * (channel // 2) / half)
                        expected = math.sin(angle) if channel % 2 == 0 else math.cos(angle)
                        assert actual[row * width + column, offset + channel].item() == pytest.approx(
                            expected, abs=2e-6
                        )

    def test_channels(self):
        with pytest.raises(ValueError, match='multiple of 4 channels, got 18'):
            sine_position_code(2, 3, 18)


def attention_by_hand(layer, source, position):
    """Multi-head attention from the weights of ``layer``, one image and one head at a time."""
    own = layer.self_attn
    weights, biases = own.in_proj_weight.chunk(3), own.in_proj_bias.chunk(3)
    outputs = []
    for tokens in source:
        query = (tokens + position) @ weights[0].T + biases[0]
        key = (tokens + position) @ weights[1].T + biases[1]
        value = tokens @ weights[2].T + biases[2]  # without the position
        width = DIM // own.num_heads
        heads = []
        for head in range(own.num_heads):
            part = slice(head * width, (head + 1) * width)
            share = torch.softmax(query[:, part] @ key[:, part].T / math.sqrt(width), 1)
            heads.append(share @ value[:, part])
        outputs.append(torch.cat(heads, 1) @ own.out_proj.weight.T + own.out_proj.bias)
    return torch.stack(outputs)


def norm_by_hand(norm, x):
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + norm.eps).sqrt() * norm.weight + norm.bias


def feedforward_by_hand(layer, x):
    hidden = (x @ layer.linear1.weight.T + layer.linear1.bias).clamp(min=0)
    return hidden @ layer.linear2.weight.T + layer.linear2.bias


class TestTokenEncoder:
    def build(self, **options):
        encoder = TokenEncoder(DIM, num_heads=4, feedforward_dim=23, **options).double()
        for parameter in encoder.parameters():  # norms and biases that do something
            nn.init.normal_(parameter, std=0.5)
        return encoder

    @pytest.mark.parametrize('pre_norm', [False, True])
    @pytest.mark.parametrize('num_layers', [1, 2])
    def test_equals_a_layer_by_hand(self, pre_norm, num_layers):
        encoder = self.build(pre_norm=pre_norm, num_layers=num_layers, dropout=0.3).eval()
        tokens = torch.randn(BATCH, TOKENS, DIM, dtype=torch.float64)
        position = sine_position_code(*GRID, DIM).double()
        expected = tokens
        for layer in encoder.layers:
            if pre_norm:
                expected = expected + attention_by_hand(layer, norm_by_hand(layer.norm1, expected), position)
                expected = expected + feedforward_by_hand(layer, norm_by_hand(layer.norm2, expected))
            else:
                expected = norm_by_hand(layer.norm1, expected + attention_by_hand(layer, expected, position))
                expected = norm_by_hand(layer.norm2, expected + feedforward_by_hand(layer, expected))
        if pre_norm:
            expected = norm_by_hand(encoder.norm, expected)
        actual = encoder(tokens, GRID)
        assert actual.shape == (BATCH, TOKENS, DIM)
        torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9)

    def test_position_goes_to_query_and_key_only(self):
        encoder = self.build().eval()
        layer = encoder.layers[0]
        seen = {}

        def record(module, args, kwargs=None):
            seen.update(zip(('query', 'key', 'value'), args, strict=False))

        layer.self_attn.register_forward_pre_hook(record)
        layer.train()  # evaluation has a fast path that calls no hooks
        tokens = torch.randn(BATCH, TOKENS, DIM, dtype=torch.float64)
        encoder(tokens, GRID)
        position = sine_position_code(*GRID, DIM).double()
        assert torch.equal(seen['query'], tokens + position)
        assert torch.equal(seen['key'], tokens + position)
        assert torch.equal(seen['value'], tokens)

    def test_dropout_is_on_in_training_only(self):
        encoder = self.build(dropout=0.5)
        tokens = torch.randn(2, TOKENS, DIM, dtype=torch.float64)
        assert not torch.equal(encoder(tokens, GRID), encoder(tokens, GRID))
        encoder.eval()
        assert torch.equal(encoder(tokens, GRID), encoder(tokens, GRID))

    def test_grid_may_change_between_calls(self):
        encoder = self.build().eval()
        one, other = (torch.randn(2, h * w, DIM, dtype=torch.float64) for h, w in (GRID, (2, 3)))
        first = encoder(one, GRID)
        assert encoder(other, (2, 3)).shape == (2, 6, DIM)
        assert torch.equal(encoder(one, GRID), first)
        assert not torch.allclose(encoder(one, GRID[::-1]), first)  # as many tokens, another grid
        assert not any('position' in key for key in encoder.state_dict())


class TestBilinearAttention:
    @pytest.mark.parametrize('shared', [False, True])
    def test_equals_a_literal_loop(self, shared):
        attention = LowRankBilinearAttention(DIM, TEXT, HIDDEN).double()
        tokens = torch.randn(2, 5, DIM, dtype=torch.float64)
        shape = (CLASSES, TEXT) if shared else (2, CLASSES, TEXT)
        vectors = torch.randn(*shape, dtype=torch.float64)
        actual = attention(tokens, vectors)
        assert actual.shape == (2, 5, CLASSES)
        for image in range(2):
            for token in range(5):
                for name in range(CLASSES):
                    vector = vectors[name] if shared else vectors[image, name]
                    joint = torch.tanh(attention.token(tokens[image, token]) * attention.label(vector))
                    literal = attention.target(attention.hidden(joint))  # the textbook form
                    assert actual[image, token, name].item() == pytest.approx(literal.item(), abs=1e-12)

    def test_gradients_equal_those_of_the_literal_form(self):
        attention = LowRankBilinearAttention(DIM, TEXT, HIDDEN).double()
        tokens = torch.randn(2, 5, DIM, dtype=torch.float64)
        vectors = torch.randn(2, CLASSES, TEXT, dtype=torch.float64)
        mix = torch.randn(2, 5, CLASSES, dtype=torch.float64)

        def literal(x, v):
            joint = torch.tanh(attention.token(x)[:, :, None] * attention.label(v)[:, None])
            return attention.target(attention.hidden(joint))[..., 0]

        parameters = list(attention.parameters())
        assert len(parameters) == 6
        actual = torch.autograd.grad((attention(tokens, vectors) * mix).sum(), parameters)
        expected = torch.autograd.grad((literal(tokens, vectors) * mix).sum(), parameters)
        for one, other in zip(actual, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


class TestLabelEmbedding:
    def file(self, path, rows=CLASSES, width=TEXT):
        values = np.random.default_rng(0).standard_normal((rows, width)).astype(np.float32)
        save_embeddings(path, values, [f'class {index}' for index in range(rows)], 'random', 'test')
        return values

    def test_file_is_read_by_init_weights(self, tmp_path):
        values = self.file(tmp_path / 'rows.npz')
        module = LabelEmbedding(CLASSES, TEXT, tmp_path / 'rows.npz')
        assert module().isnan().all()  # rows that were never loaded cannot go unseen
        module.init_weights()
        assert module().tolist() == values.tolist()
        assert list(module.parameters()) == []  # frozen
        assert module.state_dict()['weight'].tolist() == values.tolist()  # but in every checkpoint

    def test_checkpoint_needs_no_file(self, tmp_path):
        values = self.file(tmp_path / 'rows.npz')
        module = LabelEmbedding(CLASSES, TEXT, tmp_path / 'rows.npz')
        module.init_weights()
        other = LabelEmbedding(CLASSES, TEXT, tmp_path / 'gone.npz')
        other.load_state_dict(module.state_dict())
        assert other().tolist() == values.tolist()

    @pytest.mark.parametrize(('rows', 'width'), [(CLASSES + 1, TEXT), (CLASSES, TEXT - 1)])
    def test_wrong_shape(self, tmp_path, rows, width):
        self.file(tmp_path / 'rows.npz', rows, width)
        module = LabelEmbedding(CLASSES, TEXT, tmp_path / 'rows.npz')
        with pytest.raises(ValueError) as error:
            module.init_weights()
        assert str(error.value).startswith(
            f'{tmp_path / "rows.npz"}: holds {rows} rows of width {width}, but the model has {CLASSES} classes and '
            f'label embeddings of width {TEXT}'
        )

    def test_learnt_rows(self):
        module = LabelEmbedding(CLASSES, 768)
        (weight,) = module.parameters()
        assert weight.shape == (CLASSES, 768)
        assert module() is weight
        # Kaiming-uniform with a = sqrt 5 is uniform within 1 / sqrt(fan in)
        bound = 1 / math.sqrt(768)
        assert weight.abs().max() <= bound
        assert weight.abs().max() > 0.99 * bound
        assert abs(weight.std().item() - bound / math.sqrt(3)) < 0.02 * bound
        before = weight.clone()
        module.init_weights()
        assert torch.equal(weight, before)


def test_pseudo_targets_equal_a_slow_loop():
    logits = torch.randn(BATCH, CLASSES, requires_grad=True)
    target = torch.randint(-1, 2, (BATCH, CLASSES)).float()
    actual = pseudo_targets(logits, target)
    assert not actual.requires_grad
    for z, y, row in zip(logits.tolist(), target.tolist(), actual.tolist(), strict=True):
        for c, value in enumerate(row):
            expected = 1 / (1 + math.exp(-z[c] * max(z))) if y[c] == -1 else y[c]
            assert value == pytest.approx(expected, abs=1e-6)


def test_feedforward_part_equals_torch_and_keeps_less():
    layer = TokenEncoder(DIM, num_heads=4, feedforward_dim=23, dropout=0.3).layers[0]
    tokens, results = torch.randn(BATCH, TOKENS, DIM), []
    for part in (type(layer)._ff_block, nn.TransformerEncoderLayer._ff_block):
        kept = {}
        layer.zero_grad()
        torch.manual_seed(1)

        def keep(tensor, kept=kept):
            kept[tensor.data_ptr()] = tensor.nbytes
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            output = part(layer, tokens)
        output.square().sum().backward()
        results.append((sum(kept.values()), output, layer.linear1.weight.grad.clone()))
    (less, output, gradient), (more, *expected) = results
    assert torch.equal(output, expected[0]) and torch.equal(gradient, expected[1])
    assert more - less == BATCH * TOKENS * 23 * output.element_size()


def test_dropout_free_encoder_equals_torch_without_position():
    # with the position code taken out, the layer is torch's own
    encoder = TokenEncoder(DIM, num_heads=4, feedforward_dim=23, dropout=0.0)
    plain = nn.TransformerEncoderLayer(DIM, 4, 23, 0.0, batch_first=True)
    plain.load_state_dict(encoder.layers[0].state_dict())
    tokens = torch.randn(BATCH, TOKENS, DIM)
    actual = encoder.layers[0](tokens, torch.zeros(TOKENS, DIM))
    torch.testing.assert_close(actual, plain(tokens), rtol=1e-5, atol=1e-5)
    assert F.mse_loss(actual, encoder(tokens, GRID)) > 1e-4

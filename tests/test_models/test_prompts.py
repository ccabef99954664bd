"""DualCoOp and PositiveCoOp with a tiny random CLIP, against open_clip's own encoders and loops over the regions."""

import copy
import math

import pytest
import torch
from mmengine.registry import init_default_scope
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
from open_clip.tokenizer import SimpleTokenizer

from sarlp.engine import build_runner, load_config, read_checkpoint
from sarlp.engine.config.inputs import check_inputs
from sarlp.engine.training.ema import ForeachEMA
from sarlp.errors import UserError
from sarlp.models.clip_text import PromptEncoder
from sarlp.registry import MODELS

from .methods import assert_onnx_equals, losses

NAMES = ('diningtable', 'cat', 'traffic_light')
WORDS = ('dining table', 'cat', 'traffic light')
SIZES = dict(width=8, heads=2, layers=2, context_length=37)
BATCH, GRID, DIM = 2, (3, 2), 16


@pytest.fixture(scope='module')
def clip():
    torch.manual_seed(0)
    vision = CLIPVisionCfg(layers=(1, 2, 1, 1), width=4, image_size=64, head_width=32)
    text = CLIPTextCfg(context_length=37, width=8, heads=2, layers=2)
    model = CLIP(DIM, vision, text, quick_gelu=True).eval()
    torch.nn.init.normal_(model.text_projection)
    torch.nn.init.normal_(model.positional_embedding)
    return model


@pytest.fixture(scope='module')
def weights(clip, tmp_path_factory):
    path = tmp_path_factory.mktemp('clip') / 'clip.pt'
    torch.save(clip.state_dict(), path)
    return path


def head_of(method, weights, **options):
    init_default_scope('sarlp')
    cfg = load_config(f'{method}_rn101_voc_p0.1').model.head
    cfg.update(num_classes=3, in_channels=DIM, classes=NAMES, text=dict(SIZES, weights=weights), **options)
    torch.manual_seed(1)
    return MODELS.build(cfg)


def model_of(method, weights, **head):
    init_default_scope('sarlp')
    cfg = load_config(f'{method}_rn101_voc_p0.1')
    backbone = dict(layers=(1, 2, 1, 1), width=4, heads=4, output_dim=DIM, image_size=64)
    options = dict(num_classes=3, in_channels=DIM, classes=NAMES, text=dict(SIZES, weights=weights), **head)
    cfg.merge_from_dict({'model.backbone': backbone, 'model.head': options})
    cfg.model.backbone.weights = None if weights is None else str(weights)
    torch.manual_seed(1)
    return MODELS.build(cfg.model)


@torch.no_grad()
def test_encoder_equals_that_of_open_clip(clip, weights):
    """Given the vectors of words, the sentence of these words comes out."""
    tokenizer = SimpleTokenizer()
    encoder = PromptEncoder(WORDS, 4, DIM, weights, **SIZES)
    photo = tokenizer.encode('a photo of a')
    assert len(photo) == 4
    context = clip.token_embedding(torch.tensor([photo]))
    sentences = tokenizer([f'a photo of a {name}.' for name in WORDS], context_length=37)
    assert encoder.words.shape[1] + 4 < 37  # shorter than the sentences are padded to
    torch.testing.assert_close(encoder(context), clip.encode_text(sentences, normalize=True), rtol=1e-5, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize('method', ['dualcoop', 'positive_coop'])
@pytest.mark.parametrize('specific', [True, False])
def test_equals_its_formula(method, specific, weights):
    head = head_of(method, weights, class_specific=specific)
    assert head.prompts.context.shape == (2 if method == 'dualcoop' else 1, 3 if specific else 1, 16, 8)
    head.init_weights()
    torch.nn.init.normal_(head.prompts.context)
    tokens = torch.randn(BATCH, 6, DIM, generator=torch.Generator().manual_seed(0))
    outputs = head.eval()(tokens, GRID)
    positive = head.prompts.vectors[0]
    negative = head.prompts.vectors[1] if method == 'dualcoop' else head.negative
    encoder = PromptEncoder(WORDS, 16, DIM, weights, **SIZES)
    torch.testing.assert_close(positive, encoder(head.prompts.context[0]))
    for b in range(BATCH):
        for c in range(3):
            regions = []
            for p in range(6):
                x = tokens[b, p]
                regions.append([20 * float(x @ t[c] / x.norm() / t[c].norm()) for t in (positive, negative)])
            total = sum(math.exp(plus) for plus, _ in regions)
            plus, minus = (5 * sum(math.exp(r[0]) / total * r[k] for r in regions) for k in (0, 1))
            probability = math.exp(plus) / (math.exp(plus) + math.exp(minus))
            assert outputs['logits'][b, c].sigmoid().item() == pytest.approx(probability, abs=1e-4)
            assert outputs['token_scores'][b, :, c].tolist() == pytest.approx([r[0] for r in regions], abs=1e-4)


@pytest.mark.parametrize('method', ['dualcoop', 'positive_coop'])
def test_only_prompts_and_free_vectors_learn(method, weights):
    model = model_of(method, weights)
    model.init_weights()
    total = sum(losses(model, classes=3).values())
    assert total.isfinite() and total > 0
    total.backward()
    learning = {name for name, p in model.named_parameters() if p.requires_grad}
    assert learning == {'head.prompts.context'} | ({'head.negative'} if method == 'positive_coop' else set())
    assert all(p.grad.isfinite().all() and p.grad.any() for p in model.parameters() if p.requires_grad)
    assert all(p.grad is None for p in model.head.prompts._shared.encoder.tower.parameters())
    nothing = sum(losses(model, classes=3, labels=torch.full((3, 3), -1.0)).values())
    assert nothing == 0


def test_the_loss_of_the_files():
    """A mean over the known labels, so that its weight goes with any share; the paper's sum is an option.

    Where half of the labels of 32 images are known, the weight of the mean is that of the sum, 0.03, for 20 classes.
    """
    for method in ('dualcoop', 'positive_coop'):
        expected = dict(type='AsymmetricLoss', gamma_neg=2, gamma_pos=1, clip=0.05, scale=1, reduction='mean_known')
        expected['loss_weight'] = 9.6
        cfg = load_config(f'{method}_rn101_voc_p0.3')
        assert cfg.model.method.to_dict() == dict(type='KnownLabels', loss=expected)
        assert cfg.optim_wrapper.optimizer.type == 'SGD' and cfg.model.backbone.frozen
    options = {'model.method.loss.reduction': 'sum', 'model.method.loss.loss_weight': 0.03}
    summed = MODELS.build(load_config('dualcoop_rn101_coco_p0.5', options).model.method.loss)
    meant = MODELS.build(load_config('dualcoop_rn101_voc_p0.5').model.method.loss)
    logits = torch.randn(32, 20, generator=torch.Generator().manual_seed(0)) * 3
    target = torch.tensor([1.0, -1, 0, -1] * 160).view(32, 20)
    total = 0.0
    for x, y in zip(logits.flatten().tolist(), target.flatten().tolist(), strict=True):
        p = 1 / (1 + math.exp(-x))
        kept = min(1 - p + 0.05, 1)
        total -= {1: (1 - p) * math.log(p), 0: (1 - kept) ** 2 * math.log(kept), -1: 0}[y]
    assert summed(logits, target).item() == pytest.approx(0.03 * total, rel=1e-5)
    assert meant(logits, target).item() == pytest.approx(0.03 * total, rel=1e-5)


def test_heads_of_the_text_encoder_are_those_of_clip():
    """As open_clip's config of RN50x4 says, whose encoder is wider than that of RN101."""
    from open_clip import get_model_config

    text = get_model_config('RN50x4')['text_cfg']
    tower = PromptEncoder(WORDS, 4, DIM, width=text['width'], layers=1).tower
    assert tower.transformer.resblocks[0].attn.num_heads == text['heads'] == 10


class TestVectors:
    """What is saved and deployed is what the text encoder makes of the context, without the text encoder."""

    @pytest.fixture
    def model(self, weights):
        model = model_of('dualcoop', weights)
        model.init_weights()
        return model.eval()

    @torch.no_grad()
    def test_follow_the_context(self, model):
        images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        before = model(images)['logits']
        torch.nn.init.normal_(model.head.prompts.context)
        after = model(images)['logits']
        assert not torch.allclose(before, after, atol=1e-3)
        model.train()
        torch.testing.assert_close(model.head.prompts(), model.eval().head.prompts())

    @torch.no_grad()
    def test_are_in_the_checkpoint_and_the_encoder_is_not(self, model, weights):
        torch.nn.init.normal_(model.head.prompts.context)
        state = model.state_dict()
        assert {key for key in state if key.startswith('head.')} == {'head.prompts.context', 'head.prompts.vectors'}
        other = model_of('dualcoop', None).eval()
        other.load_state_dict(state)
        assert other.head.prompts._shared.encoder is None
        images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(other(images)['logits'], model(images)['logits'])

    @torch.no_grad()
    def test_of_the_average_are_those_of_the_averaged_context(self, weights):
        """The average is made before the weights are read, and averages the vectors, too."""
        model = model_of('dualcoop', weights)
        average = ForeachEMA(model, momentum=0.5, update_buffers=True)
        model.init_weights()
        average.update_parameters(model)
        for _ in range(2):
            torch.nn.init.normal_(model.head.prompts.context)
            average.update_parameters(model)
        prompts = average.module.head.prompts
        assert prompts._shared is model.head.prompts._shared
        expected = torch.stack([prompts._shared.encoder(context) for context in prompts.context])
        torch.testing.assert_close(average.state_dict()['module.head.prompts.vectors'], expected)
        torch.testing.assert_close(average.module.eval().head.prompts(), expected)

    def test_onnx(self, model, weights):
        torch.nn.init.normal_(model.head.prompts.context)
        other = model_of('dualcoop', None)
        other.load_state_dict(model.state_dict())
        assert_onnx_equals(other, (96, 64), (1, 3))


class TestRefused:
    def test_training_without_the_encoder(self, weights):
        with pytest.raises(UserError, match='the text encoder of CLIP is needed to train prompts'):
            losses(model_of('dualcoop', weights), classes=3)

    def test_missing_weights(self, tmp_path):
        head = head_of('dualcoop', tmp_path / 'gone.pt')
        with pytest.raises(UserError, match=r'gone\.pt: there are no such CLIP weights; fetch RN101\.pt of OpenAI'):
            head.init_weights()

    def test_missing_weights_are_told_before_a_run(self, weights):
        cfg = load_config('dualcoop_rn101_voc_p0.1', {'model.backbone.weights': str(weights)})
        with pytest.raises(UserError, match=r'weights of CLIP, text: checkpoints/RN101\.pt'):
            check_inputs(cfg, [], True)

    def test_other_weights(self, weights):
        head = head_of('dualcoop', weights)
        head.prompts.text['layers'] = 1
        with pytest.raises(UserError, match=r'not the weights of this text encoder \(12 are missing, unknown'):
            head.init_weights()

    def test_no_names(self, weights):
        head = head_of('dualcoop', weights)
        head.prompts.classes = None
        with pytest.raises(UserError, match='the prompts need the names of the 3 classes, got None'):
            head.init_weights()

    def test_long_names(self, weights):
        head = head_of('dualcoop', weights, context_length=33)
        with pytest.raises(
            UserError, match="the class 'dining table' with 33 learnt vectors before it takes 38 tokens"
        ):
            head.init_weights()

    def test_no_vectors(self, weights):
        with pytest.raises(UserError, match='at least 1 learnt vector, got context_length=0'):
            head_of('dualcoop', weights, context_length=0)


def test_names_come_from_the_data(weights, tiny_config):
    cfg = tiny_config(
        backbone=dict(type='CLIPResNet', layers=(1, 1, 1, 1), width=4, heads=4, output_dim=DIM, image_size=64),
        head=dict(type='DualCoOpHead', classes=None, text=copy.deepcopy(SIZES)),
    )
    cfg.model.backbone.image_token = False
    cfg.model.method = dict(type='KnownLabels', loss=dict(type='BinaryCrossEntropy'))
    runner = build_runner(cfg)
    runner.train()
    state = read_checkpoint(f'{cfg.work_dir}/epoch_2.pth')['state_dict']
    assert runner.model.head.prompts.classes == ['cat', 'cow', 'dog']
    assert state['head.prompts.vectors'].isfinite().all()
    prompts = runner.model.head.prompts
    expected = torch.stack([prompts._shared.encoder(context) for context in state['head.prompts.context']])
    torch.testing.assert_close(state['head.prompts.vectors'], expected)

import warnings

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.structures import DataSample
from torch import nn

from sarlp.errors import GraveWarning, UserError
from sarlp.methods import LabelStore
from sarlp.methods.known_labels import KnownLabels
from sarlp.models.classifier import require_finite
from sarlp.paths import shipped
from sarlp.registry import MODELS

CLASSES, WIDTH = 11, 64


def build(name='sarlp_r18_narrow', standardize_tokens=False, **head):
    init_default_scope('sarlp')
    cfg = Config.fromfile(shipped('configs') / '_base_' / 'models' / f'{name}.py').model
    cfg.head.update(num_classes=CLASSES, **head)
    if 'recovery' in head:
        cfg.method.recovery_loss = None
    torch.manual_seed(0)
    return MODELS.build({**cfg, 'standardize_tokens': standardize_tokens})


def samples(count, seed=0):
    target = torch.randint(-1, 2, (count, CLASSES), generator=torch.Generator().manual_seed(seed)).float()
    return [
        DataSample(metainfo=dict(img_id=f'images/{index}.jpg')).set_gt_score(row) for index, row in enumerate(target)
    ]


@pytest.fixture(scope='module')
def model():
    return build().eval()


@pytest.fixture(scope='module')
def inputs():
    return torch.randn(3, 3, 40, 56, generator=torch.Generator().manual_seed(1))


class TestModes:
    def test_tensor(self, model, inputs):
        outputs = model(inputs)
        assert set(outputs) == {'logits', 'token_scores', 'recovery_logits', 'scores', 'grid'}
        assert outputs['grid'] == (5, 7)
        assert outputs['logits'].shape == outputs['recovery_logits'].shape == (3, CLASSES)
        assert outputs['token_scores'].shape == (3, 35, CLASSES)
        assert torch.equal(outputs['scores'], outputs['logits'].sigmoid())
        pooled = (outputs['token_scores'].softmax(1) * outputs['token_scores']).sum(1)
        torch.testing.assert_close(outputs['logits'], pooled)

    def test_tokens_are_row_major(self, model, inputs):
        tokens, grid = model.network.extract_tokens(inputs)
        features = model.backbone(inputs)[-1]
        assert grid == (5, 7)
        for row, column in ((0, 0), (1, 0), (0, 1), (4, 6), (3, 2)):
            assert torch.equal(tokens[:, row * 7 + column], features[:, :, row, column])

    def test_standardized_tokens(self, model, inputs):
        """In training each channel by its mean and deviation over all places, in evaluation by those that were seen."""
        ours = build(standardize_tokens=True)
        ours.load_state_dict(model.state_dict(), strict=False)
        ours.backbone.eval()
        ours.token_norm.momentum = None  # the mean of what was seen, of one batch
        plain = model.network.extract_tokens(inputs)[0].detach()
        found = ours.network.extract_tokens(inputs)[0].detach()
        centred, eps = plain - plain.mean((0, 1)), ours.token_norm.eps
        for actual, correction in ((found, 0), (ours.eval().network.extract_tokens(inputs)[0], 1)):  # torch's habit
            expected = centred / (plain.var((0, 1), correction=correction) + eps).sqrt()
            torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(ours(inputs)['logits'], ours.head(*ours.network.extract_tokens(inputs))['logits'])
        assert {*ours.state_dict()} - {*model.state_dict()} == {
            f'token_norm.{name}' for name in nn.BatchNorm1d(1).state_dict()
        }

    def test_loss(self, model, inputs):
        data_samples = samples(3)
        losses = model(inputs, data_samples, mode='loss')
        assert set(losses) == {'loss_known', 'loss_recovery'}
        outputs = model(inputs)
        target = torch.stack([sample.gt_score for sample in data_samples])
        expected = model.method.losses(outputs, target)
        for name, value in losses.items():
            assert value.shape == ()
            assert value.item() == pytest.approx(expected[name].item(), rel=1e-6)
        assert model.method.losses(outputs, target.flip(0))['loss_known'] != losses['loss_known']

    def test_a_method_with_a_store_wants_the_places(self, inputs):
        """Of every batch, before it goes to the device, where a look would stop it."""
        model = build()
        model(inputs, samples(3), mode='loss')
        model.method.store = LabelStore(5, CLASSES)
        given = samples(3)
        for place, sample in enumerate(given[:2]):
            sample.set_field(place, 'index', field_type='metainfo')
        with pytest.raises(UserError, match='no place in the training set'):
            model(inputs, given, mode='loss')
        given[2].set_field(4, 'index', field_type='metainfo')
        model(inputs, given, mode='loss')

    def test_predict(self, model, inputs):
        given = samples(3)
        predicted = model(inputs, given, mode='predict')
        scores = model(inputs)['scores']
        for one, other, row in zip(predicted, given, scores, strict=True):
            assert one is other  # labels and ids stay beside the score
            assert torch.equal(one.pred_score, row)
        assert [sample.pred_score.shape for sample in model(inputs, mode='predict')] == [(CLASSES,)] * 3

    def test_unknown_mode(self, model, inputs):
        with pytest.raises(ValueError, match="mode must be 'tensor', 'predict' or 'loss', got 'train'"):
            model(inputs, mode='train')

    def test_steps_of_mmengine(self, model):
        data = {
            'inputs': [torch.randint(0, 256, (3, 40, 56), dtype=torch.uint8) for _ in range(2)],
            'data_samples': samples(2),
        }
        predicted = model.test_step(data)
        batch = torch.stack(data['inputs']).float()[:, [2, 1, 0]]  # BGR to RGB
        mean = torch.tensor([123.675, 116.28, 103.53])[:, None, None]
        std = torch.tensor([58.395, 57.12, 57.375])[:, None, None]
        expected = model((batch - mean) / std)['scores']
        actual = torch.stack([sample.pred_score for sample in predicted])
        torch.testing.assert_close(actual, expected)


class TestMessages:
    @pytest.mark.parametrize(('height', 'width'), [(40, 60), (36, 56)])
    def test_wrong_image_size(self, model, height, width):
        with pytest.raises(UserError) as error:
            model(torch.zeros(1, 3, height, width))
        message = str(error.value)
        assert message.startswith(f'an image of {width}x{height} px reached the model, but both sides must be a ')
        assert 'multiple of 8 ' in message
        assert 'Resize' in message

    def test_loss_that_is_not_finite(self, inputs):
        model = build().eval()
        with torch.no_grad():
            model.head.recovery.score.bias.fill_(float('nan'))
        with pytest.raises(UserError) as error:
            model(inputs, samples(3), mode='loss')
        message = str(error.value)
        assert 'the loss is not finite (loss_recovery = nan)' in message  # the other term is
        assert 'images/0.jpg, images/1.jpg, images/2.jpg.' in message

    def test_many_images_are_cut_short(self):
        with pytest.raises(UserError, match=r'loss_known = inf.*images/9\.jpg \.\.\.\.'):
            require_finite(
                {'loss_known': torch.tensor(float('inf')), 'b': torch.tensor(1.0)},
                [f'images/{index}.jpg' for index in range(13)],
            )

    def test_number_of_classes_must_be_known(self):
        with pytest.raises(ValueError, match='BaselineHead: num_classes must be a positive integer, got None'):
            MODELS.build(dict(type='BaselineHead', num_classes=None, in_channels=8))

    def test_labels_that_the_preprocessor_dropped(self, inputs):
        with pytest.raises(UserError, match=r"without labels .*data_samples=data\['data_samples'\]"):
            build()(inputs, None, mode='loss')

    def test_wrong_width(self, inputs):
        model = build('baseline_r18_narrow', in_channels=32)
        with pytest.raises(ValueError, match=r'BaselineHead expects tokens \(B, 5 \* 7, 32\), got \(3, 35, 64\)'):
            model(inputs)


class Altered(KnownLabels):
    def loss(self, network, batch):
        batch.observed.clamp_(min=0)
        return super().loss(network, batch)


def test_labels_that_a_method_changes_in_place(inputs):
    model = build()
    model.method = Altered(dict(type='BinaryCrossEntropy'))
    with pytest.warns(GraveWarning, match=r'Altered\.loss changes the labels that it is given in place'):
        model(inputs, samples(3), mode='loss')
    with warnings.catch_warnings():  # once is enough
        warnings.simplefilter('error')
        model(inputs, samples(3), mode='loss')
    model.method, model._is_looked_at = KnownLabels(dict(type='BinaryCrossEntropy')), False
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        model(inputs, samples(3), mode='loss')


def test_batch_without_a_known_label(inputs):
    model = build('sarlp_r18_narrow', recovery=None)
    blank = [DataSample().set_gt_score(torch.full((CLASSES,), -1.0)) for _ in range(3)]
    losses = model(inputs, blank, mode='loss')
    losses['loss_known'].backward()
    assert losses['loss_known'].item() == 0
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())


def test_baseline_equals_its_formula(inputs):
    model = build('baseline_r18_narrow').eval()
    features = model.backbone(inputs)[-1]
    outputs = model(inputs)
    head = model.head.score
    for image in range(3):
        for name in range(0, CLASSES, 5):
            a = [features[image, :, y, x] @ head.weight[name] + head.bias[name] for y in range(5) for x in range(7)]
            a = torch.stack(a)
            share = a.exp() / a.exp().sum()
            assert outputs['logits'][image, name].item() == pytest.approx((share * a).sum().item(), abs=1e-5)


@pytest.mark.parametrize(('depth', 'channels'), [(18, 512), (34, 512), (50, 2048), (101, 2048), (152, 2048)])
def test_every_resnet_builds(depth, channels):
    init_default_scope('sarlp')
    cfg = Config.fromfile(shipped('configs') / '_base_' / 'models' / 'baseline_r101.py').model
    cfg.backbone.update(depth=depth, init_cfg=None)
    cfg.head.update(num_classes=3, in_channels=channels)
    model = MODELS.build(cfg).to('meta').eval()  # shapes without computing
    outputs = model(torch.zeros(1, 3, 64, 96, device='meta'))
    assert outputs['grid'] == (2, 3)
    assert outputs['token_scores'].shape == (1, 6, 3)
    blocks = sum(len(getattr(model.backbone, name)) for name in model.backbone.res_layers)
    assert blocks == {18: 8, 34: 16, 50: 16, 101: 33, 152: 50}[depth]

"""Weights of torchvision and of transformers from files and folders, and the normalisation that goes with them."""

import json
import shutil

import pytest
import torch
import torchvision.models as tv
from mmengine.config import Config
from mmengine.registry import init_default_scope
from safetensors.torch import load_file, save_file

from sarlp.engine import load_config
from sarlp.engine.build import set_num_classes
from sarlp.engine.config.inputs import check_inputs
from sarlp.engine.weights import load_weights
from sarlp.errors import UserError
from sarlp.models.normalization import normalization_of
from sarlp.registry import MODELS

VIT = dict(
    hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=17, image_size=64, patch_size=8
)
HEAD = dict(type='BaselineHead', num_classes=5, in_channels=None)
OTHER = 'shufflenet_v2_x0_5'


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('sarlp')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """What a classifier of transformers saves, with more than a backbone needs."""
    from transformers import ViTConfig, ViTForImageClassification
    from transformers.utils import logging

    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp('hub') / 'tiny-vit'
    logging.disable_progress_bar()
    ViTForImageClassification(ViTConfig(**VIT)).save_pretrained(folder)
    facts = dict(image_mean=[0.5, 0.25, 0.125], image_std=[0.5, 1.0, 2.0], rescale_factor=0.01)
    (folder / 'preprocessor_config.json').write_text(json.dumps(facts))
    return folder


def copy_of(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / 'copy')


def transformers_backbone(folder, **options):
    backbone = MODELS.build(dict(type='TransformersBackbone', name_or_folder=str(folder), **options))
    backbone.init_weights()
    return backbone


def classifier(backbone, **preprocessor):
    preprocessor = dict(type='sarlp.DataPreprocessor', mean='backbone', std='backbone') | preprocessor
    return MODELS.build(
        dict(
            type='MultiLabelClassifier', data_preprocessor=preprocessor, backbone=backbone, head=HEAD, size_divisor=None
        )
    )


def test_the_recipe_on_dinov2_reads_a_folder(tmp_path):
    from transformers import BitImageProcessor, Dinov2Config, Dinov2Model
    from transformers.utils import logging

    torch.manual_seed(3)
    logging.disable_progress_bar()
    options = dict(hidden_size=22, num_hidden_layers=1, num_attention_heads=2, image_size=518, patch_size=14)
    original = Dinov2Model(Dinov2Config(**options)).eval()
    original.save_pretrained(tmp_path)
    mean, std = [0.5, 0.4, 0.3], [0.2, 0.3, 0.1]
    BitImageProcessor(image_mean=mean, image_std=std).save_pretrained(tmp_path)
    cfg = load_config('few_dinov2_frozen_custom', {'model.backbone.name_or_folder': str(tmp_path)})
    set_num_classes(cfg, 5, 'here')
    model = MODELS.build(cfg.model).eval()
    model.init_weights()
    images = torch.randint(0, 256, (2, 3, 224, 224), dtype=torch.uint8)
    found = model(model.data_preprocessor({'inputs': images.flip(1)})['inputs'])
    assert found['grid'] == (16, 16) and found['token_scores'].shape == (2, 256, 5)
    normalised = (images / 255 - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    with torch.no_grad():
        places = original(normalised).last_hidden_state[:, 1:]
    torch.testing.assert_close(model.head(places, (16, 16))['token_scores'], found['token_scores'])


class TestTransformers:
    @pytest.mark.parametrize('form', ['safetensors', 'shards', 'bin'])
    def test_weights_of_a_folder(self, folder, tmp_path, form):
        stored = load_file(folder / 'model.safetensors')
        copied = copy_of(folder, tmp_path)
        if form != 'safetensors':
            (copied / 'model.safetensors').unlink()
        if form == 'shards':
            names = sorted(stored)
            for i, part in enumerate((names[:7], names[7:]), 1):
                save_file({name: stored[name] for name in part}, copied / f'model-0000{i}-of-00002.safetensors')
        if form == 'bin':
            torch.save(stored, copied / 'pytorch_model.bin')
        backbone = transformers_backbone(copied)
        own = backbone.model.state_dict()
        assert torch.equal(own['embeddings.cls_token'], stored['vit.embeddings.cls_token'])
        assert len(own) == len([name for name in stored if name.startswith('vit.')])
        values = sorted(value.double().sum().item() for value in own.values())
        expected = sorted(value.double().sum().item() for name, value in stored.items() if name.startswith('vit.'))
        assert values == expected

    def test_as_the_library_loads_it(self, folder):
        from transformers import ViTModel
        from transformers.utils import logging

        logging.set_verbosity_error()
        model = ViTModel.from_pretrained(folder, add_pooling_layer=False).eval()
        images = torch.randn(2, 3, 64, 64)
        tokens, grid = transformers_backbone(folder).eval()(images)[-1]
        with torch.no_grad():
            expected = model(images).last_hidden_state[:, 1:]
        assert grid == (8, 8)
        torch.testing.assert_close(tokens, expected, rtol=0, atol=1e-5)

    def test_without_weights_it_is_built_but_not_trained(self, folder, tmp_path):
        """A trained model needs the config alone."""
        copied = copy_of(folder, tmp_path)
        (copied / 'model.safetensors').unlink()
        backbone = MODELS.build(dict(type='TransformersBackbone', name_or_folder=str(copied)))
        with pytest.raises(UserError, match='copy: holds no weights .*model.backbone.pretrained=False'):
            backbone.init_weights()
        transformers_backbone(copied, pretrained=False)

    def test_incomplete_or_foreign_weights(self, folder, tmp_path):
        copied, stored = copy_of(folder, tmp_path), load_file(folder / 'model.safetensors')
        kept = {key: value for key, value in stored.items() if 'layernorm_before' not in key}
        save_file(kept, copied / 'model.safetensors')
        with pytest.raises(UserError, match='copy: 4 weights of ViTModel are missing: .*layernorm_before'):
            transformers_backbone(copied)
        (copied / 'model.safetensors').unlink()
        torch.save({'x': copy_of}, copied / 'pytorch_model.bin')
        with pytest.raises(UserError, match='pytorch_model.bin: holds no weights that can be read safely'):
            transformers_backbone(copied)

    @pytest.mark.parametrize(
        ('config', 'message'),
        [
            (dict(model_type='bert'), "'bert' is no model that takes images"),
            (dict(model_type='zebra'), 'is no model of transformers'),
            (None, 'takes either name_or_folder or config'),
        ],
    )
    def test_what_is_no_backbone(self, config, message):
        with pytest.raises(UserError, match=message):
            MODELS.build(dict(type='TransformersBackbone', config=config))

    def test_a_token_that_is_not_there(self):
        config = dict(model_type='siglip_vision_model', **VIT)
        with pytest.raises(UserError, match='has no token of the whole image'):
            MODELS.build(dict(type='TransformersBackbone', config=config, image_token=True))

    def test_a_name_without_a_network(self, monkeypatch):
        import huggingface_hub

        def refuse(*args, **kwargs):
            raise OSError('no network')

        monkeypatch.setattr(huggingface_hub, 'snapshot_download', refuse)
        with pytest.raises(
            UserError, match=r'nobody/nothing: there is no such folder.*\(no network\).*copy config.json'
        ):
            MODELS.build(dict(type='TransformersBackbone', name_or_folder='nobody/nothing'))


@pytest.fixture(scope='module')
def stored():
    torch.manual_seed(5)
    return tv.get_model(OTHER, weights=None).state_dict()


class TestTorchvision:
    def build(self, weights, name=OTHER):
        backbone = MODELS.build(dict(type='TorchvisionBackbone', name=name, weights=str(weights)))
        backbone.init_weights()
        return backbone

    def test_weights_of_a_file(self, stored, tmp_path):
        torch.save({key: value for key, value in stored.items() if 'num_batches' not in key}, tmp_path / 'own.pth')
        own = self.build(tmp_path / 'own.pth').network.state_dict()
        assert len(own) == len(stored) - 2  # the classifier
        assert all(torch.equal(value, stored[key]) for key, value in own.items())

    def test_old_names_of_densenet(self, tmp_path):
        torch.manual_seed(7)
        stored = tv.get_model('densenet121', weights=None).state_dict()
        old = {
            key.replace('.norm1.', '.norm.1.').replace('.conv2.', '.conv.2.'): value for key, value in stored.items()
        }
        assert old.keys() != stored.keys()
        torch.save(old, tmp_path / 'old.pth')
        own = self.build(tmp_path / 'old.pth', 'densenet121').network.state_dict()
        assert all(torch.equal(value, stored[key]) for key, value in own.items())

    def test_other_weights_are_refused(self, stored, tmp_path):
        changed = {**stored, 'more': torch.zeros(3), 'conv1.0.weight': torch.zeros(5, 3, 3, 3)}
        del changed['conv5.0.weight']
        torch.save(changed, tmp_path / 'own.pth')
        with pytest.raises(
            UserError, match=r'1 missing: conv5.0.weight; 1 unexpected: more; 1 of another shape: conv1'
        ):
            self.build(tmp_path / 'own.pth')
        torch.save([1], tmp_path / 'own.pth')
        with pytest.raises(UserError, match='holds no state dict'):
            self.build(tmp_path / 'own.pth')

    def test_names(self):
        with pytest.raises(UserError, match="has no classifier 'shuflenet'.*there are shufflenet_v2_"):
            MODELS.build(dict(type='TorchvisionBackbone', name='shuflenet'))
        with pytest.raises(UserError, match='vit_b_32 of torchvision ends in no feature map'):
            MODELS.build(dict(type='TorchvisionBackbone', name='vit_b_32'))
        with pytest.raises(UserError, match=f"model.backbone.node: {OTHER} has no 'zebra'"):
            MODELS.build(dict(type='TorchvisionBackbone', name=OTHER, node='zebra'))
        with pytest.raises(UserError, match='zebra: there is no such file.*it has IMAGENET1K_V1'):
            self.build('zebra')

    def test_another_node(self):
        backbone = MODELS.build(dict(type='TorchvisionBackbone', name=OTHER, node='stage3.7.view_1'))
        assert backbone(torch.zeros(1, 3, 64, 64))[-1].shape == (1, 96, 4, 4)

    def test_a_name_without_a_network(self, monkeypatch, tmp_path):
        def refuse(*args, **kwargs):
            raise OSError('no network')

        monkeypatch.setattr(torch.hub, 'download_url_to_file', refuse)
        monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
        with pytest.raises(UserError, match=r'can not be fetched \(no network\); fetch https://.*weights=FILE'):
            self.build('IMAGENET1K_V1')

    def test_what_is_missing_is_listed_before_a_run(self, tmp_path):
        backbone = dict(type='TorchvisionBackbone', name=OTHER, weights=str(tmp_path / 'none.pth'))
        cfg = Config(dict(model=dict(backbone=backbone, head={})))
        with pytest.raises(UserError, match='1 input is missing:\n- weights of the backbone: .*none.pth: there is no'):
            check_inputs(cfg, [], training=True)
        check_inputs(cfg, [], training=False)


class TestNormalization:
    def test_of_timm(self):
        """Two that timm trained with other numbers."""
        for name, mean, std in (('test_vit', 127.5, 127.5), ('test_resnet', 127.5, 127.5), ('resnet10t', None, None)):
            backbone = MODELS.build(dict(type='mmpretrain.TIMMBackbone', model_name=name, features_only=False))
            found = normalization_of(backbone)
            expected = ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375]) if mean is None else ([mean] * 3, [std] * 3)
            assert found.mean == pytest.approx(expected[0]) and found.std == pytest.approx(expected[1])

    def test_of_torchvision(self, tmp_path):
        entry = tv.get_model_weights(OTHER).IMAGENET1K_V1
        file = tmp_path / entry.url.rpartition('/')[2]
        for weights in ('DEFAULT', 'IMAGENET1K_V1', str(file)):
            backbone = MODELS.build(dict(type='TorchvisionBackbone', name=OTHER, weights=weights))
            assert normalization_of(backbone).mean == pytest.approx([123.675, 116.28, 103.53])
            assert normalization_of(backbone).std == pytest.approx([58.395, 57.12, 57.375])

    def test_of_transformers(self, folder, tmp_path):
        found = normalization_of(transformers_backbone(folder))
        assert found.mean == pytest.approx([50, 25, 12.5]) and found.std == pytest.approx([50, 100, 200])
        copied = copy_of(folder, tmp_path)
        (copied / 'preprocessor_config.json').write_text(json.dumps(dict(do_normalize=False)))
        found = normalization_of(transformers_backbone(copied))
        assert found.mean == (0, 0, 0) and found.std == pytest.approx([255] * 3)

    @pytest.mark.parametrize(
        'backbone',
        [
            dict(type='mmpretrain.ResNet', depth=18, stem_channels=4, base_channels=4),
            dict(type='TorchvisionBackbone', name=OTHER),
            dict(type='TransformersBackbone', config=dict(model_type='vit', **VIT)),
        ],
        ids=lambda backbone: backbone['type'],
    )
    def test_who_can_not_say_is_refused(self, backbone):
        with pytest.raises(UserError, match='can not say .* set model.data_preprocessor.mean and .std'):
            classifier(backbone)

    @pytest.mark.parametrize('mean', [None, [1, 2, 3], 'imagenet'])
    def test_one_alone_or_another_word(self, folder, mean):
        with pytest.raises(UserError, match="both be numbers or both be 'backbone'"):
            classifier(dict(type='TransformersBackbone', name_or_folder=str(folder)), mean=mean)

    def test_the_model_uses_them_and_a_checkpoint_holds_them(self, folder, tmp_path):
        """What the folder says later does not change a trained model."""
        copied = copy_of(folder, tmp_path)
        backbone = dict(type='TransformersBackbone', name_or_folder=str(copied))
        model = classifier(backbone, to_rgb=True)
        images = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)  # BGR
        found = model.data_preprocessor({'inputs': images})['inputs']
        expected = (images.flip(1) - torch.tensor([50, 25, 12.5])[:, None, None]) / torch.tensor([50, 100, 200])[
            :, None, None
        ]
        torch.testing.assert_close(found, expected)
        (copied / 'preprocessor_config.json').write_text(json.dumps(dict(image_mean=[0] * 3, image_std=[1] * 3)))
        later = classifier(backbone, to_rgb=True)
        assert not torch.equal(later.data_preprocessor({'inputs': images})['inputs'], found)
        load_weights(later, {'state_dict': model.state_dict()}, 'checkpoint')
        assert torch.equal(later.data_preprocessor({'inputs': images})['inputs'], found)

    def test_numbers_in_a_config_stay_out_of_checkpoints(self, folder):
        backbone = dict(type='TransformersBackbone', name_or_folder=str(folder))
        asked, given = classifier(backbone), classifier(backbone, mean=[1, 2, 3], std=[4, 5, 6])
        assert given.data_preprocessor.mean.flatten().tolist() == [1, 2, 3]
        assert asked.state_dict().keys() - given.state_dict().keys() == {
            'data_preprocessor.mean',
            'data_preprocessor.std',
        }

import numpy as np
import pytest
import torch

from sarlp.datasets.annotation import load_annotation
from sarlp.engine import MultiLabelRunner, build_runner, load_config
from sarlp.engine.build import set_num_classes, use_amp
from sarlp.engine.config.inputs import check_inputs
from sarlp.errors import UserError
from sarlp.io.embeddings import save_embeddings


def write_embeddings(path, classes, width=16):
    save_embeddings(path, np.ones((len(classes), width), np.float32), classes, 'random', 'test')


@pytest.fixture
def classes(digits):
    return load_annotation(digits / 'labels' / 'trainval.json')[0]['classes']


class TestNumberOfClasses:
    def test_is_taken_from_the_data(self, make_config):
        cfg = make_config('baseline')
        assert cfg.model.head.num_classes is None
        runner = build_runner(cfg, training=False)
        assert runner.model.head.num_classes == 10

    def test_mismatch_names_both_numbers(self, make_config, digits):
        cfg = make_config('baseline', **{'model.head.num_classes': 13})
        with pytest.raises(UserError) as error:
            build_runner(cfg)
        message = str(error.value)
        assert message.startswith('the config sets model.head.num_classes = 13, but ')
        assert f'{digits / "labels" / "trainval.json"} has 10 classes' in message

    def test_same_number_is_fine(self, make_config):
        cfg = make_config('baseline', **{'model.head.num_classes': 10})
        set_num_classes(cfg, 10, 'x.json')
        assert cfg.model.head.num_classes == 10


class TestEmbeddings:
    def test_rows_in_another_order(self, make_config, classes, tmp_path):
        rows = np.random.default_rng(0).random((10, 16)).astype(np.float32)
        save_embeddings(tmp_path / 'rows.npz', rows[::-1], classes[::-1], 'random', 'test')
        runner = build_runner(make_config(**{'model.head.label_embedding.file': str(tmp_path / 'rows.npz')}))
        runner.model.init_weights()
        np.testing.assert_array_equal(runner.model.head.label_embedding.weight, rows)

    def test_other_number_of_rows(self, make_config, classes, tmp_path):
        write_embeddings(tmp_path / 'rows.npz', [*classes, 'ten'])
        cfg = make_config(**{'model.head.label_embedding.file': str(tmp_path / 'rows.npz')})
        with pytest.raises(
            UserError, match=r'rows\.npz has 11 classes, the data set has 10; only the former has ten\. '
        ):
            build_runner(cfg)

    def test_right_rows(self, make_config, classes, tmp_path):
        write_embeddings(tmp_path / 'rows.npz', classes)
        cfg = make_config(**{'model.head.label_embedding.file': str(tmp_path / 'rows.npz')})
        assert build_runner(cfg).model.head.num_classes == 10

    def test_testing_needs_no_rows(self, make_config):
        cfg = make_config(**{'model.head.label_embedding.file': 'gone.npz'})
        assert build_runner(cfg, training=False).model.head.label_embedding.weight.isnan().all()


class TestInputs:
    def test_all_that_is_missing_in_one_message(self, make_config, tmp_path):
        root = tmp_path / 'nowhere'
        cfg = make_config(
            **{
                'train_dataloader.dataset.data_root': str(root),
                'val_dataloader.dataset.data_root': str(root),
                'model.head.label_embedding.file': str(tmp_path / 'bert.npz'),
            }
        )
        cfg.model.backbone.init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'r18.pth'))
        with pytest.raises(UserError) as error:
            build_runner(cfg)
        message = str(error.value)
        assert message.startswith('3 inputs are missing:\n- data: ')
        for part in (
            f'{root}/labels/trainval.json, {root}, {root}/labels/test.json\n',
            'made by      sarlp convert digits --out data/digits',
            'or set       --cfg-options data_root=DIR, if',
            f'- pretrained weights of the backbone: {tmp_path}/r18.pth (',
            '--cfg-options model.backbone.init_cfg=None',
            f'- label embeddings: {tmp_path}/bert.npz\n',
            f'sarlp convert embeddings {root}/labels/trainval.json --kind bert --out {tmp_path}/bert.npz',
            '--cfg-options model.head.label_embedding.file=None',
        ):
            assert part in message
        assert not (tmp_path / 'work').exists()  # nothing was started

    def test_images_that_moved_alone(self, make_config, tmp_path):
        cfg = make_config()
        cfg.test_dataloader.dataset.data_prefix = dict(img_path=str(tmp_path / 'moved'))
        with pytest.raises(UserError) as error:
            check_inputs(cfg, [cfg.train_dataloader, cfg.test_dataloader], training=False)
        assert f'- data: {tmp_path}/moved\n' in str(error.value)
        assert '--cfg-options test_dataloader.dataset.data_prefix.img_path=FOLDER, if the' in str(error.value)

    def test_weights_of_each_of_several_backbones(self, make_config, tmp_path):
        files = [str(tmp_path / f'{number}.pth') for number in range(2)]
        backbones = [dict(type='TorchvisionBackbone', name='mobilenet_v2', weights=files[0])]
        resnet = dict(type='mmpretrain.ResNet', depth=18, init_cfg=dict(type='Pretrained', checkpoint=files[1]))
        backbones.append(dict(type='LayersBackbone', backbone=resnet, layers=['layer3', 'layer4']))
        cfg = make_config()
        cfg.model.backbone = dict(type='ConcatBackbone', backbones=backbones)
        with pytest.raises(UserError) as error:
            build_runner(cfg)
        message = str(error.value)
        assert f'weights of the backbone: {files[0]}' in message and f'{files[1]} (' in message
        assert '--cfg-options model.backbone.backbones.1.backbone.init_cfg.checkpoint=FILE' in message

    def test_one_thing_missing(self, make_config, tmp_path):
        cfg = make_config(**{'model.head.label_embedding.file': str(tmp_path / 'bert.npz')})
        with pytest.raises(UserError, match='^1 input is missing:\n- label embeddings'):
            build_runner(cfg)

    def test_the_remedies_work(self, make_config):
        # what the message advises must be legal on the command line
        cfg = make_config(**{'model.backbone.init_cfg': None, 'model.head.label_embedding.file': None})
        build_runner(cfg)

    def test_testing_needs_no_weights_and_no_training_data(self, make_config, tmp_path):
        cfg = make_config(**{'train_dataloader.dataset.data_root': str(tmp_path / 'nowhere')})
        cfg.model.backbone.init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'r18.pth'))
        build_runner(cfg, training=False)


class TestBatch:
    def test_must_be_shared_evenly(self, make_config, monkeypatch):
        monkeypatch.setattr(MultiLabelRunner, 'world_size', 3)
        with pytest.raises(UserError, match=r'batch_size = 8 is the total over all processes .* their number, 3$'):
            build_runner(make_config())

    def test_is_shared(self, make_config, monkeypatch, tmp_path):
        monkeypatch.setattr(MultiLabelRunner, 'world_size', 4)
        cfg = make_config()
        runner = build_runner(cfg)
        assert runner._train_dataloader.batch_size == 2
        runner.load_or_resume()  # where the training starts
        (file,) = (tmp_path / 'work').glob('*.py')
        assert load_config(file).train_dataloader.batch_size == 8  # for any number of processes


@pytest.mark.parametrize(('has_bfloat16', 'dtype'), [(True, 'bfloat16'), (False, 'float16')])
def test_amp(make_config, monkeypatch, has_bfloat16, dtype):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.raises(UserError, match='--amp needs a GPU, and torch sees none'):
        use_amp(make_config())
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'is_bf16_supported', lambda including_emulation: has_bfloat16)
    cfg = make_config()
    use_amp(cfg)
    assert (cfg.optim_wrapper.type, cfg.optim_wrapper.dtype) == ('MixedPrecisionOptimWrapper', dtype)


def test_work_dir_is_named_after_the_config():
    assert load_config('sarlp_r18_digits_p0.1').work_dir == 'work_dirs/sarlp_r18_digits_p0.1'
    assert load_config('sarlp_r18_digits_p0.1', {'work_dir': 'elsewhere'}).work_dir == 'elsewhere'


def test_options_reach_the_mask(make_config):
    cfg = make_config(**{'train_dataloader.dataset.label_mask.known_ratio': 0.3})
    assert cfg.train_dataloader.dataset.label_mask.to_dict() == dict(type='RandomKnownLabels', known_ratio=0.3, seed=0)


def test_a_preprocessor_at_the_top_is_that_of_the_model(tmp_path):
    """As MMEngine's training has it; prediction builds the model alone."""
    pixels = load_config('baseline_r18_digits_p0.1').model.data_preprocessor.to_dict() | {'mean': [7, 11, 13]}
    base, own = "_base_ = 'baseline_r18_digits_p0.1.py'\n", tmp_path / 'own.py'
    own.write_text(f'{base}data_preprocessor = {pixels!r}\n')
    with pytest.raises(UserError, match=r'own\.py: data_preprocessor at the top would have no effect beside model\.'):
        load_config(own)
    cfg = load_config('baseline_r18_digits_p0.1')
    del cfg.model['data_preprocessor']
    cfg.data_preprocessor = pixels
    cfg.dump(own)
    read = load_config(own)
    assert read.model.data_preprocessor == pixels and 'data_preprocessor' not in read
    read.data_preprocessor = pixels  # the same twice
    read.dump(own)
    assert load_config(own).model.data_preprocessor == pixels

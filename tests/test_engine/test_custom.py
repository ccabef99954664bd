"""A spreadsheet, its converter, and the config for one's own data: from the one to a checkpoint of the other."""

import csv
import os

import numpy as np
import pytest
from mmengine.config import Config

from sarlp.apps.spreadsheets.csv_labels import convert_csv_labels
from sarlp.apps.spreadsheets.label_source import RECORD
from sarlp.datasets.annotation import labels_of, load_annotation
from sarlp.engine import build_runner, load_config, read_checkpoint
from sarlp.engine.config.custom import choose_embeddings, fill_in
from sarlp.errors import UserError
from sarlp.io.embeddings import load_embeddings, save_embeddings
from sarlp.registry import DATASETS

from .conftest import LOADERS

CONFIG = 'sarlp_r50_custom'
SPELLINGS = {1: ('yes', '1', 'TRUE'), 0: ('no', '0', 'FALSE'), -1: ('', '?', 'NA')}


@pytest.fixture(scope='session')
def spreadsheet(digits, tmp_path_factory):
    """The 24 training scenes in a folder, and a spreadsheet of them in which two thirds of the cells are blank.

    Returns the folder made of both, and the labels of the spreadsheet by image.
    """
    rng = np.random.default_rng(0)
    metainfo, data_list = load_annotation(digits / 'labels' / 'trainval.json')
    labels = {}
    root = tmp_path_factory.mktemp('mine')
    with open(root / 'labels.csv', 'w', newline='') as file:
        writer = csv.writer(file, delimiter=';')
        writer.writerow(['Photo', *metainfo['classes']])
        for number, entry in enumerate(data_list):
            name = entry['img_path'].split('/')[1]
            codes = np.where(rng.random(10) < 1 / 3, labels_of(entry, 10)[0], -1)
            labels[name] = codes
            words = [rng.choice(SPELLINGS[int(code)]) for code in codes]
            writer.writerow([name if number % 2 else name.removesuffix('.jpg'), *words])
    convert_csv_labels(
        root / 'labels.csv', digits / 'JPEGImages', root / 'data', val_fraction=0.3, include_unlabelled=False
    )
    return root / 'data', labels


def reduced():
    """Options that make the config run in seconds."""
    return {
        **{f'{loader}.num_workers': 0 for loader in LOADERS},
        'train_dataloader.batch_size': 4,
        'val_dataloader.batch_size': 4,
        'train_cfg.max_epochs': 1,
        'model.backbone.depth': 18,
        'model.backbone.base_channels': 4,
        'model.backbone.stem_channels': 4,
        'model.backbone.init_cfg': None,
        'model.head.in_channels': 32,
        'model.head.label_embedding.dim': 22,
        'model.head.encoder.feedforward_dim': 16,
        'model.head.sgfe.attention_dim': 16,
    }


def test_spreadsheet_to_checkpoint(spreadsheet, tmp_path, capsys):
    root, labels = spreadsheet
    options = {**reduced(), 'data_root': str(root), 'image_size': 64, 'work_dir': str(tmp_path)}
    cfg = load_config(CONFIG, options)
    cfg.text_encoder = None
    runner = build_runner(cfg)
    assert 'label embeddings: learnt, since the config names no text_encoder' in capsys.readouterr().out
    train, val = runner.train_dataloader.dataset, runner.val_dataloader.dataset
    found = {}
    for dataset in (train, val):
        for index in range(len(dataset)):
            name, observed, full, _ = dataset.get_labels(index)
            found[name] = observed
            np.testing.assert_array_equal(observed, full)  # nothing is masked
    assert found.keys() == labels.keys()
    for name, codes in labels.items():
        np.testing.assert_array_equal(found[name], codes)
    assert len(train) > len(val) > 0
    assert train[0]['inputs'].shape[-2:] == (64, 64)

    runner.train()
    checkpoint = read_checkpoint(tmp_path / 'epoch_1.pth')
    assert checkpoint['meta']['epoch'] == 1
    assert checkpoint['meta']['dataset_meta']['classes'] == train.classes
    assert all(value.isfinite().all() for value in checkpoint['state_dict'].values() if value.is_floating_point())


class TestFillIn:
    def test_two_lines_in_a_config_of_ones_own(self, spreadsheet, tmp_path):
        shipped = load_config(CONFIG).filename
        (tmp_path / 'mine.py').write_text(f"_base_ = '{shipped}'\ndata_root = '{spreadsheet[0]}'\nimage_size = 96\n")
        check(load_config(tmp_path / 'mine.py'), str(spreadsheet[0]), 96)

    def test_options(self, spreadsheet):
        check(load_config(CONFIG, {'data_root': str(spreadsheet[0])}), str(spreadsheet[0]), 448)

    def test_a_data_set_with_a_folder_of_its_own(self, spreadsheet):
        """It finds its images by the record, as one that takes the folder from the top does."""
        root = str(spreadsheet[0])
        check(load_config(CONFIG, {f'{loader}.dataset.data_root': root for loader in LOADERS}), root, 448)

    def test_dumped_config_follows_options(self, spreadsheet, tmp_path):
        load_config(CONFIG, {'data_root': 'elsewhere', 'image_size': 64}).dump(tmp_path / 'dumped.py')
        check(load_config(tmp_path / 'dumped.py'), 'elsewhere', 64, prefix=None)
        options = {'data_root': str(spreadsheet[0]), 'image_size': 96}
        check(load_config(tmp_path / 'dumped.py', options), str(spreadsheet[0]), 96)

    def test_what_is_set_stays(self, spreadsheet):
        options = {'data_root': str(spreadsheet[0]), 'test_dataloader.dataset.data_root': 'other'}
        cfg = load_config(CONFIG, options)
        assert [cfg[loader].dataset.data_root for loader in LOADERS] == [str(spreadsheet[0])] * 2 + ['other']
        cfg = load_config('sarlp_r101_voc_p0.1')
        before = cfg.to_dict()
        fill_in(cfg)
        assert cfg.to_dict() == before

    def test_data_sets_in_wrappers(self):
        inner = dict(type='MultiLabelDataset', ann_file='a.json')
        parts = [inner, dict(inner, data_root='y'), dict(type='ClassBalancedDataset', dataset=inner)]
        data = dict(type='RepeatDataset', times=2, dataset=dict(type='ConcatDataset', datasets=parts))
        cfg = Config(dict(data_root='x', train_dataloader=dict(dataset=data)))
        fill_in(cfg)
        parts = cfg.train_dataloader.dataset.dataset.datasets
        assert [parts[0].data_root, parts[1].data_root, parts[2].dataset.data_root] == ['x', 'y', 'x']
        with pytest.raises(UserError, match='data_root=x is for every data set, but those of train.* 2 folders, x, y'):
            fill_in(cfg, ['data_root'])

    def test_other_configs_follow_options(self):
        options = {'data_root': 'here', 'image_size': 224}
        check(load_config('sarlp_r101_voc_p0.1', options), 'here', 224, prefix=None)

    def test_images_inside_and_outside(self, tmp_path):
        (tmp_path / 'labels').mkdir()
        for img_root, prefix in (('photos/a', 'photos/a'), ('.', ''), ('/far/away', '/far/away')):
            (tmp_path / RECORD).write_text(f'{{"version": 1, "img_root": "{img_root}"}}')
            cfg = load_config(CONFIG, {'data_root': str(tmp_path)})
            assert cfg.train_dataloader.dataset.data_prefix == dict(img_path=prefix)

    def test_how_much_is_decoded_follows_the_size(self, tmp_path):
        def decoded(cfg):
            return {cfg[loader].dataset.pipeline[0].get('min_side') for loader in LOADERS}

        name = 'few_lite0_frozen_custom'
        cfg = load_config(name, {'data_root': 'here'})
        assert decoded(cfg) == {cfg.image_size} and cfg.image_size % 32 == 0
        assert decoded(load_config(name, {'image_size': 96})) == {96}
        (tmp_path / 'mine.py').write_text(f"_base_ = '{name}'\nimage_size = 64\n")
        cfg = load_config(tmp_path / 'mine.py')
        assert decoded(cfg) == {64}
        cfg.dump(tmp_path / 'dumped.py')
        assert decoded(load_config(tmp_path / 'dumped.py', {'image_size': 128})) == {128}
        cfg.train_dataloader.dataset.pipeline[0].min_side = 77  # of one's own
        cfg.dump(tmp_path / 'dumped.py')
        assert decoded(load_config(tmp_path / 'dumped.py', {'image_size': 128})) == {128, 77}
        assert decoded(load_config(CONFIG, {'image_size': 128})) == {None}

    @pytest.mark.parametrize('size', [33, 0, 'large', 64.0, [128, 96]])
    def test_bad_size(self, size):
        with pytest.raises(UserError, match='image_size must be one whole number, a multiple of 32, got '):
            load_config(CONFIG, {'image_size': size})


def check(cfg, root, size, prefix='images'):
    for loader in LOADERS:
        dataset = cfg[loader].dataset
        assert dataset.data_root == root
        assert [tuple(step.scale) for step in dataset.pipeline if step.type == 'Resize'] == [(size, size)]
        if prefix is not None:
            DATASETS.build({**dataset, 'pipeline': []})  # finds its images


class TestEmbeddings:
    @pytest.fixture
    def cfg(self, spreadsheet, tmp_path):
        root = tmp_path / 'data'
        (root / 'labels').mkdir(parents=True)
        for file in spreadsheet[0].glob('labels/*'):
            (root / 'labels' / file.name).write_bytes(file.read_bytes())
        return load_config(CONFIG, {'data_root': str(root)})

    @staticmethod
    def file(cfg):
        return f'{cfg.data_root}/labels/bert.npz'

    def test_file_that_is_there(self, cfg, capsys):
        classes = load_annotation(f'{cfg.data_root}/labels/test.json')[0]['classes']
        save_embeddings(self.file(cfg), np.ones((10, 768), np.float32), classes, 'random', 'test')
        cfg.text_encoder = None
        choose_embeddings(cfg)
        assert cfg.model.head.label_embedding.file == self.file(cfg)
        assert capsys.readouterr().out == f'label embeddings: {self.file(cfg)}\n'

    def test_file_of_the_first_of_several(self, cfg):
        classes = load_annotation(f'{cfg.data_root}/labels/test.json')[0]['classes']
        save_embeddings(self.file(cfg), np.ones((10, 768), np.float32), classes, 'random', 'test')
        parts = [cfg.train_dataloader.dataset, dict(cfg.train_dataloader.dataset, data_root='elsewhere')]
        cfg.train_dataloader.dataset = dict(type='ConcatDataset', datasets=parts)
        choose_embeddings(cfg)
        assert cfg.model.head.label_embedding.file == self.file(cfg)

    def test_made_by_an_encoder_that_is_there(self, cfg, tmp_path, capsys):
        from transformers import BertConfig, BertModel

        classes = load_annotation(f'{cfg.data_root}/labels/test.json')[0]['classes']
        words = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', *classes]
        BertModel(
            BertConfig(
                vocab_size=len(words),
                hidden_size=22,
                num_hidden_layers=1,
                num_attention_heads=2,
                intermediate_size=7,
                max_position_embeddings=5,
            )
        ).save_pretrained(tmp_path / 'bert')
        (tmp_path / 'bert' / 'vocab.txt').write_text('\n'.join(words) + '\n')
        cfg.text_encoder = str(tmp_path / 'bert')
        choose_embeddings(cfg)
        assert cfg.model.head.label_embedding.file == self.file(cfg)
        assert load_embeddings(self.file(cfg), classes).shape == (10, 22)
        assert capsys.readouterr().out.endswith(f'label embeddings: {self.file(cfg)}, made from the class names\n')

        # an encoder that does not know the names is as good as none
        os.remove(self.file(cfg))
        (tmp_path / 'bert' / 'vocab.txt').write_text('\n'.join([*words[:5], *'abcdefghij']) + '\n')
        cfg.model.head.label_embedding.file = 'auto'
        choose_embeddings(cfg)
        assert cfg.model.head.label_embedding.file is None
        assert "label embeddings: learnt, since class 'eight': the vocabulary of " in capsys.readouterr().out

    @pytest.mark.parametrize('encoder', ['no-such-encoder', './no/such/folder', None])
    def test_learnt(self, cfg, encoder, capsys):
        cfg.text_encoder = encoder
        choose_embeddings(cfg)
        assert cfg.model.head.label_embedding.file is None
        printed = capsys.readouterr().out
        named = '' if encoder is None else f'--model {encoder} '
        assert f'{cfg.data_root}/labels/trainval.json --kind bert {named}--out {self.file(cfg)}' in printed

    def test_what_is_chosen_stays(self, cfg):
        for file in (None, 'mine.npz'):
            cfg.model.head.label_embedding.file = file
            choose_embeddings(cfg)
            assert cfg.model.head.label_embedding.file == file

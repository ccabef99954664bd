"""Data sets made of data sets: labels, masks, augmentation and epochs are those of the leaves."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.dataset import ConcatDataset as PlainConcat
from mmengine.registry import DATASETS as ROOT
from mmengine.registry import init_default_scope
from PIL import Image
from torch.utils.data import DataLoader

from sarlp.datasets import nesting
from sarlp.datasets.annotation import dump_annotation
from sarlp.datasets.label_masks import export_label_mask
from sarlp.datasets.wrappers import ConcatDataset
from sarlp.errors import UserError
from sarlp.registry import DATASETS

CLASSES = ('cat', 'dog', 'sofa')
PIPELINE = [
    dict(type='sarlp.LoadImage'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='sarlp.RandomCutout', ratio=0.5),
    dict(type='sarlp.PackMultiLabel'),
]
MASK = dict(type='RandomKnownLabels', known_ratio=0.5, seed=3)


@pytest.fixture(scope='module')
def roots(tmp_path_factory):
    """Two data sets in folders of their own; the image both.png is one name for two images."""
    root = tmp_path_factory.mktemp('data')
    rng = np.random.default_rng(0)
    for folder, names in (('one', ['a', 'b', 'c', 'both']), ('two', ['d', 'both', 'e'])):
        (root / folder / 'photos').mkdir(parents=True)
        entries = []
        for number, name in enumerate(names):
            Image.fromarray(rng.integers(0, 256, (24, 32, 3), np.uint8)).save(root / folder / 'photos' / f'{name}.png')
            entries.append({'img_path': f'{name}.png', 'positive': [min(number, 2)], 'negative': 'rest'})
        dump_annotation(root / folder / 'train.json', CLASSES, entries, difficult=folder, made='here')
    return root


def leaf(roots, name, **options):
    base = dict(type='MultiLabelDataset', data_root=str(roots / name), ann_file='train.json', pipeline=PIPELINE)
    return dict(base, data_prefix=dict(img_path='photos'), label_mask=MASK, **options)


def concat(*parts):
    return dict(type='ConcatDataset', datasets=list(parts))


def repeat(part, times):
    return dict(type='RepeatDataset', dataset=part, times=times)


def labels(dataset):
    return [
        (image, observed.tolist(), full.tolist(), ignore.tolist())
        for image, observed, full, ignore in (dataset.get_labels(index) for index in range(len(dataset)))
    ]


def pixels(dataset, workers=0):
    loader = DataLoader(dataset, 3, num_workers=workers, collate_fn=lambda samples: samples)
    return [(s['data_samples'].img_id, s['inputs'].numpy().tobytes()) for batch in loader for s in batch]


@pytest.fixture
def parts(roots):
    return [DATASETS.build(leaf(roots, name)) for name in ('one', 'two')]


class TestLabels:
    def test_concatenation(self, roots, parts):
        both = DATASETS.build(concat(leaf(roots, 'one'), leaf(roots, 'two')))
        assert len(both) == 7 and both.classes == CLASSES
        assert labels(both) == labels(parts[0]) + labels(parts[1])
        assert [both.image_path(i).parent.parent.name for i in range(7)] == ['one'] * 4 + ['two'] * 3
        assert labels(both)[-1] == labels(both)[len(both) - 1] and both.get_labels(-1)[0] == 'e.png'
        with pytest.raises(IndexError):
            both.get_labels(7)
        info = both.get_data_info(4)
        assert (info['sample_idx'], info['img_id']) == (4, 'd.png')
        expected = {k: parts[0].label_counts()[k] + parts[1].label_counts()[k] for k in ('positive', 'negative')}
        for kind, counts in both.label_counts().items():
            assert counts.tolist() == expected[kind].tolist()
        assert both.source == f'{roots}/one/train.json, {roots}/two/train.json'

    def test_what_the_parts_say_of_themselves(self, roots):
        both = DATASETS.build(repeat(concat(leaf(roots, 'one'), leaf(roots, 'two')), 2))
        assert both.metainfo == {'classes': CLASSES, 'difficult': ['one', 'two'], 'made': 'here'}

    def test_repeats_and_nesting(self, roots, parts):
        nested = DATASETS.build(repeat(concat(repeat(leaf(roots, 'two'), 2), leaf(roots, 'one')), 3))
        one, two = labels(parts[0]), labels(parts[1])
        assert labels(nested) == (two * 2 + one) * 3

    def test_rare_classes(self, roots):
        whole = dict(leaf(roots, 'one'), label_mask=None)
        balanced = DATASETS.build(dict(type='ClassBalancedDataset', dataset=whole, oversample_thr=1.0))
        positive = Counter(0 if n == 0 else 1 if n == 1 else 2 for n in range(4))  # images of each class
        expected = [
            name for name, c in (('a', 0), ('b', 1), ('c', 2), ('both', 2))
            for _ in range(math.ceil(max(1, math.sqrt(1.0 / (positive[c] / 4)))))
        ]  # fmt: skip
        assert [balanced.get_labels(i)[0] for i in range(len(balanced))] == [f'{name}.png' for name in expected]
        hidden = dict(whole, label_mask=dict(type='PositivesOnly', share=1e-9))  # what is hidden is not used
        hidden = DATASETS.build(dict(type='ClassBalancedDataset', dataset=hidden, oversample_thr=1.0))
        assert len(hidden) == 4

    def test_split_by_hash_is_the_same_in_all_parts(self, roots):
        """An image id that lies in two parts is on the same side in both."""
        ids = [[], []]
        for side, part in enumerate(('train', 'holdout')):
            options = dict(holdout=dict(part=part, share=0.5, seed=4))
            both = DATASETS.build(concat(leaf(roots, 'one', **options), leaf(roots, 'two', **options)))
            ids[side] = [both.get_labels(i)[0] for i in range(len(both))]
        assert not set(ids[0]) & set(ids[1])
        assert len(ids[0]) + len(ids[1]) == 7
        assert Counter(ids[0] + ids[1])['both.png'] == 2


class TestAugmentation:
    def test_a_leaf_is_as_it_was(self, roots, parts):
        """Without a wrapper nothing changes; the first occurrence in one is another."""
        sample = parts[0].sample(2, ())
        assert torch.equal(sample['inputs'], parts[0][2]['inputs'])

    def test_occurrences_differ_and_epochs_too(self, roots):
        nested = DATASETS.build(repeat(concat(leaf(roots, 'one'), repeat(leaf(roots, 'one'), 2)), 4))
        assert len(nested) == 48
        first = pixels(nested)
        by_image = {}
        for image, content in first:
            by_image.setdefault(image, []).append(content)
        assert {len(contents) for contents in by_image.values()} == {12}
        assert all(len(set(contents)) == 12 for contents in by_image.values())
        nested.set_epoch(1)
        second = pixels(nested)
        assert [image for image, _ in first] == [image for image, _ in second]
        assert all(one != other for one, other in zip(first, second, strict=True))
        nested.set_epoch(0)
        assert pixels(nested) == first

    def test_same_for_any_number_of_workers(self, roots):
        """Resuming bit by bit rests on it: an image is a function of seed, epoch and place."""
        nested = DATASETS.build(repeat(concat(leaf(roots, 'one'), leaf(roots, 'two')), 2))
        expected = pixels(nested)
        assert pixels(nested, 2) == expected
        order = [13, 2, 9, 0, 5, 7]
        assert [nested[i]['inputs'].numpy().tobytes() for i in order] == [expected[i][1] for i in order]
        again = DATASETS.build(repeat(concat(leaf(roots, 'one'), leaf(roots, 'two')), 2))
        assert pixels(again) == expected

    def test_epoch_reaches_persistent_workers(self, roots):
        nested = DATASETS.build(repeat(concat(leaf(roots, 'one'), leaf(roots, 'two')), 2))
        loader = DataLoader(nested, 3, num_workers=1, persistent_workers=True, collate_fn=lambda samples: samples)
        for epoch in (0, 3):
            nested.set_epoch(epoch)
            found = [sample['inputs'].numpy().tobytes() for batch in loader for sample in batch]
            assert found == [content for _, content in pixels(nested)]


class TestRefusals:
    @pytest.mark.parametrize(
        ('cfg', 'message'),
        [
            (dict(type='RepeatDataset', times=0), 'RepeatDataset.times must be a whole number, at least 1, got 0'),
            (dict(type='RepeatDataset', times=1.5), 'at least 1, got 1.5'),
            (dict(type='ClassBalancedDataset', oversample_thr=0), r'oversample_thr must be in \(0, 1\], got 0'),
            (dict(type='ClassBalancedDataset', oversample_thr='a'), r"oversample_thr must be in \(0, 1\], got 'a'"),
        ],
    )
    def test_options(self, roots, cfg, message):
        with pytest.raises(UserError, match=message):
            DATASETS.build({**cfg, 'dataset': leaf(roots, 'one')})

    def test_no_data_sets(self):
        with pytest.raises(UserError, match=r'ConcatDataset.datasets must be a list of data sets, got \[\]'):
            DATASETS.build(concat())

    def test_data_of_another_kind(self, roots):
        with pytest.raises(UserError, match='type list has no positive, negative and unknown labels'):
            ConcatDataset([[1, 2]])

    def test_other_classes(self, roots, tmp_path):
        dump_annotation(tmp_path / 'x.json', CLASSES[::-1], [{'img_path': 'a.png', 'positive': [], 'negative': []}])
        other = leaf(roots, 'one') | dict(ann_file=str(tmp_path / 'x.json'))
        with pytest.raises(UserError, match='the same 3 classes in another order: class 0 is sofa'):
            DATASETS.build(concat(leaf(roots, 'one'), other))
        cfg = nesting.spread_lists(concat(leaf(roots, 'one'), other), 'here')
        nesting.order_classes(cfg, nesting.classes_of(cfg), 'the first')
        assert DATASETS.build(cfg).classes == CLASSES  # by the config they are matched by name

    def test_a_mask_names_an_image_once(self, roots, tmp_path):
        both = DATASETS.build(concat(leaf(roots, 'one'), leaf(roots, 'two')))
        with pytest.raises(UserError, match=r'1 image paths are in more than one of .*: both\.png'):
            export_label_mask(tmp_path / 'mask.npz', both)


class TestConfig:
    def test_list_of_annotation_files(self, roots, parts):
        listed = leaf(roots, 'one')
        listed |= dict(data_root=str(roots), ann_file=['one/train.json', 'two/train.json'])
        listed['data_prefix'] = dict(img_path=['one/photos', 'two/photos'])
        dataset = DATASETS.build(nesting.spread_lists(listed, 'train_dataloader.dataset'))
        assert labels(dataset) == labels(parts[0]) + labels(parts[1])
        rooted = leaf(roots, 'one') | dict(ann_file=('train.json',) * 2, data_root=[f'{roots}/one', f'{roots}/two'])
        assert labels(DATASETS.build(nesting.spread_lists(rooted, 'x'))) == labels(dataset)

    def test_one_file_in_a_list(self, roots):
        cfg = nesting.spread_lists(leaf(roots, 'one') | dict(ann_file=['train.json']), 'x')
        assert cfg == leaf(roots, 'one')

    @pytest.mark.parametrize(
        ('change', 'message'),
        [
            (dict(data_root=['a']), 'here: data_root lists 1, and ann_file 2; give one for all, or each'),
            (dict(data_prefix=dict(img_path=['a'] * 3)), 'here: img_path lists 3, and ann_file 2'),
            (dict(ann_file=[], data_root=[]), 'here: ann_file lists 0'),
        ],
    )
    def test_lists_that_do_not_fit(self, roots, change, message):
        with pytest.raises(UserError, match=message):
            nesting.spread_lists(leaf(roots, 'one') | dict(ann_file=['a.json', 'b.json']) | change, 'here')

    def test_folders_without_files(self, roots):
        for change, name in (
            (dict(data_root=['a', 'b']), 'data_root'),
            (dict(data_prefix=dict(img_path=['a'])), 'img_path'),
        ):
            with pytest.raises(UserError, match=f'here: {name} is the list .*, so ann_file must be one as long'):
                nesting.spread_lists(leaf(roots, 'one') | change, 'here')

    @pytest.mark.parametrize(
        ('cfg', 'message'),
        [
            (dict(type='ConcatDataset', label_mask=1), 'here: a ConcatDataset has datasets and .* found label_mask'),
            (dict(type='RepeatDataset', times=2), 'has dataset and times and nothing else, but there is no dataset'),
            (dict(type='ConcatDataset', datasets=5), 'here.datasets: expected a list of data sets, got 5'),
            (dict(type='ConcatDataset', datasets=[3]), r'here.datasets.0: expected the config of a data set'),
            ('x', "here: expected the config of a data set, .* got 'x'"),
        ],
    )
    def test_what_is_no_config(self, cfg, message):
        with pytest.raises(UserError, match=message):
            nesting.spread_lists(cfg, 'here')

    def test_leaf_without_annotation_file(self):
        with pytest.raises(UserError, match="a data set of type 'ImageNet' has no ann_file; expected MultiLabelData"):
            nesting.annotation_paths(repeat(dict(type='ImageNet'), 2))

    def test_keys_of_leaves(self, roots):
        cfg = ConfigDict(repeat(concat(leaf(roots, 'one'), repeat(leaf(roots, 'two'), 2)), 3))
        assert [key for key, _ in nesting.keyed_leaves(cfg, 'd')] == [
            'd.dataset.datasets.0',
            'd.dataset.datasets.1.dataset',
        ]
        assert nesting.annotation_paths(cfg) == [roots / 'one/train.json', roots / 'two/train.json']
        assert nesting.each_once(cfg) == concat(leaf(roots, 'one'), leaf(roots, 'two'))
        assert nesting.option_of(cfg, 'label_mask') == MASK
        changed = nesting.with_options(cfg, label_mask=None)
        assert nesting.option_of(changed, 'label_mask') is None
        assert nesting.option_of(cfg, 'label_mask') == MASK  # a copy was changed

    def test_mmengines_own_wrappers_become_ours(self, roots):
        init_default_scope('sarlp')
        cfg = concat(leaf(roots, 'one')) | dict(type='mmengine.ConcatDataset')
        assert type(ROOT.build(nesting.spread_lists(cfg, 'x'))) is ConcatDataset
        assert nesting.spread_lists(cfg | dict(type=PlainConcat), 'x').type == 'ConcatDataset'
        assert isinstance(DATASETS.build(concat(leaf(roots, 'one'))), PlainConcat)

    def test_measured_once(self, roots):
        nesting.require_each_once(leaf(roots, 'one'), 'here')
        with pytest.raises(UserError, match='here: images that are tested count once; leave RepeatDataset'):
            nesting.require_each_once(concat(repeat(leaf(roots, 'one'), 2)), 'here')
        with pytest.raises(UserError, match=r'here: 1 image paths are in more than one of .*: both\.png'):
            nesting.require_each_once(concat(leaf(roots, 'one'), leaf(roots, 'two')), 'here')

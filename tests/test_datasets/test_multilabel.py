import hashlib
import logging
import random
import shutil

import mmcv.transforms
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.logging import MMLogger
from mmengine.registry import TRANSFORMS as ROOT_TRANSFORMS
from mmengine.registry import init_default_scope
from PIL import Image
from torch.utils.data import DataLoader

from sarlp.datasets.annotation import AnnotationError, dump_annotation
from sarlp.datasets.multilabel import MultiLabelDataset, seeded
from sarlp.errors import UserError
from sarlp.paths import find_config
from sarlp.transforms import RandomCutout

CLASSES = ('cat', 'dog', 'sofa', 'tree', 'van')
SIZE = (31, 23)  # width, height
PIPELINE = [
    dict(type='sarlp.LoadImage'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='sarlp.RandomCutout', ratio=0.5),
    dict(type='sarlp.PackMultiLabel'),
]
ENTRIES = [
    dict(img_path='a/0.jpg', positive=[0, 3], negative='rest', ignore=[1]),
    dict(img_path='a/1.jpg', positive=[1], negative=[4], ignore=[]),
    dict(img_path='a/2.jpg', positive=[], negative='rest', ignore=[]),
    dict(img_path='b/ü 3.jpg', positive=[4], negative='rest', ignore=[]),
    dict(img_path='b/4.jpg', positive=[2, 1, 0], negative=[], ignore=[0, 4]),
    dict(img_path='b/5.jpg', positive=[0], negative='rest', ignore=[]),
    dict(img_path='b/6.jpg', positive=[3], negative=[0, 1], ignore=[]),
]
CODES = [
    [1, 0, 0, 1, 0],
    [-1, 1, -1, -1, 0],
    [0, 0, 0, 0, 0],
    [0, 0, 0, 0, 1],
    [1, 1, 1, -1, -1],
    [1, 0, 0, 0, 0],
    [0, 0, -1, 1, -1],
]


@pytest.fixture(scope='module')
def clean_root(tmp_path_factory):
    root = tmp_path_factory.mktemp('tiny')
    rng = np.random.default_rng(0)
    for entry in ENTRIES:
        path = root / 'images' / entry['img_path']
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (*SIZE[::-1], 3), np.uint8)).save(path)
    dump_annotation(root / 'ann.json', CLASSES, ENTRIES, difficult='ignore')
    return root


@pytest.fixture
def root(clean_root, tmp_path):
    """A copy that a test may spoil."""
    return shutil.copytree(clean_root, tmp_path / 'tiny')


def make(root, **options):
    cfg = dict(ann_file='ann.json', data_root=str(root), data_prefix=dict(img_path='images'), pipeline=PIPELINE)
    return MultiLabelDataset(**{**cfg, **options})


def collate(samples):
    return samples


def images_by_id(dataset, workers=0, order=None):
    loader = DataLoader(dataset, 2, sampler=order, num_workers=workers, collate_fn=collate)
    return {sample['data_samples'].img_id: sample['inputs'] for batch in loader for sample in batch}


def same(one, other):
    assert one.keys() == other.keys()
    return {key for key in one if torch.equal(one[key], other[key])} == set(one)


def break_image(root, name='b/4.jpg'):
    path = root / 'images' / name
    path.write_bytes(path.read_bytes()[:40])
    return path


class TestFields:
    def test_sample(self, clean_root):
        dataset = make(clean_root, pipeline=[])
        assert len(dataset) == 7
        assert dataset.classes == CLASSES
        assert dataset.metainfo['difficult'] == 'ignore'
        for index, (entry, codes) in enumerate(zip(ENTRIES, CODES, strict=True)):
            sample = dataset[index]
            assert sample['img_id'] == entry['img_path']
            assert sample['img_path'] == str(clean_root / 'images' / entry['img_path'])
            assert sample['sample_idx'] == index
            assert sample['gt_score'].dtype == np.float32
            assert sample['gt_score'].tolist() == codes
            assert sample['ignore'].dtype == bool
            assert sample['ignore'].nonzero()[0].tolist() == sorted(entry['ignore'])

    def test_mask_hides_from_gt_score_only(self, clean_root):
        cfg = dict(label_mask=dict(type='SinglePositive'), pipeline=[])
        training, dataset = make(clean_root, **cfg), make(clean_root, **cfg, test_mode=True)
        for index, codes in enumerate(CODES):
            sample = dataset[index]
            assert sample['gt_score_full'].tolist() == codes
            assert 'gt_score_full' not in training[index]  # what trains can not see what is hidden
            seen = np.flatnonzero(sample['gt_score'] != -1)
            assert len(seen) == (1 in codes)
            assert all(codes[position] == 1 for position in seen)

    def test_mask_is_drawn_from_the_relative_path(self, clean_root, root):
        cfg = dict(label_mask=dict(type='RandomKnownLabels', known_ratio=0.5), pipeline=[])
        one, other = make(clean_root, **cfg), make(root, **cfg)  # the same data at two places
        assert [one[i]['gt_score'].tolist() for i in range(7)] == [other[i]['gt_score'].tolist() for i in range(7)]

    def test_packed(self, clean_root):
        packed = make(clean_root, test_mode=True)[4]
        sample = packed['data_samples']
        assert packed['inputs'].shape == (3, 23, 31)
        assert packed['inputs'].dtype == torch.uint8
        assert (sample.gt_score.dtype, sample.gt_score_full.dtype, sample.ignore.dtype) == (
            torch.float32,
            torch.float32,
            torch.bool,
        )
        assert sample.gt_score.tolist() == CODES[4]
        assert sample.ignore.tolist() == [True, False, False, False, True]
        assert (sample.img_id, sample.ori_shape, sample.img_shape) == ('b/4.jpg', (23, 31), (23, 31))

    @pytest.mark.parametrize('mask', [None, dict(type='RandomKnownLabels', known_ratio=0.6, seed=2)])
    def test_label_counts(self, clean_root, mask):
        dataset = make(clean_root, label_mask=mask)
        positive, negative = [0] * 5, [0] * 5
        for index in range(7):
            for position, code in enumerate(dataset.get_data_info(index)['gt_score'].tolist()):
                positive[position] += code == 1
                negative[position] += code == 0
        counts = dataset.label_counts()
        assert counts['positive'].tolist() == positive
        assert counts['negative'].tolist() == negative
        if mask is None:
            assert (positive, negative) == ([3, 2, 1, 2, 1], [3, 5, 4, 3, 4])

    def test_missing_images_are_counted(self, root):
        for name in ('a/1.jpg', 'b/6.jpg'):
            (root / 'images' / name).unlink()
        with pytest.raises(AnnotationError, match=r'ann\.json: 2 of 7 images are missing .*: a/1\.jpg, b/6\.jpg\.'):
            make(root)


class TestAugmentation:
    def test_same_for_any_number_of_workers_and_any_order(self, clean_root):
        dataset = make(clean_root)
        expected = images_by_id(dataset)
        assert same(images_by_id(dataset, 1), expected)
        assert same(images_by_id(dataset, 2), expected)
        assert same(images_by_id(dataset, 0, [6, 2, 4, 0, 3, 5, 1]), expected)
        assert same(images_by_id(make(clean_root)), expected)
        torch.manual_seed(123)
        np.random.seed(123)
        random.seed(123)
        assert same(images_by_id(dataset), expected)

    def test_differs_between_images_epochs_and_seeds(self, clean_root):
        dataset = make(clean_root)
        first = images_by_id(dataset)
        dataset.set_epoch(1)
        second = images_by_id(dataset)
        assert not any(torch.equal(first[key], second[key]) for key in first)
        dataset.set_epoch(0)
        assert same(images_by_id(dataset), first)
        other = images_by_id(make(clean_root, seed=1))
        assert not any(torch.equal(first[key], other[key]) for key in first)

    def test_images_do_not_share_their_random_numbers(self, root):
        for entry in ENTRIES[1:]:  # now only the augmentation tells the images apart
            shutil.copy(root / 'images/a/0.jpg', root / 'images' / entry['img_path'])
        images = list(images_by_id(make(root)).values())
        assert not any(torch.equal(one, other) for i, one in enumerate(images) for other in images[:i])

    def test_epoch_reaches_persistent_workers(self, clean_root):
        dataset = make(clean_root)
        expected = []
        for epoch in range(3):
            dataset.set_epoch(epoch)
            expected.append(images_by_id(dataset))
        loader = DataLoader(dataset, 2, num_workers=2, persistent_workers=True, collate_fn=collate)
        for epoch in (0, 1, 2):
            dataset.set_epoch(epoch)
            actual = {sample['data_samples'].img_id: sample['inputs'] for batch in loader for sample in batch}
            assert same(actual, expected[epoch])

    def test_global_random_states_are_left_alone(self, clean_root):
        dataset = make(clean_root)
        random.seed(5), np.random.seed(5), torch.manual_seed(5)
        expected = random.random(), np.random.rand(), torch.rand(()).item()
        random.seed(5), np.random.seed(5), torch.manual_seed(5)
        dataset.prepare_data(3)
        assert (random.random(), np.random.rand(), torch.rand(()).item()) == expected

    def test_global_random_states_come_back_after_an_error(self, root):
        break_image(root)
        dataset = make(root)
        torch.manual_seed(5)
        expected = torch.rand(()).item()
        torch.manual_seed(5)
        with pytest.raises(UserError):
            dataset.prepare_data(4)
        assert torch.rand(()).item() == expected

    def test_seeded_sets_all_three_generators(self):
        def draw(*key):
            with seeded(*key):
                return random.random(), np.random.rand(), torch.rand(()).item()

        assert draw(0, 1, 'a') == draw(0, 1, 'a')
        for other in ((1, 1, 'a'), (0, 2, 'a'), (0, 1, 'b')):
            assert not set(draw(0, 1, 'a')) & set(draw(*other))


def plain_cutout(self, results):
    """As it was before it was made fast."""
    if self.random_disable():
        return results
    height, width = results['img'].shape[:2]
    side = round(min(height, width) * (self.random_magnitude() if self.ratio is None else self.ratio))
    centre_y, centre_x, colour = self._place(height, width)
    top, left = centre_y - side // 2, centre_x - side // 2
    image = results['img'].copy()
    image[max(top, 0) : max(top + side, 0), max(left, 0) : max(left + side, 0)] = colour
    return {**results, 'img': image}


def plain_pipeline(pipeline):
    """The same steps by the classes of mmcv and mmpretrain, as far as the image."""
    steps = []
    for step in pipeline:
        if step['type'] == 'RandomFlip':
            step = mmcv.transforms.RandomFlip(prob=step['prob'])
        elif step['type'] == 'mmpretrain.RandAugment':
            policies = [dict(policy) for policy in step['policies']]
            for policy in policies:
                if policy['type'] != 'sarlp.RandomCutout':
                    policy['type'] = policy['type'].replace('sarlp.', 'mmpretrain.')
            step = {**step, 'policies': policies}
        steps.append(step)
    return Compose(steps[:-1])


def checksum(image):
    return hashlib.sha256(image.tobytes()).hexdigest()


@pytest.mark.parametrize('config', ['sarlp_r101_nus_p0.1', 'sarlp_r18_digits_p0.1'])
def test_fast_augmentation_is_the_plain_one(clean_root, monkeypatch, config):
    """Config's pipeline through the data set, against plain classes seeded here: the same images to the bit."""
    init_default_scope('sarlp')
    pipeline = Config.fromfile(find_config(config)).train_pipeline
    dataset = make(clean_root, pipeline=pipeline, seed=3)
    actual, expected = [], []
    for epoch in range(11):
        dataset.set_epoch(epoch)
        actual += [checksum(dataset[index]['inputs'].numpy()) for index in range(7)]
    monkeypatch.setattr(RandomCutout, 'transform', plain_cutout)
    plain = plain_pipeline(pipeline)
    for epoch in range(11):
        for entry in ENTRIES:
            key = repr((3, epoch, entry['img_path'])).encode()
            seed = int.from_bytes(hashlib.blake2b(key, digest_size=4).digest(), 'little')
            random.seed(seed), np.random.seed(seed), torch.manual_seed(seed)
            image = plain({'img_path': str(clean_root / 'images' / entry['img_path'])})['img']
            expected.append(checksum(np.ascontiguousarray(image.transpose(2, 0, 1))))
    assert actual == expected
    assert len(set(actual)) > 60  # the digits' pipeline leaves some as they are


def test_class_names_are_not_copied_for_each_image(clean_root):
    dataset = make(clean_root)
    assert dataset.classes == CLASSES
    assert dataset.classes is dataset.classes


class TestBadImages:
    @pytest.mark.parametrize('options', [{}, dict(on_bad_image='skip', test_mode=True)])
    def test_raise_names_the_file(self, root, options):
        path = break_image(root)
        dataset = make(root, **options)
        assert dataset[3]['data_samples'].img_id == 'b/ü 3.jpg'
        with pytest.raises(UserError) as error:
            dataset[4]
        assert str(error.value).startswith(f'{path}: the image cannot be read (')
        # testing has no such option
        assert ('train_dataloader.dataset.on_bad_image=skip' in str(error.value)) is not bool(options)

    @pytest.mark.parametrize('options', [{}, dict(on_bad_image='skip'), dict(test_mode=True)])
    def test_a_transform_that_returns_nothing(self, root, options):
        dataset = make(root, **options)
        dataset.pipeline.transforms.insert(1, lambda results: None)
        with pytest.raises(UserError, match=r'b/ü 3\.jpg: the pipeline of .* gave nothing; each transform must return'):
            dataset[3]

    def test_skip_takes_the_next_one_and_counts(self, root):
        for name in ('a/1.jpg', 'b/5.jpg', 'b/6.jpg'):
            break_image(root, name)
        dataset = make(root, on_bad_image='skip')
        records = []
        handler = logging.Handler()
        handler.emit = lambda record: records.append(record.getMessage())
        logger = MMLogger.get_current_instance()
        logger.addHandler(handler)
        try:
            assert dataset[1]['data_samples'].img_id == 'a/2.jpg'
            assert dataset[5]['data_samples'].img_id == 'a/0.jpg'  # 6 is bad as well, and the next one is the first
            assert dataset[1]['data_samples'].img_id == 'a/2.jpg'
        finally:
            logger.removeHandler(handler)
        warnings = [message for message in records if 'left out' in message]
        names = ['a/1.jpg', 'b/5.jpg', 'b/6.jpg', 'a/1.jpg']
        for message, name, count in zip(warnings, names, (1, 2, 3, 3), strict=True):
            assert message.startswith(f'{root}/images/{name}: the image cannot be read')
            assert message.endswith(f'; image {count} left out by this process')

    def test_replacement_looks_as_in_its_own_place(self, root):
        break_image(root, 'a/1.jpg')
        dataset = make(root, on_bad_image='skip')
        assert torch.equal(dataset[1]['inputs'], dataset[2]['inputs'])

    def test_a_bug_is_not_taken_for_a_bad_image(self, clean_root):
        class Broken:
            def __call__(self, results):
                raise RuntimeError('a bug')

        with pytest.raises(RuntimeError, match='a bug'):
            make(clean_root, pipeline=[Broken()], on_bad_image='skip')[0]

    def test_all_images_bad(self, root):
        for entry in ENTRIES:
            break_image(root, entry['img_path'])
        with pytest.raises(Exception, match='Cannot find valid image'):
            make(root, on_bad_image='skip', max_refetch=20)[0]

    def test_unknown_choice(self, clean_root):
        with pytest.raises(UserError, match="on_bad_image must be 'raise' or 'skip', got 'ignore'"):
            make(clean_root, on_bad_image='ignore')


def test_mmengine_finds_transforms_by_prefix():
    assert ROOT_TRANSFORMS.get('sarlp.RandomCutout').__name__ == 'RandomCutout'

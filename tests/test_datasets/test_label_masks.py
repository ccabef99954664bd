import itertools
import math
import subprocess
import sys

import numpy as np
import pytest

from sarlp.datasets import MultiLabelDataset
from sarlp.datasets.label_masks import LabelMask, load_label_mask, save_label_mask
from sarlp.errors import UserError
from sarlp.registry import LABEL_MASKS

CLASSES = ('cat', 'dog', 'sofa', 'tree', 'van', 'cup', 'bus')
COUNT = 1511
IMAGES = [f'images/{index:04d}.jpg' for index in range(COUNT)]


def build(classes=CLASSES, **cfg):
    mask = LABEL_MASKS.build(cfg)
    mask.bind(classes, 'ann.json')
    return mask


def complete_labels(images=COUNT):
    labels = (np.random.default_rng(11).random((images, len(CLASSES))) < 0.4).astype(np.int8)
    labels[0] = 0  # an image without any positive
    return labels


@pytest.fixture
def mask_file(tmp_path):
    known = np.random.default_rng(2).random((5, len(CLASSES))) < 0.5
    path = tmp_path / 'mask.npz'
    save_label_mask(path, IMAGES[:5], CLASSES, known)
    return path, known


class TestRandomKnownLabels:
    @pytest.mark.parametrize('ratio', [0.1, 0.37, 0.9])
    def test_share(self, ratio):
        mask = build(type='RandomKnownLabels', known_ratio=ratio)
        known = np.stack([mask.known(image, labels) for image, labels in zip(IMAGES, complete_labels(), strict=True)])
        deviation = math.sqrt(ratio * (1 - ratio))
        assert abs(known.mean() - ratio) < 4 * deviation / math.sqrt(known.size)
        for share in known.mean(0):
            assert abs(share - ratio) < 4.5 * deviation / math.sqrt(len(IMAGES))
        # positives and negatives are known alike
        assert abs(known[complete_labels() == 1].mean() - ratio) < 4 * deviation / math.sqrt(0.4 * known.size)

    def test_everything_is_known_at_one(self):
        labels = complete_labels(3)[2]
        assert build(type='RandomKnownLabels', known_ratio=1)(IMAGES[2], labels).tolist() == labels.tolist()

    def test_masks_are_nested(self):
        ratios = [0.1, 0.2, 0.5, 0.9]
        masks = [build(type='RandomKnownLabels', known_ratio=ratio, seed=6) for ratio in ratios]
        labels = complete_labels(1)[0]
        for image in IMAGES[:101]:
            known = [mask.known(image, labels) for mask in masks]
            for inner, outer in zip(known, known[1:], strict=False):
                assert not (inner & ~outer).any()

    def test_seed_matters_and_order_does_not(self):
        one, again, other = (build(type='RandomKnownLabels', known_ratio=0.5, seed=seed) for seed in (3, 3, 4))
        labels = complete_labels(1)[0]
        forwards = [one.known(image, labels).tolist() for image in IMAGES[:53]]
        backwards = [again.known(image, labels).tolist() for image in reversed(IMAGES[:53])]
        assert forwards == backwards[::-1]
        assert forwards != [other.known(image, labels).tolist() for image in IMAGES[:53]]
        order = [4, 0, 6, 2, 1, 5, 3]
        permuted = build([CLASSES[index] for index in order], type='RandomKnownLabels', known_ratio=0.5, seed=3)
        assert permuted.known(IMAGES[7], labels).tolist() == [forwards[7][index] for index in order]

    def test_same_in_another_process(self):
        mask = build(type='RandomKnownLabels', known_ratio=0.5, seed=9)
        here = [mask.known(image, np.zeros(7)).astype(int).tolist() for image in IMAGES[:5]]
        # hash(str) differs between processes; sarlp.labels alone keeps the import short
        code = (
            'import importlib.util, sys; spec = importlib.util.spec_from_file_location("labels", sys.argv[1]); '
            'labels = importlib.util.module_from_spec(spec); spec.loader.exec_module(labels); '
            f'keys = labels.class_keys({CLASSES!r}); '
            f'print([(labels.uniform_numbers(9, i, keys) < 0.5).astype(int).tolist() for i in {IMAGES[:5]!r}])'
        )
        import sarlp.labels

        for hash_seed in ('1', '2'):
            there = subprocess.run(
                [sys.executable, '-c', code, sarlp.labels.__file__],
                capture_output=True,
                text=True,
                check=True,
                env={'PYTHONHASHSEED': hash_seed},
            )
            assert there.stdout.strip() == str(here)

    def test_unknown_stays_unknown(self):
        labels = np.array([1, 0, -1, 1, 0, -1, 1], np.int8)
        masked = build(type='RandomKnownLabels', known_ratio=0.5)(IMAGES[0], labels)
        assert masked.dtype == np.int8
        known = masked != -1
        assert masked[known].tolist() == labels[known].tolist()
        assert not known[[2, 5]].any()
        assert 0 < known.sum() < 5  # of this image some are hidden and some are not

    @pytest.mark.parametrize('ratio', [0, -0.1, 1.5, math.nan])
    def test_bad_ratio(self, ratio):
        with pytest.raises(UserError, match=rf'label_mask\.known_ratio must be in \(0, 1\], got {ratio}'):
            build(type='RandomKnownLabels', known_ratio=ratio)


class TestSinglePositive:
    def test_one_positive_and_nothing_else(self):
        mask = build(type='SinglePositive', seed=1)
        labels = complete_labels()
        masked = np.stack([mask(image, row) for image, row in zip(IMAGES, labels, strict=True)])
        assert ((masked == 1).sum(1) == labels.any(1)).all()
        assert (masked[0] == -1).all()  # an image without a positive: nothing is known
        assert not (masked == 0).any()
        assert (labels[masked == 1] == 1).all()

    def test_choice_is_uniform_among_positives(self):
        mask = build(type='SinglePositive')
        labels = np.array([0, 1, 1, 0, 0, 1, -1], np.int8)
        chosen = np.bincount([mask.known(image, labels).argmax() for image in IMAGES], minlength=7)
        assert chosen[[0, 3, 4, 6]].tolist() == [0, 0, 0, 0]
        third = len(IMAGES) / 3
        assert abs(chosen[[1, 2, 5]] - third).max() < 4 * math.sqrt(third * 2 / 3)


class TestPositivesOnly:
    def test_share_of_positives(self):
        mask = build(type='PositivesOnly', share=0.3)
        labels = complete_labels()
        labels[1, 3] = -1
        masked = np.stack([mask(image, row) for image, row in zip(IMAGES, labels, strict=True)])
        assert not (masked == 0).any()
        assert (labels[masked == 1] == 1).all()
        positives = (labels == 1).sum()
        assert abs((masked == 1).sum() / positives - 0.3) < 4 * math.sqrt(0.21 / positives)

    def test_all_positives_at_one(self):
        labels = np.array([0, 1, 1, 0, -1, 1, 0], np.int8)
        assert build(type='PositivesOnly', share=1)(IMAGES[3], labels).tolist() == [-1, 1, 1, -1, -1, 1, -1]

    @pytest.mark.parametrize('share', [0, 1.5])
    def test_bad_share(self, share):
        with pytest.raises(UserError, match=rf'label_mask\.share must be in \(0, 1\], got {share}'):
            build(type='PositivesOnly', share=share)


class TestSeenIsWritten:
    def test_shares(self):
        mask = build(type='SeenIsWritten', positives=0.4, negatives=0.15)
        labels = complete_labels()
        labels[1, 3] = -1
        masked = np.stack([mask(image, row) for image, row in zip(IMAGES, labels, strict=True)])
        assert masked[1, 3] == -1
        for code, share in ((1, 0.4), (0, 0.15)):
            there = labels == code
            assert {*masked[there]} == {code, -1}
            assert abs((masked[there] == code).mean() - share) < 4 * math.sqrt(share * (1 - share) / there.sum())

    def test_like_others_at_the_same_share(self):
        """The numbers drawn are the same."""
        labels, both = complete_labels(), dict(positives=0.3, negatives=0.3, seed=5)
        for name, mask in (('RandomKnownLabels', dict(known_ratio=0.3)), ('PositivesOnly', dict(share=0.3))):
            other, mask = build(type=name, seed=5, **mask), build(type='SeenIsWritten', **both)
            for image, row in zip(IMAGES, labels, strict=True):
                expected = other(image, row)
                counts = row == 1 if name == 'PositivesOnly' else row >= 0
                assert (mask(image, row)[counts] == expected[counts]).all()

    @pytest.mark.parametrize('name', ['positives', 'negatives'])
    def test_bad_share(self, name):
        with pytest.raises(UserError, match=rf'label_mask\.{name} must be in \(0, 1\], got 0'):
            build(**{'type': 'SeenIsWritten', 'positives': 0.5, 'negatives': 0.5, name: 0})


class TestFileLabelMask:
    def test_round_trip(self, mask_file):
        path, known = mask_file
        images, classes, loaded = load_label_mask(path)
        assert (images, classes) == (IMAGES[:5], list(CLASSES))
        assert loaded.dtype == bool
        assert loaded.tolist() == known.tolist()
        assert [file.name for file in path.parent.iterdir()] == ['mask.npz']

    def test_order_of_classes_and_images_does_not_matter(self, mask_file):
        path, known = mask_file
        order = [2, 6, 0, 5, 3, 1, 4]
        mask = build([CLASSES[index] for index in order], type='FileLabelMask', file=str(path))
        labels = np.ones(7, np.int8)
        for row in (3, 0, 4, 1, 2):
            expected = [1 if known[row, index] else -1 for index in order]
            assert mask(IMAGES[row], labels).tolist() == expected

    def test_checksum_covers_everything(self, tmp_path, mask_file):
        path, known = mask_file
        checksum = str(np.load(path)['sha256'])
        again = save_label_mask(tmp_path / 'b.npz', IMAGES[:5], CLASSES, known)
        assert again == checksum
        assert len(checksum) == 64
        other = known.copy()
        other[4, 6] ^= True
        assert save_label_mask(tmp_path / 'c.npz', IMAGES[:5], CLASSES, other) != checksum
        assert save_label_mask(tmp_path / 'c.npz', IMAGES[1:6], CLASSES, known) != checksum
        assert save_label_mask(tmp_path / 'c.npz', IMAGES[:5], CLASSES[::-1], known) != checksum

    @pytest.mark.parametrize('key', ['known', 'image_ids', 'classes', 'sha256'])
    def test_changed_content(self, tmp_path, mask_file, key):
        with np.load(mask_file[0]) as data:
            content = dict(data)
        if key == 'known':
            content[key][2, 0] ^= 128
        elif key == 'sha256':
            content[key] = np.array('0' * 64)
        else:
            content[key] = content[key][[1, 0, *range(2, len(content[key]))]]
        bad = tmp_path / 'bad.npz'
        np.savez(bad, **content)
        with pytest.raises(UserError, match=r'bad\.npz: the checksum does not fit the content'):
            build(type='FileLabelMask', file=bad)

    def test_other_classes(self, mask_file):
        with pytest.raises(
            UserError,
            match=r'mask\.npz has 7 classes, ann\.json has 7; only the former has cat, only the latter has ant\. ',
        ):
            build(('ant', *CLASSES[1:]), type='FileLabelMask', file=mask_file[0])

    def test_unknown_image(self, mask_file):
        mask = build(type='FileLabelMask', file=mask_file[0])
        with pytest.raises(UserError, match=r'mask\.npz: has no mask for the image images/1000\.jpg'):
            mask(IMAGES[1000], np.ones(7, np.int8))

    def test_no_file(self, tmp_path):
        with pytest.raises(UserError, match=r'none\.npz: no such label mask; sarlp convert mask exports one'):
            build(type='FileLabelMask', file=tmp_path / 'none.npz')

    @pytest.mark.parametrize('kind', ['text', 'cut off', 'other npz', 'pickle'])
    def test_no_mask_file(self, tmp_path, mask_file, kind):
        bad = tmp_path / 'bad.npz'
        if kind == 'text':
            bad.write_text('image,cat\n')
        elif kind == 'cut off':
            bad.write_bytes(mask_file[0].read_bytes()[:-40])
        elif kind == 'other npz':
            np.savez(bad, known=np.ones(3))
        else:
            np.savez(bad, image_ids=np.array([object()], object))
        with pytest.raises(UserError, match=r'bad\.npz: is no label mask'):
            build(type='FileLabelMask', file=bad)

    def test_wrong_shape_is_not_written(self, tmp_path):
        with pytest.raises(ValueError, match=r'known must be \(5, 7\), got \(7, 5\)'):
            save_label_mask(tmp_path / 'mask.npz', IMAGES[:5], CLASSES, np.ones((7, 5), bool))
        assert list(tmp_path.iterdir()) == []


def test_base_class_says_what_is_missing():
    with pytest.raises(TypeError, match='LabelMask has no known'):
        LabelMask()('a.jpg', np.ones(2))


def test_what_is_no_mask_is_told_at_once():
    with pytest.raises(UserError, match='label_mask: AuthorsFile is no label mask; make it a subclass of .*LabelMask'):
        MultiLabelDataset('labels.json', label_mask=dict(type=type('AuthorsFile', (), {})), lazy_init=True)


class _Mine(LabelMask):
    """What somebody wrote, by name."""

    def __init__(self, how):
        self.how, self.draws = how, itertools.count()
        self.bind(tuple('abcdefg'), 'here')

    def known(self, image_id, labels):
        if self.how == 'writes':
            labels[0] = -1
        return {
            'drawn anew': lambda: np.arange(len(labels)) == next(self.draws),  # two in a row are never the same
            'list': lambda: [place % 2 == 0 for place in range(len(labels))],
            'shares': lambda: np.linspace(0, 1, len(labels)),
            'places': lambda: np.array([0, 2]),
            'labels': lambda: np.where(labels == 1, labels, -1),
            'one': lambda: True,
            'writes': lambda: np.ones(len(labels), bool),
        }[self.how]()


@pytest.mark.parametrize(
    ('how', 'told'),
    [
        ('drawn anew', 'a.jpg first one thing and then another; what is known must not change within a run'),
        ('shares', r'must say True or False of each of the 7 labels, .* one of float64 of the shape \(7,\)'),
        ('places', r'one of int64 of the shape \(2,\)'),
        ('labels', r'one of int8 of the shape \(7,\)'),
        ('one', r'one of bool of the shape \(\)'),
    ],
)
def test_a_mask_of_ones_own_that_is_none(how, told):
    with pytest.raises(UserError, match=told):
        _Mine(how)('a.jpg', np.array([1, 0, 1, 0, -1, 1, 0], np.int8))


def test_a_mask_of_ones_own():
    labels = np.array([1, 0, 1, 0, -1, 1, 0], np.int8)
    for _ in range(20):
        assert _Mine('list')('a.jpg', labels).tolist() == [1, -1, 1, -1, -1, -1, 0]
    with pytest.raises(ValueError, match='read-only'):
        _Mine('writes')('a.jpg', labels)
    labels[0] = 0  # those of the caller are as they were, also to be written

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope
from PIL import Image

from sarlp.errors import UserError
from sarlp.paths import find_config
from sarlp.registry import TRANSFORMS
from sarlp.transforms import BadImageError, LoadImage, PackMultiLabel, RandomCutout

HEIGHT, WIDTH = 41, 59


def load(path):
    return LoadImage()({'img_path': str(path)})['img']


class TestRandomCutout:
    def cut(self, ratio=0.5, seed=0, height=HEIGHT, width=WIDTH):
        """Returns the covered part as a mask, and its colours."""
        np.random.seed(seed)
        image = np.full((height, width, 3), 300, np.int16)  # a value that no colour has
        before = image.copy()
        result = RandomCutout(ratio=ratio)({'img': image})['img']
        assert np.array_equal(image, before)  # not modified in place
        covered = (result != 300).any(2)
        return covered, np.unique(result[covered], axis=0)

    @pytest.mark.parametrize('ratio', [0.25, 0.5, 1])
    def test_one_square_in_one_colour(self, ratio):
        side = round(HEIGHT * ratio)
        whole = 0
        for seed in range(101):
            covered, colours = self.cut(ratio, seed)
            rows, columns = np.flatnonzero(covered.any(1)), np.flatnonzero(covered.any(0))
            assert covered.sum() == len(rows) * len(columns)
            assert covered[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
            for length, found, limit in ((side, rows, HEIGHT), (side, columns, WIDTH)):
                assert len(found) <= length
                if found[0] > 0 and found[-1] < limit - 1:
                    assert len(found) == length  # only the border cuts the square
            whole += covered.sum() == side**2
            assert colours.shape == (1, 3)
            assert 0 <= colours.min() <= colours.max() <= 255
        assert whole > 0 or ratio == 1

    def test_place_and_colour_vary_over_the_whole_range(self):
        results = [self.cut(0.1, seed) for seed in range(401)]
        hits = sum(covered for covered, _ in results)
        assert (hits > 0).mean() > 0.9  # the border is reached as well
        colours = np.concatenate([colours for _, colours in results])
        assert colours.min() < 8
        assert colours.max() > 247
        assert (abs(colours.mean(0) - 127.5) < 16).all()
        assert not np.array_equal(colours[:, 0], colours[:, 1])

    def test_shorter_side_counts(self):
        largest = max(self.cut(0.5, seed, 20, 70)[0].sum() for seed in range(31))
        assert largest == 100

    def test_probability(self):
        image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        np.random.seed(1)
        cutout = RandomCutout(ratio=0.3, prob=0.3)
        changed = sum(cutout({'img': image})['img'] is not image for _ in range(1009))
        assert abs(changed / 1009 - 0.3) < 4 * (0.21 / 1009) ** 0.5

    def test_as_policy_of_rand_augment(self):
        transform = TRANSFORMS.build(
            dict(
                type='mmpretrain.RandAugment',
                num_policies=1,
                magnitude_level=10,
                magnitude_std='inf',
                policies=[dict(type='sarlp.RandomCutout', magnitude_range=(0, 0.2), prob=1.0)],
            )
        )
        np.random.seed(0)
        image = np.full((100, 120, 3), 300, np.int16)
        areas = [(transform({'img': image})['img'] != 300).any(2).sum() for _ in range(211)]
        assert image.min() == 300
        assert max(areas) <= 20 * 20
        assert max(areas) > 17 * 17
        assert min(areas) < 5 * 5
        assert len(set(areas)) > 10

    @pytest.mark.parametrize('options', [{}, dict(ratio=0.5, magnitude_range=(0, 0.2))])
    def test_needs_one_size(self, options):
        with pytest.raises(ValueError, match='takes ratio or magnitude_range'):
            RandomCutout(**options)


class TestLoadImage:
    def test_colours_are_bgr(self, tmp_path):
        Image.new('RGB', (5, 3), (200, 100, 7)).save(tmp_path / 'a.png')
        image = load(tmp_path / 'a.png')
        assert image.shape == (3, 5, 3)
        assert image.dtype == np.uint8
        assert (image == (7, 100, 200)).all()

    def test_greyscale(self, tmp_path):
        Image.new('L', (5, 3), 77).save(tmp_path / 'a.png')
        image = load(tmp_path / 'a.png')
        assert image.shape == (3, 5, 3)
        assert (image == 77).all()

    def test_cmyk(self, tmp_path):
        Image.new('CMYK', (16, 8), (0, 255, 255, 0)).save(tmp_path / 'a.jpg')  # red in print
        image = load(tmp_path / 'a.jpg').astype(int)
        assert image.shape == (8, 16, 3)
        blue, green, red = image.mean((0, 1))
        assert red > 200
        assert max(blue, green) < 60

    def test_16_bit(self, tmp_path):
        Image.fromarray(np.array([[0, 257 * 100, 65535]], np.uint16)).save(tmp_path / 'a.png')
        image = load(tmp_path / 'a.png')
        assert image.dtype == np.uint8
        assert image[0].tolist() == [[0] * 3, [100] * 3, [255] * 3]

    def test_transparency_is_dropped(self, tmp_path):
        Image.new('RGBA', (5, 3), (200, 100, 7, 30)).save(tmp_path / 'a.png')
        assert load(tmp_path / 'a.png').shape == (3, 5, 3)

    def test_exif_rotation(self, tmp_path):
        image = Image.new('RGB', (32, 16))
        image.paste((255, 255, 255), (0, 0, 8, 16))  # bright on the left
        exif = Image.Exif()
        exif[0x0112] = 6  # turn by 90 degrees clockwise to look at it
        image.save(tmp_path / 'a.jpg', exif=exif)
        loaded = load(tmp_path / 'a.jpg')
        assert loaded.shape == (32, 16, 3)
        assert loaded[:6].min() > 200  # left has become top
        assert loaded[10:].max() < 50

    def test_umlaut_in_the_name(self, tmp_path):
        Image.new('RGB', (5, 3)).save(tmp_path / 'ü 猫.png')
        assert load(tmp_path / 'ü 猫.png').shape == (3, 5, 3)

    @pytest.mark.parametrize('content', [None, b'', b'\xff\xd8\xff\xe0 no jpeg'])
    def test_bad_file(self, tmp_path, content):
        path = tmp_path / 'bad.jpg'
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(BadImageError) as error:
            load(path)
        message = str(error.value)
        assert message.startswith(f'{path}: the image cannot be read (')
        assert message.endswith("replace the file, or set on_bad_image='skip' in the training data set")
        assert isinstance(error.value, UserError)


class TestPackMultiLabel:
    def results(self):
        return dict(
            img=np.arange(3 * 5 * 3, dtype=np.uint8).reshape(3, 5, 3),
            img_id='a.jpg',
            img_path='/data/a.jpg',
            ori_shape=(7, 11),
            img_shape=(3, 5),
            gt_score=np.array([1, 0, -1, 1], np.float32),
            gt_score_full=np.array([1, 0, 0, 1], np.float32),
            ignore=np.array([0, 1, 0, 0], bool),
            flip=True,
        )

    def test_fields(self):
        packed = PackMultiLabel()(self.results())
        assert set(packed) == {'inputs', 'data_samples'}
        assert packed['inputs'].dtype == torch.uint8
        assert torch.equal(packed['inputs'], torch.arange(45, dtype=torch.uint8).view(3, 5, 3).permute(2, 0, 1))
        sample = packed['data_samples']
        assert sample.gt_score.tolist() == [1, 0, -1, 1]
        assert sample.gt_score_full.tolist() == [1, 0, 0, 1]
        assert sample.ignore.tolist() == [False, True, False, False]
        expected = dict(img_id='a.jpg', img_path='/data/a.jpg', ori_shape=(7, 11), img_shape=(3, 5), num_classes=4)
        assert sample.metainfo == expected

    def test_without_labels(self):
        results = {key: value for key, value in self.results().items() if key in ('img', 'img_path')}
        sample = PackMultiLabel()(results)['data_samples']
        assert 'gt_score' not in sample
        assert 'ignore' not in sample
        assert sample.img_path == '/data/a.jpg'


@pytest.fixture(scope='module')
def cfg():
    init_default_scope('sarlp')
    return Config.fromfile(find_config('sarlp_r101_voc_p0.1'))


class TestPhotoPipeline:
    @pytest.mark.parametrize('size', [(1, 1), (37, 501), (333, 47), (448, 448)])
    def test_odd_sizes(self, cfg, tmp_path, size):
        rng = np.random.default_rng(0)
        Image.fromarray(rng.integers(0, 256, (*size[::-1], 3), np.uint8)).save(tmp_path / 'a.jpg')
        for loader in (cfg.train_dataloader, cfg.test_dataloader):
            np.random.seed(2)
            packed = Compose(loader.dataset.pipeline)({'img_path': str(tmp_path / 'a.jpg')})
            assert packed['inputs'].shape == (3, 448, 448)
            assert packed['inputs'].dtype == torch.uint8
            assert packed['data_samples'].ori_shape == size[::-1]
            assert packed['data_samples'].img_shape == (448, 448)

    def test_every_policy_runs(self, cfg):
        augment = next(step for step in cfg.train_dataloader.dataset.pipeline if step.type.endswith('RandAugment'))
        assert (augment.num_policies, len(augment.policies)) == (2, 15)
        rng = np.random.default_rng(0)
        for policy in augment.policies:
            image = rng.integers(0, 256, (47, 61, 3), np.uint8)
            before = image.copy()
            one = TRANSFORMS.build({**augment, 'num_policies': 1, 'policies': [{**policy, 'prob': 1.0}]})
            np.random.seed(3)
            result = one({'img': image})['img']
            assert result.shape == (47, 61, 3), policy.type
            assert result.dtype == np.uint8, policy.type
            assert np.array_equal(image, before), policy.type

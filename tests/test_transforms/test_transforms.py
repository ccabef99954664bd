import io
import itertools

import cv2
import mmcv.transforms
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope
from PIL import Image

from sarlp.errors import GraveWarning, UserError
from sarlp.io.pixels import jpeg_size
from sarlp.paths import find_config
from sarlp.registry import TRANSFORMS
from sarlp.transforms import BadImageError, LoadImage, PackMultiLabel, RandomCutout, RandomFlip

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

    @pytest.mark.parametrize('ratio', [0.01, 0.3, 1])
    def test_against_a_slice(self, ratio):
        """Pixel by pixel, drawing for itself: colour, then row and column of the centre."""
        image = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
        side = round(HEIGHT * ratio)
        for seed in range(97):
            np.random.seed(seed)
            np.random.rand()  # whether to cut at all
            colour = np.random.randint(0, 256, 3)
            top, left = np.random.randint(HEIGHT) - side // 2, np.random.randint(WIDTH) - side // 2
            expected = image.copy()
            for row, column in itertools.product(range(HEIGHT), range(WIDTH)):
                if 0 <= row - top < side and 0 <= column - left < side:
                    expected[row, column] = colour
            np.random.seed(seed)
            actual = RandomCutout(ratio=ratio)({'img': image})['img']
            assert np.array_equal(actual, expected)
            assert actual.dtype == np.uint8

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
        assert message.endswith('; replace or remove the file')
        assert isinstance(error.value, UserError)


def picture(height, width):
    """Smooth, and brighter to the lower right, so that scaled decoding changes little and turning much."""
    y, x = np.mgrid[:height, :width]
    channels = [40 + 80 * x / width + 60 * y / height + 20 * np.sin(3 * x / width + k) for k in range(3)]
    return Image.fromarray(np.stack(channels, 2).astype(np.uint8))


def encoded(image, **options):
    stream = io.BytesIO()
    image.save(stream, 'JPEG', **options)
    return stream.getvalue()


def exif(orientation, thumbnail=False):
    tags = Image.Exif()
    tags[0x0112] = orientation
    # a thumbnail is a JPEG within the JPEG, with a size of its own
    return tags.tobytes() + (encoded(picture(29, 23)) if thumbnail else b'')


class TestJpegSize:
    @pytest.mark.parametrize(
        'options',
        [
            {},
            dict(progressive=True),
            dict(subsampling=0, quality=97, optimize=True),
            dict(comment=b'\xff\xd8\xff\xc0 no frame'),
            dict(restart_marker_rows=1),
            dict(exif=exif(6, thumbnail=True)),
            dict(dpi=(72, 72), icc_profile=b'\xff' * 70_001),
        ],
    )
    @pytest.mark.parametrize('mode', ['RGB', 'L', 'CMYK'])
    def test_as_pil(self, options, mode):
        content = encoded(picture(131, 97).convert(mode), **options)
        assert jpeg_size(content) == Image.open(io.BytesIO(content)).size == (97, 131)

    def test_fill_bytes(self):
        content = encoded(picture(131, 97))
        assert jpeg_size(content[:2] + b'\xff' * 3 + content[2:]) == (97, 131)

    def test_anything_else_has_none(self):
        content = encoded(picture(131, 97))
        frame = content.index(b'\xff\xc0')
        for length in range(frame + 9):
            assert jpeg_size(content[:length]) is None
        for other in (b'no image at all', b'\xff\xd8' + bytes(100), b'\xff\xd8\xff\xe0\0\0' * 20):
            assert jpeg_size(other) is None
        stream = io.BytesIO()
        picture(131, 97).save(stream, 'PNG')
        assert jpeg_size(stream.getvalue()) is None


class TestScaledDecoding:
    def both(self, path, min_side):
        """Fields of the loader that decodes in full, and of the one that need not."""
        return LoadImage()({'img_path': str(path)}), LoadImage(min_side=min_side)({'img_path': str(path)})

    @pytest.mark.parametrize('size', [(101, 149), (448, 449), (895, 1021), (896, 897), (1789, 2003), (3583, 3701)])
    def test_the_smallest_scale_that_is_large_enough(self, tmp_path, size):
        for height, width in (size, size[::-1]):
            path = tmp_path / f'{height}.jpg'
            Image.new('RGB', (width, height), (200, 100, 50)).save(path)
            full, scaled = self.both(path, 448)
            scales = [(-(-height // k), -(-width // k)) for k in (1, 2, 4, 8)]
            expected = min((scale for scale in scales if min(scale) >= 448), default=(height, width))
            assert scaled['img'].shape == (*expected, 3)
            assert scaled['img_shape'] == expected
            assert scaled['ori_shape'] == full['ori_shape'] == (height, width)
            assert scaled['img'].dtype == np.uint8
            assert abs(scaled['img'].astype(int) - full['img'][0, 0]).max() <= 1

    @pytest.mark.parametrize('orientation', range(1, 9))
    @pytest.mark.parametrize('mode', ['RGB', 'L', 'CMYK'])
    def test_shows_the_same(self, tmp_path, orientation, mode):
        picture(131, 197).convert(mode).save(tmp_path / 'a.jpg', exif=exif(orientation), quality=95)
        full, scaled = self.both(tmp_path / 'a.jpg', 31)
        assert full['ori_shape'] == scaled['ori_shape'] == ((131, 197) if orientation < 5 else (197, 131))
        assert scaled['img_shape'] == ((33, 50) if orientation < 5 else (50, 33))
        shrunk = cv2.resize(full['img'], scaled['img_shape'][::-1], interpolation=cv2.INTER_AREA).astype(int)
        assert abs(shrunk - scaled['img']).mean() < 2  # turned otherwise, it would be over 20
        assert min(abs(shrunk - other).mean() for other in (shrunk[::-1], shrunk[:, ::-1])) > 20

    @pytest.mark.parametrize('name', ['a.png', 'a.bmp', 'a.webp', 'a.tif'])
    def test_no_jpeg_is_decoded_in_full(self, tmp_path, name):
        picture(131, 197).save(tmp_path / name)
        full, scaled = self.both(tmp_path / name, 11)
        assert scaled.keys() == full.keys()
        assert np.array_equal(scaled['img'], full['img'])
        assert scaled['ori_shape'] == scaled['img_shape'] == (131, 197)

    def test_a_small_jpeg_is_the_same_to_the_bit(self, tmp_path):
        picture(131, 197).save(tmp_path / 'a.jpg')
        full, scaled = self.both(tmp_path / 'a.jpg', 67)  # half of it has 66
        assert np.array_equal(scaled['img'], full['img'])

    def test_bad_files_are_told_alike(self, tmp_path):
        content = encoded(picture(331, 197))
        frame = content.index(b'\xff\xc0')
        path = tmp_path / 'bad.jpg'
        cases = [None, b'', b'text', content[:frame], content[: frame + 20], content[:-7], b'\xff\xd8' + content]
        cases.append(content[:frame] + content[frame + 19 :])  # the frame header is missing
        outcomes = []
        for case in cases:
            path.unlink(missing_ok=True)
            if case is not None:
                path.write_bytes(case)
            for loader in (LoadImage(), LoadImage(min_side=31)):
                try:
                    loader({'img_path': str(path)})
                    outcomes.append('loaded')
                except BadImageError as error:
                    outcomes.append(str(error))
        assert outcomes[::2] == outcomes[1::2]
        assert sum(outcome.startswith(f'{path}: the image cannot be read (') for outcome in outcomes) >= 8

    @pytest.mark.parametrize('min_side', [0, -3, 44.5, '448', True])
    def test_senseless_sizes(self, min_side):
        with pytest.raises(UserError, match=r'min_side must be a positive whole number or None, got'):
            LoadImage(min_side=min_side)

    def test_options_that_do_not_go_together(self):
        with pytest.raises(UserError, match='min_side goes with backend_args only, got also color_type'):
            LoadImage(min_side=3, color_type='grayscale')


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

    @pytest.mark.parametrize('dtype', [np.uint8, np.float32])
    def test_planes_lie_one_after_the_other(self, dtype):
        image = np.random.default_rng(0).integers(0, 256, (31, 53, 3)).astype(dtype)
        before = image.copy()
        for view in (image, image[:, ::-1], image[::2, 3:40]):
            packed = PackMultiLabel()({'img': view})['inputs']
            assert packed.is_contiguous()
            assert np.array_equal(packed.numpy(), view.transpose(2, 0, 1))
            packed.zero_()
            assert np.array_equal(image, before)  # the tensor is nobody else's

    def test_without_labels(self):
        results = {key: value for key, value in self.results().items() if key in ('img', 'img_path')}
        sample = PackMultiLabel()(results)['data_samples']
        assert 'gt_score' not in sample
        assert 'ignore' not in sample
        assert sample.img_path == '/data/a.jpg'

    @pytest.mark.parametrize(
        ('image', 'told'),
        [
            (np.zeros((3, 13, 11), np.uint8), r'a\.jpg: expected an image .* got the shape \(3, 13, 11\);'),
            (np.zeros((13, 11), np.uint8), r'a\.jpg: expected an image \(height, width, 3\) at the end.* \(13, 11\);'),
            ([np.zeros((13, 11, 3), np.uint8)] * 5, 'got list; look for the transform'),
            (None, 'got NoneType'),
        ],
    )
    def test_what_is_no_image(self, image, told):
        with pytest.raises(UserError, match=told):
            PackMultiLabel()({'img': image, 'img_path': 'a.jpg'})

    def test_an_image_that_was_divided(self):
        image = np.random.default_rng(0).random((5, 7, 3), np.float32)
        with pytest.warns(GraveWarning, match='values of 0 to 1, where 0 to 255 are expected'):
            PackMultiLabel()({'img': image})
        PackMultiLabel()({'img': 255 * image})
        PackMultiLabel()({'img': 0 * image})


@pytest.fixture(scope='module')
def cfg():
    init_default_scope('sarlp')
    return Config.fromfile(find_config('sarlp_r101_voc_p0.1'))


def images_to_augment():
    rng = np.random.default_rng(0)
    for height, width in ((47, 61), (3, 1), (64, 64)):
        noise = rng.integers(0, 256, (height, width, 3), np.uint8)
        yield noise
        yield cv2.GaussianBlur(noise, (0, 0), 3)
        yield noise // 5 + np.array([20, 90, 190], np.uint8)  # a narrow range, another one in each channel
        flat = noise.copy()
        flat[..., 1] = 77
        yield flat
        yield np.broadcast_to(noise[0, 0], noise.shape)


class TestFast:
    """The same pixels and the same random numbers as the library's own operation."""

    @pytest.mark.parametrize(
        ('name', 'magnitudes'),
        [
            ('AutoContrast', [None]),
            ('Brightness', [(0, 0.9), (0.9, 3)]),
            ('ColorTransform', [(0, 0.9), (0.9, 3)]),
            ('Contrast', [(0, 0.9), (0.9, 3)]),
            ('Equalize', [None]),
            ('Invert', [None]),
            ('Posterize', [(8, 4), (4, 0)]),
            ('Solarize', [(256, 0)]),
        ],
    )
    def test_policy(self, name, magnitudes):
        for magnitude_range in magnitudes:
            options = {} if magnitude_range is None else dict(magnitude_range=magnitude_range, magnitude_std='inf')
            ours = TRANSFORMS.build(dict(type=f'sarlp.{name}', prob=0.7, **options))
            theirs = TRANSFORMS.build(dict(type=f'mmpretrain.{name}', prob=0.7, **options))
            assert type(ours) is not type(theirs)
            changed = 0
            for image, seed in itertools.product(images_to_augment(), range(13)):
                before = image.copy()
                outcomes = []
                for transform in (ours, theirs):
                    np.random.seed(seed)
                    result = transform({'img': image})['img']
                    assert np.array_equal(image, before)
                    outcomes.append((result.dtype, result.shape, result.tobytes(), np.random.rand()))
                assert outcomes[0] == outcomes[1]
                changed += outcomes[0][2] != before.tobytes()
            assert changed > 20

    @pytest.mark.parametrize('name', ['Brightness', 'ColorTransform', 'Contrast'])
    def test_fixed_magnitude(self, name):
        image = next(images_to_augment())
        results = []
        for scope in ('sarlp', 'mmpretrain'):
            np.random.seed(1)
            results.append(TRANSFORMS.build(dict(type=f'{scope}.{name}', magnitude=0.4, prob=1.0))({'img': image}))
        assert np.array_equal(results[0]['img'], results[1]['img'])
        assert not np.array_equal(results[0]['img'], image)

    @pytest.mark.parametrize('direction', ['horizontal', 'vertical', 'diagonal', ['horizontal', 'vertical']])
    def test_flip(self, direction):
        image = next(images_to_augment())
        kinds = set()
        for seed in range(31):
            results = []
            for kind in (RandomFlip, mmcv.transforms.RandomFlip):
                np.random.seed(seed)
                results.append(kind(prob=0.6, direction=direction)({'img': image}))
            ours, theirs = (result.pop('img') for result in results)
            assert np.array_equal(ours, theirs)
            assert ours.flags.c_contiguous
            assert results[0] == results[1]
            kinds.add(results[0]['flip_direction'])
        assert len(kinds) == (3 if isinstance(direction, list) else 2)

    def test_configs_get_the_fast_flip(self):
        init_default_scope('sarlp')
        assert type(TRANSFORMS.build(dict(type='RandomFlip', prob=0.5))) is RandomFlip


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

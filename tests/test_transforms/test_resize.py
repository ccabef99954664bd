"""The resizing that averages, against Pillow's."""

import mmcv.transforms
import numpy as np
import pytest
from PIL import Image

from sarlp.transforms import LoadResizedImage, Resize


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def antialiased(image, scale, **kwargs):
    return Resize(scale=scale, interpolation='antialias', **kwargs)({'img': image})


@pytest.mark.parametrize(
    ('height', 'width', 'size'),
    [
        (101, 67, (13, 11)),
        (37, 53, (53, 37)),
        (23, 31, (59, 43)),
        (97, 19, (29, 41)),
        (1, 1, (7, 5)),
        (3, 499, (17, 17)),
    ],
)
def test_is_pillows_bilinear_law(height, width, size):
    """Also where one side shrinks and the other grows."""
    image = noise(height, width)
    before = image.copy()
    results = antialiased(image, size)
    expected = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
    assert results['img'].shape == expected.shape
    assert results['img'].dtype == np.uint8 and results['img'].flags.c_contiguous
    assert np.abs(results['img'].astype(int) - expected).max() <= 1
    assert results['img_shape'] == size[::-1]
    assert results['scale_factor'] == pytest.approx((size[0] / width, size[1] / height))
    assert np.array_equal(image, before)


def test_noise_becomes_grey_and_opencvs_law_leaves_it_noise():
    image = noise(401, 401)
    averaged = antialiased(image, (16, 16))['img']
    skipped = Resize(scale=(16, 16))({'img': image})['img']
    assert averaged.std() < 7 < 35 < skipped.std()


def test_fields_are_mmcvs():
    image = noise(61, 83)
    for kwargs in (dict(scale=(29, 31)), dict(scale=(29, 31), keep_ratio=True), dict(scale_factor=0.37)):
        own = Resize(interpolation='antialias', **kwargs)({'img': image})
        others = mmcv.transforms.Resize(**kwargs)({'img': image})
        assert own.pop('img').shape == others.pop('img').shape
        assert own == others


def test_other_laws_are_mmcvs():
    image = noise(61, 83)
    for kwargs in ({}, dict(interpolation='area'), dict(backend='pillow')):
        own = Resize(scale=(29, 31), **kwargs)({'img': image})['img']
        assert np.array_equal(own, mmcv.transforms.Resize(scale=(29, 31), **kwargs)({'img': image})['img'])


def test_floats_and_views():
    image = noise(61, 83).astype(np.float32)
    expected = np.asarray(Image.fromarray(image[..., 1]).resize((29, 31), Image.Resampling.BILINEAR))
    np.testing.assert_allclose(antialiased(image, (29, 31))['img'][..., 1], expected, atol=1e-3)
    flipped = noise(61, 83)[:, ::-1]
    assert np.array_equal(antialiased(flipped, (29, 31))['img'], antialiased(flipped.copy(), (29, 31))['img'])


def test_loaded_and_resized_in_one(tmp_path):
    Image.fromarray(noise(61, 83)).save(tmp_path / 'a.png')
    step = LoadResizedImage((29, 31), interpolation='antialias', cache_dir=tmp_path / 'cache')
    first, again = (step({'img_path': str(tmp_path / 'a.png')}) for _ in range(2))
    expected = antialiased(noise(61, 83)[..., ::-1], (29, 31))['img']
    assert np.array_equal(first['img'], expected) and np.array_equal(again['img'], expected)
    other = LoadResizedImage((29, 31), cache_dir=tmp_path / 'cache')({'img_path': str(tmp_path / 'a.png')})
    assert not np.array_equal(other['img'], expected)

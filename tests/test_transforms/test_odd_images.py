"""Odd images have a defined outcome: the table of docs/data.md, row by row, through ``LoadImage``."""

import io
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, features

from sarlp.errors import UserError
from sarlp.io.pixels import read_rgb
from sarlp.transforms import BadImageError, LoadImage

DATA_MD = Path(__file__).parents[2] / 'docs' / 'data.md'


def picture(width=48, height=32):
    """Red grows to the right, green downwards."""
    y, x = np.mgrid[:height, :width]
    channels = [x * 255 // max(width - 1, 1), y * 255 // max(height - 1, 1), np.full_like(x, 60)]
    return Image.fromarray(np.stack(channels, -1).astype(np.uint8))


def encode(image, kind, **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def shade(step):
    return Image.fromarray(np.arange(0, 65536, step, dtype=np.uint16)[None])


def turned(kind, **options):
    exif = Image.Exif()
    exif[0x0112] = 6
    return encode(picture().rotate(90, expand=True), kind, exif=exif, **options)


def transparent(kind, **options):
    image = picture().convert('RGBA')
    image.putalpha(Image.linear_gradient('L').resize(image.size))
    return encode(image, kind, **options)


def on_black():
    share = np.asarray(Image.linear_gradient('L').resize(picture().size))[..., None] / 255
    return np.asarray(picture()) * share


def animated(kind):
    frames = [picture(), *(Image.new('RGB', picture().size, colour) for colour in ('red', 'lime'))]
    return encode(
        frames[0], kind, save_all=True, append_images=frames[1:], **({'lossless': True} if kind != 'GIF' else {})
    )


def cut(kind, share, **options):
    content = encode(picture(480, 320), kind, **options)
    return content[: int(len(content) * share)]


PLAIN = np.asarray(picture())
READS_AVIF = features.check('avif') and cv2.haveImageWriter('a.avif')
GREY = np.repeat(np.asarray(picture().convert('L'))[..., None], 3, -1)

# row of the table: [(name, content, pixels that come of it or None for an error, largest difference)]
CASES = {
    'greyscale, black and white, or with a palette': [
        ('a.jpg', encode(picture().convert('L'), 'JPEG', quality=100), GREY, 2),
        ('a.png', encode(picture().convert('1'), 'PNG'), np.asarray(picture().convert('1').convert('RGB')), 0),
        ('a.png', encode(picture().quantize(16), 'PNG'), np.asarray(picture().quantize(16).convert('RGB')), 0),
    ],
    'CMYK JPEG': [
        ('a.jpg', encode(Image.new('CMYK', (16, 8), (0, 255, 255, 0)), 'JPEG'), np.full((8, 16, 3), (255, 0, 0)), 3),
        ('a.jpg', encode(Image.new('CMYK', (16, 8), (255, 0, 0, 127)), 'JPEG'), np.full((8, 16, 3), (0, 128, 128)), 3),
    ],
    '16 bits a channel': [
        ('a.png', encode(shade(257), 'PNG'), np.repeat(np.arange(256)[None, :, None], 3, -1), 1),
        ('a.tif', encode(shade(257), 'TIFF'), np.repeat(np.arange(256)[None, :, None], 3, -1), 1),
    ],
    'EXIF orientation': [
        ('a.jpg', turned('JPEG', quality=95, subsampling=0), PLAIN, 8),
        ('a.tif', turned('TIFF'), PLAIN, 0),
        *([('a.avif', turned('AVIF', quality=100, subsampling='4:4:4'), PLAIN, 4)] if READS_AVIF else []),
    ],
    'transparency, also of a palette': [
        ('a.png', transparent('PNG'), PLAIN, 0),
        ('a.webp', transparent('WEBP', lossless=True, exact=True), PLAIN, 0),
        (
            'a.png',
            encode(picture().quantize(16), 'PNG', transparency=bytes(range(0, 256, 16))),
            np.asarray(picture().quantize(16).convert('RGB')),
            0,
        ),
        ('a.tif', transparent('TIFF'), on_black(), 1),
    ],
    'several frames': [
        ('a.png', animated('PNG'), PLAIN, 0),
        ('a.webp', animated('WEBP'), PLAIN, 0),
        ('a.gif', animated('GIF'), PLAIN, 40),  # 256 colours
    ],
    'suffix of another format': [('a.jpg', encode(picture(), 'PNG'), PLAIN, 0)],
    '1 x 1 pixel': [
        ('a.png', encode(picture(1, 1), 'PNG'), np.asarray(picture(1, 1)), 0),
        ('a.jpg', encode(picture(1, 1), 'JPEG', quality=100), np.asarray(picture(1, 1)), 3),
    ],
    '20,000 pixels wide': [
        ('a.png', encode(picture(20_000, 3), 'PNG'), np.asarray(picture(20_000, 3)), 0),
        ('a.jpg', encode(picture(20_000, 3), 'JPEG', quality=95, subsampling=0), np.asarray(picture(20_000, 3)), 30),
    ],
    'more than 2^30 pixels': [('a.png', encode(Image.new('1', (32_769, 32_769)), 'PNG'), None, 0)],
    'cut off or damaged': [
        *(('a.jpg', cut('JPEG', share), None, 0) for share in (0.02, 0.5, 0.99)),
        ('a.jpg', cut('JPEG', 0.5, progressive=True), None, 0),
        ('a.png', cut('PNG', 0.5), None, 0),
        ('a.webp', cut('WEBP', 0.5), None, 0),
        ('a.bmp', cut('BMP', 0.9), None, 0),
        ('a.tif', cut('TIFF', 0.5), None, 0),
        ('a.gif', cut('GIF', 0.5), None, 0),
        ('a.png', encode(picture(), 'PNG').replace(b'IDAT', b'IDAT\x10', 1), None, 0),
    ],
    'no bytes, or no image': [
        ('a.jpg', b'', None, 0),
        ('a.jpg', b'this is text\n' * 97, None, 0),
        ('a.jpg', b'<html><body>404 Not Found</body></html>', None, 0),
        ('a.svg', b'<svg xmlns="http://www.w3.org/2000/svg" width="5" height="5"/>', None, 0),
    ],
    'TIFF of floating-point numbers': [
        ('a.tif', encode(Image.fromarray(np.ones((5, 7), np.float32)), 'TIFF'), None, 0)
    ],
}


@pytest.mark.parametrize('min_side', [None, 448])  # a small image is not shrunk further
@pytest.mark.parametrize('row, number', [(row, number) for row, cases in CASES.items() for number in range(len(cases))])
def test_outcome(tmp_path, row, number, min_side):
    name, content, expected, tolerance = CASES[row][number]
    if name.endswith('.gif') and int(cv2.__version__.split('.')[0]) < 5:
        pytest.skip('this OpenCV does not read GIF')
    path = tmp_path / name
    path.write_bytes(content)
    loader = LoadImage(min_side=min_side)
    if expected is None:
        with pytest.raises(BadImageError) as error:
            loader({'img_path': str(path)})
        message = str(error.value)
        assert message.startswith(f'{path}: the image cannot be read (')
        assert message.endswith('; replace or remove the file')
        return
    results = loader({'img_path': str(path)})
    image = results['img'][..., ::-1].astype(int)  # it is BGR
    assert results['img'].dtype == np.uint8 and image.shape == expected.shape
    assert results['ori_shape'] == results['img_shape'] == expected.shape[:2]
    assert np.abs(image - expected).max() <= tolerance


def test_the_table_has_these_rows():
    table = DATA_MD.read_text('utf-8').partition('## Images')[2].partition('\n## ')[0]
    rows = re.findall(r'^\| ([^|]+?) \| ([^|]+?) \|$', table, re.MULTILINE)[1:]
    found = {name: outcome for name, outcome in rows if not name.startswith('-')}
    assert list(found) == list(CASES)
    for name, cases in CASES.items():
        assert found[name].startswith('error') == (cases[0][2] is None), name


@pytest.mark.parametrize('content', [b'', b'no image'])
def test_a_picture_for_people_that_does_not_decode_any_more(tmp_path, content):
    (tmp_path / 'a.jpg').write_bytes(content)
    with pytest.raises(UserError, match=r'a\.jpg: is no image that can be read'):
        read_rgb(tmp_path / 'a.jpg')

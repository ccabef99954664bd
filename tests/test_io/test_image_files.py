"""Which files of a folder are images, and what is said of the others."""

import csv
import io
import os
import warnings

import cv2
import numpy as np
import pytest
from PIL import Image

from sarlp.apps.spreadsheets.csv_labels import convert_csv_labels
from sarlp.apps.spreadsheets.label_files import ImageFolder
from sarlp.commands.friendly import friendly_errors
from sarlp.datasets.annotation import AnnotationError, load_annotation
from sarlp.errors import UserError
from sarlp.io.image_files import find_images, has_frames, list_images, suffixes
from sarlp.transforms import BadImageError, LoadImage

HEIC = b'\0\0\0\x18ftypheic\0\0\0\0mif1heic' + bytes(64)
# name, Pillow's format
READ = {
    'a.jpg': 'JPEG',
    'B.JPG': 'JPEG',
    'c.jfif': 'JPEG',
    'd.jpe': 'JPEG',
    'e.gif': 'GIF',
    'f.avif': 'AVIF',
    'g.jp2': 'JPEG2000',
    'h.webp': 'WEBP',
    'i.TIFF': 'TIFF',
    'j.ppm': 'PPM',
    'no suffix': 'PNG',
    'sub/k.JPEG': 'JPEG',
}
HIDDEN = ('.ipynb_checkpoints/a-checkpoint.jpg', '__MACOSX/._a.jpg', '._a.jpg', '@eaDir/a.jpg/SYNOFILE_THUMB_M.jpg')
NO_IMAGES = ('Thumbs.db', '.DS_Store', 'notes.txt', 'a.xmp', 'BMW.txt')


def encode(kind, frames=1):
    images = [
        Image.fromarray(np.random.default_rng(seed).integers(0, 256, (64, 64, 3), np.uint8)) for seed in range(frames)
    ]
    stream = io.BytesIO()
    more = dict(save_all=True, append_images=images[1:]) if frames > 1 else {}
    images[0].save(stream, kind, **more)
    return stream.getvalue()


def write(root, name, content):
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(content)


def decodes(path):
    try:
        LoadImage()({'img_path': str(path)})
    except BadImageError:
        return False
    return True


@pytest.fixture
def photos(tmp_path):
    """Those of READ that this OpenCV decodes, and everything that is no image or none to take."""
    root = tmp_path / 'photos'
    for name, kind in READ.items():
        write(root, name, encode(kind))
        if not decodes(root / name):
            (root / name).unlink()
    for name in HIDDEN:
        write(root, name, encode('JPEG'))
    for name in NO_IMAGES:
        write(root, name, b'BM is an abbreviation' if name == 'BMW.txt' else b'no image')
    write(root, 'phone.HEIC', HEIC)
    write(root, 'camera.nef', b'II*\0')
    return root


def readable(root):
    return sorted(name for name in READ if (root / name).is_file())


def test_what_decodes_alone_is_found(photos):
    assert len(readable(photos)) >= 10
    listing = list_images(photos)
    assert listing.images == readable(photos)
    assert listing.unread == ['camera.nef', 'phone.HEIC']
    assert listing.hidden == sorted(HIDDEN)
    assert sorted(listing.others) == sorted(NO_IMAGES)
    for name in [*listing.unread, *listing.others]:
        assert not decodes(photos / name)
    assert all(decodes(photos / image.path) for image in find_images([photos / 'no suffix', photos / 'a.jpg']))


def test_it_is_said_once_what_is_left_out(photos):
    with pytest.warns(UserWarning) as caught:
        find_images(photos)
    (message,) = (str(warning.message) for warning in caught)
    assert message.startswith(f'{photos}: of the images here 2 left out, of a format that is not read here (save')
    assert ': camera.nef, phone.HEIC; 4 left out, hidden, ' in message
    assert all(name in message for name in HIDDEN)
    assert not any(name in message for name in ('Thumbs', 'DS_Store', 'notes', 'xmp', 'BMW'))


def test_a_plain_folder_is_passed_over_in_silence(tmp_path):
    write(tmp_path, 'a.jpg', encode('JPEG'))
    write(tmp_path, '.DS_Store', b'x')
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert [image.name for image in find_images(tmp_path)] == ['a.jpg']


def test_nothing_but_what_is_left_out(tmp_path):
    write(tmp_path, 'a.heic', HEIC)
    write(tmp_path, '.hidden/a.jpg', encode('JPEG'))
    with pytest.raises(UserError, match=r'or below it \(1 left out, of a format .*: a\.heic; 1 left out, hidden, '):
        find_images(tmp_path)
    # a hidden folder that is asked for is one like others
    assert [image.name for image in find_images(tmp_path / '.hidden')] == ['a.jpg']


def test_a_damaged_image_is_an_image(tmp_path):
    write(tmp_path, 'a.gif', b'')
    write(tmp_path, 'b.jfif', b'no image')
    if '.gif' in suffixes():
        assert list_images(tmp_path).images == ['a.gif', 'b.jfif']


@pytest.mark.skipif(not hasattr(os, 'mkfifo'), reason='no named pipes')
def test_a_pipe_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / 'pipe')
    assert list_images(tmp_path).others == ['pipe']


def test_heic_with_another_name(tmp_path):
    write(tmp_path, 'IMG_1.jpg', HEIC)
    with pytest.raises(BadImageError, match='it is a HEIC image; save it as JPEG'):
        LoadImage()({'img_path': str(tmp_path / 'IMG_1.jpg')})


@pytest.mark.parametrize('kind', ['GIF', 'PNG', 'WEBP', 'TIFF'])
def test_frames(tmp_path, kind):
    write(tmp_path, f'one.{kind.lower()}', encode(kind))
    write(tmp_path, f'two.{kind.lower()}', encode(kind, frames=2))
    assert [has_frames(tmp_path / f'{name}.{kind.lower()}') for name in ('one', 'two')] == [False, True]
    assert not has_frames(tmp_path / 'missing.gif')


def test_predict(place, photos, capsys):
    write(photos, 'two frames.webp', encode('WEBP', frames=2))
    out = place.root / 'p.csv'
    with pytest.warns(UserWarning) as caught:
        place.run('predict.py', place.config(), place.checkpoint(), photos, '--out', out)
    messages = [str(warning.message) for warning in caught if 'mmcv' not in str(warning.message)]
    assert len(messages) == 2
    assert '2 left out, of a format that is not read here' in messages[0] and '4 left out, hidden' in messages[0]
    assert messages[1] == '1 image has several frames or pages, of which only the first was taken: two frames.webp'
    with open(out, encoding='utf-8', newline='') as file:
        assert [row['image'] for row in csv.DictReader(file)] == sorted([*readable(photos), 'two frames.webp'])
    assert capsys.readouterr().out.endswith(f'\n{len(readable(photos)) + 1} images in {out}\n')


def test_tools_say_it_without_the_place_in_the_code():
    before = warnings.formatwarning
    with friendly_errors():
        assert warnings.formatwarning('2 left out', UserWarning, 'a.py', 3) == 'note: 2 left out\n'
        assert 'a.py:3' in warnings.formatwarning('old', DeprecationWarning, 'a.py', 3, '')
    assert warnings.formatwarning is before


class TestLabels:
    """The same folder, as csv_labels.py sees it."""

    def convert(self, photos, root, rows, **options):
        (root / 'labels.csv').write_text('image,cat,dog\n' + ''.join(f'{name},1,0\n' for name in rows))
        files = convert_csv_labels(root / 'labels.csv', photos, root / 'data', val_fraction=0.5, **options)
        return sorted(entry['img_path'] for file in files.values() for entry in load_annotation(file)[1])

    def test_unlabelled(self, photos, tmp_path, capsys):
        found = self.convert(photos, tmp_path, ['a', 'B.JPG', 'c.jfif', 'd.jpe'], include_unlabelled=True)
        assert found == readable(photos)
        printed = capsys.readouterr().out
        assert 'images of the folder: 2 left out, of a format that is not read here' in printed
        assert 'images of the folder: 4 left out, hidden' in printed

    def test_format_that_is_not_read(self, photos, tmp_path):
        with pytest.raises(AnnotationError, match=r'1 images are of a format .*: phone\.HEIC\. Save'):
            self.convert(photos, tmp_path, ['a.jpg', 'B.JPG', 'phone.HEIC'])
        assert not (tmp_path / 'data').exists()

    def test_a_name_without_its_suffix_means_no_copy(self, photos):
        write(photos, '.thumbs/a.jpg', encode('JPEG'))
        folder = ImageFolder(photos)
        assert folder.find('a') == 'a.jpg'
        assert folder.find('.thumbs/a') is None
        assert folder.find('.thumbs/a.jpg') == '.thumbs/a.jpg'  # written out, it is meant

    def test_frames(self, photos, tmp_path, capsys):
        write(photos, 'pages.tif', encode('TIFF', frames=2))
        self.convert(photos, tmp_path, ['a.jpg', 'B.JPG', 'c.jfif', 'd.jpe', 'pages.tif'])
        assert 'frames or pages, of which the first is taken: 1: pages.tif' in capsys.readouterr().out


class TestBits:
    """PNG and TIFF with 16 bits a channel, of which fewer hold data."""

    @pytest.fixture
    def data(self):
        return np.random.default_rng(0).integers(0, 4096, (64, 64, 3), np.uint16)

    @pytest.mark.parametrize('suffix', ['png', 'tif'])
    def test_twelve_are_refused_until_they_are_named(self, tmp_path, data, suffix):
        path = tmp_path / f'a.{suffix}'
        cv2.imwrite(str(path), data)
        for load in (LoadImage(), LoadImage(min_side=16)):
            with pytest.raises(UserError, match=rf'a\.{suffix}: 16 bits .* no value above 4,09\d, .* bits=12'):
                load({'img_path': str(path)})
        for load in (LoadImage(bits=12), LoadImage(min_side=16, bits=12)):
            np.testing.assert_array_equal(load({'img_path': str(path)})['img'], data >> 4)
        with pytest.raises(UserError, match='which are more than bits=10'):
            LoadImage(bits=10)({'img_path': str(path)})
        plain = LoadImage(bits=16)({'img_path': str(path)})['img']
        np.testing.assert_array_equal(plain, cv2.imread(str(path)))

    def test_what_uses_the_range_is_as_ever(self, tmp_path, data):
        files = {
            'bright.png': data * 16,
            'black.png': data * 0,
            'dark but 8 bits.png': (data >> 8).astype(np.uint8),
            'grey.png': data[..., 0] * 16,
        }
        for name, image in files.items():
            cv2.imwrite(str(tmp_path / name), image)
            for bits in (None, 16):
                read = LoadImage(bits=bits)({'img_path': str(tmp_path / name)})['img']
                np.testing.assert_array_equal(read, cv2.imread(str(tmp_path / name)), name)
        name = 'dark but 8 bits.png'
        read = LoadImage(bits=12)({'img_path': str(tmp_path / name)})['img']
        np.testing.assert_array_equal(read, files[name])

    def test_grey(self, tmp_path, data):
        cv2.imwrite(str(tmp_path / 'a.png'), data[..., 0])
        read = LoadImage(bits=12)({'img_path': str(tmp_path / 'a.png')})['img']
        np.testing.assert_array_equal(read, np.repeat(data[..., :1] >> 4, 3, 2))

    @pytest.mark.parametrize('bits', [7, 17, 12.0, '12', True])
    def test_no_bits(self, bits):
        with pytest.raises(UserError, match='bits must be a whole number from 8 to 16, or None'):
            LoadImage(bits=bits)
        with pytest.raises(UserError, match='LoadImage: bits goes with backend_args only, got also to_float32'):
            LoadImage(bits=12, to_float32=True)

    def test_predict(self, place, data, capsys):
        """It is not skipped as broken; once the pipeline is told, it reads what the 8 bit image would be."""
        (place.root / 'deep').mkdir()
        cv2.imwrite(str(place.root / 'deep' / 'a.png'), data)
        cv2.imwrite(str(place.root / 'eight.png'), (data >> 4).astype(np.uint8))
        arguments = ('predict.py', place.config(), place.checkpoint())
        with pytest.raises(SystemExit):
            place.run(*arguments, place.root / 'deep', '--out', place.root / 'a.csv', '--skip-bad-images')
        assert 'test_dataloader.dataset.pipeline.0.bits=12' in capsys.readouterr().err
        bits = '--cfg-options', 'test_dataloader.dataset.pipeline.0.bits=12'
        annotated = '--annotated', place.root / 'figures'
        place.run(*arguments, place.root / 'deep', '--out', place.root / 'a.csv', *annotated, *bits)
        place.run(*arguments, place.root / 'eight.png', '--out', place.root / 'b.csv')
        rows = [(place.root / name).read_text().splitlines()[1].partition(',')[2] for name in ('a.csv', 'b.csv')]
        assert rows[0] == rows[1]
        assert cv2.imread(str(place.root / 'figures' / 'a.png.png'))[60:, :300].std() > 30  # people see it, too

    def test_training(self, place, data, capsys):
        cv2.imwrite(str(place.root / '2.png'), data)
        message = place.refused(capsys, 'train.py', place.config())
        assert '2.png: 16 bits a channel' in message and 'train_dataloader' in message

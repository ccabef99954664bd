"""The cache of resized images: the same to the bit, never stale, safe to share."""

import logging
import multiprocessing
import os
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from mmcv.transforms import Resize
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.logging import MMLogger
from PIL import Image

from sarlp.errors import UserError
from sarlp.paths import shipped
from sarlp.registry import TRANSFORMS
from sarlp.transforms import BadImageError, LoadImage, LoadResizedImage

SCALE = (53, 37)  # width, height: no whole number of 64 bit words an image


def write(path, seed, size=(131, 97)):
    rng = np.random.default_rng(seed)
    Image.fromarray(rng.integers(0, 256, (*size[::-1], 3), np.uint8)).save(path, 'BMP')  # as large whatever it shows
    return str(path)


def plain(path, scale=SCALE, min_side=None, interpolation='bilinear'):
    return Compose([LoadImage(min_side=min_side), Resize(scale=scale, interpolation=interpolation)])({'img_path': path})


def equal(one, other):
    assert one.keys() == other.keys()
    one, other = dict(one), dict(other)
    images = one.pop('img'), other.pop('img')
    assert [(image.dtype, image.shape) for image in images] == [(np.uint8, images[1].shape)] * 2
    assert one == other
    return np.array_equal(*images)


@pytest.fixture
def source(tmp_path):
    return write(tmp_path / 'ü 1.bmp', 0)


@pytest.fixture
def cached(tmp_path):
    return LoadResizedImage(scale=SCALE, cache_dir=tmp_path / 'cache')


@pytest.fixture
def no_decoding(monkeypatch):
    def switch_on():
        def fail(*args):
            raise AssertionError('the image was decoded')

        monkeypatch.setattr(LoadImage, 'transform', fail)

    return switch_on


class TestEquality:
    @pytest.mark.parametrize(
        'options', [{}, dict(scale=(7, 101)), dict(interpolation='area'), dict(min_side=23), dict(min_side=90)]
    )
    def test_without_with_an_empty_and_with_a_full_cache(self, tmp_path, no_decoding, options):
        path = str(tmp_path / 'a.jpg')
        Image.open(write(tmp_path / 'a.bmp', 0)).save(path)
        expected = plain(path, **options)
        options = {'scale': SCALE, **options}
        transforms = [LoadResizedImage(**options), LoadResizedImage(**options, cache_dir=tmp_path / 'cache')]
        for transform in (*transforms, transforms[1]):
            assert equal(transform({'img_path': path, 'img_id': 'a'}), {**expected, 'img_id': 'a'})
        no_decoding()
        assert equal(transforms[1]({'img_path': path}), expected)

    def test_settings_and_sources_do_not_mix(self, tmp_path, source):
        (tmp_path / 'other').mkdir()
        twin = write(tmp_path / 'other' / 'ü 1.bmp', 1)  # another image of the same name
        os.utime(twin, ns=(os.stat(source).st_mtime_ns,) * 2)
        settings = [{}, dict(scale=SCALE[::-1]), dict(interpolation='nearest'), dict(scale=(53, 38))]
        for _ in range(2):
            for options in settings:
                for path in (source, twin):
                    transform = LoadResizedImage(**{'scale': SCALE, **options}, cache_dir=tmp_path / 'cache')
                    assert equal(transform({'img_path': path}), plain(path, **options))
        assert len(list((tmp_path / 'cache').rglob('*.npy'))) == 8

    def test_paths_of_one_file_share(self, tmp_path, source, cached, monkeypatch, no_decoding):
        expected = cached({'img_path': source})['img']
        monkeypatch.chdir(tmp_path)
        no_decoding()
        assert np.array_equal(cached({'img_path': 'ü 1.bmp'})['img'], expected)

    def test_the_image_is_the_callers_own(self, source, cached):
        for _ in range(3):
            results = cached({'img_path': source})
            assert equal(results, plain(source))
            results['img'][:] = 7

    def test_in_a_pipeline_of_a_config(self, tmp_path, source):
        transform = TRANSFORMS.build(dict(type='LoadResizedImage', scale=list(SCALE), cache_dir=str(tmp_path / 'c')))
        assert equal(transform({'img_path': source}), plain(source))
        assert "cache='" in repr(transform)


def test_config_of_the_documentation(tmp_path):
    text = (Path(__file__).resolve().parents[2] / 'docs' / 'data.md').read_text(encoding='utf-8')
    (block,) = (part for part in re.findall(r'```python\n(.*?)```', text, re.S) if 'LoadResizedImage' in part)
    block = block.replace("_base_ = 'configs/", f"_base_ = '{shipped('configs').as_posix()}/")
    (tmp_path / 'mine.py').write_text(block)
    cfg = Config.fromfile(tmp_path / 'mine.py')
    original = Config.fromfile(shipped('configs') / 'sarlp' / 'sarlp_r101_coco_p0.1.py')
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        load, *rest = cfg[loader].dataset.pipeline
        assert TRANSFORMS.build(load).cache.folder == Path('data/COCO2014/cache')
        assert rest == original[loader].dataset.pipeline[2:]
        assert [step.type for step in original[loader].dataset.pipeline[:2]] == ['LoadImage', 'Resize']


class TestStaleness:
    def test_same_size_later(self, source, cached):
        cached({'img_path': source})
        before = os.stat(source)
        write(source, 1)
        os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
        assert os.stat(source).st_size == before.st_size
        for _ in range(2):
            assert equal(cached({'img_path': source}), plain(source))

    def test_same_time_other_size(self, source, cached):
        cached({'img_path': source})
        before = os.stat(source)
        write(source, 1, size=(61, 131))
        os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))
        for _ in range(2):
            assert equal(cached({'img_path': source}), plain(source))

    def test_older_files_give_way(self, tmp_path, source, cached, no_decoding):
        for seed in range(4):
            write(source, seed)
            os.utime(source, ns=(seed, seed))
            expected = plain(source)
            assert equal(cached({'img_path': source}), expected)
        assert len([path for path in (tmp_path / 'cache').rglob('*') if path.is_file()]) == 1
        no_decoding()
        assert equal(cached({'img_path': source}), expected)

    def test_a_source_that_is_gone_is_an_error(self, source, cached):
        cached({'img_path': source})
        os.unlink(source)
        with pytest.raises(BadImageError) as error:
            cached({'img_path': source})
        with pytest.raises(BadImageError) as expected:
            LoadImage()({'img_path': source})
        assert str(error.value) == str(expected.value)


class Evil:
    def __reduce__(self):
        return os.mkdir, ('unpickled',)


class TestDamage:
    def spoiled(self, kind, content):
        if kind == 'pickle':
            return pickle.dumps(Evil())
        if kind == 'renamed':
            return content.replace(b"'checksum'", b"'checksuM'")
        if kind == 'longer':
            return content + b'\0' * 64
        if kind == 'zeroed':
            return content[:-4096] + bytes(4096)
        return content[: int(kind)]

    @pytest.mark.parametrize('kind', ['0', '3', '40', '300', '-1', '-700', 'pickle', 'renamed', 'longer', 'zeroed'])
    def test_is_made_anew(self, tmp_path, source, cached, no_decoding, kind, monkeypatch):
        monkeypatch.chdir(tmp_path)
        expected = cached({'img_path': source})
        (file,) = (tmp_path / 'cache').rglob('*.npy')
        whole = file.read_bytes()
        file.write_bytes(self.spoiled(kind, whole))
        assert file.read_bytes() != whole
        assert equal(cached({'img_path': source}), expected)
        assert file.read_bytes() == whole
        assert not os.path.exists('unpickled')
        no_decoding()
        assert equal(cached({'img_path': source}), expected)

    def test_any_byte_counts(self, tmp_path, source, cached):
        expected = cached({'img_path': source})
        (file,) = (tmp_path / 'cache').rglob('*.npy')
        whole = file.read_bytes()
        for position in [*range(0, 640, 17), *range(640, len(whole), 211), len(whole) - 1]:
            file.write_bytes(whole[:position] + bytes([whole[position] ^ 4]) + whole[position + 1 :])
            assert equal(cached({'img_path': source}), expected), position

    def test_no_room_is_no_end(self, tmp_path, source):
        (tmp_path / 'cache').write_text('a file where the folder should be')
        transform = LoadResizedImage(scale=SCALE, cache_dir=tmp_path / 'cache')
        records = []
        handler = logging.Handler()
        handler.emit = lambda record: records.append(record.getMessage())
        logger = MMLogger.get_current_instance()
        logger.addHandler(handler)
        try:
            for _ in range(3):
                assert equal(transform({'img_path': source}), plain(source))
        finally:
            logger.removeHandler(handler)
        (message,) = records
        assert message.startswith(f'{tmp_path}/cache: resized images are not cached any more by this process (')

    def test_a_bad_image_is_told_as_ever(self, tmp_path, cached):
        (tmp_path / 'bad.jpg').write_bytes(b'no image')
        with pytest.raises(UserError, match='bad.jpg: the image cannot be read'):
            cached({'img_path': str(tmp_path / 'bad.jpg')})
        assert not (tmp_path / 'cache').exists()


def _work(folder, paths, barrier, errors):
    transform = LoadResizedImage(scale=SCALE, cache_dir=folder)
    expected = {path: plain(path) for path in paths}
    for _ in range(3):
        barrier.wait(60)  # all at the same image at the same time
        for path in paths:
            if not equal(transform({'img_path': path}), expected[path]):
                errors.put(path)
    errors.put(None)


def test_processes_at_once(tmp_path):
    context = multiprocessing.get_context('fork')
    paths = [write(tmp_path / f'{seed}.bmp', seed) for seed in range(31)]
    barrier, errors = context.Barrier(2), context.Queue()
    arguments = (tmp_path / 'cache', paths, barrier, errors)
    processes = [context.Process(target=_work, args=arguments, daemon=True) for _ in range(2)]
    for process in processes:
        process.start()
    assert [errors.get(timeout=60) for _ in processes] == [None, None]
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    files = [path.name for path in (tmp_path / 'cache').rglob('*') if path.is_file()]
    assert len(files) == 31
    assert all(name.endswith('.npy') for name in files)  # nothing temporary stays

"""The masks of published results: by their law, found by name, refused where their order is not known."""

import json

import numpy as np
import pytest

from sarlp.datasets import hcp_label_mask
from sarlp.datasets.converters.coco import COCO_CLASSES
from sarlp.datasets.converters.voc2007 import VOC_CLASSES
from sarlp.datasets.hcp_label_mask import HCPKnownLabels
from sarlp.errors import UserError
from sarlp.registry import LABEL_MASKS

VOC_IDS = [f'{number:06d}' for number in range(5, 5 + 2 * 5011, 2)]
COCO_COUNT = 101


@pytest.fixture
def voc(tmp_path):
    """The place of the annotation file of a data set of 5,011 images."""
    folder = tmp_path / 'ImageSets' / 'Main'
    folder.mkdir(parents=True)
    (folder / 'trainval.txt').write_text('\n'.join(VOC_IDS) + '\n')
    return tmp_path / 'labels' / 'trainval.json'


@pytest.fixture
def coco(tmp_path, monkeypatch):
    """The same for one of 101, whose file is no JSON any more behind the images."""
    voc, whole = hcp_label_mask._ORIGINALS
    monkeypatch.setattr(hcp_label_mask, '_ORIGINALS', (voc, whole._replace(images=COCO_COUNT)))
    assert whole.images == 82_783 and whole.classes == COCO_CLASSES
    ids = np.random.default_rng(3).permutation(1009)[:COCO_COUNT].tolist()
    images = [{'id': number, 'file_name': f'COCO_train2014_{number:012d}.jpg'} for number in ids]
    (tmp_path / 'annotations').mkdir()
    text = json.dumps({'info': {}, 'images': images})[:-1] + ', "annotations": 1]'
    (tmp_path / 'annotations' / 'instances_train2014.json').write_text(text)
    return tmp_path / 'labels' / 'train.json', [f'train2014/{image["file_name"]}' for image in images]


def entries_of(paths):
    return [{'img_path': path} for path in paths]


def known_by(mask, paths, classes):
    return np.stack([mask.known(path, np.zeros(len(classes))) for path in paths])


def voc_mask(source, paths, classes=VOC_CLASSES, **options):
    mask = LABEL_MASKS.build(dict(type='HCPKnownLabels', **{'known_ratio': 0.1, **options}))
    mask.bind(classes, str(source), entries_of(paths))
    return mask


def test_the_published_counts(voc):
    paths = [f'JPEGImages/{name}.jpg' for name in VOC_IDS]
    known = known_by(voc_mask(voc, paths), paths, VOC_CLASSES)
    assert known.dtype == bool and known.shape == (5011, 20)
    assert known.sum() == 10_108
    assert (~known.any(1)).mean() == pytest.approx(0.106, abs=5e-4)
    more = known_by(voc_mask(voc, paths, known_ratio=0.2), paths, VOC_CLASSES)
    assert (known <= more).all() and known.sum() < more.sum()


def test_rows_are_found_by_name(voc):
    names = VOC_IDS[::-31]
    paths = [f'JPEGImages/{name}.png' for name in names]
    classes = (*VOC_CLASSES[7:], *VOC_CLASSES[:7])
    known = known_by(voc_mask(voc, paths, classes, known_ratio=0.3, seed=2), paths, classes)
    state = np.random.RandomState(2)  # number by number
    slow = {name: dict(zip(VOC_CLASSES, [state.uniform() < 0.3 for _ in VOC_CLASSES], strict=True)) for name in VOC_IDS}
    assert known.tolist() == [[slow[name][each] for each in classes] for name in names]


def test_images_without_annotation_have_rows(coco):
    source, paths = coco
    some = sorted(paths[::-3])
    mask = HCPKnownLabels(0.5)
    mask.bind(COCO_CLASSES, str(source), entries_of(some))
    numbers = np.random.RandomState(0).rand(COCO_COUNT, 80)
    rows = [paths.index(path) for path in some]
    assert rows != sorted(rows)
    np.testing.assert_array_equal(known_by(mask, some, COCO_CLASSES), numbers[rows] < 0.5)


def test_the_list_may_be_elsewhere(voc, tmp_path):
    paths = [f'JPEGImages/{name}.jpg' for name in VOC_IDS[:7]]
    expected = known_by(voc_mask(voc, paths), paths, VOC_CLASSES)
    list_ = tmp_path / 'ImageSets' / 'Main' / 'trainval.txt'
    elsewhere = tmp_path / 'elsewhere' / 'labels' / 'trainval.json'
    with pytest.raises(UserError, match=r'trainval.txt: is not there, so the order .* with label_mask.image_list'):
        voc_mask(elsewhere, paths)
    found = known_by(voc_mask(elsewhere, paths, image_list=str(list_)), paths, VOC_CLASSES)
    np.testing.assert_array_equal(found, expected)


def test_refused(voc, tmp_path):
    with pytest.raises(UserError, match='the classes of neither VOC 2007 nor MS-COCO 2014.*RandomKnownLabels'):
        voc_mask(voc, ['JPEGImages/000005.jpg'], VOC_CLASSES[1:])
    with pytest.raises(UserError, match=r'trainval.txt: 1 images of .* are not in it: JPEGImages/000006.jpg'):
        voc_mask(voc, ['JPEGImages/000005.jpg', 'JPEGImages/000006.jpg'])
    short = tmp_path / 'short.txt'
    short.write_text('\n'.join(VOC_IDS[:-1]))
    with pytest.raises(UserError, match='lists 5,010 images, but the masks were drawn for the 5,011 of VOC 2007'):
        voc_mask(voc, ['JPEGImages/000005.jpg'], image_list=short)
    for text in ('{"images": 3}', '{"images": [3]}', 'images'):
        broken = tmp_path / 'broken.json'
        broken.write_text(text)
        with pytest.raises(UserError, match='broken.json: expected the annotations of MS-COCO .*label_mask.image_list'):
            voc_mask(voc, ['JPEGImages/000005.jpg'], image_list=broken)
    with pytest.raises(UserError, match=r'label_mask.known_ratio must be in \(0, 1\], got 0'):
        HCPKnownLabels(0)

"""Of which sizes a model was trained, where its config resizes nothing: kept, and said where others come."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from sarlp.engine import read_checkpoint
from sarlp.engine.image_sizes import Sizes, sizes_of, trained_sizes
from sarlp.engine.testing import test as measure
from sarlp.inference import Predictor, init_model
from sarlp.inference.onnx.size import warn_of_size

from .conftest import LOADERS

LOAD, PACK, RESIZE = (dict(type=kind) for kind in ('LoadImage', 'PackMultiLabel', 'Resize'))


def pixels(width, height):
    return np.full((height, width, 3), 100, np.uint8)


def test_sizes():
    images = [torch.zeros(3, 5, 7), torch.zeros(3, 11, 3), torch.zeros(17, 97, 97)]  # the last are features
    found = sizes_of(images)
    assert found == Sizes(3, 7, 5, 11) and str(found) == '3-7 x 5-11'
    assert sizes_of([torch.zeros(3, 13, 5)], found) == Sizes(3, 7, 5, 13)
    assert sizes_of([]) is None and sizes_of([], found) == found
    for inside, other in ((True, (3, 7, 5, 5)), (False, (2, 7, 5, 5)), (False, (3, 7, 5, 12)), (False, (3, 8, 5, 5))):
        assert Sizes(*other).lie_in(found) == inside


@pytest.mark.parametrize('kept', [None, 'all', [1, 2, 3], [1, 2, 3, 'x']])
def test_a_record_that_says_nothing(kept):
    assert trained_sizes({'image_sizes': kept}, [LOAD, PACK]) is None
    assert trained_sizes({'image_sizes': [1, 2, 3, 4]}, [LOAD, PACK]) == Sizes(1, 2, 3, 4)
    assert trained_sizes({'image_sizes': [1, 2, 3, 4]}, [LOAD, RESIZE, PACK]) is None  # that is compared by the configs


@pytest.fixture
def trained(make_runner):
    """The work directory of a run of one epoch."""
    runner = make_runner('baseline', **{'train_cfg.max_epochs': 1})
    runner.train()
    return Path(runner.work_dir)


def test_from_the_training_to_the_prediction(trained, make_config, make_runner, recwarn, capsys):
    file = trained / 'epoch_1.pth'
    assert read_checkpoint(file)['meta']['image_sizes'] == [48] * 4

    cfg = make_config('baseline')
    predictor = Predictor(init_model(cfg, file, 'cpu'))
    recwarn.clear()
    predictor.predict([pixels(48, 48)])
    assert not recwarn.list
    predictor.predict([pixels(48, 48), pixels(64, 40), pixels(96, 96)])
    (said,) = recwarn.list  # once
    assert str(said.message).startswith(
        'an image of 64 x 40 px reached the model, which was trained on images of 48 x 48'
    )

    meta = predictor.model.meta
    with pytest.warns(UserWarning, match='trained on are 48 x 48 px: it may be worse on images of 64 x 40 px'):
        assert warn_of_size(cfg, (64, 40), meta) == ('size of the images 48 x 48 -> 64 x 40',)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert warn_of_size(cfg, (48, 48), meta) == ()

    measure(make_config('baseline'), str(file), recovery=False)
    assert 'size of the images' not in capsys.readouterr().out
    content = torch.load(file, weights_only=False)
    content['meta']['image_sizes'] = [64, 96, 64, 64]
    torch.save(content, file)
    measure(make_config('baseline'), str(file), recovery=False)
    assert 'was trained otherwise (size of the images 64-96 x 64 -> 48 x 48)' in capsys.readouterr().out

    runner = make_runner('baseline', **{'resume': True, 'train_cfg.max_epochs': 2})  # goes on with what there was
    runner.train()
    assert read_checkpoint(trained / 'epoch_2.pth')['meta']['image_sizes'] == [48, 96, 48, 64]


def test_a_config_that_resizes_says_it_by_itself(trained, make_config, recwarn):
    resize = dict(RESIZE, scale=(64, 64))
    cfg = make_config('baseline', **{f'{name}.dataset.pipeline': [LOAD, resize, PACK] for name in LOADERS})
    model = init_model(cfg, trained / 'epoch_1.pth', 'cpu')
    recwarn.clear()
    Predictor(model).predict([pixels(48, 48), pixels(64, 64)])
    assert not recwarn.list
    assert model.unlike_training == ('steps LoadImage -> LoadImage, Resize',)

import csv

import pytest

from sarlp.apps.spreadsheets.csv_labels import convert_csv_labels
from sarlp.datasets.converters.voc2007 import convert_voc2007
from sarlp.datasets.digits import make_digits
from sarlp.datasets.digits_spreadsheet import write_spreadsheets
from sarlp.engine import build_runner, load_config

from ...test_engine.conftest import reduced, unformatted_configs  # noqa: F401

CONFIG = 'sarlp_r18_digits_spreadsheet'


def cells(file, **how):
    """Cells of a spreadsheet by image and column."""
    with open(file, newline='', encoding='utf-8') as stream:
        return {row['file']: row for row in csv.DictReader(stream, **how)}


@pytest.fixture(scope='session')
def scenes(tmp_path_factory):
    """72 scenes of 48 px with their spreadsheets, half of the cells filled."""
    root = tmp_path_factory.mktemp('scenes') / 'digits'
    convert_voc2007(make_digits(root, num_train=61, num_test=11, size=48))
    write_spreadsheets(root, 0.5)
    return root


@pytest.fixture(scope='session')
def mine(scenes, tmp_path_factory):
    """The data set made of the spreadsheet."""
    root = tmp_path_factory.mktemp('mine')
    convert_csv_labels(scenes / 'labels.csv', scenes / 'JPEGImages', root, val_fraction=0.4)
    return root


@pytest.fixture(scope='session')
def options(mine):
    """``--cfg-options`` for a model that trains in a second."""
    options = {name: value for name, value in reduced(mine).items() if '.dataset.' not in name}
    return options | {'data_root': str(mine), 'train_cfg.max_epochs': 1, 'train_dataloader.batch_size': 16}


@pytest.fixture(scope='session')
def checkpoint(options, tmp_path_factory):
    cfg = load_config(CONFIG, {**options, 'work_dir': str(tmp_path_factory.mktemp('work') / 'run')})
    build_runner(cfg).train()
    return f'{cfg.work_dir}/epoch_1.pth'

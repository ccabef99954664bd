"""A small review: images and a spreadsheet, its annotation files, a model, a table of recovered labels."""

import csv
import multiprocessing
import os
import shutil
import time
import urllib.request
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from sarlp.apps.completion import Calibration, Record, record_path, suspects_path
from sarlp.apps.completion.record import EVIDENCE_HEADER, HEADER, SUSPECTS_HEADER, write_table
from sarlp.apps.completion.union import UNION
from sarlp.apps.review import Review
from sarlp.apps.spreadsheets.csv_labels import convert_csv_labels
from sarlp.datasets.annotation import dump_annotation, load_annotation

from ... import place as place_module
from .person import Person

CLASSES = ('cat', '<b onclick="x">dog</b> & ü', 'sofa')  # names are data
IMAGES = 17


def truth(image, cls):
    return (image * 5 + cls * 3) % 7 < 3


def known(image, cls):
    return (image * 2 + cls) % 3 == 0


def name_of(image):
    return f'sub dir/#{image} é.png'


@pytest.fixture
def made(place, monkeypatch, capsys):
    return make(place, monkeypatch, capsys, IMAGES)


@pytest.fixture
def in_folds(place, monkeypatch, capsys):
    """More images, completed in three folds."""
    return make(place, monkeypatch, capsys, 47, folds=3)


def make(place, monkeypatch, capsys, images, folds=None):
    """Each image has one or two known labels; one known label is a suspect; everything else was recovered."""
    monkeypatch.setattr(place_module, 'CLASSES', CLASSES)
    root = place.root / 'data'
    (root / 'photos' / 'sub dir').mkdir(parents=True)
    for index in range(images):
        picture = np.random.default_rng(index).integers(0, 256, (64, 96, 3), np.uint8)
        (root / 'photos' / name_of(index)).write_bytes(cv2.imencode('.png', picture)[1].tobytes())
    sheet = [['file', *CLASSES, 'remark']]
    for index in range(images):
        cells = [str(int(truth(index, c))) if known(index, c) else '' for c in range(3)]
        sheet.append([name_of(index), *cells, f'row {index}'])
    with open(place.root / 'labels.csv', 'w', newline='', encoding='utf-8') as file:
        csv.writer(file).writerows(sheet)
    convert_csv_labels(place.root / 'labels.csv', root / 'photos', root, ignore_columns=['remark'])
    capsys.readouterr()

    if folds:  # of the images of both splits
        both = [load_annotation(root / 'labels' / name) for name in ('trainval.json', 'test.json')]
        (place.root / 'recovered_folds').mkdir()
        entries = [entry for _, found in both for entry in found]
        dump_annotation(place.root / 'recovered_folds' / UNION, CLASSES, entries)
    recovered, suspects = [], []
    random = np.random.default_rng(7)
    for index in range(images):
        for c, name in enumerate(CLASSES):
            p = round(float(random.uniform()), 6)
            if not known(index, c):
                decision = 'positive' if p > 0.8 else 'negative' if p < 0.2 else 'undecided'
                recovered.append((name_of(index), name, p, decision))
            elif (index, c) in ((3, 0), (4, 1)):
                label = truth(index, c)
                suspects.append((name_of(index), name, ('negative', 'positive')[label], 0.03 if label else 0.97))
    table = place.root / 'recovered.csv'
    write_table(table, HEADER, recovered)
    evidence = [(*row, 0.97, 'fold 2 of 3' if folds else 'in sample') for row in suspects]
    write_table(suspects_path(table), (*SUSPECTS_HEADER, *EVIDENCE_HEADER), evidence)
    options = {'train_dataloader.dataset.label_mask': None}  # of the config; nothing else is hidden
    if folds:
        options['train_dataloader.dataset.data_prefix'] = dict(img_path='data/photos')
    Record(
        config=place.config(),
        cfg_options=options,
        data_root=root,
        img_root=root / 'photos',
        annotations={'train': root / 'labels/trainval.json', 'test': root / 'labels/test.json'},
        checkpoints=[place.checkpoint()] * (folds or 1),
        folds=folds,
        fold_seed=0,
        calibration=Calibration(CLASSES, 1.0, np.zeros(3), thresholds=np.array([0.8, 0.8, np.inf]), precision=0.8),
        expected={},
        measured=None,
    ).write(record_path(table))
    assert len(suspects) == 2
    assert {row[3] for row in recovered} == {'positive', 'negative', 'undecided'}
    return SimpleNamespace(table=table, recovered=recovered, suspects=suspects, root=root, place=place, sheet=sheet)


def _serve(table, sender, with_maps, port):
    """A server as a process of its own: forked, as to import everything anew takes long."""
    from sarlp.apps.review import server
    from sarlp.apps.review.maps import AttentionMaps

    torch.set_num_threads(1)  # the threads of the parent are not in this process
    server.print = lambda text, flush: sender.send(text)
    review = Review(table)
    maps = AttentionMaps(review.record) if with_maps else None
    server.serve(review, port, maps, 'no maps in this test')


@pytest.fixture
def serve(made):
    """``serve()``: a real server process and its address."""
    started = []
    context = multiprocessing.get_context('fork')

    def start(with_maps=False, port=0):
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_serve, args=(made.table, sender, with_maps, port), daemon=True)
        process.start()
        started.append(process)
        assert receiver.poll(30)
        address = next(word for word in receiver.recv().split() if word.startswith('http'))
        until = time.monotonic() + 30
        while True:
            try:
                with urllib.request.urlopen(f'{address}/api/review', timeout=10):
                    return process, address
            except OSError:
                assert time.monotonic() < until
                time.sleep(0.05)

    yield start
    for process in started:
        process.kill()
        process.join()


@pytest.fixture(scope='module')
def browser():
    path = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
    if path is None:
        if os.environ.get('CI'):
            pytest.fail('there is no Chromium here, and under CI the test of the page must not be left out')
        pytest.skip('needs Chromium')
    playwright = pytest.importorskip('playwright.sync_api')
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=path, args=['--no-sandbox'])
        yield browser
        browser.close()


@pytest.fixture
def person(browser):
    people = []

    def sit_down(**options):
        people.append(Person(browser, **options))
        return people[-1]

    yield sit_down
    for one in people:
        one.context.close()
        assert one.elsewhere == []
        assert one.errors == []


@pytest.fixture
def review(made):
    review = Review(made.table)
    yield review
    review.close()


def lines(path):
    return path.read_text(encoding='utf-8').splitlines()


def read_sheet(path):
    with open(path, newline='', encoding='utf-8') as file:
        return list(csv.reader(file))

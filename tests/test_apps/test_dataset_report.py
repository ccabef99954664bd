import csv
import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sarlp.apps.dataset_report import (
    draw_classes,
    draw_co_occurrence,
    draw_known,
    most_positive,
    write_dataset_report,
)
from sarlp.datasets.annotation import dump_annotation, load_annotation
from sarlp.datasets.statistics import count_labels
from sarlp.errors import UserError

CLASSES = ('a $very$ long name of a class, cut', 'bee', 'cow', 'dog', 'élan')


@pytest.fixture
def files(tmp_path):
    rng = np.random.default_rng(3)
    paths = []
    for split, number in (('trainval', 23), ('test', 7)):
        data_list = []
        for image in range(number):
            labels = rng.choice([1, 0, -1], 5, p=(0.3, 0.3, 0.4))
            labels[1] = abs(labels[1] * 0)  # never a bee
            lists = {key: np.flatnonzero(labels == code).tolist() for key, code in (('positive', 1), ('negative', 0))}
            data_list.append({'img_path': f'{split}/{image}.jpg', **lists})
        paths.append(tmp_path / f'{split}.json')
        dump_annotation(paths[-1], CLASSES, data_list)
    return paths


def test_files_and_text(files, tmp_path, capsys):
    written = write_dataset_report(files, tmp_path / 'out')
    assert {name: path.name for name, path in written.items()} == {
        name: f'{name}.png' for name in ('classes', 'co_occurrence', 'known')
    }
    for path in written.values():
        with Image.open(path) as image:
            assert len(np.unique(np.asarray(image.convert('L')))) > 20
    printed = capsys.readouterr().out
    assert '30 images, 5 classes' in printed
    assert 'classes without a known positive, which cannot be learnt: bee\n' in printed
    with open(tmp_path / 'out/classes.csv', encoding='utf-8', newline='') as file:
        header, *table = csv.reader(file)
    assert header == ['class', 'positive', 'negative', 'unknown', 'ignored']
    rows = {name: list(map(int, counts)) for name, *counts in table}
    assert tuple(rows) == CLASSES and rows['bee'][0] == 0 and {sum(counts) for counts in rows.values()} == {30}
    (tmp_path / 'out/classes.csv').write_text('of somebody else\n')
    with pytest.raises(UserError, match=r'classes\.csv'):
        write_dataset_report(files, tmp_path / 'out')


def test_other_classes(files, tmp_path):
    dump_annotation(tmp_path / 'other.json', CLASSES[:2], [{'img_path': 'x.jpg', 'positive': [0], 'negative': 'rest'}])
    with pytest.raises(UserError, match=r'other\.json has 2 classes, .*only the latter has cow, dog'):
        write_dataset_report([files[0], tmp_path / 'other.json'], tmp_path / 'out')


def test_bars(files):
    metainfo, data_list = load_annotation(files[0])
    counts = count_labels(metainfo['classes'], data_list)
    chosen = most_positive(counts, 3)
    assert sorted(counts.positive, reverse=True)[:3] == counts.positive[chosen].tolist()
    (axes,) = draw_classes(counts, chosen).axes
    for container, expected in zip(axes.containers, (counts.positive, counts.negative, counts.unknown), strict=True):
        assert [bar.get_width() for bar in container] == expected[chosen].tolist()
    assert [bar.get_x() for bar in axes.containers[2]] == (counts.positive + counts.negative)[chosen].tolist()
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == [CLASSES[i] if len(CLASSES[i]) <= 28 else 'a $very$ long name of a cla…' for i in chosen]
    top, *_, bottom = (bar.get_y() for bar in axes.containers[0])
    assert axes.transData.transform((0, top))[1] > axes.transData.transform((0, bottom))[1]


def test_co_occurrence():
    both, known = np.array([[7, 3], [0, 5]]), np.array([[7, 6], [0, 5]])
    figure = draw_co_occurrence(['dog', 'cow'], both, known)
    picture = figure.axes[0].images[0].get_array()
    np.testing.assert_allclose(picture[0], [1, 0.5])
    assert picture.mask.tolist() == [[False, False], [True, False]]
    assert [text.get_text() for text in figure.axes[0].texts] == ['100', '50', '100']


@pytest.mark.parametrize(('classes', 'bars'), [(3, 4), (47, 21)])
def test_histogram(classes, bars):
    data_list = [
        {'img_path': str(image), 'positive': [], 'negative': list(range(image * 5 % (classes + 1)))}
        for image in range(17)
    ]
    counts = count_labels([f'c{index}' for index in range(classes)], data_list)
    (axes,) = draw_known(counts).axes
    heights = [bar.get_height() for bar in axes.containers[0]]
    assert (len(heights), sum(heights)) == (bars, 17)
    if classes == 3:
        number_known = [len(entry['negative']) for entry in data_list]
        assert heights == [number_known.count(number) for number in range(4)]


def test_tool(files, tmp_path, monkeypatch, capsys):
    tool = str(Path(__file__).parents[2] / 'tools' / 'analysis_tools' / 'dataset_report.py')
    monkeypatch.setattr('sys.argv', [tool, str(files[1]), '--out', str(tmp_path / 'report')])
    runpy.run_path(tool, run_name='__main__')
    assert (tmp_path / 'report' / 'co_occurrence.png').is_file()
    assert '7 images, 5 classes' in capsys.readouterr().out

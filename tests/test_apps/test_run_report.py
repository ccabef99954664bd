"""The page about a run: its numbers against scikit-learn, what is absent, names that would break it."""

import csv
import dataclasses
import json
import re
import runpy
import shutil
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.calibration import calibration_curve
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, precision_recall_curve

from sarlp.apps.completion import Calibration, Record, decision_quality, record_path, suspects_path
from sarlp.apps.completion.record import HEADER, SUSPECTS_HEADER, write_table
from sarlp.apps.dataset_report import draw_co_occurrence
from sarlp.apps.run_report import sections, write_run_report
from sarlp.apps.run_report.figures import draw_training
from sarlp.apps.run_report.images import best_and_worst
from sarlp.apps.run_report.svg import to_svg
from sarlp.apps.run_report.workdir import Curves, HiddenLabels, read_config, read_curves, read_hidden, read_predictions
from sarlp.datasets.annotation import dump_annotation
from sarlp.datasets.converters.voc2007 import convert_voc2007
from sarlp.datasets.digits import make_digits
from sarlp.engine import build_runner, find_checkpoint, load_config
from sarlp.engine.testing import test as measure
from sarlp.errors import UserError
from sarlp.evaluation.measures import recovery_curve, reliability, score_images
from sarlp.registry import DATASETS

from ..test_engine.conftest import reduced

REPOSITORY = Path(__file__).resolve().parents[2]
HOSTILE = ('<script>alert("1")</script>', '"quoted" & \'more\'', '$x_1$ </svg>', '{{ 7 * 7 }}', 'élan --> 猫')
VOID = {'meta', 'img', 'br', 'link', 'hr', 'input'}


class Page(HTMLParser):
    """Elements and texts of a page, which must be balanced and must fetch nothing."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.texts, self.ids = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []
        assert len(set(self.ids)) == len(self.ids)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.elements.append((tag, attributes))
        if tag not in VOID:
            self.open.append(tag)
        if 'id' in attributes:
            self.ids.append(attributes['id'])

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self):
        return ' '.join(' '.join(self.texts).split())

    def fact(self, name):
        """The cell beside a heading of a row."""
        return self.texts[self.texts.index(name) + 1]


def check_self_contained(text):
    page = Page(text)
    tags = [tag for tag, _ in page.elements]
    assert not {'script', 'link', 'iframe', 'object', 'embed', 'base', 'form'} & set(tags)
    for tag, attributes in page.elements:
        for name, value in attributes.items():
            assert not name.startswith('on'), (tag, name)
            if name in ('src', 'href', 'xlink:href', 'action', 'srcset'):
                assert value.startswith(('data:image/', '#')), value
            if name == 'href' and value.startswith('#'):
                assert value[1:] in page.ids
        for style in (attributes.get('style') or '', attributes.get('clip-path') or ''):
            for target in re.findall(r'url\(([^)]*)\)', style):
                assert target.startswith('#') and target[1:] in page.ids
    css = text[text.index('<style>') : text.index('</style>')]
    assert '@import' not in css and 'url(' not in css
    assert 'http:' not in text and 'https:' not in text
    for tag, attributes in page.elements:
        assert tag != 'img' or attributes['alt']
        assert tag != 'svg' or attributes['aria-label']
    return page


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """Work directory of two epochs on 24 scenes, tested on 11, and its config."""
    root = tmp_path_factory.mktemp('report')
    convert_voc2007(make_digits(root / 'digits', num_train=24, num_test=11, size=48))
    options = {**reduced(root / 'digits'), 'default_hooks.logger.interval': 1, 'work_dir': str(root / 'work')}
    cfg = load_config('sarlp_r18_digits_p0.1', options)
    build_runner(cfg).train()
    cfg = load_config('sarlp_r18_digits_p0.1', options)
    measure(cfg, find_checkpoint(root / 'work'), root / 'work' / 'results')
    return root / 'work'


@pytest.fixture(scope='module')
def page(run, tmp_path_factory):
    out = write_run_report(run, tmp_path_factory.mktemp('page') / 'report.html', images=2)
    return out.read_text('utf-8')


def truth_of(run, name):
    """Labels as metrics see them, in the order of the data set, and the image ids."""
    dataset = DATASETS.build({**read_config(run)[1][f'{name}_dataloader'].dataset, 'pipeline': []})
    rows = [dataset.get_labels(index) for index in range(len(dataset))]
    return [row[0] for row in rows], np.stack([np.where(row[3], -1, row[2]) for row in rows]), dataset.classes


class TestRealRun:
    def test_is_self_contained(self, page):
        found = check_self_contained(page)
        assert [tag for tag, _ in found.elements].count('img') == 4
        assert len(page) < 1_500_000
        assert 'There is no' not in found.text
        assert [attributes['class'] for _, attributes in found.elements if 'note' in attributes.get('class', '')] == [
            'note step'  # to fill in the labels, which this run did not do: no warning
        ]
        assert re.findall(r'is a step of its own: (sarlp \S+)', found.text) == ['sarlp recover']
        assert '0x' not in found.text  # no object printed by its address

    def test_numbers_of_metrics_json(self, page, run):
        metrics = json.loads((run / 'results' / 'metrics.json').read_text())
        found = Page(page)
        assert found.texts[found.texts.index('mAP') + 1] == f'{metrics["mAP"]:.1f} %'
        assert found.texts[found.texts.index('recovery AP') + 1] == f'{metrics["recovery"]["AP"]:.1f} %'
        recovery = metrics['recovery']
        for title, key in (('mean over classes', 'AP'), ('all labels pooled', 'AP_micro')):
            assert float(found.fact(f'AP, {title}').split()[0]) == pytest.approx(recovery[key], abs=0.06)
        for title, key in (('precision', 'precision'), ('recall', 'recall'), ('F1', 'F1')):
            expected = '–' if recovery[key] is None else f'{recovery[key]:.1f} %'
            assert found.fact(f'{title} as decided') in (expected, '–' if recovery[key] == 0 else expected)

    def test_classes_are_sorted_with_their_positives(self, page, run):
        metrics = json.loads((run / 'results' / 'metrics.json').read_text())
        _, full, classes = truth_of(run, 'test')
        dataset = DATASETS.build({**read_config(run)[1].train_dataloader.dataset, 'pipeline': []})
        known = dict(zip(classes, dataset.label_counts()['positive'].tolist(), strict=True))
        body = page[page.index('<table class="classes">') :]
        rows = re.findall(r'<tr><th scope="row">(.*?)</th>(.*?)</tr>', body[: body.index('</table>')], re.DOTALL)
        assert sorted(name for name, _ in rows) == sorted(classes)
        ap = [metrics['AP'][name] for name, _ in rows]
        defined = [value for value in ap if value is not None]
        assert defined == sorted(defined, reverse=True) and ap[: len(defined)] == defined
        for name, cells in rows:
            shown = re.findall(r'<td class="number">(.*?)</td>', cells)
            value = metrics['AP'][name]
            positives = int((full[:, classes.index(name)] == 1).sum())
            assert shown == ['–' if value is None else f'{value:.1f} %', str(known[name]), str(positives)]
            widths = [float(width) for width in re.findall(r'width: ([\d.]+)%', cells)]
            if value is not None:
                assert widths[0] == pytest.approx(value, abs=0.01)
            if known[name]:
                assert widths[-1] == pytest.approx(100 * known[name] / max(known.values()), abs=0.01)

    def test_calibration(self, page, run):
        _, full, classes = truth_of(run, 'test')
        predictions = read_predictions(run / 'results' / 'predictions.csv')
        assert predictions.classes == classes
        scores, labels = predictions.scores[full != -1], full[full != -1]
        found = Page(page)
        assert found.fact('known labels of the test images') == f'{len(labels):,}'
        assert float(found.fact('Brier score')) == pytest.approx(brier_score_loss(labels, scores), abs=6e-5)
        assert float(found.fact('expected calibration error (ECE)')) == pytest.approx(
            slow_ece(scores, labels), abs=6e-5
        )

    def test_best_and_worst_images(self, page, run):
        ids, full, _ = truth_of(run, 'test')
        scores = read_predictions(run / 'results' / 'predictions.csv').scores
        quality = {}
        for name, row, labels in zip(ids, scores, full, strict=True):
            known = labels != -1
            if (labels == 1).any():
                ap = average_precision_score(labels[known], row[known])
                quality[name] = (-ap, log_loss(labels[known], row[known], labels=[0, 1]))
        order = sorted(quality, key=quality.get)
        captions = re.findall(r'<figcaption><b>(.*?)</b>: average precision ([\d.]+) %, log loss ([\d.]+); ', page)
        assert [name for name, *_ in captions] == [*order[:2], *order[::-1][:2]]
        for name, ap, loss in captions:
            assert (-float(ap) / 100, float(loss)) == pytest.approx(quality[name], abs=6e-4)

    def test_config_and_data(self, page, run):
        found = Page(page)
        assert found.fact('label mask') == 'RandomKnownLabels(known_ratio=0.5, seed=0)'
        assert found.fact('epochs') == '2'
        _, full, _ = truth_of(run, 'test')
        known, positive = (full != -1).sum(), (full == 1).sum()
        assert found.fact('test: known labels') == f'{known}, {100 * known / full.size:.1f} % of all'
        assert found.fact('test: positive among them') == f'{positive}, {100 * positive / known:.1f} %'
        assert read_config(run)[1].pretty_text.strip() in unescape(page)

    def test_results_of_another_checkpoint_and_predictions_of_other_images(self, run, tmp_path):
        results = tmp_path / 'results'
        shutil.copytree(run / 'results', results)
        metrics = json.loads((results / 'metrics.json').read_text())
        metrics['protocol']['checkpoint'] = 'elsewhere/best_mAP_epoch_7.pth'
        (results / 'metrics.json').write_text(json.dumps(metrics))
        lines = (results / 'predictions.csv').read_text().splitlines()
        (results / 'predictions.csv').write_text('\n'.join([*lines[:-1], 'strange' + lines[-1]]))
        text = write_run_report(run, tmp_path / 'a.html', results).read_text()
        best = Path(find_checkpoint(run)).name
        assert f'The results are of best_mAP_epoch_7.pth, but the best checkpoint is now {best}' in text
        assert 'predictions.csv is of other images or classes than the test split' in text
        assert 'data:image/jpeg' not in text

    def test_completed_labels(self, run, tmp_path):
        _, full, classes = truth_of(run, 'test')
        calibration = Calibration(
            classes, 0.5, np.linspace(-1, 1, 10), None, np.array([0.7, np.inf, *[0.8] * 8]), precision=0.9
        )
        expected = decision_quality(np.full((2, 1), 0.9), np.ones((2, 1)), np.array([[1], [0]]))
        file = tmp_path / 'recovered.csv'
        options = dict(cfg_options={}, data_root=tmp_path, img_root=tmp_path, folds=None, fold_seed=0)
        record = Record(
            config=Path('x.py'),
            annotations={},
            checkpoints=[Path('a.pth')],
            calibration=calibration,
            expected=expected,
            measured=None,
            **options,
        )
        record.write(record_path(file))
        words = ['positive'] * 3 + ['negative'] * 2 + ['undecided']
        write_table(file, HEADER, [(f'{i}.jpg', classes[i % 2], 0.5, word) for i, word in enumerate(words)])
        write_table(suspects_path(file), SUSPECTS_HEADER, [('7.jpg', classes[0], 'negative', 0.99)])
        text = write_run_report(run, tmp_path / 'a.html', recovered=file, images=0).read_text()
        found = check_self_contained(text)
        assert found.fact('unknown labels') == '6'
        assert found.fact('decided') == '5, 83.3 %'
        assert found.fact('known labels that the model contradicts') == '1'
        assert found.fact('expected precision of positive') == '50.0 % at recall 100.0 %'
        assert 'measured precision' not in text
        rows = re.findall(
            r'<tr><th scope="row">(.*?)</th>(.*?)</tr>', text[text.index('class="decisions"') :], re.DOTALL
        )
        cells = {name: re.findall(r'<td class="number">(.*?)</td>', cells) for name, cells in rows}
        assert cells[classes[0]] == ['0.700', '2', '1', '0']
        assert cells[classes[1]] == ['none', '1', '1', '1']
        scores = read_predictions(run / 'results' / 'predictions.csv').scores
        calibrated, labels = calibration.probabilities(scores)[full != -1], full[full != -1]
        assert float(found.fact('ECE, calibrated')) == pytest.approx(slow_ece(calibrated, labels), abs=6e-5)
        assert float(found.fact('Brier score, calibrated')) == pytest.approx(
            brier_score_loss(labels, calibrated), abs=6e-5
        )

    def test_tool(self, run, tmp_path, monkeypatch, capsys):
        tool = str(REPOSITORY / 'tools' / 'analysis_tools' / 'report.py')
        out = tmp_path / 'sub' / 'report.html'
        monkeypatch.setattr('sys.argv', [tool, str(run), '--out', str(out), '--images', '1'])
        runpy.run_path(tool, run_name='__main__')
        assert capsys.readouterr().out.endswith(f'written to {out}\n')
        assert check_self_contained(out.read_text()).text.count('log loss') == 3  # two images, and what it is


class TestMissing:
    @pytest.fixture
    def bare(self, run, tmp_path):
        """A run that was never tested, and whose checkpoints and data are elsewhere."""
        for file in run.glob('*/vis_data/scalars.json'):
            shutil.copytree(file.parent, tmp_path / 'bare' / file.parent.parent.name / 'vis_data')
        (config,) = (tmp_path / 'bare').glob('*/vis_data/config.py')
        config.write_text(config.read_text().replace(str(run.parent / 'digits'), str(tmp_path / 'gone')))
        return tmp_path / 'bare'

    def test_everything(self, bare, tmp_path):
        found = check_self_contained(write_run_report(bare).read_text())
        (config,) = bare.glob('*/vis_data/config.py')
        train = f'sarlp train {config} --work-dir {bare} --resume'
        for name in ('metrics.json', 'recovered_labels.csv', 'predictions.csv'):
            assert f'There is no {name}: {train}' in found.text
        assert f'{tmp_path / "gone" / "labels" / "trainval.json"}: there is no such annotation file' in found.text

    def test_untested(self, run, bare):
        shutil.copy(find_checkpoint(run), bare)
        (config,) = bare.glob('*/vis_data/config.py')
        text = Page(write_run_report(bare).read_text()).text
        assert f'sarlp test {config} {bare} --work-dir {bare} --out {bare / "results"}' in text

    def test_no_curves(self, bare):
        next(bare.glob('*/vis_data/scalars.json')).unlink()
        text = Page(write_run_report(bare).read_text()).text
        assert 'There is no scalars.json with a logged iteration' in text

    def test_no_run(self, tmp_path):
        (tmp_path / 'seed3' / 'time' / 'vis_data').mkdir(parents=True)
        with pytest.raises(UserError, match=r'is no work directory of sarlp train, .* the runs .* are seed3$'):
            write_run_report(tmp_path)
        with pytest.raises(UserError, match=r'r\.csv: no such file; sarlp recover writes it'):
            write_run_report(tmp_path, recovered=tmp_path / 'r.csv')
        with pytest.raises(UserError, match=r'nowhere: no such work directory'):
            write_run_report(tmp_path / 'nowhere')

    @pytest.mark.parametrize(
        'table',
        [
            'image,cat,dog\na.jpg,0.25,1\nb.jpg,0.5,1e-07\n',  # of sarlp test
            'image,classes,cat,dog\na.jpg,dog,0.25,1\nb.jpg,,0.5,1e-07\n',  # of sarlp predict
            'image,classes,cat,dog\na.jpg,,0.25,1\nb.jpg,cat; dog,0.5,1e-07\n',
        ],
    )
    def test_both_tables_of_predictions(self, tmp_path, table):
        (tmp_path / 'predictions.csv').write_text(table)
        read = read_predictions(tmp_path / 'predictions.csv')
        assert (read.image_ids, read.classes) == (['a.jpg', 'b.jpg'], ('cat', 'dog'))
        assert read.scores.tolist() == [[0.25, 1.0], [0.5, 1e-07]]

    def test_a_class_may_be_called_classes(self, tmp_path):
        (tmp_path / 'predictions.csv').write_text('image,classes,dog\na.jpg,0.25,1\n')
        read = read_predictions(tmp_path / 'predictions.csv')
        assert (read.classes, read.scores.tolist()) == (('classes', 'dog'), [[0.25, 1.0]])

    @pytest.mark.parametrize(
        ('file', 'content', 'message'),
        [
            (
                'predictions.csv',
                'image,a\nx,0.5\ny,2\n',
                r"predictions\.csv, line 3: expected a probability, found '2'",
            ),
            ('predictions.csv', 'image,a\nx\n', r'predictions\.csv, line 2: expected 2 cells, found 1'),
            ('predictions.csv', 'id,a\n', r'predictions\.csv: expected the header'),
            ('recovered_labels.csv', 'image\n', r'recovered_labels\.csv: expected the header image,class,'),
            ('metrics.json', '{"mAP": NaN}', r'metrics\.json: expected JSON, but'),
            ('metrics.json', '{"mAP": 1}', r'metrics\.json: .* has no "AP"'),
        ],
    )
    def test_damaged(self, bare, file, content, message):
        (bare / 'results').mkdir()
        (bare / 'results' / file).write_text(content)
        with pytest.raises(UserError, match=message):
            write_run_report(bare)


def test_hostile_names(run, tmp_path):
    """Names of classes, images and folders that are markup, formulas or templates."""
    work = tmp_path / '<b>work & "co"'
    for file in run.glob('*/vis_data/scalars.json'):
        shutil.copytree(file.parent, work / file.parent.parent.name / 'vis_data')
    (config,) = work.glob('*/vis_data/config.py')
    config.write_text(config.read_text().replace(str(run.parent / 'digits'), str(tmp_path / 'data')))
    rng = np.random.default_rng(7)
    images = [f'{index} <img src=x onerror="alert(1)">.png' for index in range(7)]
    scores = rng.random((7, 5))
    for split in ('trainval', 'test'):
        labels = rng.choice([1, 0, -1], (7, 5), p=(0.4, 0.4, 0.2))
        labels[:, 0] = 1
        entries = [
            {
                'img_path': name,
                'positive': np.flatnonzero(row == 1).tolist(),
                'negative': np.flatnonzero(row == 0).tolist(),
            }
            for name, row in zip(images, labels, strict=True)
        ]
        dump_annotation(tmp_path / 'data' / 'labels' / f'{split}.json', HOSTILE, entries)
    for name in images:
        Image.new('RGB', (20, 10)).save(tmp_path / 'data' / name)
    results = work / 'results'
    results.mkdir()
    with open(results / 'predictions.csv', 'w', newline='', encoding='utf-8') as file:
        csv.writer(file).writerows([['image', *HOSTILE], *([n, *row] for n, row in zip(images, scores, strict=True))])
    with open(results / 'recovered_labels.csv', 'w', newline='', encoding='utf-8') as file:
        header = ['image', 'class', 'probability', 'decision', 'truth']
        csv.writer(file).writerows(
            [header, *([images[0], name, 0.6, 1, index % 2] for index, name in enumerate(HOSTILE))]
        )
    ap = dict(zip(HOSTILE, (50.0, 100.0, 0.0, 25.0, None), strict=True))
    (results / 'metrics.json').write_text(json.dumps({'mAP': 43.75, 'AP': ap}), 'utf-8')

    page = check_self_contained(write_run_report(work, tmp_path / 'report.html').read_text('utf-8'))
    for name in HOSTILE:
        assert name in page.texts  # as it is: in the table, and where the figures name the classes
    assert page.texts.count(HOSTILE[3]) >= 3
    assert '<b>work & "co"' in page.text
    assert not [tag for tag, _ in page.elements if tag == 'img']  # there is no checkpoint to draw maps with


def slow_ece(scores, labels, bins=10):
    total = 0.0
    for index in range(bins):
        low, high = index / bins, (index + 1) / bins
        chosen = [
            (score, label)
            for score, label in zip(scores.tolist(), labels.tolist(), strict=True)
            if low < score <= high or (index == 0 and score == 0)
        ]
        if chosen:
            mean = sum(score for score, _ in chosen) / len(chosen)
            share = sum(label for _, label in chosen) / len(chosen)
            total += len(chosen) / len(scores) * abs(mean - share)
    return total


class TestMeasures:
    @pytest.mark.parametrize('bins', [4, 13])
    def test_reliability(self, bins):
        rng = np.random.default_rng(2)
        scores = np.concatenate([rng.beta(0.4, 0.9, 997), [0, 1, 0.25, 0.5]])  # on the edges of 4 bins
        labels = rng.random(1001) < scores**2
        found = reliability(scores, labels, bins)
        share, mean = calibration_curve(labels, scores, n_bins=bins)
        np.testing.assert_allclose(found.positive[found.count > 0], share)
        np.testing.assert_allclose(found.score[found.count > 0], mean)
        assert found.count.sum() == 1001
        assert found.ece == pytest.approx(slow_ece(scores, labels, bins))
        assert found.brier == pytest.approx(brier_score_loss(labels, scores))

    def test_reliability_of_perfect_scores_and_of_none(self):
        perfect = reliability(np.array([0.0, 1, 1]), np.array([0, 1, 1]))
        assert (perfect.ece, perfect.brier) == (0, 0)
        assert reliability(np.empty(0), np.empty(0)) is None

    def test_recovery_curve(self):
        rng = np.random.default_rng(5)
        truth = (rng.random(2003) < 0.3).astype(np.int8)
        scores = np.round(rng.random(2003) + 0.4 * truth, 2)  # with ties
        precision, recall, _ = precision_recall_curve(truth, scores)
        points = set(zip(recall.tolist(), precision.tolist(), strict=True))
        found = recovery_curve(scores, truth, points=31)
        assert len(found.recall) <= 31
        assert set(zip(found.recall.tolist(), found.precision.tolist(), strict=True)) <= points
        assert (np.diff(found.recall) > 0).all()
        assert found.recall[-1] == 1 and found.recall[0] == recall[-2]
        assert recovery_curve(scores, np.zeros_like(truth)) is None

    def test_images(self):
        rng = np.random.default_rng(11)
        scores = rng.random((17, 7))
        labels = rng.choice([1, 0, -1], scores.shape)
        labels[3] = -1
        labels[5] = [0, -1, 0, -1, 0, 0, 0]
        scores[8], labels[8] = [1, 0, 0.5, 0.5, 0.5, 0.5, 0.5], [0, 1, -1, -1, -1, -1, -1]  # sure, and wrong
        found = score_images(scores, labels)
        for row in range(17):
            known = labels[row] != -1
            if (labels[row] == 1).any():
                assert found.ap[row] == pytest.approx(average_precision_score(labels[row][known], scores[row][known]))
            else:
                assert np.isnan(found.ap[row])
            if known.any():
                p = np.clip(scores[row][known], 1e-7, 1 - 1e-7)
                assert found.log_loss[row] == pytest.approx(log_loss(labels[row][known], p, labels=[0, 1]))
        order = found.order()
        assert not {3, 5} & set(order.tolist()) and len(order) == len(set(order.tolist()))
        keys = [(-found.ap[index], found.log_loss[index]) for index in order]
        assert keys == sorted(keys)

    @pytest.mark.parametrize('images', [0, 1, 2, 5, 13])
    def test_no_image_is_best_and_worst(self, images):
        best, worst = best_and_worst(np.arange(images), 4)
        assert not set(best) & set(worst)
        assert best == list(range(min(4, images // 2 or images)))
        assert worst == list(range(images))[::-1][: len(worst)]
        assert len(worst) == min(4, images // 2)


class TestCurves:
    def write(self, folder, session, rows, rest=''):
        file = folder / session / 'vis_data' / 'scalars.json'
        file.parent.mkdir(parents=True)
        file.write_text(''.join(json.dumps(row) + '\n' for row in rows) + rest)

    def test_resumed(self, tmp_path):
        def train(step, loss):
            return {'loss': loss, 'lr': 0.1, 'epoch': -(-step // 10), 'iter': step, 'step': step}

        def val(epoch, value):
            return {'mAP': value, 'step': epoch}

        first = [
            train(5, 1.0),
            train(10, 2.0),
            val(1, 30.0),
            train(15, 3.0),
            train(20, 4.0),
            val(2, 90.0),
            train(25, 5.0),
        ]
        self.write(tmp_path, '20260101_000000', first, '{"loss": 7.0, "it')  # cut by the kill
        self.write(tmp_path, '20260101_100000', [val(1, 30.0), train(12, 6.0), train(17, 7.0)])
        self.write(tmp_path, '20260101_110000', [])  # killed before it logged anything
        (tmp_path / '20260101_120000' / 'vis_data').mkdir(parents=True)  # of tools/test.py
        found = read_curves(tmp_path)
        assert [(row['iter'], row['loss']) for row in found.train] == [(5, 1.0), (10, 2.0), (12, 6.0), (17, 7.0)]
        assert [(row['step'], row['mAP']) for row in found.val] == [(1, 30.0)]  # the 90 is of iterations that are gone
        assert found.sessions == 2
        assert found.best()['mAP'] == 30.0

    def test_best_passes_over_what_is_no_number(self):
        rows = [{'step': 1, 'mAP': float('nan')}, {'step': 2, 'mAP': 3.0}, {'step': 3, 'mAP': 3.0}, {'step': 4}]
        assert Curves(val=rows).best()['step'] == 2
        assert Curves(val=rows[:1]).best() is None

    def test_a_long_run_is_thinned(self):
        rows = [{'iter': i, 'step': i, 'loss': 100.0 / i, 'lr': 1.0} for i in range(1, 9001)]
        losses, _ = draw_training(Curves(rows)).axes
        (line,) = losses.lines
        assert len(line.get_xdata()) == 400
        x, y = line.get_data()
        assert (x[0], x[-1]) == (np.mean(range(1, 24)), np.mean(range(8979, 9001)))  # 9,000 in 200 of 23 and 200 of 22
        assert y[0] == pytest.approx(np.mean([100 / i for i in range(1, 24)]))


def test_text_on_a_picture_stays_black_and_other_text_takes_the_colour_of_the_page():
    svg = str(
        to_svg(draw_co_occurrence(['dog', 'cow'], np.array([[7, 3], [0, 5]]), np.array([[7, 6], [0, 5]])), 'a', 'words')
    )
    assert svg.startswith('<svg role="img" aria-label="words"')
    (black,) = {match for match in re.findall(r'fill: (#00000\w)', svg)}
    assert black == '#000001'  # the 100 on yellow
    assert '#000000' not in svg and 'currentColor' in svg
    other = str(to_svg(draw_co_occurrence(['dog'], np.array([[7]]), np.array([[7]])), 'b', '"a" <b>'))
    assert other.startswith('<svg role="img" aria-label="&#34;a&#34; &lt;b&gt;" ')
    assert not {*re.findall(r'\bid="([^"]+)"', svg)} & {*re.findall(r'\bid="([^"]+)"', other)}


def test_hidden_labels_without_a_truth_are_left_out(tmp_path):
    (tmp_path / 'r.csv').write_text('image,class,probability,decision,truth\na,x,0.7,1,1\na,y,0.2,0,\nb,x,0.4,0,0\n')
    found = read_hidden(tmp_path / 'r.csv')
    assert found.classes == ('x',)
    assert (found.scores.tolist(), found.decision.tolist(), found.truth.tolist()) == ([0.7, 0.4], [1, 0], [1, 0])


def test_hidden_labels_of_thousands_of_classes_are_parted_once(monkeypatch):
    rng = np.random.default_rng(0)
    classes, number = 300, 6000
    column = rng.integers(classes, size=number).astype(np.int32)
    scores, truth = rng.random(number), (rng.random(number) < 0.3).astype(np.int8)
    hidden = HiddenLabels(tuple(map(str, range(classes))), column, scores, (scores > 0.5).astype(np.int8), truth)
    found = dict(sections.recovery_section(hidden, True, '').facts)['AP, mean over classes']
    each = [
        sections.average_precision(scores[column == c][:, None], truth[column == c][:, None])[0] for c in range(classes)
    ]
    assert found == sections.percent(float(np.nanmean(each)))

    class Uncompared(np.ndarray):
        def __eq__(self, other):
            raise AssertionError('each class is looked for among all labels')

    hidden = dataclasses.replace(hidden, column=column.view(Uncompared))
    assert dict(sections.recovery_section(hidden, True, '').facts)['AP, mean over classes'] == found

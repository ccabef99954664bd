import csv
import json
import math
import shutil
import statistics

import numpy as np
import pytest
import scipy.stats

from sarlp.apps.completion.record import Record
from sarlp.apps.sweep_results import METRICS, collect
from sarlp.apps.sweep_tables import comma_separated, differences, markdown, noise, plot, write_results
from sarlp.errors import UserError
from sarlp.evaluation.calibration import Calibration
from sarlp.evaluation.quality import decision_quality


def write(root, name, run, m_ap, recovery=None, /, **protocol):
    run = run if isinstance(run, str) else f'seed{run}'
    file = root / name / run / 'results' / 'metrics.json'
    file.parent.mkdir(parents=True, exist_ok=True)
    content = {key: 1.0 for key in METRICS if not key.startswith('recovery')}
    file.write_text(json.dumps({**content, 'mAP': m_ap, 'recovery': recovery, 'protocol': protocol}))


@pytest.fixture
def root(tmp_path):
    for seed, value in enumerate((50.0, 53.0, 61.0)):
        write(tmp_path, 'sarlp_r18_digits_p0.1', seed, value, {'AP': value - 2, 'F1': None})
    write(tmp_path, 'sarlp_r18_digits_p0.3', 0, 70.0)
    write(tmp_path, 'baseline_r18_digits_p0.1', 0, 40.0)
    (tmp_path / 'elsewhere').mkdir()
    (tmp_path / 'elsewhere' / 'metrics.json').write_text('{}')  # in no work directory
    return tmp_path


def test_collect(root):
    table = collect(root)
    assert list(table) == [('baseline_r18_digits', 0.1), ('sarlp_r18_digits', 0.1), ('sarlp_r18_digits', 0.3)]
    assert table['sarlp_r18_digits', 0.1].values['mAP'] == [50.0, 53.0, 61.0]
    assert table['sarlp_r18_digits', 0.1].values['recovery AP'] == [48.0, 51.0, 59.0]
    assert math.isnan(table['baseline_r18_digits', 0.1].values['recovery AP'][0])


def test_markdown_has_mean_spread_and_average_over_the_ratios(root):
    lines = markdown(collect(root)).splitlines()
    values = (50.0, 53.0, 61.0)
    mean, spread = statistics.mean(values), statistics.stdev(values)
    row = next(line for line in lines if line.startswith('| sarlp_r18_digits | 0.1 |'))
    assert f'| 3 | {mean:.1f} ± {spread:.1f} |' in row
    average = next(line for line in lines if '| average |' in line)
    assert f'| {(mean + 70) / 2:.1f} |' in average
    assert '| baseline_r18_digits | 0.1 | 1 | 40.0 |' in lines[2]
    assert lines[2].rstrip().endswith('| - | - |')


def test_metrics_of_ones_own(root):
    values = (0.25, 0.5, 0.375)
    for seed, value in enumerate(values):
        file = root / 'sarlp_r18_digits_p0.1' / f'seed{seed}' / 'results' / 'metrics.json'
        content = json.loads(file.read_text())
        content |= {
            'hamming': value,
            'lrap': None if seed else 0.7,
            'by_class': [1, 2],
            'named': 'good',
            'AP': {'a': 1},
        }
        file.write_text(json.dumps(content))
    table = collect(root)
    assert table['sarlp_r18_digits', 0.1].values['hamming'] == list(values)
    assert list(table['sarlp_r18_digits', 0.1].own) == ['hamming', 'lrap']
    text = markdown(table)
    row = (
        f'| sarlp_r18_digits | 0.1 | 3 | {statistics.mean(values):.2f} ± {statistics.stdev(values):.2f} | 0.70 (of 1) |'
    )
    assert (
        f"| model, metrics of one's own | p | runs | hamming | lrap |\n| --- | --- | --- | --- | --- |\n{row}\n\n"
        in (text + '\n\n')
    )
    rows = csv.DictReader(comma_separated(table).splitlines())
    assert [row['mean'] for row in rows if row['metric'] == 'hamming'] == [f'{statistics.mean(values):.4f}']


def test_comma_separated(root):
    rows = list(csv.DictReader(comma_separated(collect(root)).splitlines()))
    row = next(row for row in rows if row['model'] == 'sarlp_r18_digits' and row['metric'] == 'mAP')
    assert (row['known_ratio'], row['mean'], row['runs']) == ('0.1', f'{statistics.mean((50, 53, 61)):.4f}', '3')
    assert len(rows) == 3 * len(METRICS)


def test_the_three_files_may_be_called_by_one_of_them(root, tmp_path):
    for name in ('a', 'b.md', 'c.v2', 'd.png'):
        write_results(collect(root), str(tmp_path / 'tables' / name))
    stems = ('a', 'b', 'c.v2', 'd')
    written = {path.name for path in (tmp_path / 'tables').iterdir()}
    assert written == {f'{stem}.{suffix}' for stem in stems for suffix in ('md', 'csv', 'png')}
    with pytest.raises(UserError, match='expected the beginning of the names of three files, such as .*tables/table'):
        write_results(collect(root), f'{tmp_path}/tables/')


def test_plot_has_one_line_a_model(root):
    axes = plot(collect(root)).axes[0]
    assert {line.get_label() for line in axes.lines} == {'sarlp_r18_digits', 'baseline_r18_digits'}


@pytest.mark.parametrize('content', ['', '{', '[]', '{}', '3', '{"mAP": "high"}', '{"mAP": 3.0, "recovery": [1]}'])
def test_damaged_results(root, content):
    file = root / 'sarlp_r18_digits_p0.1' / 'seed1' / 'results' / 'metrics.json'
    file.write_text(content)
    with pytest.raises(UserError, match=r'seed1/results/metrics.json: is no metrics.json of sarlp test, or damaged'):
        collect(root)


def test_what_is_left_out_or_counts_is_told(root, capsys):
    collect(root)
    assert capsys.readouterr().out == (
        f'note: left out: 1 below no folder <name>_p<ratio>: {root}/elsewhere/metrics.json\n'
    )
    for run in ('first', 'second'):
        write(root, 'baseline_r18_digits_p0.5', run, 40.0)
    said = []
    assert len(collect(root, said.append)['baseline_r18_digits', 0.5].runs) == 2
    assert len(said) == 2 and 'baseline_r18_digits_p0.5: each of these counts as a run: ' in said[1]
    assert 'first/results/metrics.json, ' in said[1] and said[1].endswith('second/results/metrics.json')


@pytest.mark.parametrize('run', ['copy/seed1', 'mask1_seed1'])
def test_a_run_counts_once(root, run):
    write(root, 'sarlp_r18_digits_p0.1', run, 53.0)
    with pytest.raises(UserError, match=rf'_p0.1: there are several .* one mask and seed.*{run}/results/metrics.json'):
        collect(root)


def test_no_results(tmp_path):
    with pytest.raises(UserError, match='no metrics.json'):
        collect(tmp_path)
    with pytest.raises(UserError, match='nowhere: no such folder; name one with work directories'):
        collect(tmp_path / 'nowhere')


class TestFoldersMovedByHand:
    """Of a sweep of seeds 0 and 1."""

    @pytest.fixture
    def root(self, tmp_path):
        for seed in (0, 1):
            self.run(tmp_path, seed, 50.0 + seed)
        return tmp_path

    @staticmethod
    def run(root, seed, m_ap):
        mask = dict(type='RandomKnownLabels', known_ratio=0.1, seed=seed)
        write(root, 'few_r18_digits_p0.1', seed, m_ap, run=f'run of {seed}', seed=seed, label_mask=mask)

    def collected(self, root):
        said = []
        (row,) = collect(root, said.append).values()
        return dict(zip(row.runs, row.values['mAP'], strict=True)), said

    def test_a_copy_is_no_other_run(self, root):
        series = root / 'few_r18_digits_p0.1'
        shutil.copytree(series / 'seed0', series / 'seed7')
        with pytest.raises(UserError, match=r'results of one run, or of one mask and seed.*seed0/.*seed7/.*Move those'):
            collect(root)
        (series / 'seed7').rename(series / 'copy')
        with pytest.raises(UserError, match=r'copy/results/metrics.json, .*seed0/'):
            collect(root)

    def test_one_that_was_renamed_counts_as_what_it_was_run_with(self, root):
        series = root / 'few_r18_digits_p0.1'
        (series / 'seed1').rename(series / 'seed5')
        found, said = self.collected(root)
        assert found == {(0, 0): 50.0, (1, 1): 51.0}
        assert said == [
            f'note: {series}/seed5/results/metrics.json: counts as mask 1 and seed 1, with which it was run'
        ]

    def test_one_that_is_called_something_else_is_told(self, root):
        series = root / 'few_r18_digits_p0.1'
        (series / 'seed1').rename(series / 'seed1_old')
        found, said = self.collected(root)
        assert found == {(0, 0): 50.0, (-1, -1): 51.0}
        assert said == [
            f'note: few_r18_digits_p0.1: each of these counts as a run: {series}/seed1_old/results/metrics.json'
        ]

    def test_another_test_of_a_run_is_none(self, root):
        run = root / 'few_r18_digits_p0.1' / 'seed1'
        shutil.copytree(run / 'results', run / 'results_val')
        found, said = self.collected(root)
        assert found == {(0, 0): 50.0, (1, 1): 51.0}
        assert said == [f'note: left out: 1 beside the results of their run: {run}/results_val/metrics.json']
        shutil.rmtree(run / 'results')  # then it is the only one
        assert self.collected(root) == (found, [])

    @pytest.mark.parametrize('place', ['', 'few_r18_digits_p0.1', 'few_r18_digits_p0.1/seed1', '{}/results'])
    def test_whatever_folder_is_named(self, root, monkeypatch, place):
        monkeypatch.chdir(root / place.format('few_r18_digits_p0.1/seed1'))
        found, said = self.collected('.')
        assert found == ({(1, 1): 51.0} if 'seed1' in place or '{}' in place else {(0, 0): 50.0, (1, 1): 51.0})
        assert said == []

    def test_no_folder_above_is_of_the_sweep(self, tmp_path):
        far = tmp_path / 'thesis_p1' / 'mine' / 'work_dirs' / 'sweep'
        self.run(far, 0, 50.0)
        write(far, 'elsewhere', 0, 60.0)
        assert list(collect(far)) == [('few_r18_digits', 0.1)]

    def test_a_link_to_another_disk(self, root):
        run = root / 'few_r18_digits_p0.1' / 'seed1'
        (root / 'disk').mkdir()
        run.rename(root / 'disk' / 'seed1')
        run.symlink_to(root / 'disk' / 'seed1')
        assert list(collect(root / 'few_r18_digits_p0.1').values())[0].runs == [(0, 0), (1, 1)]


def test_differences_are_of_the_runs_that_both_have(root):
    for seed, value in ((0, 48.5), (2, 57.0), (5, 99.0)):
        write(root, 'other_r18_digits_p0.1', seed, value)
    found = differences(collect(root), 'sarlp_r18_digits')
    assert found['other_r18_digits', 0.1] == [48.5 - 50, 57.0 - 61]
    assert found['baseline_r18_digits', 0.1] == [-10.0]
    paired = [48.5 - 50, 57.0 - 61]
    line = markdown(collect(root), 'sarlp_r18_digits').splitlines()[-1]
    shown = f'{np.mean(paired):+.1f} ± {scipy.stats.sem(paired):.1f}'
    assert line == f'| other_r18_digits | 0.1 | 2 | {shown} |'
    with pytest.raises(UserError, match="no results of 'sarlp' to compare with; there are .*sarlp_r18_digits"):
        markdown(collect(root), 'sarlp')


def test_models_without_a_pair_are_told(root):
    write(root, 'other_r18_digits_p0.1', 7, 60.0)
    write(root, 'other_r18_digits_p0.5', 0, 60.0)
    write(root, 'other_r18_voc_p0.1', 0, 60.0)  # of other images, whose numbers do not compare
    lines = markdown(collect(root), 'baseline_r18_digits').splitlines()
    for name in ('other_r18_digits | 0.1', 'other_r18_digits | 0.5', 'other_r18_voc | 0.1'):
        assert f'| {name} | 0 | - |' in lines


def test_runs_that_did_not_measure_it(tmp_path):
    values = (50.0, None, 61.0)
    for seed, value in enumerate(values):
        write(tmp_path, 'few_r18_digits_p0.1', seed, value)
        write(tmp_path, 'few_r18_digits_p0.3', f'mask{seed // 2}_seed{seed}', value and value + 2)
    table = collect(tmp_path)
    lines = markdown(table).splitlines()
    spread = statistics.stdev((50.0, 61.0))
    assert f'| few_r18_digits | 0.1 | 3 | 55.5 ± {spread:.1f} (of 2) | 1.0 ± 0.0 |' in lines[2]
    assert '| few_r18_digits | average |  | 56.5 | 1.0 |' in lines[4]
    over_masks, over_seeds = noise(table['few_r18_digits', 0.3])
    assert over_masks == pytest.approx(spread) and math.isnan(over_seeds)
    (line,) = plot(table).axes[0].lines
    assert line.get_ydata().tolist() == [55.5, 57.5]


def test_averages_over_other_ratios_are_told(root):
    write(root, 'other_r18_digits_p0.1', 0, 60.0)
    write(root, 'other_r18_digits_p0.5', 0, 60.0)
    for ratio in ('0.1', '0.9'):
        write(root, f'other_r18_voc_p{ratio}', 0, 60.0)
    assert [line for line in markdown(collect(root)).splitlines() if 'average' in line][-1] == (
        'note: these averages do not compare, they are over different p: 0.1, 0.5 (other_r18_digits), 0.1, 0.3 '
        '(sarlp_r18_digits)'
    )


def test_spread_over_masks_and_over_seeds(tmp_path):
    values = {0: (50.0, 53.0, 51.0), 1: (60.0, 65.0, 58.0)}
    for mask, row in values.items():
        for seed, value in enumerate(row):
            write(tmp_path, 'few_r18_digits_p0.1', f'mask{mask}_seed{seed}', value)
    (row,) = collect(tmp_path).values()
    over_masks, over_seeds = noise(row)
    assert over_masks == pytest.approx(statistics.stdev(map(statistics.mean, values.values())))
    assert over_seeds == pytest.approx(math.sqrt(statistics.mean(map(statistics.variance, values.values()))))
    assert f'| few_r18_digits | 0.1 | 6 | {over_masks:.2f} | {over_seeds:.2f} |' in markdown(collect(tmp_path))
    assert 's.d. over seeds' not in markdown({('few', 0.1): type(row)([(0, 0), (1, 1)], row.values)})


def test_what_peeking_would_add_is_a_table_of_its_own(root):
    file = root / 'sarlp_r18_digits_p0.1' / 'seed1' / 'results' / 'metrics.json'
    selection = dict(metric='mAP', selected={'test': 51.5}, best_on_test={'test': 53.25}, gain_of_peeking=1.75)
    file.write_text(json.dumps({**json.loads(file.read_text()), 'protocol': {'selection': selection}}))
    lines = markdown(collect(root)).splitlines()
    assert lines[-1] == '| sarlp_r18_digits | 0.1 | 1 | 51.5 | 53.2 | 1.8 |'
    assert 'selected without the test set' in lines[-3] and 'recall' not in lines[-3]
    selection |= dict(
        selected={'test': None}, best_on_test={'test': None}, gain_of_peeking=None
    )  # of an earlier version
    file.write_text(json.dumps({**json.loads(file.read_text()), 'protocol': {'selection': selection}}))
    assert '| sarlp_r18_digits | 0.1 | 3 |' in markdown(collect(root))


def test_what_was_completed_is_a_table_of_its_own(root, tmp_path):
    rng = np.random.default_rng(0)
    p, truth = rng.random((7, 3)), rng.integers(0, 2, (7, 3))
    quality = {asked: decision_quality(p, p > float(asked), truth) for asked in ('0.8', '0.95')}
    folder = root / 'sarlp_r18_digits_p0.1' / 'seed1'
    nowhere = folder / 'none'
    Record(
        config=nowhere, cfg_options={}, data_root=nowhere, img_root=nowhere, annotations={}, checkpoints=[nowhere],
        folds=None, fold_seed=0, calibration=Calibration(('a', 'b', 'c'), 1.0, np.zeros(3)), expected=quality['0.8'],
        measured=quality['0.8'], measured_at=quality,
    ).write(folder / 'recovered.json')  # fmt: skip
    table = collect(root)
    values = table['sarlp_r18_digits', 0.1].values['recall at 0.8']
    assert values == pytest.approx(
        [math.nan, 100 * ((p > 0.8) & (truth == 1)).sum() / truth.sum(), math.nan], nan_ok=True
    )
    text = markdown(table)
    assert (
        '| model, out of fold | p | runs that measured it | calibration error | precision at 0.8 | recall at 0.8 |'
        in text
    )
    line = text.splitlines()[-1]
    assert line.startswith('| sarlp_r18_digits | 0.1 | 1 |') and f' {values[1]:.1f} ' in line
    error = 100 * quality['0.8']['calibration_error']
    rows = list(csv.DictReader(comma_separated(table).splitlines()))
    (row,) = [row for row in rows if row['metric'] == 'calibration error']
    assert (row['mean'], row['runs']) == (f'{error:.4f}', '1')


class TestProtocols:
    def write(self, root, name, seed=0, **protocol):
        mask = dict(type='RandomKnownLabels', known_ratio=float(name.rpartition('_p')[2]), seed=seed)
        alike = dict(test_annotations='/data/digits/labels/test.json', test_images=13, label_mask=mask, threshold=0.5)
        alike |= dict(test_contents='1a', training_images='11 images, 3d')
        write(root, name, seed, 50.0, **(alike | protocol))

    def notes(self, root):
        return [line for line in markdown(collect(root)).splitlines() if line.startswith('note: ')]

    def test_runs_that_were_measured_alike(self, tmp_path):
        for seed in (0, 1):
            self.write(tmp_path, 'sarlp_r18_digits_p0.1', seed)
            self.write(tmp_path, 'sarlp_r18_digits_p0.3', seed)
        self.write(tmp_path, 'few_r18_digits_p0.1', test_annotations='D:\\digits\\labels\\test.json')  # elsewhere
        self.write(tmp_path, 'other_r18_digits_p1', label_mask={})  # all labels are known
        voc = dict(test_annotations='/data/voc/labels/test.json', test_images=17)
        self.write(tmp_path, 'few_r18_voc_p0.1', **voc, test_contents='2b', training_images=None)  # another data set
        write(tmp_path, 'old_r18_digits_p0.1', 0, 50.0)  # of an earlier version
        assert self.notes(tmp_path) == []

    @pytest.mark.parametrize(
        ('protocol', 'note'),
        [
            (
                dict(test_annotations='/data/digits/labels/trainval.json'),
                'different test sets: labels/test.json (a_r18_digits), labels/trainval.json (b_r18_digits)',
            ),
            (dict(threshold=0.9), 'they are of different thresholds: 0.5 (a_r18_digits), 0.9 (b_r18_digits)'),
            (dict(label_mask={}), 'different label masks: '),
            (
                dict(test_contents='2b'),
                'different contents of the test set: 1a (a_r18_digits), 2b (b_r18_digits)',
            ),
            (dict(test_images=11, test_contents='2b'), 'different numbers of test images: 13 (a_r18_digits), 11 '),
            (
                dict(training_images='7 images, 5c'),
                'different training images: 11 images, 3d (a_r18_digits), 7 images, 5c (b_r18_digits)',
            ),
            (dict(test_images=11), 'different numbers of test images: 13 (a_r18_digits), 11 (b_r18_digits)'),
            (
                dict(label_mask=dict(type='HCPKnownLabels', known_ratio=0.1, seed=5)),
                "different label masks: {'type': 'RandomKnownLabels'} (a_r18_digits), {'type': 'HCPKnownLabels'} ",
            ),
            (
                dict(label_mask=dict(type='RandomKnownLabels', known_ratio=0.9, seed=0)),
                'note: runs of b_r18_digits at p = 0.1 had a known_ratio of 0.9',
            ),
        ],
    )
    def test_what_they_differ_in(self, tmp_path, protocol, note):
        for seed in (0, 1):
            self.write(tmp_path, 'a_r18_digits_p0.1', seed)
        self.write(tmp_path, 'b_r18_digits_p0.1', **protocol)
        (found,) = self.notes(tmp_path)
        assert note in found

    @pytest.mark.parametrize(
        ('others', 'said'),
        [
            ({'epochs': 2, 'digest': 'b'}, 'for 2, 30 epochs'),
            ({'epochs': 30, 'digest': 'b'}, 'see the configs in their work directories'),
            ({'epochs': 30, 'digest': 'a'}, None),
            (None, None),
        ],
    )
    def test_runs_that_were_not_trained_alike(self, tmp_path, others, said):
        usual = {'epochs': 30, 'digest': 'a'}
        self.write(tmp_path, 'a_r18_digits_p0.1', 0, training=usual)
        self.write(tmp_path, 'a_r18_digits_p0.1', 1, training=others)
        self.write(tmp_path, 'b_r18_digits_p0.1', 0, training={'epochs': 7, 'digest': 'c'})  # another model may
        found = self.notes(tmp_path)
        assert len(found) == (said is not None)
        assert not said or ('runs of a_r18_digits at p = 0.1 were not trained alike' in found[0] and said in found[0])

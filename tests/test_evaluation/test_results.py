import csv
import json
import math
import statistics

import pytest

from sarlp.errors import UserError
from sarlp.evaluation.results import METRICS, collect, comma_separated, markdown, plot


def write(root, name, seed, m_ap, recovery=None):
    file = root / name / f'seed{seed}' / 'results' / 'metrics.json'
    file.parent.mkdir(parents=True)
    content = {key: 1.0 for key in METRICS if not key.startswith('recovery')}
    file.write_text(json.dumps({**content, 'mAP': m_ap, 'recovery': recovery}))


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
    assert table['sarlp_r18_digits', 0.1]['mAP'] == [50.0, 53.0, 61.0]
    assert table['sarlp_r18_digits', 0.1]['recovery AP'] == [48.0, 51.0, 59.0]
    assert math.isnan(table['baseline_r18_digits', 0.1]['recovery AP'][0])


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


def test_comma_separated(root):
    rows = list(csv.DictReader(comma_separated(collect(root)).splitlines()))
    row = next(row for row in rows if row['model'] == 'sarlp_r18_digits' and row['metric'] == 'mAP')
    assert (row['known_ratio'], row['mean'], row['runs']) == ('0.1', f'{statistics.mean((50, 53, 61)):.4f}', '3')
    assert len(rows) == 3 * len(METRICS)


def test_plot_has_one_line_a_model(root):
    axes = plot(collect(root)).axes[0]
    assert {line.get_label() for line in axes.lines} == {'sarlp_r18_digits', 'baseline_r18_digits'}


def test_no_results(tmp_path):
    with pytest.raises(UserError, match='no metrics.json'):
        collect(tmp_path)

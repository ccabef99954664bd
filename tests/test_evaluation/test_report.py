"""What is printed and written of an evaluation."""

import csv
import json

import numpy as np
import pytest

from sarlp.evaluation import format_table, write_metrics_json, write_predictions_csv, write_recovered_csv

NAN = float('nan')
CLASSES = ['a cat', 'say "hi", twice', 'Übergröße']
IMAGES = ['x/1.jpg', 'x/2,b.jpg']
SCORES = np.array([[0.5, 0.123456789, 1e-7], [1.0, 0.75, 0.25]], np.float32)
METRICS = {
    'mAP': 91.234,
    'mAP_plain': 90.5,
    **dict(zip(['CP', 'CR', 'CF1', 'OP', 'OR', 'OF1'], range(6), strict=True)),
    **{f'{name}_top3': NAN for name in ['CP', 'CR', 'CF1', 'OP', 'OR', 'OF1']},
    'classes_left_out': 1.0,
    'recovery_AP': 55.555,
    'recovery_AP_micro': NAN,
    'recovery_hidden': 17.0,
    'recovery_hidden_positive': 3.0,
}


def read_csv(path):
    with open(path, encoding='utf-8', newline='') as file:
        return list(csv.reader(file))


def test_table():
    table = format_table(METRICS | {'AP': {'low': 1.0, 'none': NAN, 'a long name': 99.999}})
    lines = table.splitlines()
    assert lines[0].split() == ['mAP', '91.23']
    assert '(1 class without a positive left out)' in lines
    assert any(
        line.split() == ['at', 'the', 'threshold', '0.00', '1.00', '2.00', '3.00', '4.00', '5.00'] for line in lines
    )
    assert any(line.startswith('and in the top 3') and line.split()[-6:] == ['-'] * 6 for line in lines)
    assert 'recovery of 17 hidden labels, 3 of them positive' in lines
    assert [line.split()[0] for line in lines[-3:]] == ['a', 'low', 'none']
    assert len({len(line) for line in lines[-4:]}) == 1


def test_table_of_a_part():
    assert format_table({}) == ''
    assert 'recovery' not in format_table({'mAP': 1.0})
    assert format_table({'recovery_AP': 5.0}).splitlines()[0].startswith('recovery of 0')


def test_metrics_json(tmp_path):
    path = tmp_path / 'new' / 'metrics.json'
    protocol = {'dataset': 'VOC2007', 'known_ratio': np.float64(0.1), 'seed': np.int64(0), 'classes': ('a', 'b')}
    write_metrics_json(path, METRICS, {'a cat': NAN, 'Übergröße': 12.5}, protocol)
    text = path.read_text(encoding='utf-8')
    assert 'Übergröße' in text

    def refuse(constant):
        raise AssertionError(f'{constant} is not JSON')

    content = json.loads(text, parse_constant=refuse)
    assert content['mAP'] == 91.234
    assert content['CF1_top3'] is None
    assert content['AP'] == {'a cat': None, 'Übergröße': 12.5}
    assert content['recovery'] == {'AP': 55.555, 'AP_micro': None, 'hidden': 17.0, 'hidden_positive': 3.0}
    assert content['protocol'] == {'dataset': 'VOC2007', 'known_ratio': 0.1, 'seed': 0, 'classes': ['a', 'b']}
    assert not any(key.startswith('recovery_') for key in content)
    assert [entry.name for entry in path.parent.iterdir()] == ['metrics.json']


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / 'metrics.json'
    path.write_text('old')
    with pytest.raises(TypeError):
        write_metrics_json(path, METRICS, {}, {'not JSON': object()})
    assert path.read_text() == 'old'
    assert [entry.name for entry in tmp_path.iterdir()] == ['metrics.json']


def test_predictions_csv(tmp_path):
    path = tmp_path / 'predictions.csv'
    write_predictions_csv(path, IMAGES, CLASSES, SCORES)
    rows = read_csv(path)
    assert rows[0] == ['image', *CLASSES]
    assert [row[0] for row in rows[1:]] == IMAGES
    np.testing.assert_allclose(np.array([row[1:] for row in rows[1:]], float), SCORES, rtol=1e-5)
    assert rows[1][2] == '0.123457'
    assert b'\r\n' in path.read_bytes() and b'"say ""hi"", twice"' in path.read_bytes()
    with pytest.raises(ValueError, match=r'scores must have .* \(2, 3\), but have \(3, 2\)'):
        write_predictions_csv(path, IMAGES, CLASSES, SCORES.T)


def test_recovered_csv(tmp_path):
    path = tmp_path / 'recovered.csv'
    observed = np.array([[-1, -1, 0], [1, -1, -1]])
    full = np.array([[1, -1, 0], [1, 0, 1]])
    write_recovered_csv(path, IMAGES, CLASSES, SCORES, observed, full, 0.5)
    assert read_csv(path) == [
        ['image', 'class', 'probability', 'decision', 'truth'],
        [IMAGES[0], CLASSES[0], '0.5', '1', '1'],
        [IMAGES[0], CLASSES[1], '0.123457', '0', ''],
        [IMAGES[1], CLASSES[1], '0.75', '1', '0'],
        [IMAGES[1], CLASSES[2], '0.25', '0', '1'],
    ]
    with pytest.raises(ValueError, match='observed must have'):
        write_recovered_csv(path, IMAGES, CLASSES, SCORES, observed[:1], full, 0.5)


def test_of_many_classes_the_best_and_the_worst_are_listed():
    table = format_table({'mAP': 50.0, 'AP': {f'class {index}': index / 100 for index in range(9605)}})
    assert len(table.splitlines()) < 60
    assert table.endswith('(the best and the worst classes; metrics.json has the 9,485 between as well)')
    listed = {name for name in table.replace('\n', '    ').split('    ') if name.strip().startswith('class ')}
    assert len(listed) == 120
    assert 'class 9604' in table and 'class 9545' in table and 'class 9544 ' not in table
    assert 'class 59 ' in table and 'class 60 ' not in table
    assert 'between' not in format_table({'AP': {f'class {index}': index / 100 for index in range(120)}})

"""Results of several processes: the same numbers, to the last bit, and the order and cut of MMEngine."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sarlp.evaluation.gathering import Rows, encode, gather_rows, gather_strings

RANKS = Path(__file__).with_name('ranks.py')
KINDS = ('MultiLabelMetric', 'LabelRecoveryMetric')
VARIANTS = ('gpu', 'not rounded up', 'other batches', 'in files', 'in rounds', 'gathered to all')


@pytest.fixture(scope='module')
def outcomes(tmp_path_factory):
    """(number of processes, rank) to case to outcome, of three processes that talk over gloo."""
    folder = tmp_path_factory.mktemp('ranks')
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': ''}
    done = subprocess.run(
        [sys.executable, '-W', 'error', RANKS, folder], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert len(list(folder.glob('*.json'))) == 6
    return {
        (size, rank): json.loads((folder / f'{size}_{rank}.json').read_text())
        for size in (1, 2, 3)
        for rank in range(size)
    }


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('processes', [1, 2, 3])
def test_every_number_of_processes_gives_the_same(outcomes, kind, processes):
    one, several = outcomes[1, 0], outcomes[processes, 0]
    assert len(one[kind]['image_ids']) == len(set(one[kind]['image_ids'])) == 17
    assert one[kind]['image_ids'][1:3] == ['größe/longer name.jpg', 'not utf-8 \udcff.jpg']
    assert one[kind]['types']['scores'] == 'float32 (17, 5)'
    assert several[kind] == one[kind]
    for variant in VARIANTS:
        assert several[f'{kind}, {variant}'] == one[kind], variant
    for rank in range(1, processes):
        assert outcomes[processes, rank][kind] == {'metrics': one[kind]['metrics']}


@pytest.mark.parametrize('processes', [1, 2, 3])
def test_cases(outcomes, processes):
    for rank in range(processes):
        cases = outcomes[processes, rank]
        assert cases['shuffled']['metrics'] == outcomes[1, 0]['MultiLabelMetric']['metrics']
        assert "2 of 8 images were evaluated more than once, first '3.jpg'" in cases['twice']['error']
        assert 'set shuffle=False' in cases['twice']['error']
        assert cases['one image']['metrics'] == outcomes[1, 0]['one image']['metrics']
        assert 'MultiLabelMetric got no image to evaluate; is the split empty?' in cases['no image']['error']
        if processes > 1:
            assert cases['other classes']['error'] == 'images have scores for different numbers of classes: [3, 5]'
    assert outcomes[processes, 0]['one image']['image_ids'] == ['a.jpg']


@pytest.mark.parametrize('on_disk', [False, True])
def test_rows(tmp_path, on_disk):
    batches = [np.arange(3 * n, dtype=np.float32).reshape(n, 3) + n for n in (5, 0, 1, 7)]
    rows = Rows(3, np.float32, tmp_path if on_disk else None)
    for batch in batches:
        rows.append(batch)
    assert len(rows) == 13
    array = rows.array()
    np.testing.assert_array_equal(array, np.concatenate(batches))
    assert isinstance(array, np.memmap) == on_disk
    assert Rows(3, np.int8, tmp_path if on_disk else None).array().shape == (0, 3)


def test_one_process_cuts_too():
    rows = Rows(1, np.int8)
    rows.append(np.arange(5, dtype=np.int8)[:, None])
    assert gather_rows(rows, [5], 3).tolist() == [[0], [1], [2]]
    assert gather_strings(list('abcde'), [5], 1, 3) == ['a', 'b', 'c']


def test_strings_come_back():
    for string in ('', 'ß', 'a/b c.jpg', 'not utf-8 \udcff'):
        assert encode(string).decode('utf-8', 'surrogateescape') == string

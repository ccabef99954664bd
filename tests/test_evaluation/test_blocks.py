"""Scores and labels in pieces: neither the pieces, nor the threads, nor a file instead of memory show in a result."""

import os
import threading
import tracemalloc

import numpy as np
import pytest

from sarlp.evaluation import blocks, functional
from sarlp.evaluation.blocks import LabelledScores
from sarlp.evaluation.functional import average_precision_of_kinds, f1_family, label_recovery

N, C = 61, 7


def make_data(seed=0, dtype=np.float32):
    rng = np.random.default_rng(seed)
    scores = (rng.integers(23, size=(N, C)) / 23).astype(dtype)  # with ties
    full = rng.choice(np.array([1, 0, -1], np.int8), p=[0.25, 0.6, 0.15], size=(N, C))
    return scores, full, rng.random((N, C)) < 0.1, np.where(rng.random((N, C)) < 0.3, full, np.int8(-1))


def measure(scores, full, ignore, observed, threads=None):
    kinds = average_precision_of_kinds(scores, full, ignore, threads=threads)
    return [
        *(values.tolist() for values in kinds.values()),
        f1_family(scores, full, ignore, threads=threads),
        f1_family(scores, full, ignore, top_k=3, threads=threads),
        label_recovery(scores, observed, full, threads=threads),
    ]


@pytest.fixture
def cut_small(monkeypatch):
    """Call it for a class or two at once, bands of three images, tiles of two."""

    def cut():
        monkeypatch.setattr(blocks, '_BUFFER_BYTES', 2 * N * 5)
        monkeypatch.setattr(blocks, '_BUFFER_BYTES_DISK', N * 5)
        monkeypatch.setattr(blocks, '_BAND_BYTES', 3 * C * 4)
        monkeypatch.setattr(blocks, '_TILE_PAIRS', 2 * C)
        monkeypatch.setattr(functional, '_POOL_BYTES', 11 * C * 4)

    return cut


@pytest.fixture
def on_disk(tmp_path):
    def write(*arrays, mode='r'):
        for index, array in enumerate(arrays):
            np.save(tmp_path / f'{index}.npy', array)
        return [np.load(tmp_path / f'{index}.npy', mmap_mode=mode) for index in range(len(arrays))]

    return write


def test_more_images_than_a_byte_counts():
    rng = np.random.default_rng(0)
    scores, labels = rng.random((1009, 2)), (rng.random((1009, 2)) < 0.9).astype(np.int8)
    result = f1_family(scores, labels, threshold=0.01)
    predicted = scores > 0.01
    assert result['OP'] == (predicted & (labels == 1)).sum() / predicted.sum()
    assert result['OR'] == (predicted & (labels == 1)).sum() / (labels == 1).sum()


@pytest.mark.parametrize('threads', [1, 3])
def test_pieces_and_threads_do_not_show(cut_small, threads):
    data = make_data()
    expected = measure(*data, threads=1)
    assert len(LabelledScores(*data[:2]).bands()) == 1
    cut_small()
    assert len(LabelledScores(*data[:2]).bands()) == 21
    assert measure(*data, threads=threads) == expected
    assert measure(*(np.asfortranarray(array) for array in data), threads=threads) == expected
    assert measure(*(array.astype(float) for array in data), threads=threads) == expected


@pytest.mark.parametrize('mode', ['r', 'r+', 'c'])
@pytest.mark.parametrize('threads', [1, 2])
def test_files_do_not_show(cut_small, on_disk, threads, mode):
    data = make_data(1)
    mapped = on_disk(*data, mode=mode)
    expected = measure(*data)
    cut_small()
    assert measure(*mapped, threads=threads) == expected
    # as plain arrays, and as a part
    assert measure(*map(np.asarray, mapped), threads=threads) == expected
    part = measure(*(array[3:50, 1:6] for array in mapped), threads=threads)
    assert part == measure(*(array[3:50, 1:6] for array in data))


def test_what_was_written_to_a_mapping_stays(cut_small, on_disk):
    data = make_data(2)
    cut_small()
    for mode in ('r+', 'c'):
        mapped = on_disk(*data, mode=mode)
        mapped[0][:] = data[0][::-1]
        assert measure(*mapped) == measure(data[0][::-1], *data[1:])
        np.testing.assert_array_equal(mapped[0], data[0][::-1])


def resident_bytes(folder):
    """Of the files in the folder that are mapped, counted by the kernel."""
    total, inside = 0, False
    with open('/proc/self/smaps') as smaps:
        for line in smaps:
            if not line[0].isupper():
                inside = str(folder) in line
            elif inside and line.startswith('Rss:'):
                total += int(line.split()[1]) * 1024
    return total


@pytest.mark.skipif(not os.path.exists('/proc/self/smaps'), reason='the kernel does not say what is resident')
def test_pages_are_let_go(on_disk, tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, '_BAND_BYTES', 1 << 20)
    scores, labels = on_disk(np.zeros((4099, 4099), np.float32), np.zeros((4099, 4099), np.int8))
    assert np.asarray(scores).sum() == np.asarray(labels).sum() == 0
    assert resident_bytes(tmp_path) > scores.nbytes  # all of it was read
    pairs = LabelledScores(scores, labels, threads=1)
    peak = []
    for band in pairs.bands():
        for _ in pairs.tiles(band):
            peak.append(resident_bytes(tmp_path))
    assert 0 < max(peak[1:]) < scores.nbytes / 4
    pairs.per_class(lambda scores, labels: None)
    assert resident_bytes(tmp_path) < scores.nbytes / 4
    f1_family(scores, labels, threads=2)
    assert resident_bytes(tmp_path) < scores.nbytes / 4


@pytest.mark.parametrize('threads', [1, 2])
def test_memory_is_bounded(monkeypatch, threads):
    monkeypatch.setattr(blocks, '_BAND_BYTES', 1 << 20)
    monkeypatch.setattr(blocks, '_BUFFER_BYTES', 1 << 19)
    monkeypatch.setattr(blocks, '_TILE_PAIRS', 1 << 16)
    monkeypatch.setattr(functional, '_POOL_BYTES', 1 << 19)
    rng = np.random.default_rng(0)
    scores = rng.random((4099, 1031), np.float32)  # 17 MB
    full = (rng.random(scores.shape, np.float32) < 0.01).astype(np.int8)
    observed = np.full_like(full, -1)
    for function in (
        lambda: average_precision_of_kinds(scores, full, threads=threads),
        lambda: f1_family(scores, full, threads=threads),
        lambda: f1_family(scores, full, top_k=3, threads=threads),
        lambda: label_recovery(scores, observed, full, threads=threads),
    ):
        tracemalloc.start()
        function()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < scores.nbytes / 3


@pytest.mark.parametrize('threads', [1, 3])
def test_the_first_of_many_bad_entries_is_named(cut_small, threads):
    cut_small()
    scores, full, ignore, observed = make_data(3)
    broken = scores.copy()
    broken[7, 5] = broken[8, 1] = broken[50, 0] = np.nan
    for function in (average_precision_of_kinds, f1_family):
        with pytest.raises(ValueError, match='NaN, first at image 7, class 5'):
            function(broken, full, ignore, threads=threads)
    labels = full.astype(np.int16)
    labels[7, 5] = labels[8, 1] = 300
    with pytest.raises(ValueError, match='targets must be .* but hold 300 at image 7, class 5'):
        average_precision_of_kinds(scores, labels, threads=threads)
    with pytest.raises(ValueError, match='observed must be .* but hold 300 at image 7, class 5'):
        label_recovery(scores, labels, full, threads=threads)
    with pytest.raises(ValueError, match='full must be .* but hold 300 at image 7, class 5'):
        label_recovery(scores, observed, labels, threads=threads)
    with pytest.raises(ValueError, match='ignore must hold only'):
        f1_family(scores, full, full, threads=threads)


def test_no_thread_is_left_behind(cut_small):
    cut_small()
    scores, full, *_ = make_data(4)
    scores[40, 3] = np.nan
    before = threading.active_count()
    with pytest.raises(ValueError, match='NaN'):
        average_precision_of_kinds(scores, full, threads=3)
    assert threading.active_count() == before


@pytest.mark.parametrize('threads', [0, -1, 1.5])
def test_bad_number_of_threads(threads):
    with pytest.raises(ValueError, match='threads must be None or a whole number'):
        f1_family(*make_data()[:2], threads=threads)


def test_shapes_are_read_before_anything_else():
    pairs = LabelledScores(np.zeros((0, 3)), np.zeros((0, 3)))
    assert pairs.bands() == []
    assert pairs.per_class(lambda scores, labels: scores.shape) == [(0,)] * 3
    assert LabelledScores(np.zeros((3, 0)), np.zeros((3, 0))).per_class(len) == []

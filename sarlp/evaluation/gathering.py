"""Rows of all images, kept batch by batch and brought to rank 0 as tensors; nothing of an image is pickled."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np
import torch
from mmengine import dist

_ROUND_BYTES = 1 << 26  # what all ranks together send at a time


class Rows:
    """Rows of one width, appended batch by batch and put together once, so that none is copied again for each batch.

    Args:
        width: entries of a row.
        dtype: of the entries.
        folder: where to keep them in a file without a name, which goes with the last array that is mapped from it;
            None keeps them in memory.
    """

    def __init__(self, width: int, dtype: np.dtype | type, folder: str | Path | None = None) -> None:
        self.width, self.dtype, self._folder = width, np.dtype(dtype), folder
        self._length = 0
        self._batches: list[np.ndarray] = []
        self._file: IO[bytes] | None = None

    def __len__(self) -> int:
        return self._length

    def empty_like(self) -> 'Rows':
        """Without rows, of the same width and dtype, kept in the same way."""
        return Rows(self.width, self.dtype, self._folder)

    def append(self, rows: np.ndarray) -> None:
        """Add rows (n, width). In memory the array itself is kept, so it must not be a view of a larger one."""
        assert rows.shape[1:] == (self.width,) and rows.dtype == self.dtype
        if not len(rows):
            return
        self._length += len(rows)
        if self._folder is None:
            self._batches.append(rows)
        else:
            if self._file is None:
                Path(self._folder).mkdir(parents=True, exist_ok=True)
                self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115  closed when it is mapped
            rows.tofile(self._file)

    def array(self) -> np.ndarray:
        """All rows, (n, width), mapped from the file if there is one. Called once, after the last row."""
        shape = self._length, self.width
        if self._file is not None:
            with self._file:
                return np.memmap(self._file, self.dtype, 'r', shape=shape)
        result = np.empty(shape, self.dtype)
        start = 0
        for batch in self._drain():
            result[start : start + len(batch)] = batch
            start += len(batch)
        return result

    def _drain(self):
        """The batches, each let go of as soon as the next one is asked for: together they are as large as the array."""
        self._batches.reverse()
        while self._batches:
            yield self._batches.pop()


def exchange(*numbers: int) -> np.ndarray:
    """Numbers of each rank, (ranks, numbers) int64, on every rank."""
    return torch.stack(dist.all_gather(torch.tensor(numbers, dtype=torch.int64))).numpy()


def gather_rows(rows: Rows, counts: Sequence[int], size: int) -> np.ndarray | None:
    """The rows of all ranks in the order of the data set.

    A sampler deals the images out in turn, and hands out some at the end twice if they do not come out even. So the
    rows are taken from the ranks in turn, and what is beyond ``size`` is cut: the order and the cut of MMEngine's
    ``collect_results``. The tensors travel on the device of the process group (CPU for gloo, GPU for NCCL), some
    megabytes at a time.

    Args:
        rows: of this rank.
        counts: number of rows of each rank.
        size: images in the data set.

    Returns:
        (at most ``size``, width) on rank 0, None elsewhere.
    """
    if len(counts) == 1:
        return rows.array()[:size]
    part, gathered = rows.array(), rows.empty_like()
    on_cpu = dist.get_comm_device().type == 'cpu'
    gather = dist.gather if on_cpu else dist.all_gather  # MMEngine takes it that NCCL cannot gather
    step = max(1, _ROUND_BYTES // max(1, len(counts) * rows.width * rows.dtype.itemsize))
    for start in range(0, max(counts), step):
        index = np.arange(start, min(start + step, max(counts)))
        sent = np.zeros((len(index), rows.width), rows.dtype)
        mine = part[start : start + step]
        sent[: len(mine)] = mine
        received = gather(torch.from_numpy(sent.view(np.uint8)))
        if dist.is_main_process():
            in_turn = torch.stack(received, 1).numpy()  # (images, ranks, bytes)
            exists = index[:, None] < np.asarray(counts)
            gathered.append(in_turn[exists][: size - len(gathered)].view(rows.dtype))
    return gathered.array() if dist.is_main_process() else None


def gather_strings(strings: Sequence[str], counts: Sequence[int], length: int, size: int) -> list[str] | None:
    """As :func:`gather_rows`; ``length`` is the most bytes that :func:`encode` gives for a string of any rank."""
    if len(counts) == 1:
        return list(strings[:size])
    encoded = np.array([encode(string) for string in strings], f'S{max(1, length)}')
    rows = Rows(encoded.itemsize, np.uint8)
    rows.append(encoded.view(np.uint8).reshape(len(strings), encoded.itemsize))
    gathered = gather_rows(rows, counts, size)
    if gathered is None:
        return None
    return [entry.decode('utf-8', 'surrogateescape') for entry in gathered.view(encoded.dtype)[:, 0].tolist()]


def encode(string: str) -> bytes:
    """As bytes that come back as the same string, also where a path is not UTF-8."""
    return string.encode('utf-8', 'surrogateescape')

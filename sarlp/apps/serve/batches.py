"""Images of many requests, brought to the model together."""

import contextlib
import math
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from sarlp.apps.serve.models import Model, Seen


class BusyError(Exception):
    """As many images wait as may.

    Attributes:
        seconds: after which to try again.
    """

    def __init__(self, seconds: int):
        super().__init__(f'as many images wait as may; try again in {seconds} s')
        self.seconds = seconds


@dataclass(frozen=True)
class _Job:
    image: Any
    maps: bool
    found: Future


class Batcher:
    """One thread that gives a model what has come, in batches; any number of threads wait for it.

    Args:
        model: which.
        batch_size: images that go through the model together.
        wait: seconds that an image waits for others to come along, while the model has nothing else to do.
        limit: images that may be in work at a time, from before they are decoded until they are answered.

    Attributes:
        images, batches: how many have been predicted.
    """

    def __init__(self, model: Model, batch_size: int = 8, wait: float = 0.005, limit: int = 32):
        self.model, self.batch_size, self.wait, self.limit = model, batch_size, wait, limit
        self.images = self.batches = 0
        self._admitted = 0
        self._each = 0.0  # seconds an image has taken lately
        self._lock = threading.Lock()
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name='batches', daemon=True)
        self._thread.start()

    @contextlib.contextmanager
    def room_for(self, images: int) -> Iterator[None]:
        """Hold room for so many images. Raises: BusyError, there is none."""
        with self._lock:
            if self._admitted + images > self.limit:
                raise BusyError(max(1, math.ceil(self._admitted * self._each)))
            self._admitted += images
        try:
            yield
        finally:
            with self._lock:
                self._admitted -= images

    @property
    def waiting(self) -> int:
        """Images in work."""
        return self._admitted

    def predict(self, images: Sequence[Any], maps: bool) -> list[Seen]:
        """What the model says of images, in their order, when it has had them.

        Raises:
            Exception: of the model, on one of these images; others that were in the batch are not touched by it.
        """
        jobs = [_Job(image, maps, Future()) for image in images]
        for job in jobs:
            self._jobs.put(job)
        return [job.found.result() for job in jobs]

    def close(self) -> None:
        """End the thread, after what is in the queue."""
        self._jobs.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (first := self._jobs.get()) is not None:
            batch, last = self._gather(first)
            started = time.perf_counter()
            self._run(batch)
            each = (time.perf_counter() - started) / len(batch)
            self._each = each if not self._each else 0.9 * self._each + 0.1 * each
            self.images, self.batches = self.images + len(batch), self.batches + 1
            del first, batch  # or the last images stay until others come
            if last:
                return

    def _gather(self, first: _Job) -> tuple[list[_Job], bool]:
        batch, until = [first], time.perf_counter() + self.wait
        while len(batch) < self.batch_size:
            try:
                job = self._jobs.get(timeout=max(0.0, until - time.perf_counter()))
            except queue.Empty:
                break
            if job is None:
                return batch, True
            batch.append(job)
        return batch, False

    def _run(self, batch: list[_Job]) -> None:
        try:
            found = self.model.predict([job.image for job in batch], any(job.maps for job in batch))
        except Exception as error:  # of whatever kind: it belongs to who asked, and this thread goes on
            if len(batch) == 1:
                batch[0].found.set_exception(error)
            else:  # which of them it was is found one by one
                for job in batch:
                    self._run([job])
            return
        for job, seen in zip(batch, found, strict=True):
            job.found.set_result(seen)

"""A review learns in the background: a process of its own refits, the page stays as quick as it is."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any

import torch

from sarlp.apps.completion import Record, record_path
from sarlp.apps.review.features import FoldFeatures, fold_features, why_no_features
from sarlp.apps.review.learning import learn
from sarlp.apps.review.log_line import Pair
from sarlp.apps.review.session import Review
from sarlp.engine.devices import AUTO, choose_device
from sarlp.errors import UserError


class Learner:
    """Refits the heads of a review again and again, and renews its queue.

    Whatever fails, the review goes on as one that does not learn, and its ``learning_status`` says why.

    Args:
        review: open for writing. Whoever closes it closes the learner first.
        every: refit after so many decisions, at least 1.
        device: of :func:`~sarlp.engine.devices.choose_device`, for looking at the images once.
    """

    def __init__(self, review: Review, every: int = 10, device: str | torch.device = AUTO):
        if every < 1:
            raise UserError(f'a review learns after at least 1 decision, got {every}')
        self.review, self.every = review, every
        self._due = threading.Condition()
        self._decisions, self._closed = 0, False
        self._process: multiprocessing.process.BaseProcess | None = None
        reason = why_no_features(review.record) or review.known_missing
        if reason is not None:
            self._give_up(reason)
            return
        review.learning, review.learning_status = True, 'The review learns: it looks at the images first.'
        context = multiprocessing.get_context('spawn')  # a fork of threads may hang
        self._connection, other = context.Pipe()
        self._process = context.Process(target=_work, args=(other, str(review.csv_file), str(device)))
        self._process.start()
        other.close()
        review.on_decision = self._count
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _count(self, labels: int) -> None:
        with self._due:
            self._decisions += labels
            self._due.notify()

    def _run(self) -> None:
        try:
            while True:
                with self._due:
                    self._decisions = 0
                decided, log_bytes = self.review.snapshot()
                answer = self._ask(decided)
                if isinstance(answer, str):
                    raise UserError(answer)
                image_ids, learned = answer
                if log_bytes > self.review.learnt_bytes:
                    self.review.renew(image_ids, learned, log_bytes)
                self.review.learning_status = f'The review learns: {learned.answers:,} decisions so far.'
                with self._due:
                    self._due.wait_for(lambda: self._closed or self._decisions >= self.every)
                    if self._closed:
                        return
        except Exception as error:  # whatever it is, as in the process
            if not self._closed:
                self._give_up(_reason(error))

    def _ask(self, decided: Mapping[Pair, int]) -> Any:
        try:
            self._connection.send(decided)
            return self._connection.recv()
        except (OSError, EOFError):
            raise UserError('the process that learns has ended') from None

    def _give_up(self, reason: str) -> None:
        self.review.learning, self.review.learning_status = False, f'The review does not learn: {reason}'

    def close(self) -> None:
        """End the process; what it was at is lost, and done again at the next start."""
        with self._due:
            self._closed = True
            self._due.notify()
        if self._process is not None:
            self._process.terminate()
            self._process.join()
            self._thread.join()
            self._connection.close()


def _work(connection: Connection, csv_file: str, device: str) -> None:
    """In the other process: decisions come, what is learnt goes, or why nothing is."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which ends this
    if hasattr(os, 'nice'):
        os.nice(5)
    features: FoldFeatures | None = None
    record = Record.read(record_path(csv_file))
    while True:
        try:
            decided: Mapping[Pair, int] = connection.recv()
        except EOFError:
            return
        try:
            if features is None:
                features = fold_features(csv_file, choose_device(device))
            groups = [record.group_of(image) for image in features.image_ids.tolist()]
            learned = learn(features, record.classes, decided, record.calibration.precision, groups)
            answer: Any = (features.image_ids.tolist(), learned)
        except Exception as error:  # whatever it is: the review goes on without
            answer = _reason(error)
        try:
            connection.send(answer)
        except OSError:  # nobody is there any more
            return


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, UserError) else f'{type(error).__name__}: {error}'

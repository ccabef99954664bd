"""How many blanks a review fills: a simulated reviewer who knows the truth answers in one order or another.

    python benchmarks/review.py work_dirs/recovered.csv --answers 100 300 1000

The table is copied, with its record, to a folder of its own; the labels that a mask hid are the truth. Filled is every
blank that was answered, or that the model decides at the precision of the completion; the measured precision is that of
the model's decisions on what was not answered.
"""

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sarlp.apps.completion import record_path, suspects_path
from sarlp.apps.review import Review, Selection
from sarlp.apps.review.decisions import Pair, log_path
from sarlp.apps.review.features import FoldFeatures, fold_features
from sarlp.apps.review.learned_file import learned_path
from sarlp.apps.review.learning import learn
from sarlp.apps.spreadsheets.label_source import label_arrays
from sarlp.labels import UNKNOWN
from sarlp.names.class_names import columns_by_name

Order = Callable[[Review], list[int]]  # the items to ask next, first to last


class Measured(NamedTuple):
    """After some answers: share of the blanks that are filled, and precision (NaN of nothing) of the model's decisions
    on what is not answered: of the positive ones, and of all."""

    answers: int
    filled: float
    positive: float
    all: float


def by_gain(review: Review) -> list[int]:
    return review.queue.select(Selection(order='filling', state='open')).tolist()


def by_uncertainty(review: Review) -> list[int]:
    open_ = review.queue.select(Selection(state='open', order='image'))
    return sorted(open_.tolist(), key=lambda index: abs(review.queue.items[index].probability - 0.5))


def at_random(review: Review) -> list[int]:
    open_ = review.queue.select(Selection(state='open', order='image'))
    return np.random.default_rng(len(open_)).permutation(open_).tolist()


def at_random_of_undecided(review: Review) -> list[int]:
    return [index for index in at_random(review) if review.queue.items[index].kind == 'undecided']


ORDERS: dict[str, Order] = {
    'what fills most': by_gain,
    'uncertainty': by_uncertainty,
    'random': at_random,
    'random of the undecided': at_random_of_undecided,
}


def truth_of(review: Review) -> dict[Pair, int]:
    """1 / 0 / -1 of every label of the annotation files, also of those that a mask hides."""
    classes, labels = label_arrays(review.record.annotations.values())
    columns = columns_by_name(classes, review.record.classes, 'the annotation file', 'the record', 'Complete anew')
    return {
        (image, name): int(row[column])
        for image, row in labels.items()
        for name, column in zip(review.record.classes, columns, strict=True)
    }


def measure(review: Review, truth: dict[Pair, int]) -> Measured:
    """See :class:`Measured`; blanks whose truth is unknown count nowhere."""
    blank = filled = 0
    decided = {1: [0, 0], 0: [0, 0]}  # number, and right ones
    for index, item in enumerate(review.queue.items):
        known = truth[item.pair]
        if item.kind == 'suspect' or known == UNKNOWN:
            continue
        blank += 1
        answer = review.queue.decision(index)
        if answer is not None:
            filled += answer != UNKNOWN
        elif item.suggestion is not None:
            filled += 1
            decided[item.suggestion][0] += 1
            decided[item.suggestion][1] += item.suggestion == known
    number, right = (sum(kind) for kind in zip(*decided.values(), strict=True))
    nan = float('nan')
    positive = decided[1][1] / decided[1][0] if decided[1][0] else nan
    return Measured(review.queue.reviewed(), filled / max(blank, 1), positive, right / number if number else nan)


def simulate(
    review: Review, features: FoldFeatures | None, truth: dict[Pair, int], order: Order, stops: list[int], every: int
) -> list[Measured]:
    """Answer as the truth is; learn after every few answers, unless there are no features. One row a stop."""
    found = []
    asked: list[int] = []
    for stop in stops:
        while review.queue.reviewed() < stop:
            if not asked:
                asked = order(review)[:every]
                if not asked:
                    break
            index = asked.pop(0)
            review.decide(index, truth[review.queue.items[index].pair])
            if not asked and features is not None:
                decided, log_bytes = review.snapshot()
                precision = review.record.calibration.precision
                groups = [review.record.group_of(image) for image in features.image_ids.tolist()]
                learned = learn(features, review.record.classes, decided, precision, groups)
                review.renew(features.image_ids.tolist(), learned, log_bytes)
        found.append(measure(review, truth))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('csv', type=Path, help='recovered.csv of a completion in folds')
    parser.add_argument('--answers', type=int, nargs='+', default=[100, 300, 1000])
    parser.add_argument('--every', type=int, default=50, help='learn after so many answers; default: %(default)s')
    parser.add_argument('--orders', nargs='+', choices=list(ORDERS), default=list(ORDERS))
    parser.add_argument('--no-learning', action='store_true')
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / 'recovered.csv'
        for name in (lambda path: path, record_path, suspects_path):
            if name(args.csv).exists():
                shutil.copy(name(args.csv), name(table))
        features = None if args.no_learning else fold_features(table, 'cpu')
        print('| order | answers | filled | precision of yes | of all decisions | seconds |\n|---|---|---|---|---|---|')
        for name in args.orders:
            started = time.monotonic()
            review = Review(table)
            rows = simulate(review, features, truth_of(review), ORDERS[name], [0, *args.answers], args.every)
            review.close()
            for path in (log_path(table), learned_path(table)):
                path.unlink(missing_ok=True)
            taken = time.monotonic() - started
            for row in rows:
                shares = ' | '.join(f'{100 * share:.2f}' for share in row[1:])
                print(f'| {name} | {row.answers:,} | {shares} | {taken:.0f} |', flush=True)


if __name__ == '__main__':
    main()

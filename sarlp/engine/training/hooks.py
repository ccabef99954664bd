"""Hooks of the training run."""

import os
import random

import numpy as np
import torch
from mmengine.hooks import Hook

from sarlp.engine.unwrap import unwrap
from sarlp.errors import UserError, shorten
from sarlp.labels import UNKNOWN
from sarlp.names.class_names import require_same
from sarlp.registry import HOOKS


@HOOKS.register_module()
class SeedHook(Hook):
    """Make every random number of the training a function of (seed, rank, iteration), of augmentation of the epoch.

    MMEngine neither saves the random states nor gives a worker another seed in another epoch. Here the states are set
    anew before each iteration, after its batch was loaded, so a resumed run draws what an uninterrupted one would have
    drawn, whatever its data loader draws meanwhile (a new iterator takes one number, that of persistent workers none).
    The data set is told the epoch, from which it derives the augmentation of each image.
    """

    def before_train_epoch(self, runner) -> None:
        runner.train_dataloader.dataset.set_epoch(runner.epoch)

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        seed = (runner.seed * 1_000_003 + runner.rank * 10_007 + runner.iter) % 2**32
        random.seed(seed)
        np.random.seed(seed)
        torch.default_generator.manual_seed(seed)  # torch.manual_seed formats a traceback for GPUs that are not there
        if torch.cuda.is_available():
            torch.cuda.manual_seed(seed)


@HOOKS.register_module()
class DataCheckHook(Hook):
    """Before the first step: do training data, test data and model speak of the same classes, and can they be learnt?

    Two class lists that differ stop the run. Classes without a known positive or negative label are reported, and after
    every epoch the batches in which no label at all was known: they have no loss on known labels. So are labels of the
    first batch that reach the model known, and are unknown to the data set.
    """

    _unknown = 0
    _compared = False

    def before_train(self, runner) -> None:
        train = runner.train_dataloader.dataset
        if runner.val_loop is not None:
            test = runner.val_dataloader.dataset
            advice = 'Build the run by sarlp.engine.build_runner, which matches them by name'
            require_same(train.classes, test.classes, train.source, test.source, advice)
            if not test.label_counts()['positive'].any():
                runner.logger.warning(
                    f'no label of {test.source} is known to be positive, so that there is no mAP to measure and to '
                    'select an epoch by; the last one will count. Give a file with the labels of these images'
                )
        head = unwrap(runner.model).head
        if head.num_classes != len(train.classes):
            raise UserError(
                f'the model has {head.num_classes} classes (model.head.num_classes), but {train.source} '
                f'has {len(train.classes)}; leave num_classes out of the config to take it from the data'
            )
        self._report_repeated(runner, train)
        counts = train.label_counts()
        known = int(sum(count.sum() for count in counts.values()))
        total = len(train) * len(train.classes)
        runner.logger.info(
            f'{len(train)} training images, {len(train.classes)} classes, {known} of {total} labels '
            f'known ({100 * known / total:.1f} %), {int(counts["positive"].sum())} of them positive'
        )
        for kind, count in counts.items():
            missing = [name for name, number in zip(train.classes, count, strict=True) if number == 0]
            if missing:
                runner.logger.warning(
                    f'{len(missing)} classes have no known {kind} label and cannot be learnt: {shorten(missing)}'
                )

    @staticmethod
    def _report_repeated(runner, train) -> None:
        """Images that lie in more than one part of the data: their labels may contradict each other."""
        files: dict[str, list[str]] = {}
        for part in getattr(train, 'leaves', ()):
            for image in {os.path.realpath(part.image_path(index)) for index in range(len(part))}:
                files.setdefault(image, []).append(part.source)
        shared = sorted(image for image, sources in files.items() if len(sources) > 1)
        if shared:
            runner.logger.warning(
                f'{len(shared)} images are in more than one of the data sets ({train.source}) and trained on as often, '
                f'each time with the labels of that file: {shorten(shared)}'
            )

    def before_train_epoch(self, runner) -> None:
        self._unknown = 0

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        samples = data_batch['data_samples']
        self._unknown += all((sample.gt_score == UNKNOWN).all() for sample in samples)
        if not self._compared:
            self._compared = True
            self._report_revealed(runner, samples)

    @staticmethod
    def _report_revealed(runner, samples) -> None:
        """Labels that became known between the data set and the model: mostly -1 that was made 0 by the way."""
        train = runner.train_dataloader.dataset
        leaves = getattr(train, 'leaves', [train])
        count, images = 0, []
        for sample in samples:
            index = sample.get('index', -1)
            leaf = next((one for one in leaves if 0 <= index - one.first_index < len(one)), None)
            if leaf is not None:
                _, labels, _, _ = leaf.get_labels(index - leaf.first_index)
                revealed = int(((sample.gt_score.cpu().numpy() != UNKNOWN) & (labels == UNKNOWN)).sum())
                count += revealed
                images += [leaf.image_id(index - leaf.first_index)] * (revealed > 0)
        if count:
            runner.logger.warning(
                f'{count} labels of the first batch are learnt as known that the data set has as unknown, such as of '
                f'{images[0]}. Look for the transform, hook or data set of your own that makes something else of '
                f'{UNKNOWN} in gt_score; if that is meant, what is said of known labels does not hold'
            )

    def after_train_epoch(self, runner) -> None:
        if self._unknown:
            runner.logger.warning(
                f'{self._unknown} of {len(runner.train_dataloader)} batches of this epoch had no known label and '
                'taught nothing about known labels; a larger batch avoids them'
            )

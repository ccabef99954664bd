"""The scores of all images of a data set, beside what is known of their labels."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from sarlp.datasets.nesting import order_classes, require_each_once
from sarlp.engine import MultiLabelRunner
from sarlp.engine.kept_tokens import keep_tokens
from sarlp.labels import UNKNOWN


@dataclass(frozen=True)
class Scored:
    """Scores and labels of N images, one row each.

    Attributes:
        image_ids: N.
        scores: (N, C) float32 in [0, 1].
        observed: (N, C) int8 of 1 / 0 / -1, what is known.
        truth: (N, C) int8, the labels as the annotation file has them; -1 also where metrics leave the pair out.
    """

    image_ids: list[str]
    scores: np.ndarray
    observed: np.ndarray
    truth: np.ndarray

    def pool(self) -> np.ndarray:
        """(N, C) float32, the scores of unknown labels, NaN elsewhere."""
        return np.where(self.observed == UNKNOWN, self.scores, np.nan)


def stack(parts: Sequence[Scored]) -> Scored:
    """One after another."""
    return Scored(
        [image for part in parts for image in part.image_ids],
        *(np.concatenate([getattr(part, name) for part in parts]) for name in ('scores', 'observed', 'truth')),
    )


class LabelledBatches:
    """The batches of a data set, each image once, beside its labels in the order of the model's classes.

    Args:
        loader: config of :func:`~sarlp.engine.testing.loader_for_testing`; the order of the classes is set in it.
        classes: those of the model.
        description: of the images, for the progress bar.

    Attributes:
        image_ids: N.
        observed, truth: (N, C), see :class:`Scored`.

    Raises:
        UserError: the data set has other classes than the model, or a path twice.
    """

    def __init__(self, loader: Mapping, classes: Sequence[str], description: str):
        order_classes(loader['dataset'], tuple(classes), 'the checkpoint')
        require_each_once(loader['dataset'], 'the data set that is scored')
        self.loader = MultiLabelRunner.build_dataloader(loader, seed=0)
        self._description = description
        dataset: Any = self.loader.dataset  # of the registry, by the config
        labels = [dataset.get_labels(index) for index in range(len(dataset))]
        self.image_ids = [name for name, *_ in labels]
        self.observed = np.stack([observed for _, observed, *_ in labels])
        self.truth = np.stack([np.where(ignore, UNKNOWN, full) for _, _, full, ignore in labels])

    def __iter__(self) -> Iterator[tuple[dict, slice]]:
        """Batches, and which of the N images are in them."""
        done = 0
        for batch in tqdm(self.loader, desc=self._description, unit='batch', disable=None, leave=False):
            names = [sample.img_id for sample in batch['data_samples']]
            where = slice(done, done + len(names))
            if names != self.image_ids[where]:
                raise RuntimeError(f'the loader gave {names} where {self.image_ids[where]} were due')
            yield batch, where
            done = where.stop


@torch.inference_mode()
def score(model, loader: Mapping, description: str = 'images') -> Scored:
    """Score the images of a data set; labels and scores are in the order of the model's classes.

    Args:
        model: of :func:`~sarlp.inference.init_model`; where its config has ``tokens``, those are taken.
        loader, description: see :class:`LabelledBatches`, and for what it raises.
    """
    batches = LabelledBatches(loader, model.classes, description)
    keep_tokens(model, model.cfg, [batches.loader], lambda line: print(f'{description}: {line}', flush=True))
    scores = np.empty(batches.observed.shape, np.float32)
    for batch, where in batches:
        scores[where] = [sample.pred_score.cpu().numpy() for sample in model.test_step(batch)]
    return Scored(batches.image_ids, scores, batches.observed, batches.truth)

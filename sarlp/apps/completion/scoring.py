"""The scores of all images of a data set, beside what is known of their labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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


@torch.inference_mode()
def score(model, loader: Mapping, description: str = 'images') -> Scored:
    """Score the images of a data set; labels and scores are in the order of the model's classes.

    Args:
        model: of :func:`~sarlp.inference.init_model`; where its config has ``tokens``, those are taken.
        loader: config of :func:`~sarlp.engine.testing.loader_for_testing`; the order of the classes is set in it.
        description: of the images, for the progress bar.

    Raises:
        UserError: the data set has other classes than the model, or a path twice.
    """
    order_classes(loader['dataset'], model.classes, 'the checkpoint')
    require_each_once(loader['dataset'], 'the data set that is scored')
    loader = MultiLabelRunner.build_dataloader(loader, seed=0)
    keep_tokens(model, model.cfg, [loader], print)
    dataset = loader.dataset
    labels = [dataset.get_labels(index) for index in range(len(dataset))]
    scores = np.empty((len(labels), len(dataset.classes)), np.float32)
    done = 0
    for batch in tqdm(loader, desc=description, unit='batch', disable=None, leave=False):
        samples = model.test_step(batch)
        for sample in samples:
            if sample.img_id != labels[done][0]:
                raise RuntimeError(f'the loader gave {sample.img_id} where {labels[done][0]} was due')
            scores[done] = sample.pred_score.cpu().numpy()
            done += 1
    truth = np.stack([np.where(ignore, UNKNOWN, full) for _, _, full, ignore in labels])
    return Scored([name for name, *_ in labels], scores, np.stack([observed for _, observed, *_ in labels]), truth)

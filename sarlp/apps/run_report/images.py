"""The images that the model recognises best and worst, with its maps."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sarlp.apps.run_report.data import Split
from sarlp.evaluation.measures import ImageScores
from sarlp.inference import Predictor
from sarlp.io.pixels import read_rgb
from sarlp.labels import POSITIVE, UNKNOWN, is_chosen
from sarlp.transforms.loading import BadImageError
from sarlp.visualization.attention import attention_maps, draw_figure, select_panels

_PANELS = 4  # beside the image: one row
_DPI = 110  # some 100 KB a figure
_WIDTH = 80  # pixels of CSS for an inch


@dataclass(frozen=True)
class Drawn:
    """One image of the report: a JPEG of its figure as data URI, its width in pixels of CSS, its content in words."""

    image_id: str
    ap: float
    log_loss: float
    uri: str
    width: int
    alt: str


def best_and_worst(order: np.ndarray, number: int) -> tuple[list[int], list[int]]:
    """The first and the last ``number`` of an order, the worst first; never one image in both."""
    number = min(number, len(order) // 2) if len(order) > 1 else min(number, len(order))
    best = order[:number].tolist()
    return best, [index for index in order[::-1][:number].tolist() if index not in best]


def draw_images(
    model, split: Split, scored: ImageScores, chosen: Sequence[int], threshold: float
) -> tuple[list[Drawn], list[str]]:
    """Draw images of a split with the maps of a model.

    Args:
        model: of :func:`~sarlp.inference.init_model`, with the classes of the split.
        split: with labels as metrics see them.
        scored: of the split's images.
        chosen: indices into the split.
        threshold: a class is predicted if its score reaches it.

    Returns:
        The figures, and a line about each image that cannot be read.
    """
    predictor = Predictor(model)
    labels = split.measured()
    drawn, problems = [], []
    for index in chosen:
        path = split.paths[index]
        try:
            outputs = predictor(path)
        except BadImageError as error:
            problems.append(str(error))
            continue
        scores, truth = outputs['scores'], labels[index]
        maps = attention_maps(outputs['token_scores'], outputs['grid'])
        panels = select_panels(scores, maps, split.classes, full=truth, threshold=threshold, max_panels=_PANELS)
        figure = draw_figure(read_rgb(path), panels)
        stream = io.BytesIO()
        figure.savefig(stream, format='jpeg', dpi=_DPI, pil_kwargs={'quality': 82})
        uri = 'data:image/jpeg;base64,' + base64.b64encode(stream.getvalue()).decode('ascii')
        drawn.append(
            Drawn(
                split.image_ids[index],
                float(scored.ap[index]),
                float(scored.log_loss[index]),
                uri,
                round(_WIDTH * figure.get_figwidth()),
                _in_words(split.classes, scores, truth, threshold),
            )
        )
    return drawn, problems


def _in_words(classes: Sequence[str], scores: np.ndarray, truth: np.ndarray, threshold: float) -> str:
    there, found = truth == POSITIVE, is_chosen(scores, threshold)
    groups = {
        'there and found': there & found,
        'there and not found': there & ~found,
        'found, but absent': found & ~there & (truth != UNKNOWN),
        'found, not labelled': found & (truth == UNKNOWN),
    }
    named = {
        words: [f'{classes[i]} {scores[i]:.2f}' for i in np.flatnonzero(chosen).tolist()]
        for words, chosen in groups.items()
    }
    return '; '.join(f'{words}: {", ".join(names)}' for words, names in named.items() if names) or 'nothing found'

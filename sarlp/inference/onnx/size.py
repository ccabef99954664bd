"""The size of the images that an exported model takes, where it is another than that of the config."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.config import Config

from sarlp.datasets.annotation import load_annotation
from sarlp.datasets.nesting import annotation_path, image_folder, leaves
from sarlp.engine.image_sizes import Sizes, trained_sizes
from sarlp.engine.testing import pipeline_for_testing, test_pipelines
from sarlp.errors import UserError
from sarlp.io.pixels import read_rgb


def set_image_size(cfg: Config, image_size: Sequence[int]) -> None:
    """Let the test pipeline of a config resize to another size, in place, as far as it resizes to a fixed one.

    Args:
        cfg: of a model.
        image_size: (width, height). A ``min_side`` that is the shorter side of the present size follows.
    """
    for pipeline in test_pipelines(cfg):
        for step in pipeline:
            if resizes(step):
                before, step['scale'] = min(sides(step['scale'])), tuple(image_size)
                for loading in pipeline:
                    if loading.get('min_side') == before:
                        loading['min_side'] = min(image_size)


def warn_of_size(cfg: Config, image_size: Sequence[int], meta: Mapping) -> tuple[str, ...]:
    """A warning, and what it is of, if the test pipeline does not resize, and the model was trained on images of other
    sizes; where its checkpoint does not say of which, those of the first image of its data count, if that is there.

    Args:
        cfg: of a model.
        image_size: (width, height) that the exported model takes.
        meta: of the checkpoint.
    """
    width, height = image_size
    if any(map(resizes, pipeline_for_testing(cfg))):
        return ()  # that is compared with the training's by the configs alone
    now, whose = Sizes(width, width, height, height), 'that the model was trained on'
    trained = trained_sizes(meta, pipeline_for_testing(cfg))
    if trained is None:
        trained, whose = _size_of_first(cfg), 'of its data'
    if trained is None or now.lie_in(trained):
        return ()
    warnings.warn(
        f'the config does not resize images, and those {whose} are {trained} px: it may be worse on images of {now} px',
        stacklevel=3,
    )
    return (f'size of the images {trained} -> {now}',)


def _size_of_first(cfg: Config) -> Sizes | None:
    if cfg.get('test_dataloader') is None:
        return None
    leaf = leaves(cfg.test_dataloader.dataset)[0]
    if not annotation_path(leaf).is_file():
        return None
    _, images = load_annotation(annotation_path(leaf))
    try:
        height, width = read_rgb(image_folder(leaf) / images[0]['img_path']).shape[:2]
    except (OSError, UserError, IndexError):
        return None
    return Sizes(width, width, height, height)


def resizes(step: Mapping[str, Any]) -> bool:
    """Whether a step of a pipeline resizes to a fixed size, whatever the ratio of the sides."""
    kind = step['type'].rpartition('.')[2]
    return kind in ('Resize', 'LoadResizedImage') and step.get('scale') is not None and not step.get('keep_ratio')


def sides(scale: int | Sequence[int]) -> Sequence[int]:
    """(width, height) of a ``scale``, which may be one number for both."""
    return scale if isinstance(scale, Sequence) else (scale, scale)

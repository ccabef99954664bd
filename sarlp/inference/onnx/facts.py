"""What whoever runs an ONNX file has to know, in the metadata of the file."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

from sarlp import __version__
from sarlp.engine.testing import pipeline_for_testing
from sarlp.errors import UserError
from sarlp.evaluation.calibration import Calibration
from sarlp.inference.onnx.size import resizes, sides
from sarlp.io.json_file import plain
from sarlp.io.pixels import ANTIALIAS


def read_preprocessing(cfg: Config, image_size: Sequence[int] | None = None) -> dict[str, Any]:
    """How the test pipeline of a config makes an image ready.

    Args:
        cfg: of a model.
        image_size: (width, height) in the place of the pipeline's.

    Returns:
        ``width`` and ``height`` in px; ``interpolation`` of :class:`~sarlp.transforms.Resize`, which does not keep the
        ratio of the sides, ``'antialias'`` where the pipeline has none; ``jpeg_min_side``, see
        :class:`~sarlp.transforms.LoadImage`, or None; and its ``bits``, if set.

    Raises:
        UserError: the pipeline does more than load, resize and pack; or it does not resize and no size is given; or
            the model takes no images of this size.
    """
    facts: dict[str, Any] = dict(interpolation=ANTIALIAS, jpeg_min_side=None)
    found = None
    for step in pipeline_for_testing(cfg):
        kind = step['type'].rpartition('.')[2]
        if kind in ('LoadImage', 'LoadResizedImage'):
            facts['jpeg_min_side'] = step.get('min_side')
            if step.get('bits') is not None:
                facts['bits'] = step['bits']
        if resizes(step):
            found = sides(step['scale'])
            facts['interpolation'] = step.get('interpolation', 'bilinear')
        elif kind not in ('LoadImage', 'PackMultiLabel'):
            raise UserError(
                f'the test pipeline has the step {dict(step)}, which an ONNX file does not do and can not describe; '
                'expected LoadImage, Resize to a fixed size, PackMultiLabel'
            )
    size = found if image_size is None else image_size
    if size is None:
        raise UserError(
            'the test pipeline of the config does not resize, so the size of the images is not known; give it by '
            '--image-size'
        )
    divisor = cfg.model.get('size_divisor', 32) or 1  # None is asked of the backbone, which refuses by itself
    if any(side < 1 or side % divisor for side in size):
        raise UserError(f'the sides of an image must be multiples of {divisor}, got {" x ".join(map(str, size))}')
    facts['width'], facts['height'] = map(int, size)
    return facts


def metadata(
    classes: Sequence[str],
    preprocessing: Mapping[str, Any],
    threshold: float,
    calibration: Calibration | None,
    cfg: Config,
    checkpoint: str,
    unlike_training: Sequence[str] = (),
) -> dict[str, str]:
    """Entries for ``metadata_props``; every value is JSON.

    Keys: ``classes``, C names; ``decide_by``, the output that is compared with ``thresholds``, C numbers: a class is
    there if its value is at least that, and never where it is null; ``preprocessing``, see :func:`read_preprocessing`;
    ``input`` and ``outputs``, in words; ``calibration``, which is in the graph already, or null; ``config``,
    ``checkpoint``, ``sarlp_version``; ``unlike_training``, texts, where the model is used unlike it was trained.
    """
    thresholds = [threshold] * len(classes) if calibration is None else calibration.thresholds
    outputs = {
        'scores': 'sigmoid scores, (images, classes) float32',
        'maps': 'where each class is seen, (images, classes, rows, columns) float32: softmax over the places',
    }
    if calibration is not None:
        outputs['probabilities'] = 'calibrated, (images, classes) float64'
    entries = {
        'classes': list(classes),
        'decide_by': 'scores' if calibration is None else 'probabilities',
        'thresholds': plain(thresholds),
        'preprocessing': dict(preprocessing),
        'input': 'images, (images, 3, height, width) uint8 in RGB; they are normalised inside',
        'outputs': outputs,
        'calibration': None if calibration is None else calibration.to_json(),
        'config': None if cfg.filename is None else Path(cfg.filename).name,
        'checkpoint': Path(checkpoint).name,
        'sarlp_version': __version__,
        **({'unlike_training': list(unlike_training)} if unlike_training else {}),
    }
    return {key: json.dumps(value, ensure_ascii=False, allow_nan=False) for key, value in entries.items()}

"""What is served: an ONNX file of ``sarlp export`` without torch, or a config and a checkpoint."""

import json
import math
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np
from PIL import Image

from sarlp.errors import UserError, first_line
from sarlp.io.pixels import ANTIALIAS, decode

_OF_OPENCV = {  # as mmcv names them
    'nearest': cv2.INTER_NEAREST,
    'bilinear': cv2.INTER_LINEAR,
    'bicubic': cv2.INTER_CUBIC,
    'area': cv2.INTER_AREA,
    'lanczos': cv2.INTER_LANCZOS4,
}
_FACTS = ('classes', 'thresholds', 'decide_by', 'preprocessing')  # of the metadata


class Seen(NamedTuple):
    """Of an image: (C,) float64 ``scores``, which thresholds apply to, and (C, H, W) float32 ``maps`` if asked for."""

    scores: np.ndarray
    maps: np.ndarray | None


class Model(Protocol):
    """A model to be served.

    Attributes:
        name: for people.
        backend: ``'onnx'`` or ``'torch'``.
        classes: C names.
        thresholds: (C,) float64; infinite where a class is never chosen.
        calibrated: whether scores are calibrated probabilities.
    """

    name: str
    backend: str
    classes: tuple[str, ...]
    thresholds: np.ndarray
    calibrated: bool

    def read(self, content: bytes, name: str) -> Any:
        """Decode a file and make it ready, in any thread.

        Raises:
            ValueError, UserError: it can not be read.
        """
        ...

    def predict(self, images: Sequence[Any], maps: bool) -> list[Seen]:
        """What the model says of images of :meth:`read`; one call at a time."""
        ...


class OnnxModel:
    """A file of ``sarlp export`` in onnxruntime, on the CPU. See :class:`Model`.

    Args:
        file: ``.onnx``.
        threshold: of all classes in the place of those of the file; None keeps these.
        threads: of onnxruntime; None takes one a core.

    Raises:
        UserError: onnxruntime is not installed, or the file is missing, damaged or of another program.
    """

    backend = 'onnx'

    def __init__(self, file: str | os.PathLike, threshold: float | None = None, threads: int | None = None):
        try:
            import onnxruntime
        except ImportError:
            raise UserError(
                "an ONNX file is served by onnxruntime, which is not installed here: pip install 'sarlp[onnx]'"
            ) from None
        if not Path(file).is_file():
            raise UserError(f'{file}: no such file; sarlp export writes it')
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        options.log_severity_level = 3  # errors
        try:
            self._session = onnxruntime.InferenceSession(str(file), options, providers=['CPUExecutionProvider'])
        except Exception as error:  # whatever onnxruntime raises, by what is broken
            raise UserError(f'{file}: is no ONNX file that can be used here ({first_line(error)})') from None
        self.name = Path(file).name
        metadata = self._session.get_modelmeta().custom_metadata_map
        try:
            facts = {key: json.loads(metadata[key]) for key in _FACTS}
            preprocessing = facts['preprocessing']
            self.classes = tuple(facts['classes'])
            given = [math.inf if value is None else float(value) for value in facts['thresholds']]
            self._size = int(preprocessing['width']), int(preprocessing['height'])
            self._interpolation = preprocessing['interpolation']
            if self._interpolation not in (ANTIALIAS, *_OF_OPENCV):
                raise ValueError('images are made ready in an unknown way')
            self._min_side, self._bits = preprocessing['jpeg_min_side'], preprocessing.get('bits')
            self._output = facts['decide_by']
            if len(given) != len(self.classes):
                raise ValueError('thresholds of other classes')
        except (KeyError, TypeError, ValueError, AttributeError):
            raise UserError(
                f'{file}: is no file of sarlp export, which says what its classes are and how images are made ready; '
                'export it anew'
            ) from None
        if changes := metadata.get('unlike_training'):
            warnings.warn(
                f'{file}: was exported otherwise than the model was trained ({"; ".join(json.loads(changes))}), and '
                'may be worse like this',
                stacklevel=2,
            )
        self.calibrated = self._output == 'probabilities'
        self.thresholds = np.array(given) if threshold is None else np.full(len(self.classes), threshold)

    def read(self, content: bytes, name: str) -> np.ndarray:
        """Returns (3, h, w) uint8, RGB. See :meth:`Model.read`."""
        image = decode(content, name, self._min_side, self._bits)[0]
        if self._interpolation == ANTIALIAS:  # by whose law it is, to a grey level, and without torch
            image = np.asarray(Image.fromarray(image).resize(self._size, Image.Resampling.BILINEAR))
        else:
            image = cv2.resize(image, self._size, interpolation=_OF_OPENCV[self._interpolation])
        return image[..., ::-1].transpose(2, 0, 1)

    def predict(self, images: Sequence[np.ndarray], maps: bool) -> list[Seen]:
        names = [self._output, *(['maps'] if maps else [])]
        scores, *found = self._session.run(names, {'images': np.ascontiguousarray(images)})
        rows = scores.astype(np.float64)
        return [Seen(*pair) for pair in zip(rows, found[0] if maps else [None] * len(rows), strict=True)]


class TorchModel:
    """A trained model in PyTorch. See :class:`Model`.

    Args:
        config, checkpoint, device, calibration: of :class:`~sarlp.inference.inferencer.MultiLabelInferencer`.
        threshold: of all classes; None takes those of the calibration, or the default without one.

    Raises:
        UserError: see there.
    """

    backend = 'torch'

    def __init__(
        self, config: Any, checkpoint: str | os.PathLike, device: Any, calibration: Any, threshold: Any = None
    ):
        from sarlp.inference.inferencer import MultiLabelInferencer

        self._inferencer = MultiLabelInferencer(config, Path(checkpoint), device, calibration)
        self.name = f'{Path(checkpoint).parent.name}/{Path(checkpoint).name}'
        self.classes = self._inferencer.classes
        self.calibrated = self._inferencer.calibration is not None
        self.thresholds = (
            self._inferencer.thresholds if threshold is None else np.full(len(self.classes), float(threshold))
        )

    def read(self, content: bytes, name: str) -> Any:
        return self._inferencer.predictor.read_bytes(content, name)

    def predict(self, images: Sequence[Any], maps: bool) -> list[Seen]:
        found = self._inferencer.predictor.infer(images)
        rows = self._inferencer.calibrated(np.stack([output['scores'] for output in found]))
        if not maps:
            return [Seen(row, None) for row in rows]
        from sarlp.visualization.attention import attention_maps  # here: it brings matplotlib

        return [
            Seen(row, attention_maps(output['token_scores'], output['grid']))
            for row, output in zip(rows, found, strict=True)
        ]

"""From a trained model to an ONNX graph: pixels in, scores, maps and probabilities out.

Axis legend: ``B`` images, ``C`` classes, ``(H, W)`` token grid, ``(h, w)`` pixels, ``K`` knots of a curve.
"""

import contextlib
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sarlp.errors import UserError
from sarlp.evaluation.calibration import Calibration
from sarlp.models.classifier import MultiLabelClassifier
from sarlp.models.sgfe import SGFE

INPUT = 'images'
OUTPUTS = ('scores', 'maps', 'probabilities')
_HALVED = 1024  # initializers of fewer numbers keep float32: they take no room, and BatchNorm's are among them


class Probabilities(nn.Module):
    """A ``Calibration`` in operations that ONNX has, in float64 as the original: its thresholds may be values that it
    takes exactly.

    Args:
        calibration: a :class:`sarlp.evaluation.calibration.Calibration`.
    """

    low: Tensor
    high: Tensor
    scale: Tensor
    offsets: Tensor
    factor: Tensor
    x: Tensor
    y: Tensor
    slopes: Tensor

    def __init__(self, calibration: Calibration):
        super().__init__()
        from sarlp.evaluation.calibration import CLIP

        # tensors all, since the exporter keeps numbers of Python in float32
        numbers = dict(low=CLIP, high=1 - CLIP, scale=calibration.scale, offsets=calibration.offsets)
        numbers |= dict(factor=np.exp(-calibration.shift))
        self.shifted = calibration.shift != 0
        self.curved = calibration.knots is not None
        if self.curved:
            x, y = np.asarray(calibration.knots, np.float64)
            with np.errstate(divide='ignore', invalid='ignore'):  # between equal abscissae nothing is looked up
                slopes = np.append(np.diff(y) / np.diff(x), 0.0)  # beyond the last knot the curve is flat
            numbers |= dict(x=x, y=y, slopes=slopes)
        for name, values in numbers.items():
            self.register_buffer(name, torch.tensor(values, dtype=torch.float64))

    def forward(self, scores: Tensor) -> Tensor:
        """Args: (B, C) sigmoid scores. Returns (B, C) float64."""
        scores = scores.double().clamp(self.low, self.high)
        p = torch.sigmoid(self.scale * (scores.log() - (1 - scores).log()) + self.offsets)
        if self.curved:
            p = p.clamp(self.x[0])  # and before the first
            knot = (p[..., None] >= self.x).sum(-1) - 1
            p = self.slopes[knot] * (p - self.x[knot]) + self.y[knot]
        if not self.shifted:
            return p
        odds = p * self.factor
        return odds / (odds + (1 - p))


class Deployed(nn.Module):
    """The whole way from pixels to what is looked at.

    Args:
        model: of :func:`~sarlp.inference.init_model`, or prepared for inference.
        calibration: a :class:`sarlp.evaluation.calibration.Calibration`, or None.
    """

    def __init__(self, model: MultiLabelClassifier, calibration: Calibration | None = None):
        super().__init__()
        self.model = model
        self.probabilities = None if calibration is None else Probabilities(calibration)
        preprocessor = model.data_preprocessor
        self.takes_rgb = preprocessor.to_rgb  # images come as BGR and are turned, or are not
        self.normalizes = preprocessor._enable_normalize

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Args: (B, 3, h, w) uint8 in RGB.

        Returns ``scores`` (B, C) float32, ``maps`` (B, C, H, W) float32, each summing to 1, and with a calibration
        ``probabilities`` (B, C) float64.
        """
        preprocessor = self.model.data_preprocessor
        inputs = (images if self.takes_rgb else images.flip(1)).float()
        if self.normalizes:
            inputs = (inputs - preprocessor.mean) / preprocessor.std
        outputs = self.model(inputs)
        scores = outputs['scores']
        maps = outputs['token_scores'].float().softmax(1).transpose(1, 2).unflatten(2, outputs['grid'])
        return (scores, maps) if self.probabilities is None else (scores, maps, self.probabilities(scores))


def to_onnx(deployed: Deployed, image_size: tuple[int, int], opset: int) -> Any:
    """Trace a model into an ``onnx.ModelProto`` whose batch is of any size.

    Args:
        deployed: on the CPU, in evaluation mode.
        image_size: (w, h), fixed in the graph.
        opset: version of ONNX's operators, at least 18.

    Raises:
        UserError: torch's exporter can not, or not to this opset, or the file would be larger than an ONNX file may be.
    """
    from onnx.checker import check_model

    from sarlp.inference.onnx.tanh_grid_onnx import tanh_grid

    width, height = image_size
    images = torch.randint(0, 256, (2, 3, height, width), dtype=torch.uint8)  # 2: a batch of 1 is taken for fixed
    names = OUTPUTS[: len(OUTPUTS) - (deployed.probabilities is None)]
    with torch.no_grad():
        deployed(images)  # what is computed once and kept, such as the position code, becomes a constant
        with _quiet(), _one_order(deployed):
            program = torch.onnx.export(
                deployed,
                (images,),
                dynamo=True,
                verbose=False,
                opset_version=opset,
                input_names=[INPUT],
                output_names=names,
                dynamic_shapes=({0: 'batch'},),
                custom_translation_table={torch.ops.sarlp.tanh_grid.default: tanh_grid},
            )
    assert program is not None  # with dynamo
    proto = program.model_proto
    if (came := next(one.version for one in proto.opset_import if not one.domain)) != opset:
        raise UserError(f'torch {torch.__version__} does not export to opset {opset}, and gave {came}; ask for less')
    _forget_source(proto.graph)
    size = proto.ByteSize()
    if size >= 2**31:
        raise UserError(f'the model takes {size / 2**30:.1f} GB, and an ONNX file holds at most 2; --half halves it')
    check_model(proto)
    return proto


def halve_weights(proto: Any) -> None:
    """Keep large tensors in float16, in place, and cast them to float32 where the graph begins.

    The file is half as large; a runtime casts once, when it loads the file, and computes in float32.

    Raises:
        UserError: a weight is too large for float16.
    """
    import onnx
    from onnx import numpy_helper

    casts = []
    for tensor in proto.graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT or np.prod(tensor.dims) < _HALVED:
            continue
        name, values = tensor.name, numpy_helper.to_array(tensor)
        with np.errstate(over='ignore'):
            halved = values.astype(np.float16)
        if not np.isfinite(halved).all():
            raise UserError(f'{name} holds {np.abs(values).max():.3g}, too large for float16: leave out --half')
        tensor.CopyFrom(numpy_helper.from_array(halved, f'{name}.half'))
        casts.append(onnx.helper.make_node('Cast', [tensor.name], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *proto.graph.node]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)


def _forget_source(graph: Any) -> None:
    """Take out, in place, the lines of Python that each node comes from, with their files on this machine."""
    for part in (graph, *graph.node, *graph.initializer, *graph.value_info, *graph.input, *graph.output):
        del part.metadata_props[:]
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField('g'):
                _forget_source(attribute.g)


@contextlib.contextmanager
def _one_order(deployed: nn.Module) -> Iterator[None]:
    """Let SGFE multiply in the order that is best for one image: a graph for any batch can not choose."""
    choose = SGFE._classes_first

    def of_one_image(tokens: Tensor, class_vectors: Tensor, width: int) -> bool:
        return choose(tokens[:1], class_vectors if class_vectors.ndim == 2 else class_vectors[:1], width)

    parts = [module for module in deployed.modules() if isinstance(module, SGFE)]
    for module in parts:
        module.__dict__['_classes_first'] = of_one_image  # before that of its class
    try:
        yield
    finally:
        for module in parts:
            del module._classes_first


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter and its optimiser talk to developers of theirs."""
    loggers = [logging.getLogger(name) for name in ('onnxscript', 'onnx_ir', 'torch.onnx')]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        try:
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)

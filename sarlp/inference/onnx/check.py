"""An ONNX file in onnxruntime against the same model in PyTorch: equal outputs, and how long they take."""

import statistics
import time
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np
import torch

from sarlp.errors import UserError
from sarlp.evaluation.calibration import Calibration
from sarlp.inference.onnx.graph import INPUT, Deployed

BATCHES = (1, 2, 7)


def open_session(content: bytes) -> Any:
    """An ``onnxruntime.InferenceSession`` on the CPU, with as many threads as torch has."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors
    return onnxruntime.InferenceSession(content, options, providers=['CPUExecutionProvider'])


def noise(batch: int, size: tuple[int, int], random: np.random.Generator) -> np.ndarray:
    """(batch, 3, h, w) uint8, every pixel drawn by itself."""
    return random.integers(0, 256, (batch, 3, size[1], size[0]), np.uint8)


def scenes(batch: int, size: tuple[int, int], random: np.random.Generator) -> np.ndarray:
    """(batch, 3, h, w) uint8 with the statistics of photographs: smooth grounds, and things with edges on them."""
    images = []
    for _ in range(batch):
        image = cv2.resize(random.integers(0, 256, (4, 5, 3), np.uint8), size, interpolation=cv2.INTER_CUBIC)
        for _ in range(5):
            centre, axes = (tuple(map(int, random.integers(1, size))) for _ in range(2))
            colour = tuple(map(int, random.integers(0, 256, 3)))
            cv2.ellipse(image, centre, tuple(axis // 3 for axis in axes), int(random.integers(180)), 0, 360, colour, -1)
        images.append(image.transpose(2, 0, 1))
    return np.stack(images)


@torch.inference_mode()
def largest_differences(
    session: Any,
    reference: Deployed,
    calibration: Calibration | None,
    size: tuple[int, int],
    batches: Sequence[int] = BATCHES,
) -> Iterator[tuple[str, int, dict[str, float]]]:
    """Kind of images, how many, and the largest absolute difference of each output.

    Probabilities are compared with what the calibration makes of the scores of the session: its curve may be so steep
    that it shows the last bits of a score.

    Args:
        session: of :func:`open_session`.
        reference: the model as it was trained, without calibration.
        calibration: of the session, or None.
        size: (w, h).
        batches: numbers of images.

    Raises:
        UserError: an output has another shape than PyTorch's, or PyTorch's is not finite.
    """
    random = np.random.default_rng(0)
    names = [output.name for output in session.get_outputs()]
    for make in (noise, scenes):
        for batch in batches:
            images = make(batch, size, random)
            outputs = dict(zip(names, session.run(names, {INPUT: images}), strict=True))
            expected = [output.numpy() for output in reference(torch.from_numpy(images))]
            if calibration is not None:
                expected.append(calibration.probabilities(outputs['scores']))
            differences = {}
            for (name, actual), value in zip(outputs.items(), expected, strict=True):
                if actual.shape != value.shape:
                    raise UserError(
                        f'the exported model gives {name} {actual.shape} where PyTorch gives {value.shape}; nothing '
                        'was written'
                    )
                if not np.isfinite(value).all():
                    raise UserError(
                        f'{name} of the model are not finite: its weights are broken, or were never trained'
                    )
                differences[name] = float(np.abs(actual - value).max())
            yield make.__name__, batch, differences


@torch.inference_mode()
def latencies(
    session: Any, model: Deployed, size: tuple[int, int], batches: Sequence[int], repeats: int
) -> Iterator[tuple[int, float, float]]:
    """Images in a batch, and the median milliseconds of it in PyTorch and in onnxruntime, which take turns."""
    random = np.random.default_rng(0)
    for batch in batches:
        images = scenes(batch, size, random)
        tensor = torch.from_numpy(images)
        runs = (lambda tensor=tensor: model(tensor), lambda images=images: session.run(None, {INPUT: images}))
        taken: list[list[float]] = [[], []]
        for turn in range(repeats + 1):
            for times, run in zip(taken, runs, strict=True):
                start = time.perf_counter()
                run()
                if turn:  # the first one allocates
                    times.append(1e3 * (time.perf_counter() - start))
        eager, runtime = map(statistics.median, taken)
        yield batch, eager, runtime

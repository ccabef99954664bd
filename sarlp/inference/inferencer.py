"""A trained model for use: images of any kind in, the classes that they show out."""

import os
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from tqdm import tqdm

from sarlp.engine import find_checkpoint
from sarlp.engine.devices import AUTO
from sarlp.engine.records.provenance import origin_of
from sarlp.errors import UserError, UserValueError, check_threshold, shorten
from sarlp.evaluation.calibration import Calibration
from sarlp.inference import Predictor, init_model, prepare_for_inference
from sarlp.inference.model import Seen
from sarlp.io.image_files import ImageFile, find_images, has_frames, image_file, images_below, warn_of_frames
from sarlp.labels import choose
from sarlp.names.class_names import require_same
from sarlp.transforms import BadImageError

Image = str | os.PathLike | ImageFile | np.ndarray
Named = tuple[str | int, str | np.ndarray]
Read = tuple[Named, torch.Tensor | BadImageError]
OnBad = Callable[[str | int, BadImageError], None]


@dataclass(frozen=True)
class Prediction:
    """What a model sees in an image.

    Attributes:
        image: which image. In a folder that is the only input: its path relative to the folder, with ``/``. Of another
            file: its path as given, or below the folder as given. Of an array: its place among the inputs, from 0.
        path: the file; None for an array.
        classes: the chosen classes and their scores, highest first: those whose score reaches its threshold.
        scores: (C,) float64 in [0, 1], of all classes; calibrated probabilities if there is a calibration.
        maps: (C, H, W) float32, for each class where it is seen, summing to 1; None if not asked for.
    """

    image: str | int
    path: Path | None
    classes: dict[str, float]
    scores: np.ndarray
    maps: np.ndarray | None = None


# Not mmengine's BaseInferencer, nor mmpretrain's: they hold all inputs and results in memory, list folders without
# their subfolders but with every file that is no image, load weights that do not fit without an error, and the first
# bad image ends the run. Of their stages only the names would be left.
class MultiLabelInferencer:
    """Predict the classes of images.

    Args:
        config: file, name (see :func:`~sarlp.paths.find_config`) or config.
        checkpoint: file, or a work directory, whose best checkpoint is taken.
        device: of :func:`~sarlp.engine.devices.choose_device`; ``'auto'`` takes the GPU if there is one.
        calibration: a ``Calibration``, or the ``recovered.json`` of ``sarlp recover`` that has one. Scores
            are then calibrated probabilities, and each class has the threshold found there; a class that did not reach
            the precision asked for is never chosen.
        threshold: without a calibration, a class is chosen if its score is at least this.
        prepare: options of :func:`~sarlp.inference.prepare_for_inference`.

    Attributes:
        classes: C names.
        thresholds: (C,) float64; infinite where a class is never chosen.
        calibration: the calibration, or None.
        predictor: what the scores are from.

    Raises:
        UserError: a file is missing or damaged, or config, checkpoint and calibration do not fit each other.
    """

    def __init__(
        self,
        config: str | Path | Config,
        checkpoint: str | Path,
        device: str | torch.device = AUTO,
        calibration: Calibration | str | os.PathLike | None = None,
        threshold: float = 0.5,
        prepare: Mapping[str, Any] | None = None,
    ):
        threshold = check_threshold(threshold)
        model = init_model(config, find_checkpoint(checkpoint), device)
        self.classes: tuple[str, ...] = model.classes
        self.calibration = read_calibration(calibration, model, str(checkpoint))
        thresholds = [threshold] * len(self.classes) if self.calibration is None else self.calibration.thresholds
        self.thresholds = np.asarray(thresholds, np.float64)
        self.predictor = Predictor(prepare_for_inference(model, **(prepare or {})))

    @property
    def model(self) -> torch.nn.Module:
        """The model, prepared for inference, with ``cfg`` and ``classes``."""
        return self.predictor.model

    def calibrated(self, scores: np.ndarray) -> np.ndarray:
        """(N, C) scores of the predictor as float64, calibrated if there is a calibration."""
        scores = scores.astype(np.float64)
        return scores if self.calibration is None else self.calibration.probabilities(scores)

    def __call__(self, inputs: Image | Iterable[Image], *args: Any, **options: Any) -> list[Prediction]:
        """All predictions in a list, in the order of the inputs; see :meth:`stream` for the arguments.

        With ``return_maps`` 10,000 images of 80 classes and 14 x 14 places take 6 GB: stream them.
        """
        return list(self.stream(inputs, *args, **options))

    def stream(
        self,
        inputs: Image | Iterable[Image],
        batch_size: int = 32,
        return_maps: bool = False,
        progress: bool = True,
        on_bad_image: str | OnBad = 'raise',
        num_workers: int | None = None,
    ) -> Iterator[Prediction]:
        """Predictions one by one, in the order of the inputs; only about three batches of images are held at a time.

        Threads decode a batch while the model has the one before, and a GPU has that before the one before it is given.

        Args:
            inputs: an image, a folder, or an iterable of both. An image is a file or an array (h, w, 3) uint8 in RGB.
                A folder stands for the images below it, in alphabetical order; one warning says what is left out. Of a
                file with several frames the first counts, and one warning at the end names such files.
            batch_size: images that go through the model together, as far as their sizes are equal.
            return_maps: also give the attention maps.
            progress: show a progress bar on the standard error stream.
            on_bad_image: what to do with a file that does not decode: ``'raise'``, or ``'skip'`` it, with one warning
                at the end that says how many and which; or a function of its name and the error, called before the
                predictions of the same batch are given, which may raise.
            num_workers: threads that decode ahead; 0 decodes between the batches. None takes one a core, at most 8.

        Raises:
            UserError: a file or folder is missing, a folder holds no image, or an image does not decode.
            UserValueError: an array of another shape or type, or an option that there is not.
        """
        if type(batch_size) is not int or batch_size < 1:
            raise UserValueError(f'batch_size must be a positive whole number, got {batch_size!r}')
        if not callable(on_bad_image) and on_bad_image not in ('raise', 'skip'):
            raise UserValueError(f"on_bad_image must be 'raise' or 'skip', got {on_bad_image!r}")
        if num_workers is not None and (type(num_workers) is not int or num_workers < 0):
            raise UserValueError(f'num_workers must be a whole number from 0 on, or None, got {num_workers!r}')
        if num_workers is None:
            num_workers = min(8, os.cpu_count() or 1)
        images, total = _expand(inputs)
        return self._stream(images, total, batch_size, return_maps, progress, on_bad_image, num_workers)

    def _stream(
        self,
        images: Iterator[Named],
        total: int | None,
        batch_size: int,
        return_maps: bool,
        progress: bool,
        on_bad_image: str | OnBad,
        num_workers: int,
    ) -> Iterator[Prediction]:
        skipped: list[str | int] = []
        frames: list[str | int] = []

        def give(batch: list[Read], wait: Callable[[], list[Seen]]) -> Iterator[Prediction]:
            for (name, _), pixels in batch:
                if isinstance(pixels, torch.Tensor):
                    continue
                if callable(on_bad_image):
                    on_bad_image(name, pixels)
                elif on_bad_image == 'raise':
                    raise pixels
                else:
                    skipped.append(name)
            good = [named for named, pixels in batch if isinstance(pixels, torch.Tensor)]
            yield from self._predictions(good, wait(), return_maps)
            bar.update(len(batch))

        with tqdm(total=total, desc='predicting', unit='image', disable=not progress, leave=False) as bar:
            decoded = _ahead(partial(self._read, frames), images, num_workers, batch_size)
            before: Iterator[Prediction] = iter(())
            while batch := list(islice(decoded, batch_size)):
                wait = self.predictor.begin(pixels for _, pixels in batch if isinstance(pixels, torch.Tensor))
                yield from before
                before = give(batch, wait)
            yield from before
        if skipped:
            many = 'image was' if len(skipped) == 1 else 'images were'
            warnings.warn(
                f'{len(skipped):,} {many} skipped, since the files cannot be read: {shorten(skipped)}', stacklevel=2
            )
        warn_of_frames(frames)

    def _read(self, frames: list[str | int], named: Named) -> Read:
        try:
            pixels = self.predictor.read(named[1])
            if not isinstance(named[1], np.ndarray) and has_frames(named[1]):
                frames.append(named[0])  # one operation, which threads can not cut in two
            return named, pixels
        except BadImageError as error:
            return named, error
        except UserValueError as error:
            raise UserValueError(f'input {named[0]}: {error}') from error

    def _predictions(self, images: list[Named], outputs: list[Seen], return_maps: bool) -> Iterator[Prediction]:
        if not images:
            return
        scores = self.calibrated(np.stack([output['scores'] for output in outputs]))
        if return_maps:
            from sarlp.visualization.attention import attention_maps  # here: it brings matplotlib
        for (name, image), row, output in zip(images, scores, outputs, strict=True):
            yield Prediction(
                image=name,
                path=None if isinstance(image, np.ndarray) else Path(image),
                classes=choose(row, self.thresholds, self.classes),
                scores=row,
                maps=attention_maps(output['token_scores'], output['grid']) if return_maps else None,
            )


def read_calibration(
    calibration: Calibration | str | os.PathLike | None, model: Any, source: str
) -> Calibration | None:
    """A ``Calibration`` by itself or by the file that has it; None for None.

    Args:
        calibration: a ``Calibration``, a file, or None.
        model: of :func:`~sarlp.inference.init_model`, that it is for.
        source: of the model, for the message.

    Raises:
        UserError: it is of other classes, of another model, or of folds of models of another kind.
    """
    if calibration is None:
        return None
    file = 'the calibration'
    if isinstance(calibration, str | os.PathLike):
        file, calibration = os.fspath(calibration), Calibration.read(calibration)
    if not isinstance(calibration, Calibration):
        raise UserValueError(f'calibration must be a file of sarlp recover, or a Calibration, got {calibration!r}')
    advice = 'A calibration holds for the model that it was made with'
    require_same(calibration.classes, model.classes, file, source, advice)
    made_with, (name, kind) = calibration.model, origin_of(model.meta)
    if made_with and name and made_with != name:
        raise UserError(
            f'{file}: was made with another model ({made_with}) than {source} ({name}). {advice}: give that one, or '
            'make one for this model by sarlp recover'
        )
    if not made_with and calibration.kind and kind and calibration.kind != kind:
        raise UserError(
            f'{file}: was made with the models of folds whose config describes another model than that of {source}. '
            f'{advice}, and the same trained on all images; make one for this model by sarlp recover'
        )
    return calibration


def _expand(inputs: Image | Iterable[Image]) -> tuple[Iterator[Named], int | None]:
    """Every image with its name, and how many there are; None of an iterator, which is not read ahead."""
    images: Sequence[Named]
    if isinstance(inputs, ImageFile):
        images = [inputs]
    elif isinstance(inputs, str | os.PathLike):
        images = find_images(inputs)
    elif isinstance(inputs, np.ndarray) and inputs.ndim != 4:
        images = [_named(0, inputs)]
    elif isinstance(inputs, Iterator):
        return _each(inputs), None
    elif isinstance(inputs, Iterable):
        images = list(_each(inputs))
    else:
        images = [_named(0, inputs)]
    return iter(images), len(images)


def _each(inputs: Iterable[Image]) -> Iterator[Named]:
    for index, image in enumerate(inputs):
        if isinstance(image, str | os.PathLike) and os.path.isdir(image):
            yield from ((path, path) for _, path in images_below(image))
        else:
            yield _named(index, image)


def _named(index: int, image: Image) -> Named:
    if isinstance(image, ImageFile):
        return image
    if isinstance(image, np.ndarray):
        return index, image
    if not isinstance(image, str | os.PathLike):
        raise UserValueError(
            f'input {index}: expected an image file, a folder or an array (h, w, 3) uint8 in RGB, got '
            f'{type(image).__name__}'
        )
    return image_file(image)


def _ahead(function: Callable, items: Iterator, workers: int, ahead: int) -> Iterator:
    """``map(function, items)``, computed by threads for up to ``ahead`` items before they are asked for."""
    if workers == 0:
        yield from map(function, items)
        return
    pool = ThreadPoolExecutor(workers, thread_name_prefix='decode')
    try:
        waiting = deque(pool.submit(function, item) for item in islice(items, ahead))
        while waiting:
            done = waiting.popleft().result()
            waiting.extend(pool.submit(function, item) for item in islice(items, 1))
            yield done
    finally:
        pool.shutdown(cancel_futures=True)  # a caller who has seen enough waits for no more than what is begun

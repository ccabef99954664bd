"""A trained model in Python."""

import warnings
from collections.abc import Callable, Iterable, Mapping
from itertools import groupby
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch
from mmcv.transforms import LoadImageFromFile
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope

from sarlp.engine import compile_parts, load_config, load_weights, read_checkpoint
from sarlp.engine.build import set_num_classes
from sarlp.engine.config.building import known_options
from sarlp.engine.config.earlier import upgrade
from sarlp.engine.config.parts import OF_NETWORK, check_arguments, require_parts
from sarlp.engine.devices import AUTO, choose_device
from sarlp.engine.image_sizes import sizes_of, trained_sizes
from sarlp.engine.records.checkpoint_file import trained_classes
from sarlp.engine.testing import pipeline_for_testing
from sarlp.engine.unlike_training import warn_of_changes
from sarlp.errors import UserError, UserValueError
from sarlp.io.quiet import quiet_mmengine
from sarlp.models.classifier import MultiLabelClassifier
from sarlp.models.fold import fold_batch_norm
from sarlp.models.lora import merge_adapters
from sarlp.models.precision import PRECISIONS, lower
from sarlp.registry import MODELS
from sarlp.transforms import LoadImage, LoadResizedImage


def init_model(config: str | Path | Config, checkpoint: str | Path, device: str | torch.device = AUTO):
    """Build the model of a config with the weights of a checkpoint, ready for prediction.

    Args:
        config: file, name (see :func:`~sarlp.paths.find_config`) or config.
        checkpoint: file; its EMA weights and class names are used.
        device: of :func:`~sarlp.engine.devices.choose_device`; ``'auto'`` takes the GPU if there is one.

    Returns:
        The model in evaluation mode, with ``model.cfg``, ``model.classes``, ``model.meta``, what the checkpoint says of
        itself, and ``model.unlike_training``, texts of where it is used unlike it was trained; a warning says so too.

    Raises:
        UserError: config or checkpoint is missing, or they do not fit; or there is no such device.
    """
    device = choose_device(device)
    cfg = config if isinstance(config, Config) else load_config(config)
    upgrade(cfg)
    require_parts(cfg, OF_NETWORK)
    init_default_scope(cfg.get('default_scope', 'sarlp'))
    content = read_checkpoint(checkpoint)
    classes = trained_classes(content, checkpoint)
    if classes is None:
        raise UserError(
            f'{checkpoint}: names no classes (meta.dataset_meta.classes); it is no checkpoint of sarlp train'
        )
    set_num_classes(cfg, len(classes), str(checkpoint))
    network = {**cfg.model, 'method': None}
    check_arguments({'model': network, 'test_dataloader': cfg.get('test_dataloader')})
    with quiet_mmengine(), known_options(cfg):
        model = MODELS.build(network)
    load_weights(model, content, checkpoint)
    model.cfg, model.classes, model.meta = cfg, classes, content.get('meta', {})
    model.unlike_training = warn_of_changes(model.meta, cfg, checkpoint)
    return model.to(device).eval()


def prepare_for_inference(
    model: MultiLabelClassifier,
    fold: bool = True,
    precision: str = 'float32',
    channels_last: bool = False,
    compile: bool | Mapping = False,
) -> MultiLabelClassifier:
    """Make a model faster that is not trained any more, in place.

    Args:
        model: in evaluation mode, such as of :func:`init_model`; it stays on its device from now on.
        fold: merge the adapters of LoRA, and fold BatchNorm into the layers before it; equal up to rounding.
        precision: ``'float32'``, or ``'bfloat16'`` or ``'float16'`` for the convolutions and matrix products. Scores
            of a trained model then move in the second or third decimal, respectively in the third or fourth.
        channels_last: convolve in the memory format that GPUs with tensor cores want.
        compile: compile backbone and head by ``torch.compile``, or with these options of it. The first batch then
            takes a minute or more, and so does one of another size.

    Returns:
        The model.
    """
    if precision not in PRECISIONS:
        raise UserValueError(f'precision must be one of {", ".join(PRECISIONS)}, got {precision!r}')
    model.eval().requires_grad_(False)
    if fold:
        merge_adapters(model)
        fold_batch_norm(model)
        model.requires_grad_(False)  # folding makes parameters anew
    if channels_last:
        model.to(memory_format=torch.channels_last)
    if precision != 'float32':
        dtype = getattr(torch, precision)
        lower(model.backbone, precision)  # the head keeps float32, which parts of it compute in
        autocast = torch.autocast(next(model.parameters()).device.type, dtype)
        model.forward = autocast(model.forward)  # type: ignore[method-assign]  # of this one model
    if compile:
        compile_parts(model, None if compile is True else compile)
    return model


class Seen(TypedDict):
    """``scores`` (C,) in [0, 1] and ``token_scores`` (P, C), float32, and ``grid`` (H, W) of an image, P = H * W."""

    scores: np.ndarray
    token_scores: np.ndarray
    grid: tuple[int, int]


class Predictor:
    """Scores and token scores of images.

    An image is a file, or an array (h, w, 3) uint8 in RGB, which goes through the test pipeline from where a file would
    be decoded.

    Args:
        model: of :func:`init_model`, or of :func:`prepare_for_inference`.
    """

    def __init__(self, model):
        self.model = model
        steps = pipeline_for_testing(model.cfg)
        with known_options(model.cfg):
            self.pipeline = Compose(steps)
        self._trained_sizes = trained_sizes(getattr(model, 'meta', {}), steps)  # None: nothing to say, or it was said

    def load(self, path: str | Path) -> torch.Tensor:
        """Through the test pipeline and the preprocessor. Returns (1, 3, h, w), normalised, on the device."""
        return self._preprocess([self.read(path)])

    def __call__(self, image: str | Path | np.ndarray) -> Seen:
        """What the model says of an image."""
        return self.predict([image])[0]

    def predict(self, images: Iterable[str | Path | np.ndarray]) -> list[Seen]:
        """What a call returns, for each image. They go through the model together as far as their sizes are equal."""
        return self.infer(map(self.read, images))

    def read(self, image: str | Path | np.ndarray) -> torch.Tensor:
        """Through the test pipeline. Returns (3, h, w) uint8, BGR; may be called by several threads at once.

        Raises:
            BadImageError: the file is missing or does not decode.
            UserValueError: an array of another shape or type, or a pipeline that reads no plain image.
        """
        if isinstance(image, np.ndarray):
            return self._from_array(image)['inputs']
        return self.pipeline({'img_path': str(image)})['inputs']

    def read_bytes(self, content: bytes, name: str) -> torch.Tensor:
        """What :meth:`read` gives for a file of this content. ``name``: of it, for messages.

        Raises:
            ValueError: it does not decode.
            UserError: it has other bits than the pipeline says, or the pipeline reads no plain image.
        """
        first = self.pipeline.transforms[0]
        loader = first.load if isinstance(first, LoadResizedImage) else first
        if not isinstance(loader, LoadImage):
            raise UserValueError(
                f'the test pipeline of this config begins with {type(first).__name__}, which reads files alone: '
                'expected LoadImage or LoadResizedImage'
            )
        return self.read(loader.decode(content, name)[..., ::-1])

    def infer(self, images: Iterable[torch.Tensor]) -> list[Seen]:
        """What a call returns, for each image of :meth:`read`."""
        return self.begin(images)()

    @torch.inference_mode()
    def begin(self, images: Iterable[torch.Tensor]) -> Callable[[], list[Seen]]:
        """:meth:`infer` in two steps: a GPU is given its work, and what is returned waits for the results."""
        outputs = []
        for _, group in groupby(images, key=lambda image: image.shape):
            batch = list(group)
            self._look_at_size(batch[0])
            output = self.model(self._preprocess(batch))
            # to the host now: the next batch may take the memory over, as in a CUDA graph
            found = [_to_host(output['scores']), _to_host(output['token_scores'].float())]
            outputs.append((*found, output['grid']))
        done = torch.cuda.Event() if outputs and next(self.model.parameters()).is_cuda else None
        if done is not None:
            done.record()

        def wait() -> list[Seen]:
            if done is not None:
                done.synchronize()
            return [
                {'scores': scores, 'token_scores': token_scores, 'grid': grid}
                for rows, tokens, grid in outputs
                for scores, token_scores in zip(rows.numpy(), tokens.numpy(), strict=True)
            ]

        return wait

    def _from_array(self, image: np.ndarray) -> dict:
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            raise UserValueError(f'an image must be (h, w, 3) uint8 in RGB, got {image.shape} {image.dtype}')
        first, *rest = self.pipeline.transforms
        if isinstance(first, LoadResizedImage):
            rest = [first.resize, *rest]
        elif not isinstance(first, LoadImageFromFile):
            raise UserValueError(
                f'arrays can not enter the test pipeline of this config, which begins with {type(first).__name__}: '
                'expected LoadImage or LoadResizedImage; give files instead'
            )
        size = image.shape[:2]
        sample = {'img': np.ascontiguousarray(image[..., ::-1]), 'img_shape': size, 'ori_shape': size}
        for transform in rest:
            sample = transform(sample)
        return sample

    def _look_at_size(self, image: torch.Tensor) -> None:
        found, trained = sizes_of([image]), self._trained_sizes
        if found is None or trained is None or found.lie_in(trained):
            return
        self._trained_sizes = None  # once is enough
        warnings.warn(
            f'an image of {found} px reached the model, which was trained on images of {trained} px, and may be worse '
            'like this: the config does not resize images. Give such as it was trained on, or go on if the change is '
            'meant',
            stacklevel=3,
        )

    def _preprocess(self, images: list[torch.Tensor]) -> torch.Tensor:
        return self.model.data_preprocessor({'inputs': images})['inputs']


def _to_host(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to('cpu', non_blocking=tensor.is_cuda)  # of a GPU into pinned memory; others would not tell when

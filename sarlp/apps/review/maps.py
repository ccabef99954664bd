"""Attention maps on demand, by the model that suggested the labels."""

import threading
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

from sarlp.apps.completion import Record
from sarlp.engine.devices import AUTO
from sarlp.errors import UserError
from sarlp.io.pixels import show
from sarlp.models.frozen import is_same_frozen
from sarlp.names.class_names import columns_by_name
from sarlp.visualization.attention import attention_maps, overlay, scale_map

if TYPE_CHECKING:  # the model is loaded with the first map
    from sarlp.inference import Predictor

_LONGEST = 1280  # pixels of a picture with a map
_STRENGTH = 0.6  # of the map's colour where there is most attention
_IMAGES = 256  # whose maps are kept: at 80 classes and 14 x 14 places, 16 MB


class PictureError(UserError):
    """A picture can not be shown, and why."""


class AttentionMaps:
    """Pictures of where the model sees a class. May be called by several threads; the model works for one at a time.

    Args:
        record: names config and checkpoints.
        device: of :func:`~sarlp.engine.devices.choose_device`.
    """

    def __init__(self, record: Record, device: str | torch.device = AUTO):
        self.record = record
        self.device = device
        self._lock = threading.Lock()
        self._predictors: dict[Path, Predictor | str] = {}
        self._maps: OrderedDict[str, np.ndarray] = OrderedDict()

    def picture(self, image: str, path: Path, cls: str) -> bytes:
        """The map of a class over its image, as JPEG.

        Args:
            image: id, which chooses among the checkpoints of folds.
            path: the file.
            cls: name.

        Raises:
            PictureError: the model can not be loaded, or the image not be read.
        """
        with self._lock:
            maps = self._maps.get(image)
            if maps is None:
                maps = self._maps[image] = self._compute(image, path)
            self._maps.move_to_end(image)
            if len(self._maps) > _IMAGES:
                self._maps.popitem(last=False)
        picture = read_picture(path, _LONGEST)
        heat = scale_map(maps[self.record.classes.index(cls)], picture.shape[:2])
        # the map's colour only where there is attention: what the model overlooked is as clear as in the plain image
        share = heat[..., None]
        return encode(np.rint(share * overlay(picture, heat, _STRENGTH) + (1 - share) * picture).astype(np.uint8))

    def _compute(self, image: str, path: Path) -> np.ndarray:
        checkpoint = self.record.checkpoint_of(image)
        if checkpoint not in self._predictors:
            self._predictors[checkpoint] = self._load(checkpoint)
        predictor = self._predictors[checkpoint]
        if isinstance(predictor, str):
            raise PictureError(predictor)
        try:
            outputs = predictor(path)
        except UserError as error:
            raise PictureError(str(error)) from None
        maps = attention_maps(outputs['token_scores'], outputs['grid'])
        return maps[[predictor.model.classes.index(name) for name in self.record.classes]]

    def _load(self, checkpoint: Path) -> 'Predictor | str':
        """The model, or why there is none: that is found out once and not at every image."""
        from sarlp.inference import Predictor, init_model

        try:
            model = init_model(self.record.load_config(), checkpoint, self.device)
        except (UserError, OSError) as error:
            return str(error)
        except RuntimeError as error:  # of torch: a device that is not there, or is full
            return f'the model can not be used on {self.device} ({str(error).splitlines()[0]})'
        try:
            columns_by_name(model.classes, self.record.classes, checkpoint, 'the record', 'Complete the labels anew')
        except UserError as error:
            return str(error)
        for other in self._predictors.values():  # of ten folds with a frozen backbone it is in memory once
            if not isinstance(other, str) and is_same_frozen(model.backbone, other.model.backbone):
                model.backbone = model.network.backbone = other.model.backbone
                break
        return Predictor(model)


def read_picture(path: Path, longest: int | None = None) -> np.ndarray:
    """The pixels of an image, turned as its EXIF says: (h, w, 3) uint8, RGB; at most ``longest`` pixels a side.

    Raises:
        PictureError: it can not be read.
    """
    try:
        image = show(np.fromfile(path, np.uint8))
    except (OSError, cv2.error) as error:
        raise PictureError(f'{path}: the image can not be read ({error})') from None
    if image is None:
        raise PictureError(f'{path}: the image can not be read; it is damaged, or of a kind that OpenCV does not know')
    factor = 1 if longest is None else longest / max(image.shape[:2])
    if factor < 1:
        size = (max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return image


def encode(image: np.ndarray) -> bytes:
    """(h, w, 3) uint8, RGB, as JPEG."""
    return cv2.imencode('.jpg', cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()

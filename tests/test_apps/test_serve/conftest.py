import cv2
import numpy as np
import pytest

from sarlp.apps.serve.models import Seen
from sarlp.io.pixels import decode

from ...test_inference.test_export_onnx import exported, place  # noqa: F401


class Colours:
    """A model without weights: the scores are the means of red, green and blue, each map is the upper left corner.

    ``began`` and ``go`` hold it up; an image without any red makes it fail.
    """

    name, backend, calibrated = 'colours', 'none', False
    classes = ('red', 'green', 'blue')
    thresholds = np.array([0.5, 0.25, np.inf])

    def __init__(self, began=None, go=None):
        self.began, self.go, self.batches = began, go, []

    def read(self, content, name):
        return decode(content, name)[0][..., ::-1]

    def predict(self, images, maps):
        if self.began is not None:
            self.began.set()
            assert self.go.wait(60)
        self.batches.append(len(images))
        if any(not image[..., 0].any() for image in images):
            raise ZeroDivisionError('no red')
        corners = [image[:2, :3].transpose(2, 0, 1).astype(np.float32) for image in images]
        return [
            Seen(image.mean((0, 1)) / 255, corner if maps else None)
            for image, corner in zip(images, corners, strict=True)
        ]


def picture(seed, size=(13, 7), suffix='.png', channels=(0, 1, 2)):
    """An image (h, w, 3) uint8 in RGB, and its file."""
    image = np.zeros((size[1], size[0], 3), np.uint8)
    image[..., list(channels)] = np.random.default_rng(seed).integers(1, 256, (size[1], size[0], len(channels)))
    return image, cv2.imencode(suffix, image[..., ::-1])[1].tobytes()


@pytest.fixture
def pictures():
    return [picture(seed) for seed in range(5)]

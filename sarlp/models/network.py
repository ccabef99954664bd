"""The network: images to named outputs."""

from typing import Any

import torch
from torch import Tensor, nn

from sarlp.errors import UserError, first_line
from sarlp.models.frozen import Frozen
from sarlp.models.heads import MultiLabelHead

CHANNELS = 3  # of an image, and of no feature map


class Network(nn.Module):
    """Backbone, tokens, head: what is evaluated, averaged and exported. It knows no labels, losses or epochs.

    Args:
        backbone: returns a tuple whose last entry is a feature map (B, D, H, W), or a pair of tokens (B, P, D) and
            their grid (H, W), such as :class:`~sarlp.models.clip_resnet.CLIPResNet`.
        head: see :mod:`sarlp.models.heads`.
        size_divisor: both sides of an image must be a multiple of it: the stride of the backbone.
    """

    def __init__(self, backbone: nn.Module, head: MultiLabelHead, size_divisor: int):
        super().__init__()
        if size_divisor < 1:
            raise ValueError(f'size_divisor must be at least 1, got {size_divisor}')
        self.backbone = backbone
        self.head = head
        self.size_divisor = size_divisor

    def extract_tokens(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Args: images (B, 3, h, w), normalised. Returns tokens (B, P, D), row-major, and their grid (H, W).

        P = H * W, and one more where the backbone puts a token of the whole image in front. In place of images there
        may be the feature maps (B, D, H, W) that a frozen backbone gave for them.
        """
        height, width = images.shape[-2:]
        if isinstance(self.backbone, Frozen) and images.shape[1] != CHANNELS:
            return images.flatten(2).transpose(1, 2), (height, width)
        if height % self.size_divisor or width % self.size_divisor:
            raise UserError(
                f'an image of {width}x{height} px reached the model, but both sides must be a multiple of '
                f'{self.size_divisor} (the stride of the backbone); change the size in the Resize '
                'transforms of the config'
            )
        features = self.backbone(images)[-1]
        if isinstance(features, tuple):
            return features
        return features.flatten(2).transpose(1, 2), tuple(features.shape[-2:])

    def forward(self, images: Tensor, **given: Tensor) -> dict[str, Any]:
        """Args: images, see :meth:`extract_tokens`; given: what else the head takes, such as C-Tran's ``states``.

        Returns the named outputs of the head, and ``grid`` (H, W).
        """
        tokens, grid = self.extract_tokens(images)
        return {**self.head(tokens, grid, **given), 'grid': grid}


@torch.no_grad()
def measure(backbone: nn.Module, side: int = 224) -> tuple[int, int]:
    """Width of the tokens of a backbone, and its stride in pixels, from an image of that side; it is left as it was.

    Where the side is no multiple of the stride that it shows, an image twice as large says more: a network that does
    not pad loses places at the border, as many of each.

    Raises:
        UserError: it takes no such image, or gives nothing that has places.
    """

    def look(size: int) -> tuple[int, int]:
        features = backbone(torch.zeros(1, 3, size, size))[-1]
        if isinstance(features, tuple):
            tokens, (height, _) = features
            return tokens.shape[2], height
        return tuple(features.shape[1:3])

    training = backbone.training
    backbone.eval()
    try:
        width, height = look(side)
        stride = side // height if side % height == 0 else side // (look(2 * side)[1] - height)
    except Exception as error:  # of the backbone, whatever it is
        reason = first_line(error)
        raise UserError(
            f'the width and the stride of {type(backbone).__name__} can not be measured on an image of {side} px '
            f'({reason}); set model.head.in_channels and model.size_divisor, or let it take any size (of timm: '
            'features_only=True, and for a ViT dynamic_img_size=True)'
        ) from error
    finally:
        backbone.train(training)
    return width, stride

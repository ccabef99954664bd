"""The network: images to named outputs."""

from typing import Any

from torch import Tensor, nn

from sarlp.errors import UserError


class Network(nn.Module):
    """Backbone, tokens, head: what is evaluated, averaged and exported. It knows no labels, losses or epochs.

    Args:
        backbone: returns a tuple whose last entry is a feature map (B, D, H, W), or a pair of tokens (B, P, D) and
            their grid (H, W), such as :class:`~sarlp.models.clip_resnet.CLIPResNet`.
        head: see :mod:`sarlp.models.heads`.
        size_divisor: both sides of an image must be a multiple of it: the stride of the backbone.
    """

    def __init__(self, backbone: nn.Module, head: nn.Module, size_divisor: int):
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.size_divisor = size_divisor

    def extract_tokens(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Args: images (B, 3, h, w), normalised. Returns tokens (B, P, D), row-major, and their grid (H, W).

        P = H * W, and one more where the backbone puts a token of the whole image in front.
        """
        height, width = images.shape[-2:]
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

    def forward(self, images: Tensor) -> dict[str, Any]:
        """Args: images (B, 3, h, w), normalised. Returns the named outputs of the head, and ``grid`` (H, W)."""
        tokens, grid = self.extract_tokens(images)
        return {**self.head(tokens, grid), 'grid': grid}

"""The network: images to named outputs."""

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from sarlp.errors import GraveWarning, UserError, first_line
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
        token_norm: takes tokens (N, D), those of all places of a batch, before the head does; None leaves them.
    """

    def __init__(
        self, backbone: nn.Module, head: MultiLabelHead, size_divisor: int, token_norm: nn.Module | None = None
    ):
        super().__init__()
        if size_divisor < 1:
            raise ValueError(f'size_divisor must be at least 1, got {size_divisor}')
        self.backbone = backbone
        self.head = head
        self.size_divisor = size_divisor
        self.token_norm = token_norm

    def extract_tokens(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """What the head takes: :meth:`backbone_tokens`, and ``token_norm``."""
        tokens, grid = self.backbone_tokens(images)
        if self.token_norm is not None:
            tokens = self.token_norm(tokens.flatten(0, 1)).unflatten(0, tokens.shape[:2])
        return tokens, grid

    def backbone_tokens(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Args: images (B, 3, h, w), normalised. Returns tokens (B, P, D), row-major, and their grid (H, W).

        P = H * W, and one more where the backbone puts a token of the whole image in front. In place of images there
        may be the feature maps (B, D, H, W) that a frozen backbone gave for them.
        """
        height, width = images.shape[-2:]
        if isinstance(self.backbone, Frozen) and images.shape[1] != CHANNELS:
            return _places_of(images, self.head.in_channels)
        if not images.is_floating_point() or images.shape[-1] == CHANNELS:
            raise UserError(
                f'images reached the model as {images.dtype} of the shape {tuple(images.shape)}; expected normalised '
                'float32 (B, 3, h, w): look for it in model.data_preprocessor'
            )
        if height % self.size_divisor or width % self.size_divisor:
            raise UserError(
                f'an image of {width}x{height} px reached the model, but both sides must be a multiple of '
                f'{self.size_divisor} (the stride of the backbone); change the size in the Resize '
                'transforms of the config'
            )
        tokens, grid = tokens_of(self.backbone(images), self.backbone, self.head.in_channels)
        if self.head.training and torch.is_grad_enabled() and not tokens.requires_grad:
            self._warn_of_standstill()
        return tokens, grid

    def _warn_of_standstill(self) -> None:
        if any(parameter.requires_grad for parameter in self.backbone.parameters()):
            warnings.warn(
                f'{type(self.backbone).__name__} gives features without a gradient, so that it is not trained, though '
                'its parameters are to be: look for torch.no_grad() or detach() in its forward. If it is meant, '
                'model.frozen_backbone=True says so',
                GraveWarning,
                stacklevel=1,
            )

    def forward(self, images: Tensor, **given: Tensor) -> dict[str, Any]:
        """Args: images, see :meth:`backbone_tokens`; given: what else the head takes, such as C-Tran's ``states``.

        Returns the named outputs of the head, and ``grid`` (H, W).
        """
        tokens, grid = self.extract_tokens(images)
        return {**self.head(tokens, grid, **given), 'grid': grid}


def tokens_of(outputs: Any, backbone: nn.Module, width: int) -> tuple[Tensor, tuple[int, int]]:
    """Tokens (B, P, D) and grid (H, W) out of what a backbone gives.

    Args:
        outputs: a tuple whose last entry is a map, or a pair of tokens and grid.
        backbone: that gave it, for the message.
        width: D. A map (B, H, W, D), as timm's Swin gives it, is told by it from one (B, D, H, W).

    Raises:
        UserError: it is something else.
    """
    last = outputs[-1] if isinstance(outputs, tuple | list) and outputs else None
    if isinstance(last, Tensor) and last.ndim == 4:
        return _places_of(last, width)
    if isinstance(last, tuple | list) and len(last) == 2 and isinstance(last[0], Tensor) and last[0].ndim == 3:
        return last[0], (last[1][0], last[1][1])
    raise UserError(
        f'{type(backbone).__name__} must return a tuple whose last entry is a feature map (B, D, H, W), or a pair of '
        f'tokens (B, P, D) and their grid (H, W); it returned {kind_of(outputs)}'
    )


def _places_of(features: Tensor, width: int) -> tuple[Tensor, tuple[int, int]]:
    if features.shape[1] != width and features.shape[3] == width:
        return features.flatten(1, 2), (features.shape[1], features.shape[2])
    return features.flatten(2).transpose(1, 2), (features.shape[2], features.shape[3])


def kind_of(value: Any) -> str:
    """What a backbone or a layer gave, for a message."""
    if isinstance(value, tuple | list):
        return f'a {type(value).__name__} of ({", ".join(map(kind_of, value))})'
    return f'a tensor {tuple(value.shape)}' if isinstance(value, Tensor) else type(value).__name__


@torch.no_grad()
def measure(backbone: nn.Module, side: int = 224) -> tuple[int, int]:
    """Width of the tokens of a backbone, and its stride in pixels, from an image of that side; it is left as it was.

    Where the side is no multiple of the stride that it shows, an image twice as large says more: a network that does
    not pad loses places at the border, as many of each.

    Raises:
        UserError: it takes no such image, or gives nothing that has places.
    """

    def look(size: int) -> tuple[int, int]:
        outputs = backbone(torch.zeros(1, 3, size, size))
        tokens, (height, width) = tokens_of(outputs, backbone, 0)
        if height != width and tokens.shape[2] == height:  # of a square image: the channels are last
            tokens, (height, _) = tokens_of(outputs, backbone, width)
        return tokens.shape[2], height

    training = backbone.training
    backbone.eval()
    try:
        width, height = look(side)
        stride = side // height if side % height == 0 else side // (look(2 * side)[1] - height)
    except UserError:
        raise
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

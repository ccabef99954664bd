"""Heads: from visual tokens to class logits and token scores.

A head takes ``(tokens, grid)`` and returns a dict of named outputs:

- ``logits`` (B, C), before the sigmoid;
- ``token_scores`` (B, P, C), what the attention maps show;
- ``recovery_logits`` (B, C), only where labels are recovered jointly.
"""

from typing import Any

import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from sarlp.errors import UserValueError
from sarlp.models.linear_norm import LinearNorm
from sarlp.registry import MODELS


def attentive_pool(token_scores: Tensor, sharpness: float = 1.0) -> Tensor:
    """Weigh the scores of a class over the tokens by their own softmax: (B, P, C) -> (B, C).

    ``sharpness``, the factor within the softmax, goes from their mean (0) to their maximum.
    """
    return ((token_scores * sharpness).softmax(1) * token_scores).sum(1)


class MultiLabelHead(BaseModule):
    """What the heads share: the number of classes and the width of the tokens that they expect.

    Args:
        num_classes: number of classes C. None in a config means: taken from the data set before the model is built.
        in_channels: token width D.
    """

    image_token = False  # whether a token of the whole image comes before the P tokens of the grid
    # name of a linear layer whose row c alone makes the scores of class c, which `pool` then brings to its logit; by
    # that a class can be refitted without the others. None: the head has no such layer
    last_layer: str | None = None

    def __init__(self, num_classes: int, in_channels: int, init_cfg: dict | None = None):
        super().__init__(init_cfg)
        if not isinstance(num_classes, int) or num_classes < 1:
            raise UserValueError(
                f'{type(self).__name__}: num_classes must be a positive integer, got {num_classes!r}; '
                'sarlp.engine.build_runner and sarlp.inference.init_model take it from the data set or checkpoint'
            )
        self.num_classes = num_classes
        self.in_channels = in_channels

    def pool(self, scores: Tensor) -> Tensor:
        """Scores of ``last_layer``, (B, P, C) or (B, C), to logits (B, C), each class for itself."""
        return attentive_pool(scores)

    def check_tokens(self, tokens: Tensor, grid: tuple[int, int]) -> None:
        _, count, width = tokens.shape
        if width != self.in_channels or count != grid[0] * grid[1] + self.image_token:
            places = f'{"1 + " if self.image_token else ""}{grid[0]} * {grid[1]}'
            raise UserValueError(
                f'{type(self).__name__} expects tokens (B, {places}, {self.in_channels}), '
                f'got {tuple(tokens.shape)}; model.head.in_channels must be the width of the backbone '
                '(512 for ResNet-18 and -34 and CLIP RN101, 2048 for ResNet-50, -101 and -152; None asks it), and '
                'model.backbone.image_token must be model.head.image_token'
            )


@MODELS.register_module()
class BaselineHead(MultiLabelHead):
    """A linear classifier a token and attentive pooling."""

    last_layer = 'score'

    def __init__(self, num_classes: int, in_channels: int, init_cfg: dict | None = None):
        super().__init__(num_classes, in_channels, init_cfg)
        self.score = nn.Linear(in_channels, num_classes)

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> dict[str, Tensor]:
        """Args: tokens (B, P, D), row-major over ``grid`` (H, W)."""
        self.check_tokens(tokens, grid)
        token_scores = self.score(tokens)
        return {'logits': self.pool(token_scores), 'token_scores': token_scores}


@MODELS.register_module()
class SARLPHead(MultiLabelHead):
    """SARLP (arXiv 2510.10055): token encoder, SRFL, SGFE and the branch of the joint label recovery.

    An ablation leaves a part out:

    - ``recovery=None``, with ``recovery_loss=None`` of the method: ``sarlp_wo_jls``;
    - and ``srfl=None``: ``sarlp_wo_srfl``, label embeddings serve as class vectors as they are;
    - and ``srfl=dict(type='SRFL', use_image=False)``: ``sarlp_wo_srfl_wo_jls``.

    Args:
        num_classes, in_channels: see :class:`MultiLabelHead`.
        label_embedding: config of the (C, T) label embeddings.
        sgfe: config of the semantic-guided feature enhancement.
        encoder: config of the token encoder; None leaves the tokens as they are.
        srfl: config of the semantic-related feature learning, or None.
        recovery: config of the recovery branch, or None.
        normalize_tokens: scale every token that comes in to length 1, as CLIP's are compared.
        image_token: the first token is of the whole image: it is g, and the others are the P tokens of the grid.
            Otherwise g is the mean of the encoded tokens.
        wide_dim: width that the encoded tokens are brought to, by Linear and BatchNorm, for all that follows; g stays
            as it is. None keeps D.
    """

    last_layer = 'sgfe.mlp.3'

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        label_embedding: dict,
        sgfe: dict,
        encoder: dict | None = None,
        srfl: dict | None = None,
        recovery: dict | None = None,
        normalize_tokens: bool = False,
        image_token: bool = False,
        wide_dim: int | None = None,
        init_cfg: dict | None = None,
    ):
        super().__init__(num_classes, in_channels, init_cfg)
        self.normalize_tokens = normalize_tokens
        self.image_token = image_token
        token_dim = in_channels if wide_dim is None else wide_dim

        def build(cfg: dict | None, **sizes: int) -> Any:
            return None if cfg is None else MODELS.build({**sizes, **cfg})

        self.label_embedding = build(label_embedding, num_classes=num_classes)
        text_dim = self.label_embedding.dim
        self.encoder = build(encoder, dim=in_channels)
        self.widen = None if wide_dim is None else LinearNorm(in_channels, wide_dim)
        self.srfl = build(srfl, text_dim=text_dim, image_dim=in_channels, out_dim=token_dim)
        class_dim = text_dim if self.srfl is None else self.srfl.out_dim
        self.sgfe = build(sgfe, num_classes=num_classes, token_dim=token_dim, class_dim=class_dim)
        self.recovery = build(recovery, num_classes=num_classes, token_dim=token_dim)

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> dict[str, Tensor]:
        """Args: tokens (B, P, D), row-major over ``grid`` (H, W); with ``image_token`` (B, 1 + P, D)."""
        self.check_tokens(tokens, grid)
        image = None
        if self.normalize_tokens:
            tokens = F.normalize(tokens, dim=2)
        if self.image_token:
            image, tokens = tokens[:, 0], tokens[:, 1:]
        if self.encoder is not None:
            tokens = self.encoder(tokens, grid)
        if image is None:
            image = tokens.mean(1)
        if self.widen is not None:
            tokens = self.widen(tokens)
        class_vectors = self.label_embedding()
        if self.srfl is not None:
            class_vectors = self.srfl(class_vectors, image)
        token_scores = self.sgfe(tokens, class_vectors)
        outputs = {'logits': self.pool(token_scores), 'token_scores': token_scores}
        if self.recovery is not None:
            outputs['recovery_logits'] = self.recovery(tokens)
        return outputs

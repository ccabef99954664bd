"""The head of the recipe for few labels: normalised tokens, two layers, attention as soft as is wanted."""

import torch
from torch import Tensor, nn

from sarlp.errors import UserValueError
from sarlp.models.dropout import Dropout
from sarlp.models.heads import MultiLabelHead, attentive_pool
from sarlp.registry import MODELS


@MODELS.register_module()
class TokenHead(MultiLabelHead):
    """``z = W dropout(relu(V dropout(BatchNorm(token)) + a)) + b``, pooled as ``sum_p softmax_p(sharpness z) z``.

    Tokens of a pretrained backbone come at any scale; one learning rate fits them all once they are normalised. Of few
    labels a soft pool learns from every place of the image, where a sharp one follows the first that it took.

    Args:
        num_classes, in_channels: see :class:`~sarlp.models.heads.MultiLabelHead`.
        hidden_dim: width of the layer between; None leaves it out, and W takes the normalised tokens.
        normalize: scale each channel of the tokens to mean 0 and variance 1, those of all places together.
        dropout: share of the channels of a token that are left out, in [0, 1).
        sharpness: of the attention, >= 0; 0 is the mean over the places, 1 that of ``BaselineHead``.
        places: so many tokens of an image, at least 1, are drawn anew for each step of training, where the backbone is
            frozen: those of neighbouring places say nearly the same, and a step takes as long as its tokens are many.
            None takes all of them, as evaluation does and the training of a backbone.
    """

    last_layer = 'score'

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        hidden_dim: int | None = 512,
        normalize: bool = True,
        dropout: float = 0.5,
        sharpness: float = 0.25,
        places: int | None = None,
        init_cfg: dict | None = None,
    ):
        super().__init__(num_classes, in_channels, init_cfg)
        if not 0 <= dropout < 1 or sharpness < 0:
            raise UserValueError(
                f'TokenHead: dropout must be in [0, 1) and sharpness at least 0, got {dropout!r} and {sharpness!r}'
            )
        if places is not None and places < 1:
            raise UserValueError(f'TokenHead: places must be at least 1, got {places!r}')
        self.sharpness, self.places = sharpness, places
        # scale and shift stay 1 and 0: the layer behind has as much, and of a frozen backbone they alone would call for
        # the gradients of all tokens, a third of a step; not affine=False, since earlier checkpoints have trained ones
        self.norm = nn.BatchNorm1d(in_channels).requires_grad_(False) if normalize else nn.Identity()
        self.dropout = Dropout(dropout)
        self.hidden = None if hidden_dim is None else nn.Linear(in_channels, hidden_dim)
        self.score = nn.Linear(in_channels if hidden_dim is None else hidden_dim, num_classes)

    @torch.no_grad()
    def expect(self, prior: Tensor) -> None:
        """Let each class be as likely as it is before anything is learnt; ``prior`` (C,) in (0, 1)."""
        self.score.bias.copy_(torch.logit(prior))

    def pool(self, scores: Tensor) -> Tensor:
        return attentive_pool(scores, self.sharpness)

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> dict[str, Tensor]:
        """Args: tokens (B, P, D), row-major over ``grid`` (H, W)."""
        self.check_tokens(tokens, grid)
        if self.training and self.places is not None and not tokens.requires_grad:
            tokens = _draw(tokens, self.places)
        # all tokens as rows: torch's statistics of (N, D) take a third of the time of those of (B, D, P)
        features = self.dropout(self.norm(tokens.flatten(0, 1)).unflatten(0, tokens.shape[:2]))
        if self.hidden is not None:
            features = self.dropout(self.hidden(features).relu())
        token_scores = self.score(features)
        return {'logits': self.pool(token_scores), 'token_scores': token_scores}


def _draw(tokens: Tensor, number: int) -> Tensor:
    """(B, number, D) of the tokens (B, P, D), each image's own; all of them if there are no more."""
    if tokens.shape[1] <= number:
        return tokens
    drawn = torch.rand(tokens.shape[:2], device=tokens.device).topk(number, 1).indices
    return tokens[torch.arange(len(tokens), device=tokens.device)[:, None], drawn]  # rows: gather goes number by number

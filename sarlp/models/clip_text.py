"""CLIP's text encoder on vectors instead of words, so that some can be learnt (CoOp, Zhou et al., IJCV 2022)."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from sarlp.errors import UserError, shorten
from sarlp.io.clip_weights import read_text_weights


class PromptEncoder:
    """``[start] v_1 ... v_M class name . [end]`` through the frozen text encoder of CLIP (open_clip's module).

    It is no module, so that it is neither averaged, saved nor deployed: copies of a network share it.

    Args:
        names: C class names as words.
        length: M, how many vectors are learnt.
        output_dim: width D of what comes out.
        weights: file, see :func:`~sarlp.io.clip_weights.read_text_weights`; None takes random weights.
        width, layers, context_length: of the encoder; the defaults are those of RN101.
        heads: None takes one for 64 of the width, as all of CLIP's have.

    Raises:
        UserError: the file is not there or is of another encoder, or a name is too long.
    """

    def __init__(
        self,
        names: Sequence[str],
        length: int,
        output_dim: int,
        weights: str | Path | None = None,
        width: int = 512,
        heads: int | None = None,
        layers: int = 12,
        context_length: int = 77,
    ):
        from open_clip.tokenizer import SimpleTokenizer
        from open_clip.transformer import QuickGELU, TextTransformer

        heads = max(width // 64, 1) if heads is None else heads  # which does not show in the weights
        tower = TextTransformer(
            context_length, width=width, heads=heads, layers=layers, output_dim=output_dim, act_layer=QuickGELU
        )
        if weights is not None:
            _load(tower, weights)
        self.tower = tower.eval().requires_grad_(False)
        tokenizer = SimpleTokenizer()
        rows = [[tokenizer.sot_token_id, *tokenizer.encode(f'{name}.'), tokenizer.eot_token_id] for name in names]
        self.ends = torch.tensor([length + len(row) - 1 for row in rows])
        needed = int(self.ends.max()) + 1
        if needed > context_length:
            name = names[int(self.ends.argmax())]
            raise UserError(
                f'the class {name!r} with {length} learnt vectors before it takes {needed} tokens, and the text '
                f'encoder has {context_length}; set a smaller model.head.context_length, or shorten the name'
            )
        # what comes after the end is seen by nothing before it, so the rows end with the longest
        words = torch.zeros(len(rows), needed - length, dtype=torch.long)
        for c, row in enumerate(rows):
            words[c, : len(row)] = torch.tensor(row)
        self.words = self.tower.token_embedding(words)  # (C, 1 + N, width): the start, then names and ends

    def to(self, device: torch.device) -> None:
        if self.words.device != device:
            self.tower.to(device)
            self.words, self.ends = self.words.to(device), self.ends.to(device)

    def __call__(self, context: Tensor) -> Tensor:
        """Args: context (C or 1, M, width). Returns (C, D), of length 1, with gradient to the context."""
        self.to(context.device)
        tower = self.tower
        context = context.expand(len(self.words), -1, -1)
        rows = (
            torch.cat([self.words[:, :1], context, self.words[:, 1:]], 1)
            + tower.positional_embedding[: self.words.shape[1] + context.shape[1]]
        )
        size = rows.shape[1]
        rows = tower.ln_final(tower.transformer(rows, attn_mask=tower.attn_mask[:size, :size]))
        ends = rows[torch.arange(len(rows), device=rows.device), self.ends]
        return nn.functional.normalize(ends @ tower.text_projection, dim=1)


def _load(tower: nn.Module, weights: str | Path) -> None:
    state, own = read_text_weights(weights), tower.state_dict()
    wrong = sorted(
        {key for key in state.keys() & own.keys() if state[key].shape != own[key].shape} | (state.keys() ^ own.keys())
    )
    if wrong:
        raise UserError(
            f'{weights}: these are not the weights of this text encoder ({len(wrong)} are missing, unknown or of '
            f'another shape: {shorten(wrong)}); model.head.text describes that of CLIP RN101 unless it sets width, '
            'layers or context_length, and its output_dim is model.head.in_channels'
        )
    tower.load_state_dict(state)

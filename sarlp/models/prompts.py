"""Class vectors that learnt prompts make, and heads that compare the tokens of CLIP with them."""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from sarlp.datasets.converters.label_embeddings.spelling import spell_out
from sarlp.errors import UserError
from sarlp.models.clip_text import PromptEncoder
from sarlp.models.heads import MultiLabelHead


class _Shared:
    """One text encoder for a network and its copies, made when it is needed first."""

    def __init__(self) -> None:
        self.encoder: PromptEncoder | None = None

    def __deepcopy__(self, _memo: dict) -> '_Shared':
        return self


class Prompts(BaseModule):
    """A vector for each class and kind of prompt: ``text encoder([start] v_1 ... v_M class name . [end])``.

    In training the text encoder runs in every step; it is read by ``init_weights()``, as pretrained weights are. What
    it makes of the context is kept in ``vectors``, which are saved in every checkpoint, so that testing, inference and
    ONNX need the checkpoint alone.

    Args:
        num_classes: C.
        dim: width D of the vectors.
        kinds: how many prompts a class has.
        length: M, learnt vectors in front of the name.
        class_specific: learn them for each class; False for all together.
        classes: C names, needed in training.
        text: arguments of :class:`~sarlp.models.clip_text.PromptEncoder`: ``weights`` and sizes.
    """

    vectors: Tensor

    def __init__(
        self,
        num_classes: int,
        dim: int,
        kinds: int,
        length: int,
        class_specific: bool,
        classes: Sequence[str] | None,
        text: dict[str, Any],
    ):
        super().__init__()
        if length < 1:
            raise UserError(f'a prompt needs at least 1 learnt vector, got context_length={length}')
        self.classes, self.text = classes, dict(text)
        width = self.text.setdefault('width', 512)
        self.context = nn.Parameter(0.02 * torch.randn(kinds, num_classes if class_specific else 1, length, width))
        self.register_buffer('vectors', torch.full((kinds, num_classes, dim), torch.nan))
        self._shared = _Shared()
        self._made: tuple[Tensor, Tensor] | None = None  # context, and the vectors made of it
        self.register_state_dict_pre_hook(_refresh)

    def init_weights(self) -> None:
        super().init_weights()
        kinds, number, dim = self.vectors.shape
        if self.classes is None or len(self.classes) != number:
            raise UserError(
                f'the prompts need the names of the {number} classes, got {self.classes}; leave model.head.classes '
                'None to take them from the data set'
            )
        names = [spell_out(name) for name in self.classes]
        self._shared.encoder = PromptEncoder(names, self.context.shape[2], dim, **self.text)

    def encode(self) -> Tensor:
        """(kinds, C, D) with gradient."""
        if self._shared.encoder is None:
            raise UserError('the text encoder of CLIP is needed to train prompts; call init_weights() before')
        return torch.stack([self._shared.encoder(context) for context in self.context])

    @torch.no_grad()
    def refresh(self) -> None:
        """Bring the vectors up to the context, where the text encoder is there and they are not."""
        if self._shared.encoder is None:
            return
        now = self.context, self.vectors  # both, since the average of a run averages the vectors too
        if self._made is None or any(not torch.equal(a, b) for a, b in zip(self._made, now, strict=True)):
            self.vectors.copy_(self.encode())
            self._made = self.context.clone(), self.vectors.clone()

    def forward(self) -> Tensor:
        """Returns (kinds, C, D), of length 1."""
        if self.training:
            return self.encode()
        self.refresh()
        return self.vectors


def _refresh(module: Prompts, _prefix: str, _keep_vars: bool) -> None:
    module.refresh()


class PromptHead(MultiLabelHead):
    """Regions of the image beside what is for and what is against each class, as DualCoOp compares them.

    ``r+_pc = scale cos(x_p, t+_c)`` and ``r-_pc`` alike; both are averaged over the regions with the weights
    ``softmax_p(r+_pc)``, times ``gain``; the probability is the first part of the softmax of the two, so the logit is
    their difference. ``token_scores`` are ``r+``, whose softmax over the tokens those weights are.

    Args:
        num_classes, in_channels: see :class:`~sarlp.models.heads.MultiLabelHead`; the tokens are CLIP's.
        kinds: prompts a class.
        text: arguments of the text encoder, see :class:`~sarlp.models.clip_text.PromptEncoder`.
        classes: C names; None in a config means: taken from the data set before the model is built.
        context_length: learnt vectors of a prompt.
        class_specific: whether each class has its own; False has fewer parameters, for very few labels.
        scale: factor of the cosines.
        gain: factor of the averages.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        kinds: int,
        text: dict[str, Any],
        classes: Sequence[str] | None = None,
        context_length: int = 16,
        class_specific: bool = True,
        scale: float = 20.0,
        gain: float = 5.0,
        init_cfg: dict | None = None,
    ):
        super().__init__(num_classes, in_channels, init_cfg)
        self.prompts = Prompts(num_classes, in_channels, kinds, context_length, class_specific, classes, text)
        self.scale = scale
        self.gain = gain

    def compare(self, tokens: Tensor, grid: tuple[int, int], positive: Tensor, negative: Tensor) -> dict[str, Tensor]:
        """Args: tokens (B, P, D), row-major over ``grid`` (H, W); positive, negative (C, D), of length 1."""
        self.check_tokens(tokens, grid)
        dtype = self.prompts.vectors.dtype
        with torch.autocast(tokens.device.type, enabled=False):  # a cosine rounded to bfloat16, times 100, is a guess
            tokens = self.scale * nn.functional.normalize(tokens.to(dtype), dim=2)
            for_, against = tokens @ positive.to(dtype).T, tokens @ negative.to(dtype).T
            logits = self.gain * ((for_ - against) * for_.softmax(1)).sum(1)
        return {'logits': logits, 'token_scores': for_}

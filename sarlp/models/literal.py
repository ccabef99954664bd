"""SARLP's formulas as the paper has them: readable, slow, and the oracle of the tests and of the benchmark.

The modules compute the same numbers with fewer operations and less memory. Each function here takes such a module, of
which it uses the parameters only, and the inputs of its ``forward``. :func:`literal_form` puts them in place.

Axis legend: ``B`` images, ``P`` tokens, ``C`` classes, ``D`` token width, ``V`` class vector width, ``T`` text width,
``A`` attention width.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from sarlp.models.bilinear_attention import LowRankBilinearAttention
from sarlp.models.sgfe import SGFE
from sarlp.models.srfl import SRFL


def bilinear_attention(module: LowRankBilinearAttention, tokens: Tensor, class_vectors: Tensor) -> Tensor:
    """``a[p, c] = t . (Hh tanh(U x_p * V v_c) + h) + t0``: tokens (B, P, D), classes (B, C, V) -> (B, P, C)."""
    u = module.token(tokens)[:, :, None]
    v = module.label(class_vectors).expand(len(tokens), -1, -1)[:, None]
    return module.target(module.hidden(torch.tanh(u * v))).squeeze(3)


def srfl(module: SRFL, embeddings: Tensor, image: Tensor) -> Tensor:
    """``v_c = Linear(GELU(BatchNorm(Linear([e_c ; g]))))``: embeddings (C, T), image (B, D) -> (B, C, V)."""
    rows = embeddings.expand(len(image), -1, -1)  # (B, C, T)
    if module.use_image:
        rows = torch.cat([rows, image[:, None].expand(-1, len(embeddings), -1)], 2)
    rows = module.norm(module.joint(rows).flatten(0, 1)).unflatten(0, (len(image), len(embeddings)))
    return module.out(module.act(rows))


def sgfe(module: SGFE, tokens: Tensor, class_vectors: Tensor) -> Tensor:
    """``f_p = sum_c softmax_c(a[p, :]) v_c``, ``s[p, :] = MLP([f_p ; x_p])``: -> (B, P, C)."""
    guided = bilinear_attention(module.attention, tokens, class_vectors).softmax(2) @ class_vectors
    return module.mlp(torch.cat([guided, tokens], 2))


_LITERAL: dict[type[nn.Module], Callable[..., Tensor]] = {
    LowRankBilinearAttention: bilinear_attention,
    SRFL: srfl,
    SGFE: sgfe,
}


@contextlib.contextmanager
def literal_form(model: nn.Module) -> Iterator[nn.Module]:
    """Within the block, the parts of SARLP in ``model`` compute as the paper has it."""
    parts = [module for module in model.modules() if type(module) in _LITERAL]
    for module in parts:
        module.forward = functools.partial(_LITERAL[type(module)], module)  # on the object, before that of its class
    try:
        yield model
    finally:
        for module in parts:
            del module.forward

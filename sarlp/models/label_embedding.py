"""Label embeddings: one row of text features a class."""

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from sarlp.errors import UserValueError
from sarlp.io.embeddings import load_embeddings
from sarlp.registry import MODELS


@MODELS.register_module()
class LabelEmbedding(BaseModule):
    """Frozen rows read from a file, or learnt ones.

    A file is read by ``init_weights()``, as pretrained weights are: the rows are saved in every checkpoint, so testing
    and inference need the checkpoint alone.

    Args:
        num_classes: number of classes C.
        dim: width T; must be that of the file.
        file: ``.npz`` made by ``sarlp convert embeddings``; None learns the rows from a
            Kaiming-uniform start.
        classes: C names, by which the rows of the file are found; None takes them in their order.
    """

    def __init__(
        self,
        num_classes: int,
        dim: int = 768,
        file: str | Path | None = None,
        classes: Sequence[str] | None = None,
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg)
        self.file = file
        self.classes = classes
        self.dim = dim
        if file is None:
            self.weight = nn.Parameter(torch.empty(num_classes, dim))
            nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        else:
            self.register_buffer('weight', torch.full((num_classes, dim), math.nan))

    def init_weights(self) -> None:
        super().init_weights()
        if self.file is None:
            return
        rows = torch.from_numpy(load_embeddings(self.file, self.classes))
        if rows.shape != self.weight.shape:
            raise UserValueError(
                f'{self.file}: holds {rows.shape[0]} rows of width {rows.shape[1]}, but the model has '
                f'{self.weight.shape[0]} classes and label embeddings of width {self.weight.shape[1]}; '
                'make the file from the annotation file of this data set, or set '
                'model.head.label_embedding.dim'
            )
        self.weight.copy_(rows)

    def forward(self) -> Tensor:
        """Returns (C, T)."""
        return self.weight

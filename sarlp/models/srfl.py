"""Semantic-related feature learning (METHOD: SARLP, 1; arXiv 2510.10055)."""

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from sarlp.registry import MODELS


@MODELS.register_module()
class SRFL(BaseModule):
    """Turn label embeddings into class vectors that know the image.

    ``v_c = Linear(GELU(BatchNorm(Linear([e_c ; g]))))`` with the batch statistics taken over all B * C rows.

    Args:
        text_dim: label embedding width T.
        image_dim: width of the image vector g, and of the class vectors unless ``out_dim`` says otherwise.
        out_dim: class vector width.
        use_image: if False, the class vectors are learnt from the label embeddings alone
            (the ablation ``sarlp_wo_srfl_wo_jls``).
    """

    def __init__(
        self,
        text_dim: int,
        image_dim: int,
        out_dim: int | None = None,
        use_image: bool = True,
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg)
        self.use_image = use_image
        self.out_dim = image_dim if out_dim is None else out_dim
        joint_dim = text_dim + image_dim if use_image else text_dim
        self.joint = nn.Linear(joint_dim, joint_dim)
        self.norm = nn.BatchNorm1d(joint_dim)
        self.act = nn.GELU()
        self.out = nn.Linear(joint_dim, self.out_dim)

    def forward(self, embeddings: Tensor, image: Tensor) -> Tensor:
        """Args: embeddings (C, T); image (B, image_dim). Returns the class vectors (B, C, out_dim)."""
        batch, classes = len(image), len(embeddings)
        rows = embeddings.expand(batch, -1, -1)
        if self.use_image:
            rows = torch.cat([rows, image[:, None].expand(-1, classes, -1)], 2)
        rows = self.norm(self.joint(rows).flatten(0, 1))
        return self.out(self.act(rows)).unflatten(0, (batch, classes))

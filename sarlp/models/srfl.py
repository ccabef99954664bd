"""Semantic-related feature learning (SRFL of SARLP, arXiv 2510.10055)."""

from mmengine.model import BaseModule
from torch import Tensor, nn

from sarlp.models.column_layers import column_layers
from sarlp.models.norm_of_sums import batch_norm_of_sums
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
        """Args: embeddings (C, T); image (B, image_dim).

        Returns the class vectors (B, C, out_dim), or without the image, where they are the same for all, (C, out_dim).

        ``joint`` on ``[e_c ; g_b]`` is the sum of a part a class and a part an image, and over the B * C rows of such
        sums the mean is the sum of the parts' means, the variance the sum of their variances. So the layer and its
        BatchNorm cost C + B rows. :func:`sarlp.models.literal.srfl` is the formula.
        """
        if not self.use_image:
            of_class = self.joint(embeddings)
            no_image = of_class.new_zeros(len(image), of_class.shape[1])
            return self.out(self.act(batch_norm_of_sums(self.norm, of_class, no_image)[0]))
        of_class, of_image = column_layers((embeddings, image), self.joint.weight, self.joint.bias)
        of_class, of_image = batch_norm_of_sums(self.norm, of_class, of_image)
        return self.out(self.act(of_class + of_image[:, None]))

"""The multi-label classifier: wires backbone and head, computes nothing itself."""

import torch
from mmengine.model import BaseModel
from mmpretrain.structures import DataSample
from torch import Tensor

from sarlp.errors import UserError
from sarlp.registry import MODELS


@MODELS.register_module()
class MultiLabelClassifier(BaseModel):
    """Backbone, tokens, head.

    Args:
        backbone: config of a network that returns a tuple whose last entry is a feature map (B, D, H, W), or a pair of
            tokens (B, P, D) and their grid (H, W), such as :class:`~sarlp.models.clip_resnet.CLIPResNet`.
        head: config of a head, see :mod:`sarlp.models.heads`.
        data_preprocessor: config; uint8 images to a normalised batch on the device.
        size_divisor: both sides of an image must be a multiple of it: the stride of the backbone.
    """

    def __init__(
        self,
        backbone: dict,
        head: dict,
        data_preprocessor: dict | None = None,
        size_divisor: int = 32,
        init_cfg: dict | None = None,
    ):
        super().__init__(data_preprocessor, init_cfg)
        self.backbone = MODELS.build(backbone)
        self.head = MODELS.build(head)
        self.size_divisor = size_divisor

    def extract_tokens(self, inputs: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Args: images (B, 3, h, w), normalised. Returns tokens (B, P, D), row-major, and their grid (H, W).

        P = H * W, and one more where the backbone puts a token of the whole image in front.
        """
        height, width = inputs.shape[-2:]
        if height % self.size_divisor or width % self.size_divisor:
            raise UserError(
                f'an image of {width}x{height} px reached the model, but both sides must be a multiple of '
                f'{self.size_divisor} (the stride of the backbone); change the size in the Resize '
                'transforms of the config'
            )
        features = self.backbone(inputs)[-1]
        if isinstance(features, tuple):
            return features
        return features.flatten(2).transpose(1, 2), tuple(features.shape[-2:])

    def forward(self, inputs: Tensor, data_samples: list[DataSample] | None = None, mode: str = 'tensor'):
        """MMEngine's entry point.

        Args:
            inputs: (B, 3, h, w), normalised.
            data_samples: B samples; ``gt_score`` (C,) of 1 / 0 / -1 is needed by mode ``'loss'``.
            mode: ``'tensor'`` returns the named outputs of the head, with ``scores`` = sigmoid(logits) and ``grid``;
                ``'predict'`` returns the samples with ``pred_score`` (C,); ``'loss'`` returns named losses.
        """
        tokens, grid = self.extract_tokens(inputs)
        outputs = self.head(tokens, grid)
        if mode == 'loss':
            target = torch.stack([sample.gt_score for sample in data_samples]).to(inputs.device, non_blocking=True)
            return self._finite(self.head.loss(outputs, target), data_samples)
        outputs['scores'] = outputs['logits'].float().sigmoid()
        if mode == 'tensor':
            return {**outputs, 'grid': grid}
        if mode != 'predict':
            raise ValueError(f"mode must be 'tensor', 'predict' or 'loss', got {mode!r}")
        data_samples = data_samples or [DataSample() for _ in range(len(inputs))]
        for sample, score in zip(data_samples, outputs['scores'], strict=True):
            sample.set_pred_score(score)
        return data_samples

    @staticmethod
    def _finite(losses: dict[str, Tensor], data_samples: list[DataSample]) -> dict[str, Tensor]:
        """Stop before the backward pass spoils the weights; naming what broke is worth the look at the value."""
        broken = [f'{name} = {value.item()}' for name, value in losses.items() if not torch.isfinite(value).all()]
        if broken:
            images = [sample.get('img_id', '?') for sample in data_samples]
            raise UserError(
                f'the loss is not finite ({", ".join(broken)}); the images of this batch: '
                f'{", ".join(images[:10])}{" ..." if len(images) > 10 else ""}. Lower the learning rate, '
                'or look for broken images and label embeddings'
            )
        return losses

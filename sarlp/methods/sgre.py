"""The training of SGRE (Zhu et al., IEEE TCSVT 2024)."""

from torch import Tensor

from sarlp.methods.known_labels import KnownLabels, build_loss
from sarlp.registry import METHODS


@METHODS.register_module()
class SGRE(KnownLabels):
    """Losses over the known labels on the prediction, and on the class features that it was guided by.

    Args:
        loss: config of the loss on the prediction.
        class_feature_loss: config of the loss on ``class_feature_logits`` of the head; its ``loss_weight`` is the
            lambda of the paper.
    """

    def __init__(self, loss: dict, class_feature_loss: dict):
        super().__init__(loss)
        self.class_feature_loss = build_loss(class_feature_loss, 'model.method.class_feature_loss')

    def losses(self, outputs: dict[str, Tensor], observed: Tensor) -> dict[str, Tensor]:
        losses = super().losses(outputs, observed)
        losses['loss_class_feature'] = self.class_feature_loss(outputs['class_feature_logits'], observed)
        return losses

from sarlp.losses.functional import asymmetric_loss, binary_cross_entropy
from sarlp.losses.losses import AsymmetricLoss, BinaryCrossEntropy

__all__ = ['AsymmetricLoss', 'BinaryCrossEntropy', 'asymmetric_loss', 'binary_cross_entropy']

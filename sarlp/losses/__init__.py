import importlib
import pkgutil

from sarlp.losses.functional import asymmetric_loss, binary_cross_entropy
from sarlp.losses.losses import AsymmetricLoss, BinaryCrossEntropy, MultiLabelLoss

for _module in pkgutil.iter_modules(__path__):  # a loss is a file of this folder, and nothing else to be named
    importlib.import_module(f'{__name__}.{_module.name}')

__all__ = ['AsymmetricLoss', 'BinaryCrossEntropy', 'MultiLabelLoss', 'asymmetric_loss', 'binary_cross_entropy']

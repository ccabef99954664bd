import importlib
import pkgutil

from sarlp.methods.base import Batch, Method, Progress, TaskInfo
from sarlp.methods.known_labels import KnownLabels
from sarlp.methods.label_store import LabelStore
from sarlp.methods.sarlp import SARLP, pseudo_targets
from sarlp.methods.sgre import SGRE
from sarlp.methods.teacher import Teacher

for _module in pkgutil.iter_modules(__path__):  # a method is a file of this folder, and nothing else to be named
    importlib.import_module(f'{__name__}.{_module.name}')

__all__ = [
    'SARLP',
    'SGRE',
    'Batch',
    'KnownLabels',
    'LabelStore',
    'Method',
    'Progress',
    'TaskInfo',
    'Teacher',
    'pseudo_targets',
]

from sarlp.methods.base import Batch, Method, Progress, TaskInfo
from sarlp.methods.known_labels import KnownLabels
from sarlp.methods.label_store import LabelStore
from sarlp.methods.sarlp import SARLP, pseudo_targets
from sarlp.methods.sgre import SGRE
from sarlp.methods.teacher import Teacher

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

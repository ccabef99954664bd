from sarlp.apps.review.decisions import DecisionLog, log_path
from sarlp.apps.review.items import Item
from sarlp.apps.review.queue import ReviewQueue, Selection, informativeness
from sarlp.apps.review.session import Exported, Review

# the server is not among them: it needs Flask
__all__ = [
    'DecisionLog',
    'Exported',
    'Item',
    'Review',
    'ReviewQueue',
    'Selection',
    'informativeness',
    'log_path',
]

from sarlp.review.decisions import DecisionLog, log_path
from sarlp.review.queue import Item, ReviewQueue, Selection, informativeness
from sarlp.review.session import Exported, Review

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

"""What is known of a training set before the first step."""

from typing import Any

from sarlp.errors import UserError
from sarlp.methods import TaskInfo


def task_of(dataset) -> TaskInfo:
    """What is known of a training set after its label mask, of each image once; numbers the images, in place.

    Raises:
        UserError: it is no data set of sarlp.
    """
    leaves = getattr(dataset, 'leaves', [dataset])
    for leaf in leaves:
        if not hasattr(leaf, 'label_counts'):
            raise UserError(
                f'{type(leaf).__name__} can not say which labels are known; a data set of your own is a subclass of '
                'sarlp.datasets.MultiLabelDataset, or an annotation file for it (docs/data.md)'
            )
    known: dict[str, Any] = {'positive': 0, 'negative': 0}
    number = 0
    for leaf in leaves:
        leaf.first_index, number = number, number + len(leaf)
        for kind, count in leaf.label_counts().items():
            known[kind] = known[kind] + count
    return TaskInfo(dataset.classes, number, known['positive'], known['negative'])

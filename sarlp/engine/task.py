"""What is known of a training set before the first step."""

from typing import Any

from sarlp.methods import TaskInfo


def task_of(dataset) -> TaskInfo:
    """What is known of a training set after its label mask, of each image once; numbers the images, in place."""
    leaves = getattr(dataset, 'leaves', [dataset])
    known: dict[str, Any] = {'positive': 0, 'negative': 0}
    number = 0
    for leaf in leaves:
        leaf.first_index, number = number, number + len(leaf)
        for kind, count in leaf.label_counts().items():
            known[kind] = known[kind] + count
    return TaskInfo(dataset.classes, number, known['positive'], known['negative'])

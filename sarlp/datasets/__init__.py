from sarlp.datasets.hcp_label_mask import HCPKnownLabels
from sarlp.datasets.label_masks import (
    FileLabelMask,
    PerClassBudget,
    PositivesOnly,
    RandomKnownLabels,
    SinglePositive,
)
from sarlp.datasets.multilabel import MultiLabelDataset
from sarlp.datasets.reference_label_mask import ReferenceLabelMask
from sarlp.datasets.wrappers import ClassBalancedDataset, ConcatDataset, RepeatDataset

__all__ = [
    'ClassBalancedDataset',
    'ConcatDataset',
    'RepeatDataset',
    'FileLabelMask',
    'HCPKnownLabels',
    'MultiLabelDataset',
    'PerClassBudget',
    'PositivesOnly',
    'RandomKnownLabels',
    'ReferenceLabelMask',
    'SinglePositive',
]

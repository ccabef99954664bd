from sarlp.datasets.label_masks import FileLabelMask, PositivesOnly, RandomKnownLabels, SinglePositive
from sarlp.datasets.multilabel import MultiLabelDataset

__all__ = ['FileLabelMask', 'MultiLabelDataset', 'PositivesOnly', 'RandomKnownLabels', 'SinglePositive']

"""Metrics as pure functions, their adapters to MMEngine's evaluator, and what is printed and written of them."""

from sarlp.evaluation.functional import (
    average_precision,
    average_precision_of_kinds,
    f1_family,
    label_recovery,
    mean_average_precision,
)
from sarlp.evaluation.metrics import LabelRecoveryMetric, MultiLabelMetric
from sarlp.evaluation.report import (
    format_table,
    write_metrics_json,
    write_predictions_csv,
    write_recovered_csv,
)

__all__ = [
    'LabelRecoveryMetric',
    'MultiLabelMetric',
    'average_precision',
    'average_precision_of_kinds',
    'f1_family',
    'format_table',
    'label_recovery',
    'mean_average_precision',
    'write_metrics_json',
    'write_predictions_csv',
    'write_recovered_csv',
]

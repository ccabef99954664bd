from sarlp.apps.completion.complete import Completion, complete_labels
from sarlp.apps.completion.record import (
    Record,
    Recovered,
    Suspect,
    read_recovered,
    read_suspects,
    record_path,
    suspects_path,
)
from sarlp.apps.completion.writing import write_completed
from sarlp.evaluation.calibration import Calibration, fit_calibration
from sarlp.evaluation.quality import decision_quality, format_quality
from sarlp.evaluation.thresholds import calibrate, choose_thresholds

__all__ = [
    'Calibration',
    'Completion',
    'Record',
    'Recovered',
    'Suspect',
    'calibrate',
    'choose_thresholds',
    'complete_labels',
    'decision_quality',
    'fit_calibration',
    'format_quality',
    'read_recovered',
    'read_suspects',
    'record_path',
    'suspects_path',
    'write_completed',
]

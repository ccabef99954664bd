from sarlp.completion.calibration import Calibration, fit_calibration
from sarlp.completion.complete import Completion, complete_labels
from sarlp.completion.quality import decision_quality, format_quality
from sarlp.completion.record import (
    Record,
    Recovered,
    Suspect,
    read_recovered,
    read_suspects,
    record_path,
    suspects_path,
)
from sarlp.completion.thresholds import calibrate, choose_thresholds
from sarlp.completion.writing import write_completed

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

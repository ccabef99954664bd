"""What a completion of a spreadsheet gives in Python."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sarlp.apps.completion import Completion
from sarlp.engine import load_config
from sarlp.errors import UserError
from sarlp.inference.inferencer import MultiLabelInferencer
from sarlp.labels import POSITIVE, UNKNOWN

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, repr=False)
class CompletedSpreadsheet:
    """A completed spreadsheet.

    Attributes:
        completion: what :func:`~sarlp.complete_labels` found: scores, probabilities, decisions, calibration, suspects.
        config, cfg_options: what was trained.
        checkpoint: of the model of all photographs.
        files: what was written, by name; ``'spreadsheet'`` and ``'report'`` are the first to look at.
        report: in Markdown.
        next: the command that goes on, the review.
    """

    completion: Completion
    config: str
    cfg_options: Mapping[str, Any]
    checkpoint: Path
    files: Mapping[str, Path]
    report: str
    next: str

    def __repr__(self) -> str:
        return f'<{type(self).__name__} {self.files["spreadsheet"]}: {self.completion.summary}>'

    def _repr_markdown_(self) -> str:
        """What a notebook shows of it."""
        return self.report

    @cached_property
    def table(self) -> 'pandas.DataFrame':
        """A row an image, by its path, and a column a class: True, False, or NA where it is left blank."""
        decisions = self.completion.decisions
        table = self._frame(decisions == POSITIVE).astype('boolean')
        return table.mask(decisions == UNKNOWN)

    @cached_property
    def probabilities(self) -> 'pandas.DataFrame':
        """Like :attr:`table`: calibrated probabilities, of known labels too."""
        return self._frame(self.completion.probabilities)

    @cached_property
    def filled(self) -> 'pandas.DataFrame':
        """Like :attr:`table`: whether a cell was blank and has been filled in."""
        was_blank = self.completion.scored.observed == UNKNOWN
        return self._frame(was_blank & (self.completion.decisions != UNKNOWN))

    @cached_property
    def model(self) -> MultiLabelInferencer:
        """The model of all photographs, for others: ``result.model('new_photos/')``.

        Its scores are made probabilities by the calibration of the folds, which were trained on fewer photographs.
        """
        cfg = load_config(self.config, self.cfg_options)
        return MultiLabelInferencer(cfg, self.checkpoint, calibration=self.completion.record.calibration)

    def _frame(self, values: np.ndarray) -> 'pandas.DataFrame':
        try:
            import pandas
        except ImportError:
            raise UserError("the table takes pandas: pip install 'sarlp[spreadsheets]'") from None
        index = pandas.Index(self.completion.scored.image_ids, name='image')
        return pandas.DataFrame(values, index=index, columns=list(self.completion.record.classes))

"""``train.csv`` of CheXpert (Irvin et al., AAAI 2019): a row an X-ray, a column a finding.

.. code-block:: text

    Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,...,Support Devices
    CheXpert-v1.0-small/train/patient00002/study2/view1_frontal.jpg,Female,87,Frontal,AP,,...,1.0

1.0 is there and 0.0 is not; -1.0, which is uncertain, and a blank, of which the report says nothing, are unknown.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from sarlp.apps.spreadsheets.label_files.spelling import Spelling
from sarlp.apps.spreadsheets.label_files.tables import Wide

NO_FINDINGS = ('Path', 'Sex', 'Age', 'Frontal/Lateral', 'AP/PA')  # the columns in front of them
_UNCERTAIN = ('-1', '-1.0')
_PATIENT = re.compile(r'(?:^|[/\\])(patient\d+)[/\\]')


class CheXpert(Wide):
    """A wide table whose images belong with those of the same patient, by the folder that they are in."""

    form = 'chexpert'

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        if self.beside.group is None:
            self.groups_of = 'patients, by their folders'

    def groups(self) -> Iterator[tuple[int, str, str]]:
        """As those of other tables; the patients where no column is named."""
        if self.beside.group is not None:
            yield from super().groups()
            return
        for line, row in self.sheet.rows():
            image = self.sheet.text(row, self.image)
            if patient := _PATIENT.search(image):
                yield line, image, patient[1]


def is_chexpert(header: Sequence[str]) -> bool:
    """Whether a table is one, by its columns."""
    return {*NO_FINDINGS} <= {*header}


def chexpert_spelling(
    positive: Sequence[str], negative: Sequence[str], unknown: Sequence[str], quoted: bool
) -> Spelling:
    """What its cells mean; words that are given go before."""
    given = {*positive, *negative, *unknown}
    return Spelling(positive, negative, [*unknown, *(word for word in _UNCERTAIN if word not in given)], quoted)

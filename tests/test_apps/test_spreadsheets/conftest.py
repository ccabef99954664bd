"""Files of labels read, and labels written back into them."""

import itertools

import numpy as np
import pytest

from sarlp.apps.spreadsheets.csv_labels import read_csv_labels, write_annotations
from sarlp.apps.spreadsheets.label_source import write_labels_like_source
from sarlp.datasets.annotation import AnnotationError


@pytest.fixture
def exchange(tmp_path):
    """``exchange(name, content, images)``: reads a file; what comes back writes labels into it, and reads that."""
    number = itertools.count()

    class Exchange:
        def __init__(self, name, content, images, **options):
            self.name, self.images, self.options = name, images, options
            self.root = tmp_path / str(next(number))
            for image in images:
                (self.root / 'photos' / image).parent.mkdir(parents=True, exist_ok=True)
                (self.root / 'photos' / image).touch()
            self.file = self.root / name
            self.file.write_bytes(content if isinstance(content, bytes) else content.encode())
            self.read = read_csv_labels(self.file, self.root / 'photos', **options)

        @property
        def labels(self):
            return {image: codes.tolist() for image, codes in self.read.labels.items()}

        def write(self, labels):
            for seed in range(40):  # of few images all may fall into one split
                try:
                    write_annotations(self.read, self.root / 'data', 0.4, seed)
                except AnnotationError as error:
                    assert 'fall into' in str(error)
                else:
                    break
            labels = {image: np.array(codes) for image, codes in labels.items()}
            write_labels_like_source(labels, self.root / 'data', self.root / 'out', self.read.file.classes)
            return (self.root / 'out').read_bytes()

        def again(self, labels, **options):
            return Exchange(self.name, self.write(labels), self.images, **{**self.options, **options})

    return Exchange

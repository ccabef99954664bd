"""A server whose model says when it begins, by a file, and takes its time: python slow_server.py FILE SECONDS."""

import sys
import time
from pathlib import Path

import numpy as np

from sarlp.apps.serve.models import Seen
from sarlp.apps.serve.server import serve


class Slow:
    name, backend, calibrated = 'slow', 'none', False
    classes, thresholds = ('cat',), np.array([0.5])

    def read(self, content, name):
        return content

    def predict(self, images, maps):
        Path(sys.argv[1]).touch()
        time.sleep(float(sys.argv[2]))
        return [Seen(np.array([0.75]), None) for _ in images]


if __name__ == '__main__':
    serve(Slow(), port=0)

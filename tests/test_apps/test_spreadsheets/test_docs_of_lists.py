"""What docs/your_data.md has people write for photographs in folders that are named by what is in them."""

import re
from pathlib import Path

from sarlp.apps.spreadsheets.csv_labels import read_csv_labels

PAGE = Path(__file__).resolve().parents[3] / 'docs' / 'your_data.md'


def test_folders_named_by_what_is_in_them(tmp_path, monkeypatch):
    images = ('cat/1.jpg', 'cat/2.jpg', 'dog/1.jpg', 'traffic light/3.JPG')
    for image in images:
        (tmp_path / 'photos' / image).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / 'photos' / image).touch()
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(
        r'^```python\n(import csv, pathlib\n.*?)^```', PAGE.read_text('utf-8'), re.DOTALL | re.MULTILINE
    )
    exec(code, {})
    found = read_csv_labels('labels.csv', 'photos', negative=[''])
    assert (found.file.form, found.file.classes) == ('tags', ('cat', 'dog', 'traffic light'))
    assert {image: codes.tolist() for image, codes in found.labels.items()} == dict(
        zip(images, ([1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]), strict=True)
    )

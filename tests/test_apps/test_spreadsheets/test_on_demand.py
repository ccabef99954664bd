"""Changes of very many labels are those of dicts, and are made image by image."""

import numpy as np

from sarlp.apps.completion.complete import _write
from sarlp.apps.completion.record import Record, read_recovered
from sarlp.apps.completion.scoring import Scored
from sarlp.apps.spreadsheets.csv_labels import convert_csv_labels
from sarlp.apps.spreadsheets.label_source import label_arrays, write_labels_like_source
from sarlp.apps.spreadsheets.on_demand import Changed, OnDemand
from sarlp.evaluation.calibration import Calibration

CLASSES = tuple(f'c{number}' for number in range(7))
NAMES = tuple(f'{number}.jpg' for number in range(20))


def test_changed_labels_are_a_mapping():
    before, after = np.array([[1, 0, -1, -1], [1, -1, 0, -1]], np.int8)
    changed = Changed(before, after)
    assert dict(changed) == {1: -1, 2: 0} and len(changed) == 2 and changed.get(0) is None and 3 not in changed
    assert not Changed(before, before)


def test_what_is_asked_for_is_made_once_in_a_row():
    made = []
    values = OnDemand(['a', 'b'], lambda image: made.append(image) or image.upper())
    assert [values[image] for image in 'aabba'] == list('AABBA') and made == ['a', 'b', 'a']
    assert values.get('c', 0) == 0 and list(values) == ['a', 'b'] and len(values) == 2 and made == ['a', 'b', 'a']


def data_set(tmp_path):
    (tmp_path / 'photos').mkdir()
    for name in NAMES:
        (tmp_path / 'photos' / name).write_bytes(b'')
    rng = np.random.default_rng(0)
    cells = np.array(['', '', 'yes', 'no'])[rng.integers(4, size=(len(NAMES), len(CLASSES)))]
    rows = [','.join([name, *row]) for name, row in zip(NAMES, cells, strict=True)]
    (tmp_path / 'labels.csv').write_text('\n'.join([','.join(['file', *CLASSES]), *rows]) + '\n')
    convert_csv_labels(tmp_path / 'labels.csv', tmp_path / 'photos', tmp_path / 'data')
    files = {split: tmp_path / f'data/labels/{name}.json' for split, name in (('train', 'trainval'), ('test', 'test'))}
    _, labels = label_arrays(files.values())
    return files, labels


def test_notes_of_an_image_are_made_when_its_row_is_written(tmp_path):
    _, labels = data_set(tmp_path)
    held = []

    def notes_on(image):
        held.append(image)
        return dict.fromkeys(CLASSES, f'seen in {image}')

    changed = {name: np.where(codes == -1, 0, codes) for name, codes in labels.items()}
    blanks = {name: int((codes == -1).sum()) for name, codes in labels.items()}
    out = tmp_path / 'written.csv'
    counts = write_labels_like_source(changed, tmp_path / 'data', out, CLASSES, OnDemand(NAMES, notes_on))
    assert counts == {'positive': 0, 'negative': sum(blanks.values()), 'unknown': 0}
    assert held == [name for name in NAMES if blanks[name]]  # each once, in the order of the rows
    for line in out.read_text().splitlines()[1:]:
        name = line.partition(',')[0]
        assert line.count(f'seen in {name}') == blanks[name]


def test_a_table_of_labels_is_written_without_a_list_of_them(tmp_path, monkeypatch):
    files, labels = data_set(tmp_path)
    observed = np.stack([*labels.values()])
    p = np.random.default_rng(1).random(observed.shape)
    decisions = np.where(observed >= 0, observed, np.where(p > 0.7, 1, np.where(p < 0.3, 0, -1))).astype(np.int8)
    record = Record(
        config=tmp_path / 'config.py',
        cfg_options={},
        data_root=tmp_path / 'data',
        img_root=tmp_path / 'photos',
        annotations=files,
        checkpoints=[tmp_path / 'model.pth'],
        folds=None,
        fold_seed=0,
        calibration=Calibration(CLASSES, 1.0, np.zeros(len(CLASSES))),
        expected={},
        measured=None,
    )
    kinds = {}

    def write_table(path, header, rows):
        kinds[path.name] = type(rows).__name__
        return original(path, header, rows)

    from sarlp.apps.completion import complete, writing

    original = complete.write_table
    monkeypatch.setattr(complete, 'write_table', write_table)
    monkeypatch.setattr(writing, 'dataset_of', lambda *_: Labels(_[2], labels))
    _write(record, Scored([*labels], p, observed, observed), p, decisions, [], tmp_path / 'recovered.csv')
    assert kinds['recovered.csv'] == 'generator'
    found = {(row.image, row.cls): row.decision for row in read_recovered(tmp_path / 'recovered.csv')}
    words = {1: 'positive', 0: 'negative', -1: 'undecided'}
    assert found == {
        (image, CLASSES[column]): words[int(decisions[row, column])]
        for row, image in enumerate(labels)
        for column in np.flatnonzero(observed[row] == -1)
    }
    _, completed = label_arrays((tmp_path / 'recovered_labels').glob('t*.json'))
    for row, image in enumerate(labels):
        assert completed[image].tolist() == decisions[row].tolist()


class Labels:
    """In place of a data set, which wants a config."""

    def __init__(self, file, labels):
        from sarlp.datasets.annotation import load_annotation

        self._entries, self._labels = load_annotation(file)[1], labels

    def get_labels(self, index):
        image = self._entries[index]['img_path']
        return image, self._labels[image], self._labels[image], None

"""Labels that were answered elsewhere since the completion are asked no more."""

import csv
import json
import warnings

import pytest

from sarlp.apps.completion import record_path
from sarlp.apps.review import Review
from sarlp.apps.review.queue import Selection
from sarlp.apps.spreadsheets.label_source import label_arrays

from .conftest import CLASSES, read_sheet


def asked(review):
    return {review.queue.items[index].pair for index in review.queue.select(Selection(state='open'))}


def annotate(made, *pairs, code=1):
    """In the annotation files, as a conversion anew does."""
    for file in (made.root / 'labels').glob('t*.json'):
        content = json.loads(file.read_text('utf-8'))
        for entry in content['data_list']:
            for image, name in pairs:
                if entry['img_path'] == image:
                    place = CLASSES.index(name)
                    for key in ('positive', 'negative'):
                        entry[key] = [one for one in entry[key] if one != place]
                    entry['positive' if code else 'negative'].append(place)
        file.write_text(json.dumps(content), 'utf-8')


def opened(made, *notes):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')
        review = Review(made.table)
    found = [str(one.message) for one in said if one.category is UserWarning]
    assert len(found) == len(notes) and all(note in one for note, one in zip(notes, found, strict=True)), found
    return review


def test_in_the_annotation_files(made):
    first = opened(made)
    suggested, undecided, decided = (
        next(item.pair for item in first.queue.items if item.kind == kind and item.image != other)
        for kind, other in (('suggested', None), ('undecided', None), ('undecided', first.queue.items[0].image))
    )
    doubted = first.queue.items[len(first.queue) - 1]
    while decided in (undecided, suggested):
        decided = next(pair for pair in asked(first) if pair not in (undecided, suggested, doubted.pair))
    first.decide(first.queue.index_of(decided), 0)
    every, waiting, blanks = asked(first), int(first.queue.waiting().sum()), first.queue.blanks()[1]
    assert {suggested, undecided, doubted.pair} <= every and decided not in every
    first.close()

    annotate(made, suggested, undecided, decided)
    annotate(made, doubted.pair, code=1 - doubted.label)
    review = opened(made, '4 labels were answered in the annotation files since the completion')
    assert asked(review) == every - {suggested, undecided, doubted.pair}
    assert int(review.queue.waiting().sum()) == waiting - 2 and review.queue.blanks()[1] == blanks - 3
    assert review.queue.decision(review.queue.index_of(decided)) == 0  # and holds
    for (image, name), code in ((suggested, 1), (undecided, 1), (doubted.pair, 1 - doubted.label)):
        for index in review.queue.of_image(image):
            if review.queue.items[index].cls != name:
                assert (name, code, False) in review.known(index)
    exported = review.export()
    classes, labels = label_arrays([exported.files['train'], exported.files['test']])
    for (image, name), code in ((suggested, 1), (undecided, 1), (decided, 0), (doubted.pair, 1 - doubted.label)):
        assert labels[image][classes.index(name)] == code
    review.close()


def test_what_a_label_mask_hides_is_asked(made):
    record = json.loads(record_path(made.table).read_text('utf-8'))
    mask = {'_delete_': True, 'type': 'RandomKnownLabels', 'known_ratio': 1e-9}
    record['cfg_options'] = {'train_dataloader.dataset.label_mask': mask}
    record_path(made.table).write_text(json.dumps(record), 'utf-8')
    shown = json.loads((made.root / 'labels' / 'trainval.json').read_text('utf-8'))['data_list']
    images = {entry['img_path'] for entry in shown}
    first = opened(made)
    every = asked(first)
    first.close()
    inside, outside = (
        next(row[:2] for row in made.recovered if (row[0] in images) == within) for within in (True, False)
    )
    annotate(made, inside, outside)
    review = opened(made, '1 labels were answered in the annotation files')
    assert asked(review) == every - {outside}  # the test images have no mask
    review.close()


@pytest.mark.parametrize('readable', [True, False])
def test_in_the_spreadsheet(made, readable):
    first = opened(made)
    every = asked(first)
    first.close()
    image, name = next(row[:2] for row in made.recovered if row[3] != 'undecided')
    rows = [list(row) for row in made.sheet]
    for row in rows[1:]:
        if row[0] == image:
            row[rows[0].index(name)] = '1'
    if not readable:
        rows[0][0] = name
    path = made.place.root / 'labels.csv'
    with open(path, 'w', newline='', encoding='utf-8') as file:
        csv.writer(file).writerows(rows)
    number = int(readable)
    review = opened(made, f'{path} was saved since it was read: {number} labels that are answered there are not asked')
    assert asked(review) == every - ({(image, name)} if readable else set())
    if readable:
        exported = review.export()
        classes, labels = label_arrays([exported.files['train'], exported.files['test']])
        assert labels[image][classes.index(name)] == -1  # and no guess of the model
        assert any('was saved since it was read' in note for note in exported.notes)
        header, *cells = read_sheet(exported.files['source'])
        (row,) = (row for row in cells if row[0] == image)
        assert row[header.index(name)] == ''
    review.close()

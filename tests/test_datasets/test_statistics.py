import numpy as np
import pytest

from sarlp.datasets.annotation import REST, labels_of
from sarlp.datasets.statistics import co_occurrences, count_labels, summary

CLASSES = ('ant', 'bee', 'cow', 'dog', 'elk', 'fox', 'gnu')


@pytest.fixture(params=[0, 1])
def data_list(request):
    rng = np.random.default_rng(request.param)
    entries = []
    for number in range(31):
        labels = rng.choice([1, 0, -1], len(CLASSES), p=(0.3, 0.3, 0.4))
        labels[4] = -1 if labels[4] == 1 else labels[4]  # an elk is in no image
        entry = {'img_path': f'{number}.jpg', 'positive': np.flatnonzero(labels == 1).tolist()}
        entry['negative'] = REST if number % 5 == 0 else np.flatnonzero(labels == 0).tolist()
        entries.append(entry)
    return entries


def test_counts(data_list):
    counts = count_labels(CLASSES, data_list)
    expected = {1: [0] * 7, 0: [0] * 7, -1: [0] * 7}
    shares = []
    for entry in data_list:
        known = 0
        for index, label in enumerate(labels_of(entry, 7)[0].tolist()):
            expected[label][index] += 1
            known += label != -1
        shares.append(known / 7)
    assert counts.positive.tolist() == expected[1]
    assert counts.negative.tolist() == expected[0]
    assert counts.unknown.tolist() == expected[-1]
    np.testing.assert_allclose(counts.known_share, shares, rtol=0, atol=1e-12)
    assert counts.known == pytest.approx(sum(shares) / 31)
    assert counts.without('positive') == ['elk']
    assert counts.without('negative') == []


def test_co_occurrence(data_list):
    chosen = [5, 0, 4]
    both, known = co_occurrences(data_list, 7, chosen)
    for i, row in enumerate(chosen):
        for j, column in enumerate(chosen):
            of_row = [labels_of(entry, 7)[0] for entry in data_list if row in entry['positive']]
            assert both[i, j] == sum(labels[column] == 1 for labels in of_row)
            assert known[i, j] == sum(labels[column] != -1 for labels in of_row)


def test_of_many_classes_the_table_has_those_with_the_most_and_the_fewest_positives():
    number = 1000
    entries = [{'img_path': str(i), 'positive': [*range(i, number)], 'negative': []} for i in range(number)]
    lines = summary({'classes': [f'c{index}' for index in range(number)]}, entries).splitlines()
    shown = [line.split()[0] for line in lines[2:-1]]
    assert shown == [
        *(f'c{index}' for index in range(999, 949, -1)),
        '...',
        *(f'c{index}' for index in range(49, -1, -1)),
    ]
    assert lines[52] == '... 900 more classes, of 950 to 51 positive ...'
    assert lines[-1].split()[:4] == ['all', '1000', 'classes', '500,500']
    few = summary(
        {'classes': [f'c{index}' for index in range(100)]}, [{'img_path': '1', 'positive': [3], 'negative': []}]
    )
    assert [line.split()[0] for line in few.splitlines()[2:-1]] == [f'c{index}' for index in range(100)]

"""Paths that follow the file that has them."""

import pytest

from sarlp.io.moved import follow


@pytest.mark.parametrize(
    ('written', 'there', 'found'),
    [
        ('was/data/a', ['now/data/a'], 'now/data/a'),
        ('was/data/a', ['now/data/a', 'was/data/a'], 'now/data/a'),  # a copy, or something newer has its place
        ('was/data/a', ['was/data/a'], 'was/data/a'),  # only the file was moved
        ('was/data/a', [], 'was/data/a'),
        ('old/photos', ['new/photos'], 'old/photos'),  # not where it was beside
        ('photos', ['photos'], 'photos'),
    ],
)
def test_where_it_leads(tmp_path, written, there, found):
    for name in there:
        (tmp_path / name).mkdir(parents=True)
    assert follow(str(tmp_path / written), str(tmp_path / 'was'), tmp_path / 'now') == str(tmp_path / found)


def test_what_lay_beside(tmp_path):
    """A project, renamed with its photographs."""
    was, now = tmp_path / 'old', tmp_path / 'new'
    (now / 'photos').mkdir(parents=True)
    arguments = str(was / 'photos'), str(was / 'completed'), now / 'completed'
    assert follow(*arguments) == str(now / 'photos')
    (was / 'photos').mkdir(parents=True)
    assert follow(*arguments) == str(was / 'photos')


def test_what_is_no_absolute_path(tmp_path):
    (tmp_path / 'a').touch()
    assert follow('a', str(tmp_path / 'was'), tmp_path) == 'a'
    assert follow('few_lite0_custom', '', tmp_path) == 'few_lite0_custom'

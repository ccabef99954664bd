"""Images that a table names by paths of another machine, or by addresses."""

import pytest

from sarlp.datasets.annotation import AnnotationError

IMAGES = ('a/1.jpg', 'a/2.jpg', 'b/1.jpg', '3 é.jpg')


def table(names):
    cells = ('yes,no', 'no,', ',yes', 'no,no')
    return '\n'.join(['image,cat,dog', *(f'{name},{cell}' for name, cell in zip(names, cells, strict=False))]) + '\n'


LABELS = {'a/1.jpg': [1, 0], 'a/2.jpg': [0, -1], 'b/1.jpg': [-1, 1], '3 é.jpg': [0, 0]}


@pytest.mark.parametrize(
    ('above', 'names'),
    [
        ('C:/Users/Ann/photos/', [f'C:\\Users\\Ann\\photos\\{image}'.replace('/', '\\') for image in IMAGES]),
        ('D:/', [f'D:/{image}' for image in IMAGES]),
        ('/home/ann/photos/', [f'/home/ann/photos/{image}' for image in IMAGES]),
        ('/home/ann/photos/', [f'/home/ann/photos/{image.removesuffix(".jpg")}' for image in IMAGES]),
        ('//server/photos/', [f'\\\\server\\photos\\{image}' for image in IMAGES]),
        ('https://x.org/p/', [f'https://x.org/p/{image}?w=1/2#3'.replace('é', '%C3%A9') for image in IMAGES]),
        ('file:///mnt/p/', [f'file:///mnt/p/{image}'.replace(' ', '%20') for image in IMAGES]),
    ],
)
def test_all_below_one_place(exchange, above, names):
    found = exchange('a.csv', table(names), IMAGES)
    assert found.labels == LABELS
    assert f'note: paths of another place: {above} is taken for ' in found.read.describe()
    assert 'named with accents' not in found.read.describe()
    written = found.write({'a/2.jpg': [0, 1], 'b/1.jpg': [0, 1]}).decode()
    assert written == table(names).replace('no,\n', 'no,yes\n').replace(',,yes', ',no,yes')


def test_beside_plain_names(exchange):
    found = exchange('a.csv', table(['C:/p/a/1.jpg', 'a/2.jpg', 'C:/p/b/1.jpg', '3 é.jpg']), IMAGES)
    assert found.labels == LABELS


@pytest.mark.parametrize(
    'names',
    [
        ['C:/p/a/1.jpg', 'D:/p/a/2.jpg'],
        ['C:/p/cats/3 é.jpg', 'C:/p/a/1.jpg'],  # there is no cats here, so that this may be another image
        ['https://x.org/p/a/1.jpg', 'https://x.org/q/a/2.jpg'],
    ],
)
def test_places_of_two_kinds_are_refused(exchange, names):
    with pytest.raises(
        AnnotationError, match='line 3: .* is below .*, and an image before it below .* must begin with'
    ):
        exchange('a.csv', table(names), IMAGES)


def test_what_is_not_there_is_missing(exchange):
    names = ['C:/p/a/1.jpg', 'C:/p/a/7.jpg']
    with pytest.raises(AnnotationError, match=r"1 images are not in .*: 'C:/p/a/7.jpg' \(line 3\)"):
        exchange('a.csv', table(names), IMAGES)
    assert exchange('a.csv', table(names), IMAGES, allow_missing=True).labels == {'a/1.jpg': [1, 0]}
    with pytest.raises(AnnotationError, match='line 2: .* is refused: it is an absolute path outside'):
        exchange('a.csv', table(['/etc/passwd', 'a/1.jpg']), IMAGES)

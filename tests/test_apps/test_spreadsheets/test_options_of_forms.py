"""Each option acts on a form or is refused: nothing that a person says of a file is left out in silence."""

import json

import pytest

from sarlp.apps.spreadsheets.label_files import open_labels, settings_of
from sarlp.datasets.annotation import AnnotationError

_COCO = {
    'images': [{'id': 1, 'file_name': 'a.jpg', 'neg_category_ids': [3]}],
    'annotations': [{'id': 5, 'image_id': 1, 'category_id': 2, 'bbox': [0, 0, 1, 1]}],
    'categories': [{'id': 2, 'name': 'cat'}, {'id': 3, 'name': 'dog'}],
}
_STUDIO = [
    {
        'id': 7,
        'data': {'image': '/data/upload/a.jpg'},
        'annotations': [
            {'result': [{'type': 'choices', 'from_name': 'what', 'to_name': 'i', 'value': {'choices': ['cat']}}]}
        ],
    }
]
FILES = {
    'coco': ('a.json', json.dumps(_COCO)),
    'labelstudio': ('a.json', json.dumps(_STUDIO)),
    'cvat': ('a.xml', '<annotations><image id="0" name="a.jpg"><tag label="cat"></tag></image></annotations>'),
    'fiftyone': ('a.json', json.dumps({'classes': ['cat', 'dog'], 'labels': {'a': ['cat']}})),
    'wide': ('a.csv', 'image,cat,dog\na.jpg,yes,no\n'),
    'long': ('a.csv', 'image,class,value\na.jpg,cat,yes\nb.jpg,cat,no\n'),
    'lists': ('a.jsonl', '{"image": "a.jpg", "positive": ["cat"], "negative": ["dog"]}\n'),
    'imagefolder': ('a.csv', 'file_name,objects\na.jpg,"[""cat"", ""dog""]"\nb.jpg,"[""cat""]"\n'),
    'tags': ('a.csv', 'image,tags\na.jpg,"cat, dog"\nb.jpg,dog\n'),
    'roboflow': ('_classes.csv', 'filename, cat, dog\na.jpg, 1, 0\n'),
    'chexpert': ('a.csv', 'Path,Sex,cat,dog\na.jpg,M,1.0,-1.0\n'),
    'openimages': ('a.csv', 'ImageID,Source,LabelName,Confidence\na,verification,cat,1\nb,verification,cat,0\n'),
}
OPTIONS = {
    'group_column': 'x',
    'split_column': 'x',
    'class_names': {'x': 'y'},
    'value_column': 'x',
    'class_columns': ['x'],
    'ignore_columns': ['x'],
    'delimiter': ';',
    'encoding': 'cp1252',
    'image_column': 'x',
    'class_column': 'x',
    'positive': ['x'],
    'negative': ['x'],
    'unknown': ['x'],
    'separator': 'x',
}
_OF_CSV = {'delimiter', 'encoding', 'positive', 'negative', 'unknown'}  # which act without naming anything in the file


@pytest.fixture
def opened(tmp_path):
    def of(form, **options):
        name, content = FILES[form]
        (tmp_path / name).write_text(content, 'utf-8')
        return open_labels(tmp_path / name, form=form, **options)

    return of


@pytest.mark.parametrize('form', FILES)
def test_without_options(opened, form):
    assert opened(form).form == form
    assert opened(form, ignore_columns=(), positive=(), negative=(), unknown=()).classes[0] == 'cat'


@pytest.mark.parametrize('option', OPTIONS)
@pytest.mark.parametrize('form', FILES)
def test_an_option_acts_or_is_refused(opened, form, option):
    """What names something that the file has not can not have acted if it is not refused."""
    if (
        option in _OF_CSV
        and form in ('wide', 'long', 'roboflow', 'chexpert', 'openimages')
        or (form, option)
        in {
            ('imagefolder', 'delimiter'),
            ('imagefolder', 'encoding'),
            ('lists', 'encoding'),
            ('tags', 'delimiter'),
            ('tags', 'encoding'),
            ('tags', 'separator'),
            ('openimages', 'class_names'),
        }
    ):
        return
    with pytest.raises(AnnotationError) as error:
        opened(form, **{option: OPTIONS[option]})
    told = str(error.value)
    assert f'--{option.replace("_", "-")}' in told or "'x'" in told or 'such as x.' in told


@pytest.mark.parametrize(
    ('form', 'refused', 'options'),
    [
        ('coco', 'negative', dict(negative=[''])),
        ('cvat', 'ignore-columns', dict(ignore_columns=['cat'])),
        ('labelstudio', 'class-columns', dict(class_columns=['cat'])),
        ('fiftyone', 'delimiter', dict(delimiter=',')),
        ('wide', 'class-column', dict(class_columns=['cat'], class_column='dog')),
        ('lists', 'negative', dict(negative=['none'])),
    ],
)
def test_forms_that_are_found(tmp_path, form, refused, options):
    """The same where nobody names the form."""
    name, content = FILES[form]
    (tmp_path / name).write_text(content, 'utf-8')
    with pytest.raises(AnnotationError, match=f'--{refused} does not go with the form {form}'):
        open_labels(tmp_path / name, **options)


@pytest.mark.parametrize('column', ['class', 'Labels', 'tag'])
def test_a_column_that_names_what_is_there(tmp_path, column):
    """A spelling for each would make of all of them one class, called as the column."""
    lines = '\n'.join(f'{number}.jpg,{cell},no' for number, cell in enumerate(('person', 'car')))
    (tmp_path / 'a.csv').write_text(f'image,{column},indoors\n{lines}\n', 'utf-8')
    with pytest.raises(AnnotationError, match=f"'{column}' seems to name what is there") as error:
        list(open_labels(tmp_path / 'a.csv').statements())
    assert '--positive' not in str(error.value) and f'--form tags --class-column {column}' in str(error.value)
    with pytest.raises(AnnotationError, match='Name the column with --value-column; if a row says .* --form tags'):
        open_labels(tmp_path / 'a.csv', form='long', class_column=column)
    assert open_labels(tmp_path / 'a.csv', form='tags', class_column=column).classes == ('car', 'person')  # as they say


def test_a_column_of_any_name_that_names_what_is_there(tmp_path):
    def of(cells, header='image,animal', **options):
        (tmp_path / 'a.csv').write_text('\n'.join([header, *(f'{n}.jpg,{cell}' for n, cell in enumerate(cells))]))
        with pytest.raises(AnnotationError) as error:
            list(open_labels(tmp_path / 'a.csv', **options).statements())
        return str(error.value)

    assert "'animal' seems to name what is there" in of(['cat', 'dog', 'wren', 'cow', 'cat'])
    assert open_labels(tmp_path / 'a.csv', form='tags').classes == ('cat', 'cow', 'dog', 'wren')  # as it says
    # these may be labels in a language of its own, bookkeeping beside a class, or the values of a long table
    assert '--positive' in of(['ja', 'nein', 'unklar', 'ja'])
    assert '--positive' in of(['yes,Ann', 'no,Bea', 'no,Cem', 'no,Dan'], 'image,cat,by')
    assert '--positive' in of(['cat,hai', 'dog,iie'], 'image,class,label')


def test_settings_of_open_images_open_it(opened):
    settings = settings_of(opened('openimages'))
    assert settings['class_column'] == 'LabelName'
    assert opened(**settings).classes == ('cat',)


@pytest.mark.parametrize('text', ['utf-8', 'cp1252'])
@pytest.mark.parametrize('told', [False, True])
def test_a_zero_byte_in_a_text(tmp_path, text, told):
    encoding = text if told else None
    (tmp_path / 'a.csv').write_bytes('image,caféé\na.jpg,yes\nb.jpg,yes\0\nc.jpg,no\n'.encode(text))
    with pytest.raises(AnnotationError, match=r'a\.csv, line 3: expected text, found a byte of zero'):
        open_labels(tmp_path / 'a.csv', encoding=encoding)
    for codec in ('utf-16-le', 'utf-16-be'):  # which every other byte of is one, with no mark
        (tmp_path / 'b.csv').write_bytes('image,cat\na.jpg,yes\n'.encode(codec))
        assert open_labels(tmp_path / 'b.csv').classes == ('cat',)
    (tmp_path / 'c.csv').write_bytes(('image,猫\n' + '照片.jpg,是\n' * 9).encode('utf-16-le'))
    assert open_labels(tmp_path / 'c.csv', positive=['是']).classes == ('猫',)


def test_coco_without_negatives_says_what_to_do(tmp_path):
    without = {**_COCO, 'images': [{'id': 1, 'file_name': 'a.jpg'}]}
    (tmp_path / 'a.json').write_text(json.dumps(without))
    with pytest.raises(AnnotationError, match='Give each image a list "neg_category_ids".*with --negative "" that'):
        open_labels(tmp_path / 'a.json')


def test_coco_that_is_told_to_be_complete(tmp_path):
    """What is not annotated is no, where anything is said; what is written back says so by itself."""
    content = {
        **_COCO,
        'images': [
            {'id': 1, 'file_name': 'a.jpg'},
            {'id': 2, 'file_name': 'b.jpg', 'pos_category_ids': []},
            {'id': 3, 'file_name': 'c.jpg'},
        ],
    }
    (tmp_path / 'a.json').write_text(json.dumps(content))
    labels = open_labels(tmp_path / 'a.json', negative=[''])
    assert settings_of(labels) == {'form': 'coco', 'negative': ['']}
    assert [(name, dict(pairs)) for _, name, pairs in labels.statements()] == [
        ('a.jpg', {0: 1, 1: 0}),
        ('b.jpg', {0: 0, 1: 0}),
        ('c.jpg', {}),
    ]
    (note,) = labels.notes()
    assert note.startswith('images without any annotation, all labels unknown') and note.endswith('1: c.jpg')
    (tmp_path / 'b.json').write_bytes(labels.rewrite(str, {'b.jpg': {0: -1}, 'c.jpg': {1: 1}, 'd.jpg': {1: 0}}, {}))
    written = open_labels(tmp_path / 'b.json')
    assert [(name, dict(pairs)) for _, name, pairs in written.statements()] == [
        ('a.jpg', {0: 1, 1: 0}),
        ('b.jpg', {1: 0}),
        ('c.jpg', {1: 1}),
        ('d.jpg', {1: 0}),
    ]
    with pytest.raises(AnnotationError, match='no words for yes and no, such as nein'):
        open_labels(tmp_path / 'a.json', negative=['nein'])

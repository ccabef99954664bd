"""Exports of tools that name what is there, on files written as these document them."""

import csv
import io
import json
import xml.etree.ElementTree as ElementTree

import pytest

from sarlp.datasets.annotation import AnnotationError

TOLD = {'negative': ['']}
IMAGES = ('a/1.jpg', 'a/2.jpg', 'a/3.jpg', 'a/4.jpg', 'a/5.jpg')
THERE = [['cat'], ['dog', 'cat'], [], None, ['élan']]  # None: nobody looked
CLASSES = ('cat', 'dog', 'élan')
UNTOLD_CODES = [[1, -1, -1], [1, 1, -1], [-1] * 3, [-1] * 3, [-1, -1, 1]]
TOLD_CODES = [[1, 0, 0], [1, 1, 0], [0] * 3, [-1] * 3, [0, 0, 1]]


def label_studio(there=THERE, address='/data/local-files/?d=photos/{}', **annotation):
    def task(number, image, names):
        result = [] if not names else [choice(names)]
        said = [] if names is None else [{'id': 7, 'was_cancelled': False, 'result': result, **annotation}]
        return {'id': number, 'data': {'image': address.format(image)}, 'annotations': said, 'predictions': []}

    return json.dumps([task(n, image, names) for n, (image, names) in enumerate(zip(IMAGES, there, strict=True), 1)])


def choice(names, control='what'):
    value = {'choices': names}
    return {'id': 'Dx', 'from_name': control, 'to_name': 'image', 'type': 'choices', 'value': value, 'origin': 'manual'}


def cvat(there=THERE, labels=CLASSES):
    meta = ''.join(f'<label><name>{name}</name><type>tag</type></label>' for name in labels)
    images = ''.join(
        f'  <image id="{number}" name="{image}" width="64" height="48">\n'
        + ''.join(f'    <tag label="{name}" source="manual">\n    </tag>\n' for name in names or ())
        + '  </image>\n'
        for number, (image, names) in enumerate(zip(IMAGES, there, strict=True))
    )
    head = '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n  <!-- of a task -->\n'
    return f'{head}<meta><task><labels>{meta}</labels></task></meta>\n{images}</annotations>\n'


def fiftyone(there=THERE, by_number=True, indent=2):
    def target(name):
        return CLASSES.index(name) if by_number else name

    labels = {
        image.removesuffix('.jpg'): names and [target(name) for name in names]
        for image, names in zip(IMAGES, there, strict=True)
    }
    classes = {'classes': list(CLASSES)} if by_number else {}
    return json.dumps({**classes, 'labels': labels}, indent=indent)


def fiftyone_names(there=THERE):
    return fiftyone(there, by_number=False, indent=None)


def metadata_jsonl(there=THERE):
    return ''.join(
        json.dumps({'file_name': image, 'caption': 'x', 'labels': names}, ensure_ascii=False) + '\n'
        for image, names in zip(IMAGES, there, strict=True)
    )


def metadata_csv(there=THERE, write=json.dumps):
    stream = io.StringIO(newline='')
    writer = csv.writer(stream, lineterminator='\n')
    writer.writerow(['file_name', 'caption', 'labels'])
    for image, names in zip(IMAGES, there, strict=True):
        writer.writerow([image, 'x, y', '' if names is None else write(names)])
    return stream.getvalue()


def metadata_pandas(there=THERE):
    return metadata_csv(there, repr)


def tags(there=THERE, join=', '.join):
    stream = io.StringIO(newline='')
    writer = csv.writer(stream, delimiter=';', lineterminator='\n')
    writer.writerow(['photo', 'taken', 'Keywords'])
    for image, names in zip(IMAGES, there, strict=True):
        writer.writerow([image, '2024-05-01', '' if names is None else join(names) if names else 'none'])
    return stream.getvalue()


def hash_tags(there=THERE):
    return tags(there, lambda names: ' '.join(f'#{name}' for name in names))


def lines_of_tags(there=THERE):
    return tags(there, '\n'.join)


def tags_jsonl(there=THERE):
    return ''.join(
        json.dumps({'image': image, 'tags': names and '|'.join(names)}, ensure_ascii=False) + '\n'
        for image, names in zip(IMAGES, [names if names != [] else ['none'] for names in there], strict=True)
    )


def pairs(there=THERE):
    """A row a name."""
    said = [names if names else ['none'] if names == [] else [''] for names in there]
    rows = [f'{image},{name}' for image, names in zip(IMAGES, said, strict=True) for name in names]
    return '\n'.join(['image,class', *rows]) + '\n'


FORMS = {
    'tags.csv': ('tags', tags),
    'hash.csv': ('tags', hash_tags),
    'lines.csv': ('tags', lines_of_tags),
    'tags.jsonl': ('tags', tags_jsonl),
    'pairs.csv': ('tags', pairs),
    'export.json': ('labelstudio', label_studio),
    'annotations.xml': ('cvat', cvat),
    'labels.json': ('fiftyone', fiftyone),
    'names.json': ('fiftyone', fiftyone_names),
    'metadata.jsonl': ('imagefolder', metadata_jsonl),
    'metadata.csv': ('imagefolder', metadata_csv),
    'pandas.csv': ('imagefolder', metadata_pandas),
}
WRITTEN = [name for name in FORMS if name != 'export.json']  # which gives predictions


@pytest.mark.parametrize('name', FORMS)
class TestEveryForm:
    def test_what_is_not_named_is_unknown(self, exchange, name):
        form, content = FORMS[name]
        found = exchange(name, content(), IMAGES)
        assert (found.read.file.form, found.read.file.classes) == (form, CLASSES)
        assert found.labels == dict(zip(IMAGES, UNTOLD_CODES, strict=True))
        assert 'a class that is not named in an image is unknown there' in found.read.describe()

    def test_or_no_if_told(self, exchange, name):
        form, content = FORMS[name]
        found = exchange(name, content(), IMAGES, form=form, **TOLD)
        expected = [*TOLD_CODES]
        if form == 'cvat':  # which lists an image that nobody looked at like one where nothing is
            expected[2] = [-1] * 3
            assert 'images without any tag, all labels unknown: 2: a/3.jpg, a/4.jpg' in found.read.describe()
        assert found.labels == dict(zip(IMAGES, expected, strict=True))
        assert 'is unknown there' not in found.read.describe()

    def test_unchanged_labels_give_the_same_file(self, exchange, name):
        content = FORMS[name][1]()
        for told in ({}, TOLD):
            assert exchange(name, content, IMAGES, **told).write({}).decode() == content

    @pytest.mark.parametrize('word', ['positive', 'unknown', 'negative'])
    def test_it_has_no_words(self, exchange, name, word):
        with pytest.raises(AnnotationError, match='names what is there and has no words for yes and no, such as nope'):
            exchange(name, FORMS[name][1](), IMAGES, form=FORMS[name][0], **{word: ['nope']})


@pytest.mark.parametrize('name', WRITTEN)
class TestWritten:
    def test_complete_labels_come_back(self, exchange, name, capsys):
        found = exchange(name, FORMS[name][1](), IMAGES, **TOLD)
        complete = dict(zip(IMAGES, [[0, 1, 0], [1, 1, 0], [0, 0, 1], [1, 1, 1], [1, 0, 1]], strict=True))
        assert found.again(complete).labels == complete
        assert 'look in it like' not in capsys.readouterr().out

    def test_what_it_can_not_say_is_said(self, exchange, name, capsys):
        found = exchange(name, FORMS[name][1](), IMAGES)
        again = found.again({'a/1.jpg': [0, 1, 0], 'a/4.jpg': [1, 0, -1]})
        assert again.labels['a/1.jpg'] == [-1, 1, -1]
        assert again.labels['a/4.jpg'] == [1, -1, -1]
        assert '3 labels that are no look in it like those that are unknown' in capsys.readouterr().out
        told = exchange(name, FORMS[name][1](), IMAGES, **TOLD)
        assert told.again({'a/1.jpg': [1, -1, 0]}).labels['a/1.jpg'] == [1, 0, 0]
        assert ' labels that are unknown look in it like those that are no' in capsys.readouterr().out

    def test_images_that_the_file_has_not(self, exchange, name, capsys):
        form, content = FORMS[name]
        found = exchange(name, content(), (*IMAGES, '6.jpg'), include_unlabelled=True)
        again = found.again({'6.jpg': [1, -1, 1]})
        if form == 'cvat':
            assert again.labels['6.jpg'] == [-1] * 3
            assert 'has not, left out: 1: 6.jpg' in capsys.readouterr().out
        else:
            assert again.labels['6.jpg'] == [1, -1, 1]


class TestLabelStudio:
    def test_labels_go_back_as_predictions(self, exchange, capsys):
        found = exchange('export.json', label_studio(), (*IMAGES, '6.jpg'), include_unlabelled=True)
        labels = {'a/1.jpg': [1, 0, 1], 'a/2.jpg': [0, 0, -1], 'a/4.jpg': [0, 1, -1], '6.jpg': [1, -1, -1]}
        tasks = json.loads(found.write(labels))
        assert 'in Label Studio a person accepts them' in capsys.readouterr().out
        given = json.loads(label_studio())
        for task, before in zip(tasks, given, strict=False):
            assert task | {'predictions': []} == before
        chosen = {
            task['data']['image'][-5:]: [[r['value']['choices'] for r in p['result']] for p in task['predictions']]
            for task in tasks
        }
        expected = {'1.jpg': [[['cat', 'élan']]], '2.jpg': [[]], '3.jpg': [], '4.jpg': [[['dog']]], '5.jpg': []}
        assert chosen == {**expected, '6.jpg': [[['cat']]]}
        (prediction,) = tasks[0]['predictions']
        assert prediction['model_version'] == 'sarlp'
        one = {'from_name': 'what', 'to_name': 'image', 'type': 'choices', 'value': {'choices': ['cat', 'élan']}}
        assert prediction['result'] == [{'id': 'sarlp0', **one}]
        assert tasks[-1]['data'] == {'image': '6.jpg'}
        assert found.again(labels).labels == found.labels  # until a person has accepted them

    @pytest.mark.parametrize(
        'address',
        [
            '{}',
            '/data/local-files/?d=mine/{}',
            's3://bucket/photos/{}',
            'https://x.org/photos/{}?token=1#2',
            '/data/upload/3/{}',
        ],
    )
    def test_addresses(self, exchange, address):
        found = exchange('export.json', label_studio(address=address), IMAGES)
        assert found.labels == dict(zip(IMAGES, UNTOLD_CODES, strict=True))
        tasks = json.loads(found.write({'a/4.jpg': [1, 1, 0]}))
        assert [len(task['predictions']) for task in tasks] == [0, 0, 0, 1, 0]

    def test_names_of_uploads(self, exchange):
        content = label_studio(address='/data/upload/3/{}').replace('/3/a/', '/3/0f3c2a1b-')
        images = [image[2:] for image in IMAGES]
        assert exchange('export.json', content, images).labels == dict(zip(images, UNTOLD_CODES, strict=True))
        with_prefix = [f'0f3c2a1b-{image}' for image in images]
        assert [*exchange('export.json', content, [*images, *with_prefix]).labels] == with_prefix

    def test_two_addresses_of_one_file(self, exchange):
        content = label_studio(address='s3://b/{}').replace('a/2.jpg', 'b/1.jpg')
        with pytest.raises(AnnotationError, match='task 2: the address .* ends in 1.jpg, as .* does'):
            exchange('export.json', content, [image[2:] for image in IMAGES])

    @pytest.mark.parametrize('address', ['/data/local-files/?d=../{}', 'https://x.org/%2e%2e/{}', 'https://[x/{}'])
    def test_addresses_that_lead_elsewhere(self, exchange, address):
        with pytest.raises(AnnotationError, match='task 1'):
            exchange('export.json', label_studio(address=address), IMAGES[1:])

    def test_several_annotators(self, exchange):
        tasks = json.loads(label_studio())
        tasks[0]['annotations'] += [
            {'result': [choice(['dog'])], 'was_cancelled': False},
            {'result': [choice(['élan'])], 'was_cancelled': True},
        ]
        found = exchange('export.json', json.dumps(tasks), IMAGES)
        assert found.labels['a/1.jpg'] == [1, 1, -1]
        assert 'annotations that were skipped, left out: 1' in found.read.describe()
        with pytest.raises(AnnotationError, match='2 labels contradict .*positive in task 1, negative in task 1'):
            exchange('export.json', json.dumps(tasks), IMAGES, **TOLD)
        told = exchange('export.json', json.dumps(tasks), IMAGES, on_conflict='unknown', **TOLD)
        assert told.labels['a/1.jpg'] == [-1, -1, 0]

    def test_several_questions(self, exchange):
        tasks = json.loads(label_studio())
        box = {'from_name': 'box', 'to_name': 'image', 'type': 'rectanglelabels', 'value': {'rectanglelabels': ['x']}}
        tasks[1]['annotations'][0]['result'] += [choice(['night'], 'when'), box]
        found = exchange('export.json', json.dumps(tasks), IMAGES)
        assert found.read.file.classes == ('cat', 'dog', 'night', 'élan')
        assert "results of 'box', left out: 1" in found.read.describe()
        (made,) = json.loads(found.write({'a/1.jpg': [1, 1, 1, -1]}))[0]['predictions']
        assert [(r['from_name'], r['value']['choices']) for r in made['result']] == [
            ('what', ['cat', 'dog']),
            ('when', ['night']),
        ]
        one = exchange('export.json', json.dumps(tasks), IMAGES, form='labelstudio', class_column='what')
        assert one.read.file.classes == CLASSES
        tasks[1]['annotations'][0]['result'] += [choice(['cat'], 'when')]
        with pytest.raises(AnnotationError, match="'cat' is a choice of 'when' and of 'what'. Name one"):
            exchange('export.json', json.dumps(tasks), IMAGES)
        with pytest.raises(AnnotationError, match="nothing was chosen in 'who'"):
            exchange('export.json', json.dumps(tasks), IMAGES, class_column='who')

    def test_key_of_the_images(self, exchange):
        content = (
            label_studio(address='{}').replace('"image": "', '"photo": "').replace('"data": {', '"data": {"n": "x",')
        )
        assert exchange('export.json', content, IMAGES).labels.keys() == {*IMAGES}
        with pytest.raises(AnnotationError, match="which key of .*'n', 'photo'. Name it with --image-column"):
            exchange('export.json', content.replace('.jpg"', '.jpg?x"'), IMAGES)

    @pytest.mark.parametrize(
        ('content', 'message'),
        [
            ('[]', 'found a list of something else'),
            ('[1]', 'found a list of something else'),
            ('[' * 100_000, 'it is no JSON'),
            ('[{"data": {"image": "a/1.jpg"}, "annotations": [1]}]', 'element 1: expected "annotations"'),
            ('[{"data": {"image": "a/1.jpg"}, "annotations": {}}, 3]', 'element 2: expected a task'),
            ('[{"data": {"image": "a/1.jpg"}, "annotations": 3}]', 'element 1: expected "annotations"'),
            ('[{"data": {"image": "a/1.jpg"}, "annotations": [{"result": 3}]}]', 'expected "result"'),
            ('[{"id": 4, "data": {"image": 3}, "annotations": []}]', 'which key of "data"'),
            (label_studio().replace('{"choices": ["cat"]}', '{"choices": ["cat"], "x": 1}'), 'a part of it'),
            (label_studio().replace('{"choices": ["cat"]}', '{"choices": [["a", "cat"]]}'), 'expected a list of class'),
            (label_studio().replace('{"choices": ["cat"]}', '3'), 'expected a choice with'),
            (label_studio([[], [], [], None, []]), 'it names no class in any image'),
        ],
    )
    def test_refused(self, exchange, content, message):
        with pytest.raises(AnnotationError, match=message):
            exchange('export.json', content, IMAGES)


class TestCVAT:
    def test_only_the_tags_differ(self, exchange):
        found = exchange('annotations.xml', cvat(), IMAGES)
        written = found.write({'a/2.jpg': [1, 0, 1], 'a/3.jpg': [-1, 1, -1]})
        assert b'<!-- of a task -->' in written
        expected, new = ElementTree.fromstring(cvat()), ElementTree.fromstring(written)
        images = new.findall('image')
        assert [image.attrib for image in images] == [image.attrib for image in expected.findall('image')]
        tags = [{tag.get('label'): tag.get('source') for tag in image} for image in images]
        assert tags == [{'cat': 'manual'}, {'cat': 'manual', 'élan': 'auto'}, {'dog': 'auto'}, {}, {'élan': 'manual'}]

    def test_labels_that_are_no_tags(self, exchange):
        content = cvat().replace('<name>dog</name><type>tag', '<name>van</name><type>rectangle')
        with pytest.raises(AnnotationError, match='tags that the labels of the task have not: dog'):
            exchange('annotations.xml', content, IMAGES)
        content = cvat().replace('</image>', '<box label="van" xtl="1" ytl="1" xbr="2" ybr="2"></box></image>', 1)
        found = exchange('annotations.xml', content, IMAGES)
        assert found.read.file.classes == CLASSES
        assert 'shapes, which are no tags, left out: box 1' in found.read.describe()
        assert b'<box label="van"' in found.write({'a/1.jpg': [0, 0, 0]})

    def test_without_labels_in_front(self, exchange):
        assert exchange('annotations.xml', cvat(labels=()), IMAGES).read.file.classes == CLASSES

    @pytest.mark.parametrize(
        ('content', 'message'),
        [
            ('<?xml version="1.0"?><annotations></annotations>', 'expected <annotations> with <image> in it'),
            ('<annotations><track id="0"></track></annotations>', 'those of a video. Export the task'),
            ('<?xml version="1.0"?><html><image name="a/1.jpg"/></html>', 'found <html>'),
            (cvat().replace(' name="a/2.jpg"', ''), '<image> number 2 has no name'),
            (cvat().replace('label="dog"', ''), "'a/2.jpg' has a tag without a label"),
            (cvat([[]] * 5, ()), 'it names no class'),
            ('<annotations>' + '<a>' * 200_000, 'more than 100 levels'),
            ('<annotations><image name="a/1.jpg">', 'malformed XML'),
            ('<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "cat">]><annotations/>', 'entity declarations'),
            ('<?xml version="1.0" encoding="nothing"?><annotations/>', 'malformed XML'),
        ],
    )
    def test_refused(self, exchange, content, message):
        with pytest.raises(AnnotationError, match=message):
            exchange('annotations.xml', content, IMAGES)


class TestFiftyOne:
    def test_targets_of_every_kind(self, exchange):
        labels = {'1': 1, '2.jpg': {'label': 0, 'confidence': 0.5}, '3': [{'label': 'cat', 'attributes': {}}, 1]}
        content = {'classes': ['dog', 'cat', 'bee'], 'labels': {**labels, '4': None}}
        images = ('1.jpg', '2.jpg', '3.jpg', '4.jpg')
        found = exchange('labels.json', json.dumps(content), images)
        assert [*found.labels.values()] == [[-1, 1, -1], [1, -1, -1], [-1, 1, -1], [-1] * 3]
        written = json.loads(found.write({'3.jpg': [1, 1, -1], '1.jpg': [-1, 1, 1]}))
        lists = {'1': [1, 2], '2.jpg': [labels['2.jpg']], '3': [*labels['3'], 0], '4': None}
        assert written['labels'] == lists  # all of them, since a field has one type

    @pytest.mark.parametrize(
        ('content', 'message'),
        [
            ({'classes': ['cat'], 'labels': []}, 'expected labels.json of FiftyOne'),
            ({'classes': [1], 'labels': {}}, 'expected "classes" to be a list of names'),
            ({'classes': ['cat', 'cat '], 'labels': {}}, 'has a name more than once'),
            ({'classes': ['cat'], 'labels': {'1': 1}}, "the entry '1': expected a class by name"),
            ({'classes': ['cat'], 'labels': {'1': -1}}, 'expected a class by name'),
            ({'classes': ['cat'], 'labels': {'1': True}}, 'expected a class by name'),
            ({'classes': ['cat'], 'labels': {'1': ['dog']}}, "by its number in .*found 'dog'"),
            ({'labels': {'1': [0]}}, 'expected a class by name'),
            ({'labels': {'1': [[['cat']]]}}, 'expected a class by name'),
            ({'labels': {'1': [{'label': 'cat', 'bounding_box': [0, 0, 1, 1]}]}}, 'it has boxes'),
            ({'labels': {'1': None}}, 'it names no class'),
        ],
    )
    def test_refused(self, exchange, content, message):
        with pytest.raises(AnnotationError, match=message):
            exchange('labels.json', json.dumps(content), ['1.jpg'], form='fiftyone')

    def test_broken_off(self, exchange):
        with pytest.raises(AnnotationError, match='it is no JSON'):
            exchange('labels.json', '{"classes": ["cat"],\n "labels": {', ['1.jpg'])


class TestImageFolder:
    def test_cells_keep_their_way(self, exchange):
        for name, cell in (('metadata.csv', '"[""dog""]"'), ('pandas.csv', "['dog']")):
            written = exchange(name, FORMS[name][1](), IMAGES).write({'a/4.jpg': [-1, 1, -1]}).decode()
            assert written == FORMS[name][1]().replace('a/4.jpg,"x, y",', f'a/4.jpg,"x, y",{cell}')

    def test_beside_columns_of_labels_it_is_to_be_told(self, exchange):
        content = metadata_jsonl().replace('"caption": "x"', '"cow": true')
        with pytest.raises(AnnotationError, match="column 'labels', line 1"):
            exchange('metadata.jsonl', content, IMAGES)
        found = exchange('metadata.jsonl', content, IMAGES, ignore_columns=['labels'])
        assert (found.read.file.form, found.read.file.classes) == ('wide', ('cow',))
        assert exchange('metadata.jsonl', content, IMAGES, form='imagefolder').read.file.classes == CLASSES

    def test_several_lists(self, exchange):
        content = metadata_jsonl().replace('"caption": "x"', '"tags": ["new"]')
        with pytest.raises(AnnotationError, match='2 columns have lists of names .* --class-column'):
            exchange('metadata.jsonl', content, IMAGES, form='imagefolder')
        found = exchange('metadata.jsonl', content, IMAGES, form='imagefolder', class_column='labels')
        assert found.read.file.classes == CLASSES
        assert json.loads(found.write({'a/4.jpg': [1, 0, 0]}).splitlines()[3])['labels'] == ['cat']

    @pytest.mark.parametrize(
        'cell',
        ["['a' 'b']", '[1, 2]', 'cat', "['a'", '[["a"]]', "['a', b]", '["a", ""]', '[' * 5000, "['a'" + ' ' * 100_000],
    )
    def test_refused(self, exchange, cell):
        content = f'file_name,note,labels\na/1.jpg,,"{cell.replace(chr(34), chr(34) * 2)}"\n'
        with pytest.raises(AnnotationError, match="column 'labels', line 2: expected a list of class names"):
            exchange('metadata.csv', content, IMAGES, form='imagefolder', class_column='labels')

    def test_groups(self, exchange):
        found = exchange('metadata.csv', metadata_csv(), IMAGES, group_column='caption')
        assert {*found.read.groups.values()} == {IMAGES[0]}

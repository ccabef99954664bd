"""What is exchanged with ``datasets``, Label Studio, FiftyOne and CVAT, on files as these packages wrote them.

The slow tests let the packages themselves (``pip install 'sarlp[formats]'``) write and read; of CVAT's own package,
Datumaro, which wants other versions of libraries than these, there is what it wrote.
"""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image

from sarlp.apps.spreadsheets.label_files import open_labels
from sarlp.datasets.annotation import AnnotationError

IMAGES = ('1.jpg', '2.jpg', '3.jpg', '4.jpg', '5.jpg')
NEW = '6.jpg'  # not in the file
THERE = [['cat'], ['dog', 'cat'], [], None, ['élan']]
CLASSES = ('cat', 'dog', 'élan')
CODES = dict(zip(IMAGES, [[1, -1, -1], [1, 1, -1], [-1] * 3, [-1] * 3, [-1, -1, 1]], strict=True))
CHANGES = {'1.jpg': [1, 1, 0], '4.jpg': [0, 0, 1], '5.jpg': [0, 0, 0], NEW: [1, -1, 1]}
CHANGED = {'1.jpg': ['cat', 'dog'], '2.jpg': ['dog', 'cat'], '3.jpg': [], '4.jpg': ['élan'], '5.jpg': []}
CHANGED[NEW] = ['cat', 'élan']

# Dataset.to_csv and to_json of datasets 5.2: lists of names, numbers of classes
NAMES_CSV = "file_name,caption,labels\n1.jpg,x,['cat']\n2.jpg,x,['dog' 'cat']\n3.jpg,x,[]\n4.jpg,x,\n5.jpg,x,['élan']\n"
NAMES_JSON = (
    '{"file_name":"1.jpg","caption":"x","labels":["cat"]}\n'
    '{"file_name":"2.jpg","caption":"x","labels":["dog","cat"]}\n'
    '{"file_name":"3.jpg","caption":"x","labels":[]}\n'
    '{"file_name":"4.jpg","caption":"x","labels":null}\n'
    '{"file_name":"5.jpg","caption":"x","labels":["\\u00e9lan"]}\n'
)
NUMBERS_CSV = 'file_name,caption,labels\n1.jpg,x,[0]\n2.jpg,x,[1 0]\n3.jpg,x,[]\n4.jpg,x,\n5.jpg,x,[2]\n'
NUMBERS_JSON = '{"file_name":"1.jpg","labels":[0]}\n{"file_name":"2.jpg","labels":[1,0]}\n'
# the converter of label-studio-sdk 2.1
MINIMAL_CSV = (
    '"annotation_id","annotator","beasts","created_at","id","image","lead_time","updated_at"\n'
    '2,"2","{""choices"":[""cat"",""dog""]}","2024-01-02T00:00:00Z",1,"1.jpg",1.5,"2024-01-02T00:00:00Z"\n'
    '1,"1","cat","2024-01-01T00:00:00Z",1,"1.jpg",1.5,"2024-01-01T00:00:00Z"\n'
    '"","","","",4,"4.jpg","",""\n'
)
MINIMAL_JSON = (
    '[\n{\n  "image": "1.jpg",\n  "id": 1,\n  "beasts": {\n    "choices": [\n      "cat",\n      "dog"\n    ]\n  },\n'
    '  "annotator": 2,\n  "annotation_id": 2,\n  "created_at": "2024-01-02T00:00:00Z",\n'
    '  "updated_at": "2024-01-02T00:00:00Z",\n  "lead_time": 1.5\n}\n]'
)
# exporters of fiftyone 1.22
NUMBERED = '{"classes": ["cat","dog","élan"],"labels": {"1": [0],"2": [1,0],"3": null,"4": null,"5": [2]}}'
NAMED = '{"classes": null,"labels": {"1": ["cat"],"2": ["dog","cat"],"3": null,"4": null,"5": ["élan"]}}'
CONFIDENT = (
    '{"classes": ["cat","dog","élan"],"labels": {"1": [{"label": 0,"confidence": 0.5,"attributes": {}}],'
    '"2": [{"label": 1,"confidence": 0.5,"attributes": {}},{"label": 0,"confidence": 0.5,"attributes": {}}],'
    '"3": null,"4": null,"5": [{"label": 2,"confidence": 0.5,"attributes": {}}]}}'
)
SINGLE = '{"classes": ["cat","dog","élan"],"labels": {"1": 0,"2": 1,"3": null,"4": null,"5": 2}}'
MANIFEST = (
    '{\n    "type": "eta.core.datasets.labeled_datasets.LabeledImageDataset",\n    "description": "",\n'
    '    "index": [\n        {\n            "data": "data/1.jpg",\n            "labels": "labels/1.json"\n        }\n'
    '    ]\n}'
)

# the exporter "cvat" of datumaro 1.13
LABEL = '<label><name>{}</name><attributes>\n          </attributes></label>'
CVAT = (
    '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n  <meta>\n    <task>\n'
    '      <id></id>\n      <name>train</name>\n      <size>2</size>\n      <mode>annotation</mode>\n      <labels>'
    f'{"".join(map(LABEL.format, CLASSES))}</labels>\n    </task>\n  </meta>\n'
    '  <image id="0" name="1.jpg" width="30" height="20">\n    <tag label="cat">\n    </tag>\n  </image>\n'
    '  <image id="1" name="2.jpg" width="30" height="20">\n    <tag label="dog">\n    </tag>\n'
    '    <tag label="cat">\n    </tag>\n  </image>\n'
    '  <image id="2" name="3.jpg" width="30" height="20">\n  </image>\n'
    '  <image id="3" name="4.jpg" width="30" height="20">\n  </image>\n'
    '  <image id="4" name="5.jpg" width="30" height="20">\n    <tag label="élan">\n    </tag>\n  </image>\n'
    '</annotations>\n'
)


class TestDatumaro:
    def test_tags(self, exchange):
        """What was written so was read by the importer of datumaro 1.13, tried by hand on 2026-11-26."""
        found = exchange('train.xml', CVAT, (*IMAGES, NEW), include_unlabelled=True)
        assert {image: found.labels[image] for image in IMAGES} == CODES
        root = ElementTree.fromstring(found.write(CHANGES))
        tags = {image.get('name'): [tag.get('label') for tag in image.iterfind('tag')] for image in root.iter('image')}
        there = {image: set(names) for image, names in CHANGED.items() if image != NEW}  # which CVAT would refuse
        assert {image: set(names) for image, names in tags.items()} == there


class TestDatasets:
    def test_lists_of_names(self, exchange):
        found = exchange('metadata.jsonl', NAMES_JSON, (*IMAGES, NEW), include_unlabelled=True)
        assert {image: found.labels[image] for image in IMAGES} == CODES
        rows = [json.loads(line) for line in found.write(CHANGES).splitlines()]
        assert {row['file_name']: row['labels'] for row in rows} == CHANGED

    @pytest.mark.parametrize(
        ('name', 'content', 'message'),
        [
            ('metadata.csv', NAMES_CSV, 'NumPy writes lists without commas, .* write metadata.jsonl'),
            ('metadata.csv', NUMBERS_CSV, 'These are numbers of classes without their names: write metadata.jsonl'),
            ('metadata.jsonl', NUMBERS_JSON, 'These are numbers of classes without their names: write metadata.jsonl'),
        ],
    )
    @pytest.mark.parametrize('column', [None, 'labels'])
    def test_other_lists_are_refused_with_what_to_do(self, exchange, name, content, message, column):
        if column is None:
            with pytest.raises(AnnotationError, match='is read with --form imagefolder'):
                exchange(name, content, IMAGES)
        with pytest.raises(AnnotationError, match=message):
            exchange(name, content, IMAGES, form='imagefolder', class_column=column)

    @pytest.mark.parametrize(
        ('name', 'content'),
        [
            ('metadata.csv', 'file_name,label\n1.jpg,0\n2.jpg,1\n3.jpg,\n'),
            ('metadata.csv', 'file_name,label\n1.jpg,0.0\n2.jpg,1.0\n3.jpg,\n'),
            ('metadata.jsonl', '{"file_name":"1.jpg","label":0}\n{"file_name":"2.jpg","label":1}\n'),
        ],
    )
    def test_numbers_of_two_classes_look_like_labels(self, exchange, name, content):
        with pytest.raises(AnnotationError, match='numbers of two classes .* name it: --class-columns label'):
            exchange(name, content, IMAGES)
        assert exchange(name, content, IMAGES, class_columns=['label']).labels['1.jpg'] == [0]
        told = exchange(name, content.replace('label', 'cat'), IMAGES)
        assert (told.read.file.classes, told.labels['2.jpg']) == (('cat',), [1])

    @pytest.mark.parametrize('start', [b'PAR1\x15\x04', b'\xff\xff\xff\xff\x28\x02', b'ARROW1\0\0'])
    def test_binary_tables(self, exchange, start):
        with pytest.raises(AnnotationError, match='a table of Arrow or Parquet, which is not read: write'):
            exchange('metadata.parquet', start + bytes(40), IMAGES)

    def test_what_save_to_disk_made(self, tmp_path):
        (tmp_path / 'dataset_info.json').touch()
        with pytest.raises(AnnotationError, match='a table of Arrow or Parquet, which is not read: write'):
            open_labels(tmp_path)

    @pytest.mark.slow
    @pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')  # it does not close metadata.csv
    @pytest.mark.parametrize('name', ['metadata.jsonl', 'metadata.csv', 'pandas.csv'])
    def test_imagefolder_loads_before_and_after(self, exchange, tmp_path, monkeypatch, name):
        monkeypatch.setenv('HF_HUB_OFFLINE', '1')
        datasets = pytest.importorskip('datasets')
        dump = repr if name == 'pandas.csv' else json.dumps
        cells = ['' if names is None else dump(names).replace('"', '""') for names in THERE]
        rows = [f'{image},x,"{cell}"\n' for image, cell in zip(IMAGES, cells, strict=True)]
        content = NAMES_JSON if name == 'metadata.jsonl' else 'file_name,caption,labels\n' + ''.join(rows)
        found = exchange(name, content, (*IMAGES, NEW), include_unlabelled=True)
        folder = found.root / 'photos'
        for image in (*IMAGES, NEW):
            Image.new('RGB', (5, 7)).save(folder / image)
        loads = json.loads if dump is json.dumps else lambda cell: json.loads(cell.replace("'", '"'))

        def load(content):
            (folder / name.replace('pandas', 'metadata')).write_bytes(content)
            table = datasets.load_dataset('imagefolder', data_dir=str(folder), split='train', cache_dir=tmp_path / 'hf')
            cells = dict(zip(map(_name, _undecoded(datasets, table)), table['labels'], strict=True))
            return {key: loads(cell) if isinstance(cell, str) else cell for key, cell in cells.items()}

        assert load(content.encode()) == dict(zip(IMAGES, THERE, strict=True))
        assert load(found.write(CHANGES)) == CHANGED

    @pytest.mark.slow
    def test_numbers_are_made_names_as_the_manual_says(self, exchange, tmp_path, monkeypatch):
        monkeypatch.setenv('HF_HUB_OFFLINE', '1')
        datasets = pytest.importorskip('datasets')
        of_many = datasets.Sequence(datasets.ClassLabel(names=list(CLASSES)))
        features = datasets.Features({'file_name': datasets.Value('string'), 'labels': of_many})
        numbers = [None if names is None else [*map(CLASSES.index, names)] for names in THERE]
        data = datasets.Dataset.from_dict({'file_name': list(IMAGES), 'labels': numbers}, features=features)
        data.save_to_disk(str(tmp_path / 'saved'))
        data.to_parquet(str(tmp_path / 'saved.parquet'))
        for path in (tmp_path / 'saved', tmp_path / 'saved.parquet', *(tmp_path / 'saved').glob('*.arrow')):
            with pytest.raises(AnnotationError, match='a table of Arrow or Parquet'):
                open_labels(path)
        manual = (Path(__file__).parents[3] / 'docs/your_data.md').read_text(encoding='utf-8')
        code = manual[manual.index('names = data.features') :].partition('```')[0]
        monkeypatch.chdir(tmp_path)
        exec(code, {'data': data, 'json': json})
        assert exchange('metadata.jsonl', (tmp_path / 'metadata.jsonl').read_bytes(), IMAGES).labels == CODES


def _undecoded(datasets, table):
    return [entry['path'] for entry in table.cast_column('image', datasets.Image(decode=False))['image']]


def _name(path):
    return Path(path).name


class TestLabelStudio:
    @pytest.mark.parametrize(
        ('name', 'content'),
        [('a.csv', MINIMAL_CSV), ('a.csv', MINIMAL_CSV.replace(',', '\t')), ('a.json', MINIMAL_JSON)],
    )
    def test_exports_without_tasks(self, exchange, name, content):
        with pytest.raises(AnnotationError, match='JSON-MIN, CSV or TSV of Label Studio.* Export the project as JSON'):
            exchange(name, content, IMAGES)

    @pytest.mark.slow
    def test_predictions_are_valid_and_count_once_accepted(self, exchange, tmp_path):
        converting = pytest.importorskip('label_studio_sdk.converter')
        from label_studio_sdk.label_interface import LabelInterface

        choices = ''.join(f'<Choice value="{name}"/>' for name in CLASSES)
        config = (
            '<View><Image name="photo" value="$image"/>'
            f'<Choices name="beasts seen" toName="photo" choice="multiple">{choices}</Choices>'
            '<Choices name="time" toName="photo"><Choice value="day"/><Choice value="night"/></Choices></View>'
        )
        converter = converting.Converter(config, str(tmp_path), download_resources=False)

        def exported(tasks, form):
            (tmp_path / 'tasks.json').write_text(json.dumps(tasks))
            converter.convert(str(tmp_path / 'tasks.json'), str(tmp_path / form), form, is_dir=False)
            return next(path for path in [tmp_path / form, *(tmp_path / form).glob('*')] if path.is_file())

        def result(names, control='beasts seen'):
            value = {'choices': names}
            return {'from_name': control, 'to_name': 'photo', 'type': 'choices', 'value': value}

        tasks = []
        for number, (image, names) in enumerate(zip(IMAGES, THERE, strict=True)):
            said = [] if names is None else [{'id': number, 'result': [result([name]) for name in names]}]
            tasks.append({'id': number, 'data': {'image': f'/data/upload/1/0f3c2a1b-{image}'}, 'annotations': said})
        tasks[1]['annotations'].append({'id': 7, 'result': [result(['day'], 'time')]})  # another person
        tasks[2]['annotations'].append({'id': 8, 'result': [result(['cat'])], 'was_cancelled': True})
        for form in ('CSV', 'TSV', 'JSON_MIN'):
            with pytest.raises(AnnotationError, match='Export the project as JSON'):
                open_labels(exported(tasks, form))
        content = exported(tasks, 'JSON').read_bytes()
        options = {'class_column': 'beasts seen', 'include_unlabelled': True}
        found = exchange('export.json', content, (*IMAGES, NEW), **options)
        assert found.labels == {**CODES, NEW: [-1] * 3}
        back = json.loads(found.write(CHANGES))
        interface = LabelInterface(config)
        made = [entry for task in back for entry in task.get('predictions', ())]
        assert len(made) == len(CHANGES)
        assert [interface.validate_prediction(entry, return_errors=True) for entry in made] == [[]] * len(made)
        for number, task in enumerate(back):  # a person accepts them
            task['id'] = number
            if task.get('predictions'):
                task['annotations'] = [{'id': number, 'result': task['predictions'][-1]['result']}]
        accepted = [entry for entry in converter.iter_from_json_file(str(_dump(tmp_path / 'back.json', back)))]
        named = {}
        for entry in accepted:
            names = [name for one in entry['output'].get('beasts seen', ()) for name in one['choices']]
            named.setdefault(entry['input']['image'][-5:], []).extend(names)
        assert {image: sorted(names) for image, names in named.items()} == {
            image: sorted(names) for image, names in CHANGED.items()
        }


def _dump(path, content):
    path.write_text(json.dumps(content))
    return path


class TestFiftyOne:
    @pytest.mark.parametrize('content', [NUMBERED, NAMED, CONFIDENT])
    def test_lists(self, exchange, content):
        found = exchange('labels.json', content, (*IMAGES, NEW), include_unlabelled=True)
        assert found.read.file.classes == CLASSES
        assert found.labels == {**CODES, NEW: [-1] * 3}
        labels = json.loads(found.write(CHANGES))['labels']
        assert labels.keys() == {'1', '2', '3', '4', '5', '6'}  # FiftyOne finds a new image without its suffix only
        assert labels['2'] == json.loads(content)['labels']['2']
        again = found.again(CHANGES).labels
        assert {image: [CLASSES[i] for i in range(3) if codes[i] == 1] for image, codes in again.items()} == {
            image: sorted(names) for image, names in CHANGED.items()
        }

    def test_single_targets_become_lists_with_the_first(self, exchange):
        found = exchange('labels.json', SINGLE, IMAGES)
        assert found.write({}).decode() == SINGLE
        labels = json.loads(found.write({'1.jpg': [1, 1, -1]}))['labels']
        assert labels == {'1': [0, 1], '2': [1], '3': None, '4': None, '5': [2]}

    def test_absolute_paths(self, exchange, tmp_path):
        folder = tmp_path / '0' / 'photos'  # of the exchange
        content = json.loads(NAMED)
        content['labels'] = {f'{folder}/{image}.jpg': names for image, names in content['labels'].items()}
        found = exchange('labels.json', json.dumps(content), (*IMAGES, NEW), include_unlabelled=True)
        labels = json.loads(found.write({NEW: [1, -1, -1]}))['labels']
        assert labels == {**content['labels'], f'{folder}/{NEW}': ['cat']}

    def test_new_images_of_one_stem_keep_their_suffix(self, exchange):
        images = (*IMAGES, '6.jpg', '6.png', '7.png')
        found = exchange('labels.json', NUMBERED, images, include_unlabelled=True)
        labels = json.loads(found.write({image: [1, -1, -1] for image in images[5:]}))['labels']
        assert [*labels][5:] == ['6.jpg', '6.png', '7']

    def test_a_file_an_image(self, exchange):
        with pytest.raises(
            AnnotationError, match='FiftyOneImageLabelsDataset.* Export the field as FiftyOneImageClass'
        ):
            exchange('manifest.json', MANIFEST, IMAGES)

    @pytest.mark.slow
    @pytest.mark.filterwarnings('default')  # those of its own code
    @pytest.mark.parametrize(
        'options',
        [
            {'classes': list(CLASSES)},
            {},
            {'classes': list(CLASSES), 'include_confidence': True, 'include_attributes': True, 'pretty_print': True},
        ],
    )
    def test_its_own_exporter_and_importer(self, exchange, tmp_path, options):
        exporters = pytest.importorskip('fiftyone.utils.data.exporters')
        importers = pytest.importorskip('fiftyone.utils.data.importers')
        from fiftyone.core.labels import Classification, Classifications

        file = tmp_path / 'labels.json'
        export = exporters.FiftyOneImageClassificationDatasetExporter
        with export(str(tmp_path), labels_path=str(file), export_media=False, **options) as exporter:
            for image, names in zip(IMAGES, THERE, strict=True):
                said = [Classification(label=name, confidence=0.5) for name in names or ()]
                exporter.export_sample(
                    str(tmp_path / image), None if names is None else Classifications(classifications=said)
                )
        found = exchange('labels.json', file.read_bytes(), (*IMAGES, NEW), include_unlabelled=True)
        assert found.labels == {**CODES, NEW: [-1] * 3}
        file.write_bytes(found.write(CHANGES))
        importer = importers.FiftyOneImageClassificationDatasetImporter(
            data_path=str(found.root / 'photos'), labels_path=str(file)
        )
        with importer:
            read = {_name(path): label and [one.label for one in label.classifications] for path, _, label in importer}
        assert read == {**CHANGED, '3.jpg': None}  # it writes null for an empty list

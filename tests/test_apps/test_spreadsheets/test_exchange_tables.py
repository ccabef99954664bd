"""Tables that tools and data sets have, on files written as these document them."""

import csv
import io

import pytest

from sarlp.datasets.annotation import AnnotationError


def rows(content):
    return list(csv.reader(io.StringIO(content.decode(), newline='')))


class TestRoboflow:
    IMAGES = ('a_jpg.rf.0f1e.jpg', 'b_jpg.rf.12ab.jpg', 'c_png.rf.77.jpg')
    CONTENT = (
        'filename, image, cat, fire dog\n'
        'a_jpg.rf.0f1e.jpg, 1, 0, 0\n'
        'b_jpg.rf.12ab.jpg, 0, 0, 1\n'
        'c_png.rf.77.jpg, 1, 1, 1\n'
    )

    def test_zero_is_no(self, exchange):
        found = exchange('_classes.csv', self.CONTENT, self.IMAGES)
        assert found.read.file.form == 'roboflow'
        assert found.read.file.classes == ('image', 'cat', 'fire dog')
        assert [*found.labels.values()] == [[1, 0, 0], [0, 0, 1], [1, 1, 1]]
        assert 'read the file again with --unknown 0' in found.read.describe()
        assert found.write(found.labels).decode() == self.CONTENT

    def test_zero_may_be_unknown(self, exchange):
        found = exchange('_classes.csv', self.CONTENT, self.IMAGES, unknown=['0'])
        assert [*found.labels.values()] == [[1, -1, -1], [-1, -1, 1], [1, 1, 1]]
        assert '--unknown 0' not in found.read.describe()
        completed = {**found.labels, self.IMAGES[0]: [1, 0, -1], self.IMAGES[1]: [1, -1, 1]}
        again = found.again(completed)
        assert again.labels == completed
        assert rows(again.file.read_bytes())[1] == [self.IMAGES[0], ' 1', '0.0', ' 0']

    def test_under_another_name_it_is_a_wide_table(self, exchange):
        found = exchange('labels.csv', self.CONTENT.replace('image,', 'bee,'), self.IMAGES)
        assert found.read.file.form == 'wide'
        assert [*found.labels.values()] == [[1, 0, 0], [0, 0, 1], [1, 1, 1]]


class TestOpenImages:
    IMAGES = ('000026e7ee790996.jpg', '000062a39995e348.jpg', '0000c64e1253d68f.jpg')
    CONTENT = (
        'ImageID,Source,LabelName,Confidence\n'
        '000026e7ee790996,verification,/m/07j7r,1\n'
        '000026e7ee790996,machine,/m/0138tl,0.7\n'
        '000062a39995e348,crowdsource-verification,/m/0138tl,0\n'
        '000062a39995e348,machine,/m/07j7r,1.0\n'
        '0000c64e1253d68f,verification,/m/07j7r,0.5\n'
    )

    def test_what_people_verified_is_known(self, exchange):
        found = exchange('train-annotations.csv', self.CONTENT, self.IMAGES)
        assert (found.read.file.form, found.read.file.classes) == ('openimages', ('/m/0138tl', '/m/07j7r'))
        assert [*found.labels.values()] == [[-1, 1], [0, -1], [-1, -1]]
        assert 'labels of a machine that nobody verified, unknown: 2\n' in found.read.describe() + '\n'
        assert found.write(found.labels).decode() == self.CONTENT

    def test_back(self, exchange):
        found = exchange('x.csv', self.CONTENT, self.IMAGES)
        completed = dict(zip(self.IMAGES, [[1, -1], [0, 0], [0, -1]], strict=True))
        again = found.again(completed)
        assert again.labels == completed
        assert rows(again.file.read_bytes())[1:] == [  # what became unknown has no row
            ['000026e7ee790996', 'sarlp', '/m/0138tl', '1'],
            ['000062a39995e348', 'crowdsource-verification', '/m/0138tl', '0'],
            ['000062a39995e348', 'sarlp', '/m/07j7r', '0'],
            ['0000c64e1253d68f', 'verification', '/m/07j7r', '0.5'],
            ['0000c64e1253d68f', 'sarlp', '/m/0138tl', '0'],
        ]

    @pytest.mark.parametrize('header', ['', 'LabelName,DisplayName\n'])
    def test_names(self, exchange, tmp_path, header):
        (tmp_path / 'names.csv').write_text(header + '/m/07j7r,Tree\n/m/0138tl,"Toy, soft"\n/m/x,Unseen\n')
        found = exchange('x.csv', self.CONTENT, self.IMAGES, class_names=tmp_path / 'names.csv')
        assert found.read.file.classes == ('Toy, soft', 'Tree')
        (tmp_path / 'names.csv').rename(tmp_path / 'moved.csv')  # the record has the names
        written = found.write({self.IMAGES[2]: [1, -1]})
        assert rows(written)[-1] == ['0000c64e1253d68f', 'sarlp', '/m/0138tl', '1']

    def test_two_classes_of_one_name(self, exchange, tmp_path):
        (tmp_path / 'names.csv').write_text('/m/07j7r,Toy\n/m/0138tl,Toy\n')
        found = exchange('x.csv', self.CONTENT, self.IMAGES, class_names=tmp_path / 'names.csv')
        assert found.read.file.classes == ('Toy (/m/0138tl)', 'Toy (/m/07j7r)')
        (tmp_path / 'names.csv').write_text('/m/07j7r,Tree\n')
        found = exchange('x.csv', self.CONTENT, self.IMAGES, class_names=tmp_path / 'names.csv')
        assert found.read.file.classes == ('/m/0138tl', 'Tree')
        assert 'of which --class-names says no name: 1' in found.read.describe()

    @pytest.mark.parametrize(
        ('content', 'names', 'message'),
        [
            (CONTENT.replace('0.7', '1.7'), None, "line 3: '1.7'"),
            (CONTENT.replace('0.7', 'high'), None, "line 3: 'high'"),
            (CONTENT, '/m/07j7r,Tree,x\n', 'line 1: expected what a class is called'),
            (CONTENT, '/m/07j7r,Tree\n/m/07j7r,Oak\n', 'line 2: expected what a class is called, once'),
            ('image,cat\n000026e7ee790996,1\n', '/m/07j7r,Tree\n', 'goes with the form openimages'),
        ],
    )
    def test_refused(self, exchange, tmp_path, content, names, message):
        (tmp_path / 'names.csv').write_text(names or '')
        with pytest.raises(AnnotationError, match=message):
            exchange('x.csv', content, self.IMAGES, class_names=tmp_path / 'names.csv' if names else None)

    def test_columns_that_are_not_there(self, exchange):
        with pytest.raises(AnnotationError, match="no columns are called 'Source', which --form openimages names"):
            exchange('x.csv', self.CONTENT.replace('Source', 'By'), self.IMAGES, form='openimages')


class TestCheXpert:
    IMAGES = (
        'CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg',
        'CheXpert-v1.0-small/train/patient00002/study1/view1_frontal.jpg',
        'CheXpert-v1.0-small/train/patient00002/study1/view2_lateral.jpg',
        'CheXpert-v1.0-small/train/patient00003/study1/view1_frontal.jpg',
    )
    CONTENT = (
        'Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Lung Opacity,Pneumonia\n'
        f'{IMAGES[0]},Female,68,Frontal,AP,1.0,,0.0\n'
        f'{IMAGES[1]},Male,87,Frontal,AP,,-1.0,1.0\n'
        f'{IMAGES[2]},Male,87,Lateral,,0.0,1.0,\n'
        f'{IMAGES[3]},Female,1,Frontal,PA,,,\n'
    )

    def test_uncertain_is_unknown(self, exchange):
        found = exchange('train.csv', self.CONTENT, self.IMAGES)
        assert (found.read.file.form, found.read.file.classes) == (
            'chexpert',
            ('No Finding', 'Lung Opacity', 'Pneumonia'),
        )
        assert [*found.labels.values()] == [[1, -1, 0], [-1, -1, 1], [0, 1, -1], [-1, -1, -1]]
        assert found.write(found.labels).decode() == self.CONTENT

    def test_images_of_a_patient_stay_together(self, exchange):
        found = exchange('train.csv', self.CONTENT, self.IMAGES)
        assert {image: found.read.groups.get(image) for image in self.IMAGES[1:3]} == dict.fromkeys(
            self.IMAGES[1:3], self.IMAGES[1]
        )
        assert 'patients, by their folders: 3; each is on one side' in found.read.describe()
        of_column = exchange('train.csv', self.CONTENT, self.IMAGES, group_column='Sex')
        assert of_column.read.groups[self.IMAGES[3]] == self.IMAGES[0]
        assert 'groups of the column: 2; each' in of_column.read.describe()

    def test_back(self, exchange):
        found = exchange('train.csv', self.CONTENT, self.IMAGES)
        completed = dict(zip(self.IMAGES, [[1, 0, 0], [0, -1, -1], [0, 1, 1], [-1, 1, -1]], strict=True))
        again = found.again(completed)
        assert again.labels == completed
        assert rows(again.file.read_bytes())[2][5:] == ['0.0', '-1.0', '']  # who was uncertain still is

    def test_words_go_before(self, exchange):
        options = dict(negative=[''], positive=['-1.0'])
        found = exchange('train.csv', self.CONTENT, self.IMAGES, **options)
        assert [*found.labels.values()] == [[1, 0, 0], [0, 1, 1], [0, 1, 0], [0, 0, 0]]
        assert found.write(found.labels).decode() == self.CONTENT

    def test_refused(self, exchange):
        with pytest.raises(AnnotationError, match="column 'Pneumonia', line 3: '2'"):
            exchange('train.csv', self.CONTENT.replace('-1.0,1.0', '-1.0,2'), self.IMAGES)

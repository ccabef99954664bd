"""Names that look the same are the same, wherever they come in."""

import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sarlp.apps.completion.truth import read_truth
from sarlp.datasets.annotation import AnnotationError, dump_annotation, load_annotation
from sarlp.datasets.converters.label_embeddings import glove_embeddings, spell_out
from sarlp.datasets.label_masks import FileLabelMask, save_label_mask
from sarlp.errors import UserError
from sarlp.io.embeddings import EmbeddingError, load_embeddings, save_embeddings
from sarlp.names.clean_names import Spellings, clean_name, match_names

COMPOSED, DECOMPOSED = 'caf\u00e9', 'cafe\u0301'
SAME = [
    (COMPOSED, DECOMPOSED),
    ('fire dog', 'fire\u00a0dog'),
    ('fire dog', 'fire  dog'),
    ('fire dog', ' fire\u2009dog\u3000'),
    ('fire dog', 'fire\u200b dog'),
    ('fire dog', '\ufefffire dog'),
    ('fire dog', 'fi\u00adre dog\u200e'),
    (COMPOSED, 'cafe\u200d\u0301'),  # composed only once the joiner is gone
    ('\u2615', '\u2615\ufe0f'),
]


@pytest.mark.parametrize(('clean', 'written'), SAME)
def test_what_can_not_be_seen_makes_no_other_name(clean, written):
    assert clean_name(written) == clean == clean_name(clean)


@pytest.mark.parametrize(
    ('one', 'other'),
    [('diningtable', 'dining table'), ('cow', 'Cow'), ('cafe', COMPOSED), ('a-b', 'a b'), ('1', '01'), ('a', '\u0430')],
)
def test_what_can_be_seen_makes_another_name(one, other):
    assert clean_name(one) != clean_name(other)


@given(st.text())
def test_cleaning(text):
    clean = clean_name(text)
    assert clean_name(clean) == clean == clean.strip() == unicodedata.normalize('NFC', clean)
    assert not any(unicodedata.category(c) == 'Cf' for c in clean)
    assert '  ' not in clean and '\u00a0' not in clean
    assert clean_name(unicodedata.normalize('NFD', text)) == clean  # the oracle of sameness is Unicode's


def test_control_characters_stay_for_others_to_refuse():
    assert clean_name('a\nb') == 'a\nb' and clean_name('a\tb\x00') == 'a\tb\x00'


def test_a_spelling_that_is_there_comes_before_one_that_is_alike():
    assert match_names([DECOMPOSED, COMPOSED, 'x'], [COMPOSED, DECOMPOSED]) == [1, 0, None]
    assert match_names(['fire\u00a0dog', 'cow'], ['cow', 'fire dog']) == [1, 0]


def test_notes_name_the_spellings_by_their_characters():
    spellings = Spellings()
    assert [spellings[name] for name in (DECOMPOSED, COMPOSED, ' cow', 'cow ', 'Cow')] == [
        *[COMPOSED] * 2,
        *['cow'] * 2,
        'Cow',
    ]
    merged, capitals = spellings.notes()
    assert merged.endswith("taken for one class: 1: 'cafe\\u0301' and 'caf\\xe9'")
    assert capitals == 'note: these classes differ only in capitals: cow and Cow'
    assert spellings.written(COMPOSED) == DECOMPOSED and spellings.written('ox') == 'ox'


def test_annotation_file_of_twins_is_refused_and_one_of_another_spelling_is_read(tmp_path):
    entries = [{'img_path': '1.jpg', 'positive': [0], 'negative': []}]
    with pytest.raises(AnnotationError, match=r"these do not: 'caf\\xe9' and 'cafe\\u0301'"):
        dump_annotation(tmp_path / 'a.json', ['cow', COMPOSED, DECOMPOSED], entries)
    with pytest.raises(AnnotationError, match='class 0 must have a name'):
        dump_annotation(tmp_path / 'a.json', ['\u200b'], entries)
    assert not (tmp_path / 'a.json').exists()
    # files of earlier versions keep their names, from which label masks are drawn
    dump_annotation(tmp_path / 'a.json', ['fire  dog', DECOMPOSED], entries)
    assert load_annotation(tmp_path / 'a.json')[0]['classes'] == ('fire  dog', DECOMPOSED)


def test_images_of_the_annotation_file_under_other_names(tmp_path):
    from sarlp.datasets.annotation import check_images

    for name in ('IMG_1.jpg', '000007.jpg'):
        (tmp_path / name).touch()
    entries = [{'img_path': name} for name in ('IMG_1.JPG', '7.jpg', 'gone.jpg')]
    with pytest.raises(AnnotationError) as error:
        check_images(tmp_path, entries, 'a.json')
    assert "fits 2 of them: 'IMG_1.JPG' may be IMG_1.jpg, '7.jpg' may be 000007.jpg." in str(error.value)
    with pytest.raises(AnnotationError, match='leave their entries out'):
        check_images(tmp_path, entries[2:], 'a.json')


def test_label_embeddings(tmp_path):
    file = tmp_path / 'x.npz'
    save_embeddings(file, np.eye(2, 3), [DECOMPOSED, 'fire\u00a0dog'], 'random', 'nothing')
    assert load_embeddings(file, [COMPOSED, 'fire dog']).shape == (2, 3)
    with pytest.raises(EmbeddingError, match='only the former has fire.dog, only the latter has Fire dog'):
        load_embeddings(file, [COMPOSED, 'Fire dog'])


def test_words_of_class_names(tmp_path):
    assert spell_out('fire\u00a0dog\u200b') == 'fire dog'
    assert spell_out('\ufeffdiningtable') == 'dining table'
    assert spell_out(DECOMPOSED, {COMPOSED: 'coffee house'}) == 'coffee house'
    (tmp_path / 'glove.txt').write_text(f'{COMPOSED} 1 2\ndog 3 4\n', encoding='utf-8')
    vectors = glove_embeddings([DECOMPOSED, f'{COMPOSED}\u00a0dog\u200b'], tmp_path / 'glove.txt')
    assert vectors.tolist() == [[1, 2], [4, 6]]


def test_label_mask_file(tmp_path):
    save_label_mask(tmp_path / 'm.npz', ['1.jpg'], ['fire\u00a0dog', DECOMPOSED], np.array([[True, False]]))
    mask = FileLabelMask(tmp_path / 'm.npz')
    mask.bind((COMPOSED, 'fire dog'), 'a.json')
    assert mask.known('1.jpg', np.zeros(2)).tolist() == [False, True]
    with pytest.raises(UserError, match='m.npz has 2 classes, a.json has 3; only the latter has cow'):
        mask.bind((COMPOSED, 'fire dog', 'cow'), 'a.json')


class TestTruth:
    @pytest.fixture
    def photos(self, tmp_path):
        root = tmp_path / 'photos'
        root.mkdir()
        for number in (1, 2, 3):
            (root / f'00000{number}.jpg').touch()
        return root

    NAMES = ('000001.jpg', '000002.jpg', '000003.jpg')

    def read(self, photos, text, classes=(COMPOSED,), name='truth.csv'):
        file = photos.parent / name
        file.write_text(text, encoding='utf-8')
        return read_truth(file, photos, classes, self.NAMES)

    def test_other_spellings(self, photos):
        text = f'image,{DECOMPOSED},cow\n000001.jpg,1,0\n000003.JPG,0,1\n'
        assert self.read(photos, text).tolist() == [[1], [-1], [0]]
        assert self.read(photos, text, ('cow', COMPOSED)).tolist() == [[0, 1], [-1, -1], [1, 0]]

    def test_annotation_file(self, photos):
        file = photos.parent / 'truth.json'
        entries = [{'img_path': f'caf\u0065\u0301/{name}', 'positive': [1], 'negative': []} for name in self.NAMES]
        dump_annotation(file, ['cow', 'fire  dog'], entries)
        found = read_truth(file, photos, ('fire dog', 'cow'), [f'{COMPOSED}/{name}' for name in self.NAMES])
        assert found.tolist() == [[1, -1]] * 3

    def test_names_that_lost_their_zeros(self, photos):
        with pytest.raises(UserError) as error:
            self.read(photos, f'image,{COMPOSED}\n000001.jpg,1\n2,1\n')
        assert "'2' may be 000002.jpg" in str(error.value)

    def test_labels_of_no_image(self, photos):
        with pytest.raises(UserError, match='says nothing of 3 of 3 images'):
            self.read(photos, f'image,{COMPOSED}\nother.jpg,1\n')

    def test_contradiction(self, photos):
        with pytest.raises(UserError, match='1 labels contradict each other: 000001.jpg'):
            self.read(photos, f'image,{COMPOSED}\n000001.jpg,1\n000001.jpg,0\n')

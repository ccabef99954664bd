"""Tokens of a frozen backbone that are computed once."""

import hashlib
import json
import os
import re
import shutil
import time
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sarlp.engine import kept_tokens
from sarlp.engine.kept_tokens import TokenKeeper, TokenOptions
from sarlp.errors import UserError
from sarlp.io.token_store import TokenStore
from sarlp.registry import DATASETS
from sarlp.transforms.kept_tokens import KeptTokens, choose
from sarlp.transforms.seeding import seeded
from sarlp.transforms.single_views import single_views

TEST_STEPS = [dict(type='LoadImage'), dict(type='PackMultiLabel')]
FLIP = dict(type='RandomFlip', prob=0.5)
CUTOUT = dict(type='RandomCutout', ratio=0.5)
VARIANTS = 3


@pytest.fixture
def frozen(make_config, tmp_path):
    """``frozen(steps)``: a config with a frozen backbone, trained through these steps."""

    def make(steps=TEST_STEPS, **options):
        cfg = make_config(**{'model.frozen_backbone': True, **options})
        cfg.train_dataloader.dataset.pipeline = steps
        return cfg

    return make


@pytest.fixture
def keeper(frozen, tmp_path):
    """``keeper(views=3)``: with a model whose weights are always the same, and what it says."""

    def make(cfg=None, **options):
        from sarlp.engine import build_runner

        runner = build_runner(cfg or frozen())
        torch.manual_seed(0)
        for parameter in runner.model.backbone.parameters():
            if parameter.ndim > 1:
                torch.nn.init.kaiming_normal_(parameter)
        said = []
        options = TokenOptions(**{'dir': str(tmp_path / 'tokens'), 'views': VARIANTS, **options})
        one = TokenKeeper(runner.model, runner.cfg.model, options, said.append)
        one.loader, one.said = runner.train_dataloader, said
        return one

    return make


def made(keeper):
    """How many entries were computed for the loader of a keeper, and how many taken from the same pixels."""
    keeper.said.clear()
    keeper.keep(keeper.loader)
    found = [
        re.match(r'tokens: (\d+) computed in [^;]*(?:; (\d+) more are of the same pixels)?', s) for s in keeper.said
    ]
    numbers = [[int(number or 0) for number in match.groups()] for match in found if match]
    return np.sum([[0, 0], *numbers], 0).tolist()


def computed(keeper):
    return sum(made(keeper))


def folders(tmp_path):
    return {path.name for path in (tmp_path / 'tokens').iterdir()}


def state(runner):
    """Trained and averaged weights."""
    (ema,) = (hook for hook in runner.hooks if type(hook).__name__ == 'EMAFromStartHook')
    return {**runner.model.state_dict(), **{f'ema.{k}': v for k, v in ema.ema_model.module.state_dict().items()}}


@pytest.mark.parametrize(('standardize', 'precision'), [(False, 'float32'), (True, 'float32'), (False, 'bfloat16')])
def test_training_equals_the_frozen_training_to_the_bit(frozen, tmp_path, standardize, precision):
    """24 images in batches of 7: the last batch has another size. The second run finds what the first has kept."""
    from sarlp.engine import build_runner

    states, scores = [], []
    common = {'train_dataloader.batch_size': 7, 'model.standardize_tokens': standardize}
    common['model.frozen_precision'] = precision
    for number, tokens in enumerate([{}, *[{'tokens.dir': str(tmp_path / 'tokens')}] * 2]):
        runner = build_runner(frozen(**{'work_dir': str(tmp_path / f'{number}'), **common, **tokens}))
        runner.train()
        assert isinstance(runner.train_dataloader.dataset.pipeline, KeptTokens) == bool(tokens)
        states.append(state(runner))
        scores.append(runner.message_hub.get_info('best_score'))
    weight = 'head.sgfe.mlp.3.weight'
    assert not torch.equal(states[0][weight], states[0][f'ema.{weight}'])  # something was trained
    for other in states[1:]:
        assert other.keys() == states[0].keys()
        assert [key for key in other if not torch.equal(other[key], states[0][key])] == []
    assert scores[0] == scores[1] == scores[2]
    assert len([*(tmp_path / 'tokens').glob('*/*.npy')]) == 2  # of the training and the test images


def test_a_checkpoint_is_complete(frozen, tmp_path):
    """From photographs it gives the same as from tokens; the unfrozen model takes it, and the other way round."""
    from sarlp.engine import build_runner, load_weights, read_checkpoint
    from sarlp.inference import Predictor, init_model

    runner = build_runner(frozen(**{'tokens.dir': str(tmp_path / 'tokens')}))
    runner.train()
    file = tmp_path / 'work' / 'epoch_2.pth'
    photographs = frozen(**{'model.frozen_backbone': False})
    results = []
    for options in ({}, {'tokens.dir': str(tmp_path / 'tokens')}):
        cfg = frozen(**{'work_dir': str(tmp_path / 'test'), **options})
        cfg.load_from = str(file)
        results.append(build_runner(cfg, training=False).test())
    assert results[0] == results[1]
    image = runner.val_dataloader.dataset.image_path(3)
    one, other = (Predictor(init_model(cfg, file, 'cpu'))(image) for cfg in (frozen(), photographs))
    np.testing.assert_allclose(one['scores'], other['scores'], rtol=1e-5)
    unfrozen = build_runner(frozen(**{'model.frozen_backbone': False, 'work_dir': str(tmp_path / 'un')})).model
    assert unfrozen.state_dict().keys() == runner.model.state_dict().keys()
    load_weights(unfrozen, read_checkpoint(file), file)
    load_weights(runner.model, {'state_dict': unfrozen.state_dict()}, 'unfrozen')


def test_what_is_frozen_stays(frozen, tmp_path):
    from sarlp.engine import build_runner

    runner = build_runner(frozen(**{'train_cfg.max_epochs': 1}))
    before = {name: value.clone() for name, value in runner.model.state_dict().items()}
    runner.train()
    runner.model.train()
    assert runner.model.head.training and not any(part.training for part in runner.model.backbone.modules())
    changed = {name for name, value in runner.model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed and all(name.startswith('head.') for name in changed)
    assert {name for name, value in runner.model.named_parameters() if value.requires_grad} >= changed - {
        name for name in changed if 'running' in name or 'num_batches' in name
    }


def test_entries_are_those_of_the_pipeline(frozen, keeper):
    """Against a loop over images and variants; an epoch takes one variant of each image, whatever came before."""
    one = keeper(frozen([TEST_STEPS[0], FLIP, CUTOUT, TEST_STEPS[1]]))
    dataset = one.loader.dataset
    pipeline, model = dataset.pipeline, one.model
    infos = [dataset.get_data_info(place) for place in range(len(dataset))]
    assert computed(one) == VARIANTS * len(dataset)
    expected = []
    for info in infos:
        content = hashlib.blake2b(Path(info['img_path']).read_bytes(), digest_size=16).hexdigest()
        maps = []
        for number in range(VARIANTS):
            with seeded(0, number, content):
                image = pipeline(dict(info))['inputs']
            mean, std = torch.tensor([123.675, 116.28, 103.53]), torch.tensor([58.395, 57.12, 57.375])
            normalised = (image.flip(0).float() - mean[:, None, None]) / std[:, None, None]
            maps.append(model.backbone(normalised[None])[-1][0])
        expected.append(maps)
    assert len({maps[0].sum().item() for maps in expected}) == len(dataset)
    chosen = []
    for epoch in (0, 1, 5, 1):
        dataset.set_epoch(epoch)
        numbers = [choose((0, epoch, info['img_id']), VARIANTS) for info in infos]
        samples = [dataset[place] for place in range(len(dataset))]
        assert all(
            torch.equal(sample['inputs'], maps[number])
            for sample, maps, number in zip(samples, expected, numbers, strict=True)
        )
        sample, info = samples[7]['data_samples'], infos[7]
        assert (sample.img_id, sample.index) == (info['img_id'], 7)
        assert torch.equal(sample.gt_score, torch.from_numpy(info['gt_score']))
        chosen.append(numbers)
    assert chosen[1] == chosen[3] != chosen[0] and {*chosen[0]} == {*range(VARIANTS)}


def test_views_share_their_beginning_and_their_tokens(frozen, keeper, tmp_path):
    pack = TEST_STEPS[1]
    plain = keeper(frozen([TEST_STEPS[0], FLIP, CUTOUT, pack]))
    images = len(plain.loader.dataset)
    assert computed(plain) == VARIANTS * images
    strong = [CUTOUT, pack]
    views = dict(type='Views', weak=[pack], strong=strong, other=strong)
    cfg = frozen([TEST_STEPS[0], FLIP, views])
    several = keeper(cfg)
    assert computed(several) == 2 * VARIANTS * images  # the weak one, and the twin of the strong one
    assert computed(keeper(frozen([TEST_STEPS[0], FLIP, dict(type='Views', weak=[pack], strong=strong)]))) == 0
    sample = several.loader.dataset[2]
    assert {*sample['inputs']} == {'weak', 'strong', 'other'}
    assert torch.equal(sample['inputs']['strong'], plain.loader.dataset[2]['inputs'])
    assert not torch.equal(sample['inputs']['strong'], sample['inputs']['other'])


def test_views_agree_in_what_is_done_for_both(digits):
    """The flip comes before; so weak and strong differ nowhere but in the square that cutout covers."""
    cutout = dict(CUTOUT, ratio=0.2)
    steps = [TEST_STEPS[0], FLIP, dict(type='Views', weak=TEST_STEPS[1:], strong=[cutout, TEST_STEPS[1]])]
    weak, strong = (view.build() for view in single_views(steps).values())
    info = dict(img_path=str(next(digits.rglob('*.jpg'))))
    pairs = [(weak(info, (0, number)), strong(info, (0, number))) for number in range(11)]
    assert len({one.sum(0)[:, 0].sum().item() for one, _ in pairs}) == 2  # flipped and not
    shares = [(one == other).all(0).float().mean().item() for one, other in pairs]
    assert min(shares) > 0.8 and max(shares) < 1


def test_labels_are_no_part_of_it_but_pixels_are(frozen, keeper, tmp_path, digits):
    images = len(keeper().loader.dataset)
    assert computed(keeper()) == images  # without random steps there are no variants
    mask = {'train_dataloader.dataset.label_mask': dict(_delete_=True, type='SinglePositive')}
    assert computed(keeper(frozen(**{'train_dataloader.dataset.label_mask.seed': 5}))) == 0
    assert computed(keeper(frozen(**mask))) == 0
    assert computed(keeper(frozen(**{'train_dataloader.dataset.fold': dict(part='rest', index=1, number=3)}))) == 0
    assert len(folders(tmp_path)) == 1
    other = keeper()
    with torch.no_grad():
        next(other.model.backbone.parameters())[0] += 0.25
    other = TokenKeeper(other.model, frozen().model, other.options, other.tell)
    other.loader, other.said = keeper().loader, []
    other.tell = other.said.append
    assert computed(other) == images
    assert computed(keeper(frozen(**{'model.data_preprocessor.to_rgb': False}))) == images
    assert computed(keeper(frozen(**{'model.backbone.strides': (1, 1, 2, 1)}))) == images
    assert computed(keeper(frozen([TEST_STEPS[0], dict(type='Resize', scale=(24, 40)), TEST_STEPS[1]]))) == images
    assert computed(keeper(dtype='float16')) == images
    assert len(folders(tmp_path)) == 6
    facts = [json.loads(file.read_text()) for file in (tmp_path / 'tokens').glob('*/made_of.json')]
    assert {one['dtype'] for one in facts} == {'float16', 'float32'}

    moved = tmp_path / 'moved'
    shutil.copytree(digits, moved)
    cfg = frozen(**{'train_dataloader.dataset.data_root': str(moved)})
    assert computed(keeper(cfg)) == 0  # the same files elsewhere
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    shutil.copy(dataset.image_path(3), dataset.image_path(5))
    with open(dataset.image_path(6), 'ab') as file:
        file.write(b'\0')
    assert made(keeper(cfg)) == [0, 1]  # other bytes, the same pixels


def test_the_same_pixels_are_computed_once(frozen, keeper, tmp_path, monkeypatch):
    """Of three views a second is the mirror or is not, and evaluation has the one that is not."""
    images = len(keeper().loader.dataset)
    seen = []
    one = keeper(frozen([TEST_STEPS[0], FLIP, TEST_STEPS[1]]))
    forward = one.model.network.backbone_tokens
    monkeypatch.setattr(one.model.network, 'backbone_tokens', lambda x: seen.extend(map(digest, x)) or forward(x))
    number, same = made(one)
    assert number + same == VARIANTS * images and number == len({*seen}) == len(seen) < 2 * images

    plain = keeper()
    number, same = made(plain)
    assert number + same == images and 0 < number < images / 2  # the others were never flipped
    maps = [plain.loader.dataset[place]['inputs'] for place in range(images)]
    shutil.rmtree(tmp_path / 'tokens')
    again = keeper()
    assert made(again) == [images, 0]
    assert all(torch.equal(again.loader.dataset[place]['inputs'], each) for place, each in enumerate(maps))


def digest(values):
    return hashlib.sha256(values.numpy().tobytes()).hexdigest()


def test_only_tokens_that_agree_are_taken(frozen, keeper, tmp_path):
    """A block that was damaged, one of other weights, one of an earlier version."""
    images = len(keeper().loader.dataset)
    flipped = frozen([TEST_STEPS[0], dict(type='RandomFlip', prob=0.0), TEST_STEPS[1]])
    assert made(keeper(flipped, views=1)) == [images, 0]
    (file,) = (tmp_path / 'tokens').glob('*/*.npy')
    content = bytearray(file.read_bytes())
    content[-7] ^= 1  # of the last entry
    file.write_bytes(content)
    assert made(keeper()) == [1, images - 1]

    shutil.rmtree(tmp_path / 'tokens')
    block = np.zeros(1, [('key', 'S32'), ('crc', '<u4'), ('values', '<f4', 3)])
    block['key'], block['values'] = b'a' * 32, (2, 3, 5)
    block['crc'] = zlib.crc32(np.float32([2, 3, 5]), zlib.crc32(b'a' * 32))
    store = TokenStore(tmp_path / 'earlier')
    store.folder.mkdir()
    np.save(store.folder / 'block.npy', block)
    assert store.find(['a' * 32])['a' * 32].tolist() == [2, 3, 5]
    assert store.inputs() == {} and not store.damaged


def test_half_the_room(keeper):
    one, half = keeper(), keeper(dtype='float16')
    for keep in (one, half):
        keep.keep(keep.loader)
    exact, rounded = (keep.loader.dataset[3]['inputs'] for keep in (one, half))
    assert rounded.dtype == torch.float16 and torch.equal(exact.half(), rounded)
    batch = half.model.data_preprocessor({'inputs': [rounded, rounded]})['inputs']
    assert batch.dtype == torch.float32 and torch.equal(batch[1], rounded.float())


def test_features_that_float16_has_no_room_for(keeper):
    half = keeper(dtype='float16')
    half.model.backbone.register_forward_hook(lambda module, inputs, output: tuple(1e6 * one for one in output))
    with pytest.raises(UserError, match=r'gives features up to [\d,]+, and float16 ends at 65,504; set tokens.dtype'):
        half.keep(half.loader)


@pytest.mark.parametrize('place', ['entry', 'header', 'cut'])
def test_damage_is_noticed(keeper, tmp_path, place):
    one = keeper()
    one.keep(one.loader)
    before = one.loader.dataset[4]['inputs'].clone()
    (file,) = (tmp_path / 'tokens').glob('*/*.npy')
    content = bytearray(file.read_bytes())
    if place == 'cut':
        del content[-5:]
    else:
        content[-9 if place == 'entry' else 20] ^= 1
    file.write_bytes(content)
    again = keeper()
    assert computed(again) == len(again.loader.dataset)
    assert any('1 files did not agree' in line and file.name in line for line in again.said)
    assert torch.equal(again.loader.dataset[4]['inputs'], before)
    assert computed(keeper()) == 0


def test_a_first_pass_goes_on_where_it_was_killed(keeper, tmp_path, monkeypatch):
    monkeypatch.setattr(kept_tokens, '_BLOCK_ENTRIES', 5)
    monkeypatch.setattr(kept_tokens, '_BATCH', 5)
    write, blocks = TokenStore.write, []

    def killed(store, arrays, inputs):
        if len(blocks) == 2:
            raise KeyboardInterrupt
        blocks.append(1)
        write(store, arrays, inputs)

    one = keeper()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(TokenStore, 'write', killed)
        one.keep(one.loader)
    again = keeper()
    assert computed(again) == len(again.loader.dataset) - 10


def test_the_bound_counts(keeper, tmp_path):
    one = keeper(max_gb=1e-5)
    with pytest.raises(UserError, match=r'holds 0.000 GB, and 0.000 GB more would pass tokens.max_gb = 1e-05'):
        one.keep(one.loader)
    assert not [*(tmp_path / 'tokens').glob('*/*.npy')]


def test_a_full_disk_is_told_before_it_is_full(keeper, tmp_path, monkeypatch):
    one = keeper()
    monkeypatch.setattr(kept_tokens.shutil, 'disk_usage', lambda path: SimpleNamespace(free=1000))
    with pytest.raises(UserError, match=r'the disk of .*tokens has no room for .* more\. Make room, .*tokens\.dir'):
        one.keep(one.loader)
    assert not [*(tmp_path / 'tokens').glob('*/*.npy')]


def test_a_bad_image_is_skipped_as_ever(frozen, keeper, digits, tmp_path):
    root = tmp_path / 'digits'
    shutil.copytree(digits, root)
    cfg = frozen(**{'train_dataloader.dataset.data_root': str(root)})
    path = DATASETS.build(cfg.train_dataloader.dataset).image_path(2)
    path.write_bytes(b'no image')
    one = keeper(cfg)
    one.keep(one.loader)
    with pytest.raises(UserError, match='on_bad_image=skip'):
        one.loader.dataset[2]
    one.loader.dataset.on_bad_image = 'skip'
    assert torch.equal(one.loader.dataset[2]['inputs'], one.loader.dataset[3]['inputs'])


def test_what_can_not_be_kept(frozen, keeper):
    from sarlp.engine import build_runner

    with pytest.raises(UserError, match='model.frozen_backbone=True'):
        keeper(frozen(**{'model.frozen_backbone': False}))
    with pytest.raises(UserError, match='tokens.views must be a whole number'):
        build_runner(frozen(**{'tokens.dir': 'd', 'tokens.views': 0}))
    with pytest.raises(UserError, match='tokens can not be built: .*folder'):
        build_runner(frozen(**{'tokens.folder': 'd'}))


def test_an_entry_is_of_one_block_or_another(tmp_path):
    """Two writers with an entry in common spoil nothing."""
    arrays = {f'{number:032x}': np.full((2, 3, 5), number, np.float32) for number in range(7)}
    names = list(arrays)
    for part in (names[:4], names[3:], names[:4]):
        TokenStore(tmp_path).write({name: arrays[name] for name in part})
    found = TokenStore(tmp_path).find([*names, f'{99:032x}'])
    assert found.keys() == arrays.keys()
    assert all(np.array_equal(found[name], arrays[name]) for name in names)
    assert len([*tmp_path.iterdir()]) == 2


def test_what_a_killed_writer_left_behind_goes(tmp_path):
    for name, age in (('.old.npy.12.tmp', 7200), ('.new.npy.34.tmp', 0)):
        (tmp_path / name).write_bytes(b'half')
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    TokenStore(tmp_path).write({'a' * 32: np.ones((2, 3, 5), np.float32)})
    assert {path.name for path in tmp_path.glob('.*')} == {'.new.npy.34.tmp'}

"""What kept tokens save: the first pass against plain inference, then the training of SARLP's head.

    python benchmarks/tokens.py
    python benchmarks/tokens.py --backbones resnet50 --heads small --images 200 --epochs 5

Photographs of 320 x 240 px are generated and weights random: neither bears on the time. Each row is a backbone of timm
at 224 px with a head: ``paper`` as in the recipes, ``small`` without token encoder, with tokens and attention of 256.

- ``inference``: the images through pipeline and backbone in batches of 32;
- ``first_pass``: until their tokens, and those of the validation images, are kept;
- ``training``: the whole run from kept tokens, with a validation and a checkpoint after the last epoch; in float32 as
  the recipes have it, with its products by oneDNN, and in bfloat16. ``channels_last`` and ``frozen`` are the backbone
  in that memory format, and besides in bfloat16.

Seconds by the clock and, behind the slash, of the processor, which another load of the machine changes less.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader

from sarlp.engine import build_runner, load_config
from sarlp.engine.kept_tokens import KeptTokensHook
from sarlp.engine.unwrap import unwrap

CLASSES = 20
CONFIG = """
_base_ = 'configs/sarlp/sarlp_r50_custom.py'
data_root = {root!r}
image_size = 224
model = dict(
    size_divisor=None,
    frozen_backbone=True,
    backbone=dict(
        _delete_=True, type='mmpretrain.TIMMBackbone', model_name={name!r}, features_only=True, out_indices=(4,)
    ),
    head=dict(in_channels=None, label_embedding=dict(file=None), {head}),
)
tokens = dict(dir={root!r} + '/tokens')
train_dataloader = dict(num_workers=0, dataset=dict(pipeline=_base_.test_pipeline))
val_dataloader = dict(num_workers=0)
train_cfg = dict(max_epochs={epochs}, val_interval={epochs})
default_hooks = dict(checkpoint=dict(interval={epochs}))
visualizer = dict(vis_backends=[dict(type='LocalVisBackend')])
"""
HEADS = {
    'paper': '',
    'small': 'encoder=None, wide_dim=256, sgfe=dict(attention_dim=256)',
}

VARIANTS = {
    'float32': {},
    'onednn': {'env_cfg.onednn': True},
    'bfloat16': {'optim_wrapper.type': 'MixedPrecisionOptimWrapper'},
    'half': {'optim_wrapper.type': 'MixedPrecisionOptimWrapper', 'tokens.dtype': 'float16'},
    'channels_last': {'channels_last': True},
    'frozen': {'channels_last': True, 'model.frozen_precision': 'bfloat16'},
}


def make_photographs(root: Path, number: int, validation: int) -> None:
    """JPEGs of 320 x 240 px of smooth colours, and annotation files with labels at random."""
    rng = np.random.default_rng(0)
    (root / 'labels').mkdir(parents=True)
    for split, count in (('trainval', number), ('test', validation)):
        entries = []
        for index in range(count):
            path = f'{split}{index}.jpg'
            coarse = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
            cv2.imwrite(str(root / path), cv2.resize(coarse, (320, 240), interpolation=cv2.INTER_CUBIC))
            positive = np.flatnonzero(rng.random(CLASSES) < 0.15).tolist()
            entries.append({'img_path': path, 'positive': positive, 'negative': 'rest', 'ignore': []})
        content = {'metainfo': {'classes': [f'class {c}' for c in range(CLASSES)]}, 'data_list': entries}
        (root / 'labels' / f'{split}.json').write_text(json.dumps(content))


class Clock:
    """Seconds of the wall and of the processor since it was made."""

    def __init__(self):
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def read(self) -> str:
        return f'{time.perf_counter() - self.wall:.1f} / {time.process_time() - self.cpu:.1f}'


@torch.no_grad()
def infer(runner) -> str:
    model = unwrap(runner.model).eval()
    loader = DataLoader(runner.train_dataloader.dataset, 32, collate_fn=list)
    clock = Clock()
    for batch in loader:
        model.network.extract_tokens(model.data_preprocessor({'inputs': [one['inputs'] for one in batch]})['inputs'])
    return clock.read()


def measure(root: Path, name: str, head: str, epochs: int, variants: list[str]) -> Iterator[dict]:
    file = root / f'{name}_{head}.py'
    file.write_text(CONFIG.format(root=str(root), name=name, epochs=epochs, head=HEADS[head]))

    for variant in variants:
        torch.manual_seed(0)
        options = {'work_dir': str(root / file.stem / variant), **VARIANTS[variant]}
        runner = build_runner(load_config(file, options))
        images = len(runner.train_dataloader.dataset)
        row = {'backbone': name, 'head': head, 'variant': variant, 'images': images, 'epochs': epochs}
        own_tokens = variant == variants[0] or 'model.frozen_precision' in options  # the others find those of the first
        if own_tokens or 'channels_last' in options:
            row['inference'] = infer(runner)
        clock = Clock()
        next(hook for hook in runner.hooks if isinstance(hook, KeptTokensHook)).before_train(runner)
        if own_tokens:
            row['first_pass'] = clock.read()
        clock = Clock()
        runner.train()
        yield {**row, 'training': clock.read(), 'load': os.getloadavg()[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--backbones', nargs='+', default=['tf_efficientnet_lite0', 'resnet50'])
    parser.add_argument('--heads', nargs='+', default=list(HEADS), choices=list(HEADS))
    parser.add_argument('--variants', nargs='+', default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument('--images', type=int, default=1000)
    parser.add_argument('--validation', type=int, default=100)
    parser.add_argument('--epochs', type=int, default=30)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / 'photographs'
        make_photographs(root, args.images, args.validation)
        for name in args.backbones:
            for head in args.heads:
                for row in measure(root, name, head, args.epochs, args.variants):
                    print(json.dumps(row), flush=True)


if __name__ == '__main__':
    main()

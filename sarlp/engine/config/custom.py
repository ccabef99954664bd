"""What a config for one's own data leaves open: where the data lie, the size of the images, the label embeddings."""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

from sarlp.datasets.nesting import annotation_path, keyed_leaves, leaves, spread_lists
from sarlp.datasets.source_record import read_source
from sarlp.engine.terminal import is_brief, speaks
from sarlp.errors import UserError
from sarlp.io.pip_parts import SCHEME, find_part

AUTO = 'auto'
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
_IMAGE_SIZE = 'image_size'


def spread_data_sets(cfg: Config) -> None:
    """:func:`~sarlp.datasets.nesting.spread_lists` for every data set of a config, in place."""
    for name in LOADERS:
        if (cfg.get(name) or {}).get('dataset') is not None:
            cfg[name].dataset = spread_lists(cfg[name].dataset, f'{name}.dataset')


def fill_in(cfg: Config, options: Collection[str] = ()) -> None:
    """Hand the top-level ``data_root`` and ``image_size`` of a config on to its data sets.

    MMEngine's configs are values, not formulas: a config that inherits and sets ``data_root`` anew changes nothing
    that was made from it before. So a data set config may leave out ``data_root`` and the ``scale`` of ``Resize``,
    and gets both here, and a ``min_side='image_size'`` of what loads images follows. One that ``sarlp convert
    labels`` made, and that has no ``data_prefix``, finds its images through its record.

    Args:
        cfg: completed in place; a config without such top-level values, or with nothing left open, stays as it is.
        options: the keys that were set by hand (``--cfg-options``). If one is ``data_root`` or ``image_size`` it goes
            to every data set, whatever that has.

    Raises:
        UserError: ``image_size`` is no size, or set by hand for a pipeline that resizes nothing, the record is
            damaged, or ``data_root`` is set by hand for a data set that is made of several in different folders.
    """
    for name in LOADERS:
        dataset = (cfg.get(name) or {}).get('dataset')
        if dataset is None:
            continue
        found = list(keyed_leaves(dataset, f'{name}.dataset'))
        own = {f'{name}.dataset.data_root', *(f'{key}.data_root' for key, _ in found)}
        forced = 'data_root' in options and own.isdisjoint(options)
        roots = dict.fromkeys(leaf.get('data_root') for _, leaf in found)
        if forced and len(roots) > 1:
            raise UserError(
                f'data_root={cfg.data_root} is for every data set, but those of {name} lie in {len(roots)} folders, '
                f'{", ".join(map(str, roots))}; set {found[0][0]}.data_root and so on'
            )
        for _, leaf in found:
            if cfg.get('data_root') is not None and (forced or leaf.get('data_root') is None):
                leaf.data_root = cfg.data_root
            if leaf.get('data_root') is not None and (forced or leaf.get('data_prefix') is None):
                _find_images(leaf)
            if cfg.get('image_size') is not None:
                divisor = cfg.model.get('size_divisor', 32) or 1  # None is asked of the backbone, later
                _resize(leaf, cfg.image_size, divisor, _IMAGE_SIZE in options)
                if _IMAGE_SIZE in options and not any(_steps(leaf.get('pipeline', ()))):
                    raise UserError(
                        f'image_size={cfg.image_size}: no step of the pipeline of {name} resizes images; leave it out, '
                        'or add a Resize to the pipelines in a config of your own'
                    )


def _find_images(dataset: ConfigDict) -> None:
    record = read_source(dataset.data_root)
    if record is not None:
        dataset.data_prefix = dict(img_path='' if record['img_root'] == '.' else record['img_root'])


def _resize(dataset: ConfigDict, size: int, divisor: int, forced: bool) -> None:
    follows: list[Any] = [_IMAGE_SIZE]  # values of min_side that are the size of the images
    for step in _steps(dataset.get('pipeline', ())):
        if 'scale_factor' in step or (step.get('scale') is not None and not forced):
            continue
        if type(size) is not int or size < 1 or size % divisor:
            raise UserError(f'image_size must be one whole number, a multiple of {divisor}, got {size!r}')
        if step.get('scale') is not None:
            follows.append(min(step.scale))
        step.scale = (size, size)
    for step in dataset.get('pipeline', ()):
        if step.get('min_side') in follows:
            step.min_side = size


def _steps(pipeline: Collection[Mapping]) -> Iterator[ConfigDict]:
    return (step for step in pipeline if step['type'] in ('Resize', 'LoadResizedImage'))


def choose_embeddings(cfg: Config) -> None:
    """Put a file, or None, in the place of ``model.head.label_embedding.file = 'auto'``, and print which and why.

    ``<data_root>/labels/bert.npz`` is taken if it is there. If not, and the BERT of the config's ``text_encoder`` is on
    this machine, it is made from the class names, with the config's ``text_pooling`` if it has one. Else the embeddings
    are learnt. Nothing is fetched.

    Args:
        cfg: after :func:`fill_in`; completed in place.
    """
    embedding: ConfigDict = cfg.model.head.get('label_embedding') or {}
    if embedding.get('file') != AUTO:
        return
    first = leaves(cfg.train_dataloader.dataset)[0]
    annotation, file = annotation_path(first), Path(first.get('data_root') or '') / 'labels' / 'bert.npz'
    embedding.file, said = str(file), f'label embeddings: {file}'
    if not file.is_file() and annotation.is_file():
        encoder = {'model': cfg.get('text_encoder'), 'pooling': cfg.get('text_pooling')}
        encoder = {key: value for key, value in encoder.items() if value is not None}
        reason = _make_embeddings(annotation, file, encoder)
        if reason is None:
            said += ', made from the class names'
        else:
            said = (
                f'label embeddings: learnt, since {reason}. Those of a text encoder know what the names mean; they are '
                f'made by: sarlp convert embeddings {annotation} --kind bert '
                f'{"".join(f"--{key} {value} " for key, value in encoder.items())}--out {file}'
            )
            embedding.file = None
    if speaks() and not is_brief():
        print(said)


def _make_embeddings(annotation: Path, file: Path, encoder: Mapping[str, str]) -> str | None:
    """Why the file could not be made; None where it was."""
    from sarlp.datasets.converters.label_embeddings import make_embeddings  # here: only the first run needs them

    if 'model' not in encoder:
        return 'the config names no text_encoder'
    try:
        if not _is_here(encoder['model']):
            return f'{encoder["model"]} is not on this machine'
        make_embeddings(annotation, file, 'bert', **encoder)
    except UserError as error:
        return str(error).splitlines()[0].rstrip('.')
    return None


def _is_here(encoder: str) -> bool:
    """Whether a text encoder is a folder, or in the cache of the Hugging Face hub, or a package that is installed.

    Raises:
        UserError: it is a package, and not installed.
    """
    if encoder.startswith(SCHEME):
        return find_part(encoder).is_dir()
    if Path(encoder).is_dir():
        return True
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        return all(isinstance(try_to_load_from_cache(encoder, name), str) for name in ('config.json', 'vocab.txt'))
    except HFValidationError:  # looks like the path of a folder that is not there
        return False

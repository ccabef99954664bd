"""Making label embeddings: a vector for each class name (:mod:`sarlp.io.embeddings` has the file)."""

import inspect
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from sarlp.datasets.annotation import load_annotation
from sarlp.datasets.converters.label_embeddings.bert import BERT, bert_embeddings
from sarlp.datasets.converters.label_embeddings.clip import clip_embeddings
from sarlp.datasets.converters.label_embeddings.glove import glove_embeddings
from sarlp.datasets.converters.label_embeddings.spelling import SPELLINGS, spell_out
from sarlp.io.embeddings import EmbeddingError, save_embeddings

__all__ = [
    'BERT',
    'KINDS',
    'SPELLINGS',
    'bert_embeddings',
    'clip_embeddings',
    'glove_embeddings',
    'make_embeddings',
    'random_embeddings',
    'spell_out',
]


def random_embeddings(classes: Sequence[str], dim: int = 768, seed: int = 0) -> np.ndarray:
    """Vectors without meaning, as a control: uniform in +-1/sqrt(dim), which is Kaiming-uniform with a = sqrt 5.

    Args:
        classes: C class names; only their number counts.
        dim: T, at least 1.
        seed: 0 or more.

    Returns:
        (C, T) float32.
    """
    if dim < 1 or seed < 0:
        raise EmbeddingError(f'expected dim >= 1 and seed >= 0, found dim {dim} and seed {seed}.')
    bound = 1 / math.sqrt(dim)
    return np.random.default_rng(seed).uniform(-bound, bound, (len(classes), dim)).astype(np.float32)


# how the vectors are made, and the options that this takes
KINDS: dict[str, tuple[Callable[..., np.ndarray], tuple[str, ...]]] = {
    'bert': (bert_embeddings, ('model', 'pooling')),
    'glove': (glove_embeddings, ('file',)),
    'clip': (clip_embeddings, ('model', 'pretrained', 'prompts')),
    'random': (random_embeddings, ('dim', 'seed')),
}


def make_embeddings(ann_file: str | os.PathLike, out: str | os.PathLike, kind: str, **options) -> Path:
    """Make and save the embeddings of the classes of an annotation file.

    Args:
        ann_file: any split of the data set.
        out: the ``.npz`` file to write.
        kind: one of :data:`KINDS`.
        **options: those that :data:`KINDS` lists for the kind; None, or left out, for the default of its function.

    Returns:
        ``out`` as a path.

    Raises:
        EmbeddingError: also for an option that the kind does not take, or for one that it needs.
    """
    if kind not in KINDS:
        raise EmbeddingError(f'expected kind to be one of {", ".join(KINDS)}, found {kind!r}.')
    function, takes = KINDS[kind]
    options = {key: value for key, value in options.items() if value is not None}
    foreign = [key for key in options if key not in takes]
    if foreign:
        raise EmbeddingError(f'--kind {kind} does not take {", ".join("--" + key for key in foreign)}; leave it out.')
    parameters = inspect.signature(function).parameters
    needed = [key for key in takes if parameters[key].default is inspect.Parameter.empty and key not in options]
    if needed:
        raise EmbeddingError(f'--kind {kind} needs {", ".join("--" + key for key in needed)}.')

    classes = load_annotation(ann_file)[0]['classes']
    embeddings = function(classes, **options)
    used = {key: options.get(key, parameters[key].default) for key in takes}
    save_embeddings(out, embeddings, classes, kind, _source(used))
    return Path(out)


def _source(used: dict) -> str:
    """What the vectors were made from, for the reader of the file.

    Of a path the last name says enough: embedding files are passed on, and paths tell of the maker.
    """
    values = []
    for key, value in used.items():
        if key in ('model', 'file', 'pretrained'):
            values.append(Path(value).resolve().name if os.path.exists(value) else str(value))
        else:
            values.append(f'{key} {value}')
    return ', '.join(values)

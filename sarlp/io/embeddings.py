"""The file of label embeddings: a vector for each class name, made once, read by the model.

An ``.npz`` with ``embeddings`` (C, T) float32, ``classes`` (C,) fixed-width Unicode, ``kind`` and ``source``, the last
two for the reader. The class names are in it so that rows can not be taken for other classes.
"""

import os
from collections.abc import Sequence

import numpy as np

from sarlp.errors import UserValueError, shorten
from sarlp.io.files import atomic_write
from sarlp.io.npz_file import read_npz
from sarlp.io.outputs import check_output, loads
from sarlp.names.class_names import columns_by_name


class EmbeddingError(UserValueError):
    """Label embeddings that can not be made or used."""


def save_embeddings(
    path: str | os.PathLike, embeddings: np.ndarray, classes: Sequence[str], kind: str, source: str
) -> None:
    """Write an embedding file, all of it or nothing.

    Args:
        path: the ``.npz`` file.
        embeddings: (C, T), finite; saved as float32.
        classes: C class names in the order of the rows.
        kind: how the vectors were made, such as ``'bert'`` or ``'glove'``.
        source: from what, such as the name of the model.
    """
    embeddings = np.asarray(embeddings, np.float32)
    _check(path, embeddings, len(classes))
    check_output(path, (), loads(load_embeddings))
    with atomic_write(path, 'wb') as file:
        np.savez(
            file, embeddings=embeddings, classes=np.array(classes, str), kind=np.array(kind), source=np.array(source)
        )


def load_embeddings(path: str | os.PathLike, classes: Sequence[str] | None = None) -> np.ndarray:
    """Read an embedding file.

    Args:
        path: the ``.npz`` file.
        classes: the class names that the rows are wanted for, in their order; None to take what is there.

    Returns:
        (C, T) float32, finite.

    Raises:
        EmbeddingError: the file is missing, is no embedding file, holds NaN or infinity, or is for other classes.
    """
    embeddings, names = _read(path)
    if classes is None:
        return embeddings
    advice = f'Make the embeddings for this data set with: {_command(path)}'
    return embeddings[columns_by_name(names, classes, path, 'the data set', advice, error=EmbeddingError)]


def embedding_classes(path: str | os.PathLike) -> tuple[str, ...]:
    """The class names of an embedding file in the order of its rows; see :func:`load_embeddings`."""
    return _read(path)[1]


def _command(path: str | os.PathLike) -> str:
    return f'sarlp convert embeddings ANN_FILE --kind bert --out {path}'


def _read(path: str | os.PathLike) -> tuple[np.ndarray, tuple[str, ...]]:
    command = _command(path)
    try:
        content = read_npz(path, ('embeddings', 'classes'))
        embeddings, names = content['embeddings'], content['classes']
        rows = names.tolist()  # which numpy may find to be no text after all
    except FileNotFoundError:
        raise EmbeddingError(f'{path}: there are no such label embeddings. Make them with: {command}') from None
    except Exception as error:  # zip, zlib and numpy raise errors of many kinds
        raise EmbeddingError(
            f'{path}: expected an .npz file with "embeddings" and "classes" and no pickled objects, but it can not be '
            f'read ({str(error).strip() or type(error).__name__}). Make it anew with: {command}'
        ) from None
    if names.dtype.kind != 'U' or names.ndim != 1 or len(set(rows)) != len(rows):
        raise EmbeddingError(
            f'{path}: expected "classes" to be a list of different strings, found shape {names.shape}, type '
            f'{names.dtype}. Make the file anew with: {command}'
        )
    _check(path, embeddings, len(names))
    return embeddings, tuple(rows)


def _check(path: str | os.PathLike, embeddings: np.ndarray, num_classes: int) -> None:
    if embeddings.dtype != np.float32 or embeddings.ndim != 2 or embeddings.shape[1] < 1:
        raise EmbeddingError(
            f'{path}: expected "embeddings" of shape (classes, width) and type float32, found shape '
            f'{embeddings.shape}, type {embeddings.dtype}.'
        )
    if len(embeddings) != num_classes:
        raise EmbeddingError(f'{path}: {len(embeddings)} rows of embeddings do not go with {num_classes} class names.')
    bad = np.flatnonzero(~np.isfinite(embeddings).all(1)).tolist()
    if bad:
        raise EmbeddingError(
            f'{path}: {len(bad)} of {num_classes} rows hold NaN or infinity: {shorten(bad)}. Make the file anew.'
        )

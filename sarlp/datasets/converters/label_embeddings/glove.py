"""Vectors of class names from a text file of word vectors, such as ``glove.840B.300d.txt``."""

import os
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import IO

import numpy as np
from tqdm import tqdm

from sarlp.datasets.converters.label_embeddings.spelling import spell_out
from sarlp.io.embeddings import EmbeddingError

_LONGEST_LINE = 1 << 20  # bytes; a file without line breaks is no such file and must not be read whole
_WIDEST = 1 << 17  # numbers, which such a line has room for


def glove_embeddings(
    classes: Sequence[str], file: str | os.PathLike, spellings: Mapping[str, str] | None = None
) -> np.ndarray:
    """The sum of the vectors of a name's words.

    A word is looked for as it is written, and in lower case only where the file does not have it so.

    Args:
        classes: C class names.
        file: a word and its T numbers a line, separated by single spaces, UTF-8; words may hold spaces. It is read line
            by line, to the last word that is wanted.
        spellings: words for class names beyond :data:`~sarlp.datasets.converters.label_embeddings.spelling.SPELLINGS`.

    Returns:
        (C, T) float32.

    Raises:
        EmbeddingError: no such file, it is no file of word vectors, or it lacks a word.
    """
    words = {name: spell_out(name, spellings).split() for name in classes}
    exact = {word for found in words.values() for word in found}
    try:
        with open(file, 'rb') as stream:
            vectors = _find_vectors(stream, file, exact)
    except FileNotFoundError:
        raise EmbeddingError(
            f'{file}: there are no such word vectors. Unpack glove.840B.300d.zip of the GloVe project and name the '
            'text file in it with --file.'
        ) from None

    rows = []
    for name in classes:
        if not words[name]:
            raise EmbeddingError(f'class {name!r} has no word in it. Give it a name of words.')
        found = []
        for word in words[name]:
            vector = vectors.get(word, vectors.get(word.lower()))
            if vector is None:
                lower = f' nor {word.lower()!r}' if word != word.lower() else ''
                raise EmbeddingError(
                    f'class {name!r}: {file} does not have the word {word!r}{lower}. Spell the class out in words that '
                    'it has.'
                )
            found.append(vector)
        rows.append(np.sum(found, axis=0))
    return np.stack(rows).astype(np.float32)


def _find_vectors(stream: IO[bytes], file: str | os.PathLike, exact: Collection[str]) -> dict[str, np.ndarray]:
    """Vectors (T,) float64 of the words in ``exact`` and of their lower-case forms, as far as they are there."""
    first = stream.readline(_LONGEST_LINE)
    fields = first.rstrip().split(b' ')
    # word2vec's: lines and width, which no number of over 19 digits is
    header = len(fields) == 2 and all(field.isdigit() and len(field) < 20 for field in fields)
    dim = int(fields[1]) if header else len(fields) - 1
    if not 1 <= dim <= _WIDEST or not first.endswith(b'\n'):
        raise EmbeddingError(
            f'{file}, line 1: expected a word and its numbers, separated by spaces, found {first[:40]!r}. '
            'Unpack archives first.'
        )
    if not header:
        stream.seek(0)

    wanted = {form.encode() for word in exact for form in (word, word.lower())}
    waiting = {word.encode() for word in exact}
    vectors: dict[str, np.ndarray] = {}
    lines = iter(partial(stream.readline, _LONGEST_LINE), b'')
    for number, line in enumerate(tqdm(lines, 'reading word vectors', unit=' lines', disable=None), 1 + header):
        if len(line) == _LONGEST_LINE:
            raise EmbeddingError(f'{file}, line {number}: it is longer than any vector. Fetch the file again.')
        start = line.partition(b' ')[0]
        if start not in wanted:
            continue
        word, *numbers = line.rstrip().rsplit(b' ', dim)  # from the right, since "at home" also starts with "at"
        if word != start and len(numbers) == dim:
            continue
        try:
            vector = np.array([float(text) for text in numbers])
        except ValueError:
            vector = None
        # what is written as 64 bit floating point may be infinite in 32; NaN is not smaller than anything
        if vector is None or len(vector) != dim or not (np.abs(vector) <= np.finfo(np.float32).max).all():
            raise EmbeddingError(
                f'{file}, line {number}: expected {dim} finite numbers after {start.decode()!r}, as line 1 has, found '
                f'{line[:60]!r}. Fetch the file again.'
            )
        vectors.setdefault(word.decode(), vector)  # some words are there twice
        waiting.discard(word)
        if not waiting:
            break
    return vectors

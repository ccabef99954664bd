"""Making label embeddings: a vector for each class name (:mod:`sarlp.embeddings` has the file).

``bert`` follows the behaviour of the reference code of arXiv 2510.10055: the name is preceded by [CLS] and **not**
followed by [SEP], all segment ids are **1**, and the vectors are the last hidden layer's; a name of one word piece
takes that piece's vector, a longer one the vector of [CLS].
"""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from sarlp.datasets.annotation import load_annotation
from sarlp.embeddings import EmbeddingError, save_embeddings
from sarlp.errors import shorten

KINDS = ('bert', 'random')
BERT = 'bert-base-uncased'
# VOC writes these as one word, which a tokeniser would cut into meaningless pieces
SPELLINGS = {'diningtable': 'dining table', 'pottedplant': 'potted plant', 'tvmonitor': 'tv monitor'}


def spell_out(name: str, extra: Mapping[str, str] | None = None) -> str:
    """The class name as words: VOC's compounds apart, underscores as spaces; ``extra`` adds spellings or replaces."""
    return {**SPELLINGS, **(extra or {})}.get(name, name).replace('_', ' ')


def bert_embeddings(
    classes: Sequence[str], model: str | os.PathLike = BERT, spellings: Mapping[str, str] | None = None
) -> np.ndarray:
    """Vectors of class names from a BERT encoder.

    Args:
        classes: C class names.
        model: a folder with ``config.json``, ``vocab.txt`` or ``tokenizer.json``, and the weights; or a name on the
            Hugging Face hub, fetched once.
        spellings: words for class names beyond :data:`SPELLINGS`.

    Returns:
        (C, T) float32, T the hidden width (768 for BERT base).

    Raises:
        EmbeddingError: the model can not be loaded or lacks weights, or a name is unknown to its vocabulary.
    """
    import torch

    try:
        tokenizer, encoder, info = _load_bert(model)
    except Exception as error:  # the hub's client raises many kinds, none of them documented
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip('.')
        raise EmbeddingError(
            f'the BERT model {str(model)!r} can not be loaded ({reason}).\n'
            'Without a network, copy config.json, vocab.txt and model.safetensors of bert-base-uncased into a folder '
            'on another machine and give that folder with --model; or use --kind random.'
        ) from error
    absent = sorted(info['missing_keys'])
    if absent:  # transformers would fill them with random numbers
        raise EmbeddingError(
            f'{model}: the weights of {len(absent)} BERT layers are missing: {shorten(absent)}. Give a folder or hub '
            'name with the weights of a whole BERT model.'
        )
    encoder.eval()

    rows = []
    for name in classes:
        pieces = tokenizer.tokenize(spell_out(name, spellings))
        if not pieces or tokenizer.unk_token in pieces:
            raise EmbeddingError(
                f'class {name!r}: the vocabulary of {model} has no words for it (pieces {pieces}). Spell the class out '
                'in the words of that vocabulary.'
            )
        tokens = torch.tensor([tokenizer.convert_tokens_to_ids([tokenizer.cls_token, *pieces])])
        with torch.inference_mode():
            hidden = encoder(
                input_ids=tokens, attention_mask=torch.ones_like(tokens), token_type_ids=torch.ones_like(tokens)
            ).last_hidden_state[0]
        rows.append(hidden[1 if len(pieces) == 1 else 0].float().numpy())
    return np.stack(rows).astype(np.float32)


def _load_bert(model: str | os.PathLike) -> tuple:
    from transformers import BertConfig, BertModel, BertTokenizer  # here, since the import takes seconds

    def load(**options):
        tokenizer = BertTokenizer.from_pretrained(model, **options)
        encoder, info = BertModel.from_pretrained(model, add_pooling_layer=False, output_loading_info=True, **options)
        return tokenizer, encoder, info

    # Without a network every file that is looked for costs half a minute of retries, so what is on the disk is tried
    # first, and then one file of the hub before the others.
    try:
        return load(local_files_only=True)
    except OSError:
        BertConfig.from_pretrained(model)
        return load()


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


def make_embeddings(
    ann_file: str | os.PathLike,
    out: str | os.PathLike,
    kind: str,
    model: str | os.PathLike | None = None,
    seed: int | None = None,
    dim: int | None = None,
) -> Path:
    """Make and save the embeddings of the classes of an annotation file.

    Args:
        ann_file: any split of the data set.
        out: the ``.npz`` file to write.
        kind: ``'bert'``, which takes ``model``, or ``'random'``, which takes ``seed`` and ``dim``.
        model, seed, dim: None for the defaults of :func:`bert_embeddings` and :func:`random_embeddings`.

    Returns:
        ``out`` as a path.

    Raises:
        EmbeddingError: also for an option that the kind does not take.
    """
    takes = {'bert': {'model': model}, 'random': {'seed': seed, 'dim': dim}}
    if kind not in takes:
        raise EmbeddingError(f'expected kind to be one of {", ".join(KINDS)}, found {kind!r}.')
    foreign = [key for other in KINDS if other != kind for key, value in takes[other].items() if value is not None]
    if foreign:
        raise EmbeddingError(f'--kind {kind} does not take {", ".join("--" + key for key in foreign)}; leave it out.')
    options = {key: value for key, value in takes[kind].items() if value is not None}
    classes = load_annotation(ann_file)[0]['classes']
    if kind == 'bert':
        embeddings = bert_embeddings(classes, **options)
        source = options.get('model', BERT)
        if os.path.isdir(source):  # the folder's own name says enough; files are passed on, and paths tell of the maker
            source = Path(source).resolve().name
    else:
        embeddings = random_embeddings(classes, **options)
        source = 'random numbers'
    save_embeddings(out, embeddings, classes, kind, str(source))
    return Path(out)

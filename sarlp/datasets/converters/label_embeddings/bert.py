"""Vectors of class names from a BERT encoder: its last hidden layer, pooled in one of two ways.

- ``'reference'``, as in the reference code of arXiv 2510.10055: the name is preceded by [CLS] and **not** followed by
  [SEP], all segment ids are **1**; a name of one word piece takes that piece's vector, a longer one that of [CLS].
- ``'mean'``, as sentence encoders are trained (Sentence-BERT, arXiv 1908.10084, section 3): [CLS] name [SEP], segment
  ids 0, the mean over all tokens. Of an encoder that was trained for it, the vector of [CLS] says little.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sarlp.datasets.converters.label_embeddings.spelling import spell_out
from sarlp.errors import shorten
from sarlp.io.embeddings import EmbeddingError
from sarlp.io.pip_parts import SCHEME, find_part
from sarlp.io.quiet import quiet_transformers

BERT = 'bert-base-uncased'
POOLINGS = ('reference', 'mean')


def bert_embeddings(
    classes: Sequence[str],
    model: str | os.PathLike = BERT,
    spellings: Mapping[str, str] | None = None,
    pooling: str = 'reference',
) -> np.ndarray:
    """Vectors of class names from a BERT encoder.

    Args:
        classes: C class names.
        model: a folder with ``config.json``, ``vocab.txt`` or ``tokenizer.json``, and the weights; a name on the
            Hugging Face hub, fetched once; or an address of :mod:`sarlp.io.pip_parts`.
        spellings: words for class names beyond :data:`SPELLINGS`.
        pooling: one of :data:`POOLINGS`.

    Returns:
        (C, T) float32, T the hidden width (768 for BERT base).

    Raises:
        EmbeddingError: the model can not be loaded or lacks weights, or a name is unknown to its vocabulary.
    """
    import torch

    if pooling not in POOLINGS:
        raise EmbeddingError(f'expected pooling to be one of {", ".join(POOLINGS)}, found {pooling!r}.')
    if str(model).startswith(SCHEME):
        model = find_part(str(model))
    try:
        with quiet_transformers():
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
        words = [tokenizer.cls_token, *pieces] + [tokenizer.sep_token] * (pooling == 'mean')
        tokens = torch.tensor([tokenizer.convert_tokens_to_ids(words)])
        segments = torch.full_like(tokens, int(pooling == 'reference'))
        with torch.inference_mode():
            hidden = encoder(
                input_ids=tokens, attention_mask=torch.ones_like(tokens), token_type_ids=segments
            ).last_hidden_state[0]
        row = hidden.mean(0) if pooling == 'mean' else hidden[1 if len(pieces) == 1 else 0]
        rows.append(row.float().numpy())
    return np.stack(rows).astype(np.float32)


def _load_bert(model: str | os.PathLike) -> tuple:
    from transformers import BertConfig, BertModel, BertTokenizer  # here, since the import takes seconds

    def load(**options: Any):
        tokenizer = BertTokenizer.from_pretrained(model, trust_remote_code=False, **options)
        # its config.json could ask for attention by a kernel of the hub, which is code
        safe: dict[str, Any] = dict(trust_remote_code=False, weights_only=True, attn_implementation='eager')
        loaded: Any = BertModel.from_pretrained(
            model, add_pooling_layer=False, output_loading_info=True, **safe, **options
        )
        return tokenizer, *loaded

    # Without a network every file that is looked for costs half a minute of retries, so what is on the disk is tried
    # first, and then one file of the hub before the others.
    try:
        return load(local_files_only=True)
    except OSError:
        BertConfig.from_pretrained(model)
        return load()

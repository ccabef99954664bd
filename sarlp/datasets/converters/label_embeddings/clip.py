"""Vectors of class names from the text encoder of CLIP."""

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from sarlp.datasets.converters.label_embeddings.spelling import spell_out
from sarlp.errors import shorten
from sarlp.io.clip_weights import NOT_WEIGHTS, PREFIX, is_torchscript, read_state_dict
from sarlp.io.embeddings import EmbeddingError

CLIP = 'RN101-quickgelu'
PROMPTS = ('a photo of a {}.',)


def clip_embeddings(
    classes: Sequence[str],
    model: str = CLIP,
    pretrained: str | os.PathLike = 'openai',
    prompts: Sequence[str] = PROMPTS,
    spellings: Mapping[str, str] | None = None,
) -> np.ndarray:
    """The normalised mean, over the prompts, of the normalised vectors of their texts.

    Args:
        classes: C class names.
        model: the name that open_clip has for the architecture. OpenAI's weights go with the names that end in
            ``-quickgelu``; where open_clip knows so, or the file is OpenAI's own archive, the ending may be left out.
        pretrained: OpenAI's archive (``RN101.pt``), a file with a state dict (``.pt``, ``.safetensors``), or the name
            that open_clip has for weights, fetched once. No code is run from the file.
        prompts: texts with ``{}`` in the place of the class name.
        spellings: words for class names beyond :data:`~sarlp.datasets.converters.label_embeddings.spelling.SPELLINGS`.

    Returns:
        (C, T) float32 of length 1, T the embedding width (512 for RN101).

    Raises:
        EmbeddingError: the model can not be loaded, its weights are another model's, or a prompt has no ``{}``.
    """
    import open_clip  # here, since the import takes seconds
    import torch

    for prompt in prompts or ('',):
        if '{}' not in prompt:
            raise EmbeddingError(f'a prompt needs {{}} in the place of the class name, found {prompt!r}.')
    encoder, tokenizer = _load_clip(open_clip, model, str(pretrained))
    rows = []
    for name in classes:
        texts = [prompt.replace('{}', spell_out(name, spellings)) for prompt in prompts]
        with torch.inference_mode():
            vectors = encoder.encode_text(tokenizer(texts), normalize=True)
        rows.append(torch.nn.functional.normalize(vectors.mean(0), dim=0).numpy())
    return np.stack(rows).astype(np.float32)


def _load_clip(open_clip, model: str, pretrained: str) -> tuple:
    if open_clip.get_model_config(model) is None:
        near = [name for name in open_clip.list_models() if name.split('-')[0] == model.split('-')[0]]
        raise EmbeddingError(
            f'open_clip has no model {model!r}; it has {shorten(near or open_clip.list_models())}. Give one with '
            '--model.'
        )
    is_file = os.path.isfile(pretrained)
    tag = {} if is_file else open_clip.get_pretrained_cfg(model, pretrained)
    try:
        if not is_file and not tag:
            raise FileNotFoundError(
                f'neither a file nor one of {", ".join(open_clip.list_pretrained_tags_by_model(model)) or "no"} weights'
            )
        path = Path(open_clip.download_pretrained(tag) if tag else pretrained)
        archive = is_torchscript(path)
        state = read_state_dict(path, lambda name: not name.startswith(PREFIX))
    except Exception as error:  # network, zip, unpickling: each library raises its own
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip('.')
        raise EmbeddingError(
            f'the CLIP weights {pretrained!r} can not be loaded ({reason}).\n'
            'Without a network, fetch RN101.pt of OpenAI on another machine and give the file with --pretrained; or '
            'use --kind random.'
        ) from error

    quick_gelu = archive or tag.get('quick_gelu', False)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # that the model has no weights yet
        encoder = open_clip.create_model(model, force_quick_gelu=quick_gelu)
    state = {
        key: value.float()
        for key, value in state.items()
        if not key.startswith(PREFIX) and key.rpartition('.')[2] not in NOT_WEIGHTS
    }
    expected = {key: value for key, value in encoder.state_dict().items() if not key.startswith(PREFIX)}
    wrong = sorted(
        {key for key in state.keys() & expected.keys() if state[key].shape != expected[key].shape}
        | (state.keys() ^ expected.keys())
    )
    if wrong:  # a missing one would stay random
        raise EmbeddingError(
            f'{pretrained}: {len(wrong)} weights of the text encoder are missing, unknown or of another shape than in '
            f'{model}: {shorten(wrong)}. Give the name of the architecture with --model.'
        )
    encoder.load_state_dict(state, strict=False)
    return encoder.eval(), open_clip.get_tokenizer(model)

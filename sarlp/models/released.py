"""Names of the authors' released checkpoints, translated to those of sarlp.

A released ``best_ema_model.pth`` is a flat state dict with every key under ``module.``; pointwise layers are 1-d
convolutions there, whose weights end in a dimension of 1.

No released file of the CLIP models was at hand. Their heads are named as in the golden numbers; the names of their
encoder are inferred: CLIP's own under ``backbone.``, perhaps under ``visual.``, and where PEFT wrapped it under PEFT's
``base_model.model.``, with ``base_layer`` and ``lora_A.default`` in the names as here. A name that does not fit is an
error, never skipped. Learnt label embeddings (``--embed-type random``) have no known name either.
"""

import re

from torch import Tensor

_NETS = {'1': 'query', '2': 'key', '3': 'value', '4': 'out'}
_LAYERS = {'0': 'linear', '1': 'norm'}

# released name -> name here, tried in order; None drops the entry
_SHARED = (
    (r'position_embedding\.pe', None),  # a constant, computed here
    (r'encoder\.(.+)', r'head.encoder.\1'),
)
_SARLP = (
    (r'ttd\.0\.(.+)', r'head.srfl.joint.\1'),
    (r'ttd\.1\.(.+)', r'head.srfl.norm.\1'),
    (r'ttd\.3\.(.+)', r'head.srfl.out.\1'),
    (r'attention2\.linear1\.(.+)', r'head.sgfe.attention.token.\1'),
    (r'attention2\.linear2\.(.+)', r'head.sgfe.attention.label.\1'),
    (r'attention2\.hidden_linear\.(.+)', r'head.sgfe.attention.hidden.\1'),
    (r'attention2\.target_linear\.(.+)', r'head.sgfe.attention.target.\1'),
    (r'mlp\.0\.(.+)', r'head.widen.linear.\1'),
    (r'mlp\.1\.(.+)', r'head.widen.norm.\1'),
    (r'fc0\.(.+)', r'head.recovery.score.\1'),
    (r'fc2\.([03])\.(.+)', r'head.sgfe.mlp.\1.\2'),
)
_BASELINE = ((r'fc0\.(.+)', r'head.score.\1'),)
_SGRE = (
    (r'attention\.linear1\.(.+)', r'head.attention.token.\1'),
    (r'attention\.linear2\.(.+)', r'head.attention.label.\1'),
    (r'attention\.hidden_linear\.(.+)', r'head.attention.hidden.\1'),
    (r'attention\.target_linear\.(.+)', r'head.attention.target.\1'),
    (r'fc\.(.+)', r'head.class_score.\1'),
    (r'fc2\.([03])\.(.+)', r'head.mlp.\1.\2'),
    *(
        (rf'net{net}\.{layer}\.(.+)', rf'head.guide.{_NETS[net]}.{_LAYERS[layer]}.\1')
        for net in _NETS
        for layer in _LAYERS
    ),
)
_RESNET = ((r'backbone\.(.+)', r'backbone.\1'),)
_CLIP = ((r'backbone\.(?:base_model\.model\.)?(?:visual\.)?(.+)', r'backbone.visual.\1'),)


def rename_released(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """Translate a released state dict: ``sarlp``, its ablations, ``baseline``, the CLIP models, and SGRE.

    Args:
        state_dict: released names, with or without the leading ``module.``.

    Returns:
        The entries under the names of :class:`~sarlp.models.MultiLabelClassifier`. The label embeddings are not among
        them: released checkpoints do not hold any.

    Raises:
        KeyError: an entry has a name that no released model has, or two mean the same weights.
    """
    names = {key: key.removeprefix('module.') for key in state_dict}
    if any(name.startswith('net1.') for name in names.values()):
        head = _SGRE
    elif any(name.startswith(('fc2.', 'ttd.')) for name in names.values()):
        head = _SARLP
    else:
        head = _BASELINE
    is_clip = any('attnpool.' in name for name in names.values())
    renames = (*_SHARED, *head, *(_CLIP if is_clip else _RESNET))
    renamed = {}
    for key, value in state_dict.items():
        for pattern, target in renames:
            match = re.fullmatch(pattern, names[key])
            if match:
                if target is not None:
                    name = match.expand(target)
                    if name in renamed:
                        raise KeyError(f'{key!r} is there twice, under two prefixes')
                    pointwise = name.startswith('head.') and value.ndim == 3 and value.shape[-1] == 1
                    renamed[name] = value.squeeze(-1) if pointwise else value
                break
        else:
            raise KeyError(f'{key!r} is no entry of a released checkpoint')
    return renamed

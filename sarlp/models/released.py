"""Names of the authors' released checkpoints, translated to those of sarlp.

A released ``best_ema_model.pth`` is a flat state dict with every key under ``module.``; pointwise layers are 1-d
convolutions there, whose weights end in a dimension of 1.
"""

import re

from torch import Tensor

# released name -> name here, tried in order; None drops the entry
_RENAMES = (
    (r'position_embedding\.pe', None),  # a constant, computed here
    (r'backbone\.(.+)', r'backbone.\1'),
    (r'encoder\.(.+)', r'head.encoder.\1'),
    (r'ttd\.0\.(.+)', r'head.srfl.joint.\1'),
    (r'ttd\.1\.(.+)', r'head.srfl.norm.\1'),
    (r'ttd\.3\.(.+)', r'head.srfl.out.\1'),
    (r'attention2\.linear1\.(.+)', r'head.sgfe.attention.token.\1'),
    (r'attention2\.linear2\.(.+)', r'head.sgfe.attention.label.\1'),
    (r'attention2\.hidden_linear\.(.+)', r'head.sgfe.attention.hidden.\1'),
    (r'attention2\.target_linear\.(.+)', r'head.sgfe.attention.target.\1'),
    (r'fc2\.([03])\.(.+)', r'head.sgfe.mlp.\1.\2'),
)


def rename_released(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """Translate a released state dict of a ResNet model (``sarlp``, its ablations, ``baseline``).

    Args:
        state_dict: released names, with or without the leading ``module.``.

    Returns:
        The entries under the names of :class:`~sarlp.models.MultiLabelClassifier`. The label embeddings are not among
        them: released checkpoints do not hold any.

    Raises:
        KeyError: an entry has a name that no released ResNet model has.
    """
    names = {key: key.removeprefix('module.') for key in state_dict}
    # fc0 is the recovery classifier, but the only classifier of the baseline
    is_baseline = not any(name.startswith('fc2.') for name in names.values())
    renames = (*_RENAMES, (r'fc0\.(.+)', r'head.score.\1' if is_baseline else r'head.recovery.score.\1'))
    renamed = {}
    for key, value in state_dict.items():
        for pattern, target in renames:
            match = re.fullmatch(pattern, names[key])
            if match:
                if target is not None:
                    name = match.expand(target)
                    pointwise = name.startswith('head.') and value.ndim == 3 and value.shape[-1] == 1
                    renamed[name] = value.squeeze(-1) if pointwise else value
                break
        else:
            raise KeyError(f'{key!r} is no entry of a released ResNet checkpoint')
    return renamed

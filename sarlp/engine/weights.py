"""The weights of a checkpoint into a model."""

from pathlib import Path

from sarlp.engine.trainable import restore_frozen
from sarlp.errors import UserError, shorten
from sarlp.io.state_dicts import differences


def load_weights(model, checkpoint: dict, path: str | Path, begins: bool = False) -> None:
    """Load ``checkpoint['state_dict']``, the EMA weights, strictly.

    Only what :class:`~sarlp.engine.trainable.TrainableOnlyHook` left out may be absent.

    Args:
        begins: whether a training begins with them, which may take a part.

    Raises:
        UserError: the checkpoint is of another model; missing, unexpected and misshapen entries are listed.
    """
    restore_frozen(model, checkpoint, path)
    state = require_fitting(model, checkpoint, path, begins)
    model.load_state_dict(state, strict=False)  # equal by now, but for what the method holds, which is not in there


def require_fitting(model, checkpoint: dict, path: str | Path, begins: bool = False) -> dict:
    """The weights of a checkpoint that has all of them, by the names of the model. Raises as :func:`load_weights`."""
    state = {key.removeprefix('module.'): value for key, value in checkpoint['state_dict'].items()}
    problems = differences(state, model.state_dict())
    if problems:
        advice = 'use the config that it was trained with (it lies in its work directory)'
        if begins:
            advice += (
                '; to begin with its backbone alone, leave out load_from and have in a config of your own model = '
                f"dict(backbone=dict(init_cfg=dict(_delete_=True, type='Pretrained', checkpoint='{path}', "
                "prefix='backbone.')))"
            )
        lines = [f'  {len(keys)} {kind}: {shorten(keys)}' for kind, keys in problems.items()]
        raise UserError(
            '\n'.join(
                [
                    f'{path}: the checkpoint is of another model than the config describes:',
                    *lines,
                    advice,
                ]
            )
        )
    return state

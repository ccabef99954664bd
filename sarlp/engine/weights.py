"""The weights of a checkpoint into a model."""

from pathlib import Path

from sarlp.engine.trainable import restore_frozen
from sarlp.errors import UserError, shorten


def load_weights(model, checkpoint: dict, path: str | Path) -> None:
    """Load ``checkpoint['state_dict']``, the EMA weights, strictly.

    Only what :class:`~sarlp.engine.trainable.TrainableOnlyHook` left out may be absent.

    Raises:
        UserError: the checkpoint is of another model; missing, unexpected and misshapen entries are listed.
    """
    restore_frozen(model, checkpoint, path)
    state = {key.removeprefix('module.'): value for key, value in checkpoint['state_dict'].items()}
    own = model.state_dict()
    problems = {
        'missing': sorted(set(own) - set(state)),
        'unexpected': sorted(set(state) - set(own)),
        'of another shape': [
            f'{key} {tuple(state[key].shape)} instead of {tuple(own[key].shape)}'
            for key in sorted(set(own) & set(state))
            if state[key].shape != own[key].shape
        ],
    }
    if any(problems.values()):
        lines = [f'  {len(keys)} {kind}: {shorten(keys)}' for kind, keys in problems.items() if keys]
        raise UserError(
            '\n'.join(
                [
                    f'{path}: the checkpoint is of another model than the config describes:',
                    *lines,
                    'use the config that it was trained with (it lies in its work directory)',
                ]
            )
        )
    model.load_state_dict(state, strict=False)  # equal by now, but for what the method holds, which is not in there

"""MMEngine's Runner, with checkpoints that are whole or absent, and strict loading."""

import os
import re
from pathlib import Path

from mmengine.dist import master_only
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from mmengine.runner.checkpoint import CheckpointLoader

from sarlp.engine.trainable import restore_frozen
from sarlp.errors import UserError, shorten


def read_file(path: str | Path) -> object:
    """Read what ``torch.save`` wrote onto the CPU, running no code from the file.

    Raises:
        UserError: no such file, or nothing that can be read safely.
    """
    try:
        return CheckpointLoader.load_checkpoint(str(path), map_location='cpu', logger='silent')
    except FileNotFoundError as error:
        raise UserError(f'{path}: no such checkpoint') from error
    except Exception as error:  # unpickling, zip and type errors, by what the file is
        reason = re.search(r'Unsupported (?:global|operand|class)[^.]*', str(error))  # out of half a page
        reason = reason[0] if reason else (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f'{path}: is no checkpoint that can be loaded safely ({reason})') from error


def read_checkpoint(path: str | Path) -> dict:
    """Read a checkpoint of the Runner onto the CPU, running no code from the file.

    Raises:
        UserError: no such file, or no checkpoint.
    """
    checkpoint = read_file(path)
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get('state_dict'), dict):
        raise UserError(
            f"{path}: is no checkpoint of sarlp: expected a dict with 'state_dict', got {_describe(checkpoint)}"
        )
    return checkpoint


def find_checkpoint(path: str | Path) -> str:
    """A checkpoint by its file, or the best one of a work directory (the newest, if none was selected).

    Raises:
        UserError: there is none.
    """
    path = Path(path)
    if not path.is_dir():
        return str(path)
    best = sorted(path.glob('best_*.pth'), key=lambda file: file.stat().st_mtime)
    any_epoch = sorted(path.glob('*.pth'), key=lambda file: file.stat().st_mtime)
    if not any_epoch:
        raise UserError(f'{path}: holds no checkpoint (*.pth)')
    return str((best or any_epoch)[-1])


def _describe(value: object) -> str:
    if isinstance(value, dict):
        return f'a dict with {", ".join(map(repr, list(value)[:5]))}{", ..." if len(value) > 5 else ""}'
    return type(value).__name__


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
    model.load_state_dict(state)


@RUNNERS.register_module()
class MultiLabelRunner(Runner):
    """The Runner used by the tools."""

    def get_hooks_info(self) -> str:
        """The hooks in their order, once each; MMEngine's own list repeats them for all stages over a hundred lines."""
        return ', '.join(type(hook).__name__ for hook in self._hooks)

    @master_only
    def save_checkpoint(self, out_dir: str, filename: str, *args, **kwargs) -> None:
        """Write under a temporary name, sync, rename: a process killed meanwhile leaves the older file whole."""
        temporary = Path(out_dir) / f'.{filename}.tmp'
        try:
            super().save_checkpoint(out_dir, temporary.name, *args, **kwargs)
            with open(temporary, 'rb') as stream:
                os.fsync(stream.fileno())
            os.replace(temporary, Path(out_dir) / filename)
        except BaseException:
            temporary.unlink(missing_ok=True)  # on a full disk its half would take the room of the next attempt
            raise

    def load_checkpoint(self, filename: str, map_location: str = 'cpu', **kwargs) -> dict:
        """Load strictly; hooks see the checkpoint first, as in MMEngine."""
        checkpoint = read_checkpoint(filename)
        model = self.model.module if hasattr(self.model, 'module') else self.model
        restore_frozen(model, checkpoint, filename)
        self.call_hook('after_load_checkpoint', checkpoint=checkpoint)
        load_weights(model, checkpoint, filename)
        self._has_loaded = True
        self.logger.info(f'loaded {filename}')
        return checkpoint

"""Data loader options: those that fit the machine, and those that would give a wrong result or none."""

from collections.abc import Mapping
from typing import Any

import torch
from torch.utils.data import DataLoader

from sarlp.errors import UserError


def fit_loader(cfg: Mapping) -> dict:
    """A data loader config without the options that torch refuses, or warns of, where they can do nothing.

    So that one config serves with and without a GPU, and ``train_dataloader.num_workers=0`` is all there is to change.

    Args:
        cfg: config; not changed. Without workers ``persistent_workers`` and ``prefetch_factor`` are left out, without a
            GPU ``pin_memory``.
    """
    useless = set()
    if not cfg.get('num_workers', 0):
        useless |= {'persistent_workers', 'prefetch_factor'}
    if not torch.cuda.is_available():
        useless.add('pin_memory')
    return {key: value for key, value in cfg.items() if key not in useless}


def check_loader(name: str, cfg: Mapping) -> None:
    """Look over the options of a data loader.

    Args:
        name: of the loader in the config; one that does not train is to give every image.
        cfg: its config.

    Raises:
        UserError: it can not give batches, or would leave images out.
    """
    for option, least in (('batch_size', 1), ('num_workers', 0)):
        value = cfg.get(option, least)
        if type(value) is not int or value < least:
            raise UserError(f'{name}.{option} must be a whole number of at least {least}, got {value!r}')
    if name != 'train_dataloader' and cfg.get('drop_last'):
        raise UserError(
            f'{name}.drop_last=True leaves out the images of the last batch, and what is measured would not be of all '
            'of them; leave the option out'
        )


def share_of_batch(total: int, processes: int) -> int:
    """The batch of each process; that in a config is the total, and stays so in what is written of it."""
    if total % processes:
        raise UserError(
            f'train_dataloader.batch_size = {total} is the total over all processes and must be a multiple of their '
            f'number, {processes}'
        )
    return total // processes


def require_batches(loader: DataLoader) -> None:
    """Raises: UserError, there is no whole batch in an epoch of the training, and no other is wanted."""
    if len(loader) == 0:
        images: Any = loader.dataset
        raise UserError(
            f'train_dataloader: an epoch has no step, since drop_last=True leaves out what is no whole batch, and of '
            f'{len(images):,} images there is none of {loader.batch_size}; set train_dataloader.batch_size to '
            'less, or drop_last=False'
        )

"""Data loader options that fit the machine."""

from collections.abc import Mapping

import torch


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

"""How the entries of a state dict differ from those that a model has."""

from collections.abc import Mapping

from torch import Tensor


def differences(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, list[str]]:
    """What keeps ``state`` from being loaded where ``own`` is, by name and shape; empty where nothing does.

    Args:
        state: entries to load.
        own: entries of the model, of which shapes alone are looked at.

    Returns:
        Entries that are ``'missing'``, ``'unexpected'`` or ``'of another shape'``, each as a text; no empty lists.
    """
    found = {
        'missing': sorted(set(own) - set(state)),
        'unexpected': sorted(set(state) - set(own)),
        'of another shape': [
            f'{key} {tuple(state[key].shape)} instead of {tuple(own[key].shape)}'
            for key in sorted(set(own) & set(state))
            if state[key].shape != own[key].shape
        ],
    }
    return {kind: keys for kind, keys in found.items() if keys}

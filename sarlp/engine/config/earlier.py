"""Configs as earlier versions had them: losses belonged to the head, where they belong to the method now."""

from mmengine.config import Config, ConfigDict

_METHODS = {'SARLPHead': 'SARLP', 'SGREHead': 'SGRE'}


def upgrade(cfg: Config) -> list[str]:
    """Move the losses of ``model.head`` to ``model.method``, in place.

    So configs and ``--cfg-options`` that were written for earlier versions mean what they meant.

    Returns:
        What was moved, ``'model.head.loss -> model.method.loss'``, for a note.
    """
    model: ConfigDict = cfg.get('model') or {}
    head: ConfigDict = model.get('head') or {}
    recovery: ConfigDict = head.get('recovery') or {}
    moved = []
    for place, holder, key, name in (
        ('model.head.loss', head, 'loss', 'loss'),
        ('model.head.recovery.loss', recovery, 'loss', 'recovery_loss'),
        ('model.head.class_feature_loss', head, 'class_feature_loss', 'class_feature_loss'),
    ):
        if key not in holder:
            continue
        if model.get('method') is None:
            model.method = ConfigDict(type=_METHODS.get(head.get('type'), 'KnownLabels'))
        present = model.method.get(name)
        value = holder.pop(key)
        if isinstance(present, dict) and isinstance(value, dict):  # as inheriting merges
            present.update(value)
        else:
            model.method[name] = value
        moved.append(f'{place} -> model.method.{name}')
    method: ConfigDict = model.get('method') or {}
    if 'recovery' in head and head['recovery'] is None and method.get('recovery_loss') is not None:
        method.recovery_loss = None  # the branch was the switch
        moved.append('model.head.recovery = None -> also model.method.recovery_loss = None')
    return moved

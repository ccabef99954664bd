"""Whether the runs of a table were trained and measured alike, by the protocol in their ``metrics.json``."""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from sarlp.errors import shorten
from sarlp.io.json_file import show

_WHAT = {
    'test_annotations': 'test sets',
    'test_images': 'numbers of test images',
    'test_contents': 'contents of the test set',
    'training_images': 'training images',
    'epoch_selection': 'ways to select the epoch',
    'difficult': 'ways to count difficult objects',
    'threshold': 'thresholds',
    'label_mask': 'label masks',
    'test_images_trained_on': 'numbers of test images that were trained on',
    'earlier_label_masks': 'label masks before the last one',
}
_OF_THE_PLACE = ('known_ratio', 'seed')  # of a label mask, by which the runs of a table are meant to differ


def differing_protocols(protocols: Mapping[tuple[str, float], list[Mapping]]) -> list[str]:
    """A note for everything that models of one data set were measured unlike in, and for runs of one trained unlike.

    Args:
        protocols: of the runs, by model and known ratio. The last word of a model's name is its data set. Entries that
            earlier versions did not write are passed over.
    """
    by_data: dict[str, dict[str, dict[str, list[str]]]] = defaultdict(lambda: {key: {} for key in _WHAT})
    notes = []
    for (series, ratio), runs in protocols.items():
        for protocol in runs:
            for key, values in by_data[data_set(series)].items():
                hides_nothing = key == 'label_mask' and ratio == 1 and not protocol.get(key)  # as it is meant to
                if protocol.get(key) is not None and not hides_nothing:
                    values.setdefault(_shown(key, protocol[key]), []).append(series)
        masks = [protocol.get('label_mask') for protocol in runs]
        found = {mask['known_ratio'] for mask in masks if isinstance(mask, Mapping) and 'known_ratio' in mask}
        if others := sorted(found - {ratio}):
            ratios = shorten([f'{one:g}' for one in others])
            notes.append(f'note: runs of {series} at p = {ratio:g} had a known_ratio of {ratios}')
        trained = {one['digest']: one['epochs'] for run in runs if (one := run.get('training'))}
        if len(trained) > 1:
            epochs = sorted({*trained.values()})
            notes.append(
                f'note: runs of {series} at p = {ratio:g} were not trained alike, so their mean and spread say little: '
                + (f'for {shorten(epochs)} epochs' if len(epochs) > 1 else 'see the configs in their work directories')
            )
    for differing in by_data.values():
        if any(len(differing[key]) > 1 for key in ('test_annotations', 'test_images')):
            del differing['test_contents']  # are others then
        for key, values in differing.items():
            if len(values) > 1:
                parts = [f'{value} ({shorten([*dict.fromkeys(names)])})' for value, names in values.items()]
                notes.append(
                    f'note: these numbers do not compare, they are of different {_WHAT[key]}: {shorten(parts)}'
                )
    return notes


def data_set(series: str) -> str:
    """The last word of a config's name without its known ratio."""
    return series.rpartition('_')[2]


def _shown(key: str, value: Any) -> str:
    if key == 'test_annotations':  # folders are others on another machine, but for the last
        return ', '.join('/'.join(PurePosixPath(file.replace('\\', '/')).parts[-2:]) for file in str(value).split(', '))
    if isinstance(value, Mapping):
        return show({name: one for name, one in value.items() if name not in _OF_THE_PLACE})
    return value if isinstance(value, str) else show(value)

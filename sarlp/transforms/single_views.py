"""The views of a pipeline one by one, each with random numbers that are a function of a key alone."""

import contextlib
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from mmengine.dataset import Compose

from sarlp.transforms.loading import BadImageError
from sarlp.transforms.seeding import seeded


@dataclass(frozen=True)
class SingleView:
    """A view of a pipeline that may end in :class:`~sarlp.transforms.Views`.

    With one key all views take the same turn through the steps before ``Views``, as they do there. A view with the same
    steps as another pipeline gives the same images, so that what was made of them serves both: the strong view of one
    method is the only view of another.

    Attributes:
        shared: configs of the steps before ``Views``.
        own: of its own.
        twin: how many views before it have the same steps; a twin draws random numbers of its own.
    """

    shared: list[dict]
    own: list[dict]
    twin: int

    @property
    def steps(self) -> list[dict]:
        return [*self.shared, *self.own]

    def build(self) -> Callable[[Mapping, tuple], torch.Tensor]:
        """A function of a sample and a key to (3, h, w) uint8."""
        shared, own = Compose(self.shared), Compose(self.own)

        def run(info: Mapping, key: tuple) -> torch.Tensor:
            with seeded(*key):
                sample = shared({**info, 'seed_key': key})
                if not self.twin:
                    return own(sample)['inputs']
            with seeded(*key, self.twin):
                return own(sample)['inputs']

        return run

    def draws(self, samples: Iterable[Mapping]) -> bool:
        """Whether random numbers are drawn, tried on the first of the samples that can be read."""
        steps = Compose(self.steps)
        for info in samples:
            with contextlib.suppress(BadImageError), seeded():
                before = _random_states()
                steps({**info, 'seed_key': ()})
                return _random_states() != before
        return False


def single_views(steps: Sequence[Mapping]) -> dict[str | None, SingleView]:
    """By name; None is that of the only view of a pipeline without ``Views``."""
    configs = [dict(step) for step in steps]
    if not configs or configs[-1].get('type') != 'Views':
        return {None: SingleView(configs, [], 0)}
    *shared, last = configs
    views: dict[str | None, SingleView] = {}
    for name, own in last.items():
        if name != 'type':
            own = [dict(step) for step in own]
            views[name] = SingleView(shared, own, sum(view.own == own for view in views.values()))
    return views


def _random_states() -> tuple:
    _, words, place, *_ = cast(tuple, np.random.get_state())  # a dict only where that is asked for
    return random.getstate(), words.tobytes(), place, torch.get_rng_state().numpy().tobytes()

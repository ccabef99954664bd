"""MMEngine's evaluator, for metrics of whoever: what they give is numbers by name, or refused by name."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import Evaluator
from mmengine.structures import BaseDataElement

from sarlp.errors import UserError


class CheckedEvaluator(Evaluator):
    """Each metric gets tensors of its own: one that rounds scores in place would change them for those after it.

    Tensors and numpy's scalars that a metric gives become Python's numbers, which logs and files hold.
    """

    def process(self, data_samples: Sequence[Any], data_batch: Any = None) -> None:
        """Args: as of MMEngine's."""
        samples = [one.to_dict() if isinstance(one, BaseDataElement) else one for one in data_samples]
        for metric in self.metrics:
            metric.process(data_batch, [_own(sample) for sample in samples])

    def evaluate(self, size: int) -> dict[str, Any]:
        """Args: size, images of the data set. Returns all metrics.

        Raises:
            UserError: a metric gives no dict, or a name that another one gives.
        """
        found: dict[str, Any] = {}
        for metric in self.metrics:
            kind = type(metric).__name__
            try:
                values = metric.evaluate(size)
            except AttributeError as error:  # in MMEngine's, which puts the prefix before the names
                if not str(error).endswith(("has no attribute 'keys'", "has no attribute 'items'")):
                    raise
                values = None
            if not isinstance(values, Mapping):
                raise UserError(f'{kind}.compute_metrics must return a dict of numbers by name')
            if repeated := sorted(found.keys() & values.keys()):
                raise UserError(
                    f'{kind} gives {", ".join(repeated)}, as another metric of the evaluator does; give it a prefix: '
                    f"dict(type='{kind}', prefix='mine')"
                )
            found |= {name: _plain(value) for name, value in values.items()}
        return found


def _own(sample: Any) -> Any:
    if not isinstance(sample, Mapping):
        return sample
    return {name: value.clone() if isinstance(value, torch.Tensor) else value for name, value in sample.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist() if np.size(value) != 1 else value.item()
    return value

"""MMEngine's evaluator, for metrics of whoever: what they give is numbers by name, or refused by name."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import Evaluator

from sarlp.errors import UserError


class CheckedEvaluator(Evaluator):
    """Tensors and numpy's scalars become Python's numbers, which logs and files hold."""

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


def _plain(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist() if np.size(value) != 1 else value.item()
    return value

"""What a notebook does otherwise than a script: runs are built and trained in cells, in any order, and interrupted."""

from typing import Any

import torch
from torch import nn

from sarlp.engine.naming_runner import NamingRunner
from sarlp.errors import UserError


class SingleTrainingRunner(NamingRunner):
    """A Runner that trains once, and draws the same weights whatever was drawn since it was built."""

    _begun = False

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        cuda = torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None
        self._random = torch.get_rng_state(), cuda

    def train(self) -> nn.Module:
        """Train.

        Raises:
            UserError: it was begun before. MMEngine would go on in the middle of an epoch, with averages that begin
                anew, or take the place of the weights, and the best score forgotten.
        """
        if self._begun:
            raise UserError(
                f'this Runner has begun to train before, in {self.work_dir}, and a training that was interrupted goes '
                'on from its checkpoint alone. Build another of the same config: cfg.resume = True; '
                'build_runner(cfg).train()'
            )
        self._begun = True
        cpu, cuda = self._random
        torch.set_rng_state(cpu)
        if cuda is not None:
            torch.cuda.set_rng_state(cuda)
        return super().train()

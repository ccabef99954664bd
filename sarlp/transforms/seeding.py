"""Random numbers that are a function of what they are for."""

import contextlib
import hashlib
import random
from collections.abc import Iterator

import numpy as np
import torch


@contextlib.contextmanager
def seeded(*key: object) -> Iterator[None]:
    """Run a block with python's, numpy's and torch's random numbers derived from ``key`` alone.

    The states before the block come back after it, so that nothing else of the process is disturbed. In a worker of a
    data loader there is nothing else, and they stay: to copy them to and fro takes longer than to flip an image.
    """
    seed = int.from_bytes(hashlib.blake2b(repr(key).encode(), digest_size=4).digest(), 'little')
    alone = torch.utils.data.get_worker_info() is not None
    states = None if alone else (random.getstate(), np.random.get_state(), torch.get_rng_state())
    random.seed(seed)
    np.random.seed(seed)
    torch.default_generator.manual_seed(seed)  # torch.manual_seed also visits the GPUs, which costs a millisecond
    try:
        yield
    finally:
        if states is not None:
            random.setstate(states[0])
            np.random.set_state(states[1])
            torch.set_rng_state(states[2])

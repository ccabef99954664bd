"""Which part of the images a process predicts."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch

from sarlp.engine import devices
from sarlp.errors import UserValueError

AUTO = 'auto'


class Shard(NamedTuple):
    """Part ``number`` (from 1) of ``total``."""

    number: int
    total: int

    def __str__(self) -> str:
        return f'{self.number}/{self.total}'

    def file(self, out: Path) -> Path:
        """Of this part of ``out``; names sort as the parts do."""
        return out.with_name(f'{out.stem}.{self.number:0{len(str(self.total))}}-of-{self.total}{out.suffix}')

    def span(self, images: int, batch_size: int) -> slice:
        """Which of so many images: as many whole batches as the other parts have, or one more."""
        batches = -(-images // batch_size)
        first, end = (batches * part // self.total for part in (self.number - 1, self.number))
        return slice(first * batch_size, min(end * batch_size, images))


def parse_shard(text: str, environment: Mapping[str, str] = os.environ) -> Shard:
    """``'3/16'``, or ``'auto'``: by the place of this process in an array of SLURM, under torchrun, or both.

    Raises:
        UserValueError: there is no such part, or the environment does not tell.
    """
    if text == AUTO:
        return _of_environment(environment)
    found = re.fullmatch(r'([0-9]+)/([0-9]+)', text)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise UserValueError(f'--shard {text}: expected {AUTO} or a part such as 3/16, from 1/16 to 16/16')
    return Shard(int(found[1]), int(found[2]))


def _of_environment(environment: Mapping[str, str]) -> Shard:
    def number(name: str, default: int) -> int:
        text = environment.get(name, str(default))
        if re.fullmatch('[0-9]+', text) is None:
            raise UserValueError(f'--shard {AUTO}: expected a whole number in {name}, found {text!r}')
        return int(text)

    array, ranks = 'SLURM_ARRAY_TASK_ID' in environment, 'WORLD_SIZE' in environment
    if not array and not ranks:
        raise UserValueError(
            f'--shard {AUTO}: neither SLURM_ARRAY_TASK_ID and SLURM_ARRAY_TASK_COUNT nor RANK and WORLD_SIZE are set; '
            'start it in an array of SLURM or by torchrun, or give the part, such as 3/16'
        )
    task, tasks = number('SLURM_ARRAY_TASK_ID', 0), number('SLURM_ARRAY_TASK_COUNT', 1)
    first = number('SLURM_ARRAY_TASK_MIN', 0)
    last = number('SLURM_ARRAY_TASK_MAX', first + tasks - 1)
    # of an array with gaps, or the rest of an earlier one, the part can not be told
    if first > 1 or last - first + 1 != tasks or not first <= task <= last:
        raise UserValueError(
            f'--shard {AUTO}: task {task} of {tasks} in an array from {first} to {last}; expected an array such as '
            '0-15 or 1-16. For some of the parts give each by itself, such as 3/16'
        )
    rank, world = number('RANK', 0), number('WORLD_SIZE', 1)
    if rank >= world:
        raise UserValueError(f'--shard {AUTO}: RANK is {rank}, but WORLD_SIZE {world}')
    return Shard((task - first) * world + rank + 1, tasks * world)


def device_of_rank(name: str, environment: Mapping[str, str] = os.environ) -> str:
    """The device of a process that torchrun started: its own GPU where ``name`` is auto and there are several."""
    if name != devices.AUTO or 'LOCAL_RANK' not in environment or torch.cuda.device_count() < 2:
        return name
    return f'cuda:{int(environment["LOCAL_RANK"]) % torch.cuda.device_count()}'

"""Many runs: models x settings x known ratios x seeds."""

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from itertools import product
from pathlib import Path
from typing import Any

from sarlp.apps.processes import Processes
from sarlp.engine.config.changes import bears_on_test, bears_on_training
from sarlp.engine.records.run_record import checkpoints_in
from sarlp.engine.run_options import is_seed
from sarlp.errors import UserError
from sarlp.io.files import atomic_write
from sarlp.io.json_file import read_json
from sarlp.paths import find_config

RESULTS = 'results'
COMPLETED = 'recovered.csv'
ASKED = 'sweep.json'
_OWN = {'train_dataloader.dataset.label_mask.seed': '--masks', 'randomness.seed': '--seeds'}


@dataclass(frozen=True)
class Run:
    """One training and test.

    Attributes:
        config: config file.
        work_dir: ``<root>/<model>_<setting>_p<ratio>/seed<seed>``, or ``.../mask<mask>_seed<seed>``.
        options: further ``--cfg-options``, ``KEY=VALUE`` each.
        seed: of the run.
        folds: number of models that complete the hidden labels of the training images, each those of the images that
            it was trained without; None completes nothing.
    """

    config: Path
    work_dir: Path
    options: tuple[str, ...]
    seed: int
    folds: int | None = None

    @property
    def is_finished(self) -> bool:
        return self.metrics_file.is_file() and (self.folds is None or self._is_completed)

    @property
    def _is_completed(self) -> bool:
        return self._completion.is_file()

    @property
    def _completion(self) -> Path:
        return self.completed_file.with_suffix('.json')  # what record_path of sarlp.apps.completion gives

    @property
    def metrics_file(self) -> Path:
        return self.work_dir / RESULTS / 'metrics.json'

    @property
    def completed_file(self) -> Path:
        return self.work_dir / COMPLETED

    def claim(self) -> None:
        """Note in the work directory what is asked for.

        Raises:
            UserError: something else was, and what lies there is of that.
        """
        file = self.work_dir / ASKED
        asked = {
            'config': self.config.name,
            'seed': self.seed,
            'options': [one for one in self.options if bears_on_training(_key(one)) or _key(one) == 'load_from'],
            'test_options': [option for option in self.options if bears_on_test(_key(option))],
        }
        before = _read(file) if file.is_file() else {}
        before = {name: before[name] for name in asked if name in before}  # of earlier versions some are not known
        tested = before.pop('test_options', asked['test_options'])
        if self.is_begun:
            new = {name: asked[name] for name in before}
            self._require_same('run', before, new, 'remove that folder')
        if self.metrics_file.is_file():
            _read(self.metrics_file)
            advice = f'remove the folder {RESULTS} in it to test anew'
            self._require_same('tested', {'options': tested}, {'options': asked['test_options']}, advice)
        if self.folds is not None and self._is_completed:
            advice = f'remove {self.completed_file.stem}* in it to complete anew'
            old = _read(self._completion).get('folds')
            self._require_same('completed', {'folds': old}, {'folds': self.folds}, advice)
        self.work_dir.mkdir(parents=True, exist_ok=True)
        with atomic_write(file) as stream:
            json.dump(asked, stream, indent=1)

    def _require_same(self, what: str, old: Mapping, new: Mapping, advice: str) -> None:
        if _unordered(old) != _unordered(new):
            raise UserError(
                f'{self.work_dir}: was {what} with {old}, and now {new} is asked for; give another --root, or {advice}'
            )

    @property
    def is_begun(self) -> bool:
        """Whether there is anything of a training: not where one was refused for its options."""
        return self.metrics_file.is_file() or bool(checkpoints_in(self.work_dir))

    def commands(self) -> Iterator[list[str]]:
        """What comes behind ``sarlp`` to do what is not done: train and test, complete out of fold."""
        options = ['--cfg-options', *self.options] if self.options else []
        if not self.metrics_file.is_file():
            train = ['train', str(self.config), '--work-dir', str(self.work_dir)]
            yield [*train, '--seed', str(self.seed), '--resume', *options]  # without a checkpoint, --resume starts anew
            test = ['test', str(self.config), str(self.work_dir)]
            yield [*test, '--work-dir', str(self.work_dir), '--out', str(self.work_dir / RESULTS), *options]
        if self.folds is not None:
            out = str(self.completed_file)
            yield ['recover', str(self.config), '--folds', str(self.folds), '--out', out, *options]


def _read(file: Path) -> dict[str, Any]:
    try:
        content = read_json(file)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise UserError(f'{file}: is damaged; give another --root, or remove that file with what lies beside it')
    return content


def _key(option: str) -> str:
    return option.partition('=')[0]


def _unordered(asked: Mapping[str, Any]) -> dict[str, Any]:
    """The same for the same options in another order; of one that is given twice the last counts."""
    return {
        name: {_key(option): option for option in value} if isinstance(value, list) else value
        for name, value in asked.items()
    }


def plan(
    models: Sequence[str],
    settings: Sequence[str],
    known_ratios: Sequence[float],
    seeds: Sequence[int],
    root: str | Path,
    options: Sequence[str] = (),
    folds: int | None = None,
    masks: Sequence[int] | None = None,
) -> list[Run]:
    """The runs of a sweep.

    Args:
        models: such as ``'sarlp'``.
        settings: backbone and data set as they stand in the names of the configs, such as ``'r18_digits'``.
        known_ratios: each in (0, 1]; the config is ``<model>_<setting>_p<ratio>``, see
            :func:`~sarlp.paths.find_config`.
        seeds: of the runs, and of their label masks, so that all models of one seed see the same labels.
        root: folder of the work directories.
        options: ``KEY=VALUE`` for every run.
        folds: see :class:`Run`; runs whose labels are all known complete nothing.
        masks: seeds of the label masks, with each of which each of ``seeds`` is run; None gives a mask its run's.

    Raises:
        UserError: there is no such config, a seed is none, or an option sets a seed, which would be that of every run
            whatever its folder is called.
    """
    for option in options:
        argument = _OWN.get(_key(option))
        if argument is not None:
            raise UserError(f'--cfg-options {option}: a sweep sets this for each run; give {argument} instead')
    for argument, given in (('--seeds', seeds), ('--masks', masks or ())):
        if wrong := [seed for seed in given if not is_seed(seed)]:
            raise UserError(f'{argument} must be whole numbers from 0 to 2**32 - 1, got {wrong[0]}')
    runs: dict[Path, Run] = {}  # one that is named twice is one
    pairs = [(seed, seed) for seed in seeds] if masks is None else list(product(masks, seeds))
    for model, setting, ratio, (mask, seed) in product(models, settings, known_ratios, pairs):
        name = f'{model}_{setting}_p{ratio:g}'
        seeded = [f'train_dataloader.dataset.label_mask.seed={mask}'] if ratio < 1 else []  # nothing is hidden at 1
        config = find_config(name)
        work_dir = Path(root) / config.stem / (f'seed{seed}' if masks is None else f'mask{mask}_seed{seed}')
        run = Run(config, work_dir, (*seeded, *options), seed, folds if ratio < 1 else None)
        if runs.setdefault(work_dir, run) != run:
            both = f'{runs[work_dir].config} and {config}'
            raise UserError(
                f'{both} would share the folder {work_dir}; sweep them apart, each with a --root of its own'
            )
    return list(runs.values())


def execute(runs: Sequence[Run], slurm: Sequence[str] | None = None, jobs: int = 1) -> list[Run]:
    """Do the runs that are not finished; a run that was cut off goes on where it stopped.

    A SIGTERM goes to all that is running, too.

    Args:
        runs: of :func:`plan`.
        slurm: options of ``sbatch``, to hand each run to SLURM instead of doing it here.
        jobs: runs at a time; with several, torch uses as many threads in each as there are cores for it, unless
            OMP_NUM_THREADS says otherwise.

    Returns:
        The runs that failed.

    Raises:
        UserError: ``jobs`` is below 1, or one of the folders is of a sweep with other options; before the first run.
    """
    if jobs < 1:
        raise UserError(f'the number of jobs must be at least 1, got {jobs}')
    for run in runs:
        run.claim()
    if jobs > 1:
        os.environ.setdefault('OMP_NUM_THREADS', str(max(1, (os.cpu_count() or 1) // jobs)))

    processes = Processes()

    def do(numbered: tuple[int, Run]) -> bool:
        number, run = numbered
        name = f'[{number}/{len(runs)}] {run.work_dir}'
        if run.is_finished:
            _tell(f'{name}: finished before')
            return True
        _tell(f'{name}: starts; sweep.log there says how it fares')
        started = time.monotonic()
        if slurm is not None:
            return _hand_over(run, slurm)
        ok = all(processes.run(words, run.work_dir / 'sweep.log') for words in run.commands()) and run.is_finished
        name = '   ' if jobs == 1 else name + ':'
        if ok:
            taken = timedelta(seconds=round(time.monotonic() - started))
            mean = read_json(run.metrics_file)['mAP']  # null if no class has a positive
            _tell(f'{name} mAP {"-" if mean is None else f"{mean:.2f}"} after {taken}')
        else:
            _tell(f'{name} {"stopped" if processes.stopping else "failed"}; see {run.work_dir / "sweep.log"}')
        return ok

    with processes.stopped_with_this_one(), ThreadPoolExecutor(jobs) as pool:
        done = list(pool.map(do, enumerate(runs, 1)))
    return [run for run, ok in zip(runs, done, strict=True) if not ok]


def _tell(line: str) -> None:
    """With its end in one piece, since several threads tell."""
    print(f'{line}\n', end='', flush=True)


def _hand_over(run: Run, slurm: Sequence[str]) -> bool:
    script = ' && '.join(shlex.join([sys.executable, '-m', 'sarlp', *words]) for words in run.commands())
    command = ['sbatch', *slurm, f'--output={run.work_dir / "sweep.log"}', f'--wrap={script}']
    try:
        return subprocess.run(command, check=False).returncode == 0
    except FileNotFoundError:
        raise UserError(
            '--slurm: there is no sbatch here; start it on a machine of the cluster, or leave out --slurm'
        ) from None

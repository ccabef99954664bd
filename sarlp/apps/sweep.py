"""Many runs, one after another: models x settings x known ratios x seeds."""

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import product
from pathlib import Path

from sarlp.engine.config_changes import bears_on_training
from sarlp.errors import UserError
from sarlp.io.files import atomic_write
from sarlp.io.json_file import read_json
from sarlp.paths import find_config

RESULTS = 'results'
ASKED = 'sweep.json'


@dataclass(frozen=True)
class Run:
    """One training and test.

    Attributes:
        config: config file.
        work_dir: ``<root>/<model>_<setting>_p<ratio>/seed<seed>``.
        options: further ``--cfg-options``, ``KEY=VALUE`` each.
        seed: of the run and of its label mask, so that all models of one seed see the same labels.
    """

    config: Path
    work_dir: Path
    options: tuple[str, ...]
    seed: int

    @property
    def is_finished(self) -> bool:
        return self.metrics_file.is_file()

    @property
    def metrics_file(self) -> Path:
        return self.work_dir / RESULTS / 'metrics.json'

    def claim(self) -> None:
        """Note in the work directory what is asked for.

        Raises:
            UserError: something else was, and what lies there is of that.
        """
        options = [option for option in self.options if bears_on_training(option.partition('=')[0])]
        file, asked = self.work_dir / ASKED, {'config': self.config.name, 'seed': self.seed, 'options': options}
        if file.is_file() and read_json(file) != asked:
            raise UserError(
                f'{self.work_dir}: was run with {read_json(file)}, and now {asked} is asked for; give another --root, '
                'or remove that folder'
            )
        self.work_dir.mkdir(parents=True, exist_ok=True)
        with atomic_write(file) as stream:
            json.dump(asked, stream, indent=1)

    def commands(self) -> Iterator[list[str]]:
        """The commands that train, unless that is done, and test."""
        sarlp, options = [sys.executable, '-m', 'sarlp'], ['--cfg-options', *self.options] if self.options else []
        train = [*sarlp, 'train', str(self.config), '--work-dir', str(self.work_dir)]
        yield [*train, '--seed', str(self.seed), '--resume', *options]  # without a checkpoint, --resume starts anew
        test = [*sarlp, 'test', str(self.config), str(self.work_dir)]
        yield [*test, '--work-dir', str(self.work_dir), '--out', str(self.work_dir / RESULTS), *options]


def plan(
    models: Sequence[str],
    settings: Sequence[str],
    known_ratios: Sequence[float],
    seeds: Sequence[int],
    root: str | Path,
    options: Sequence[str] = (),
) -> list[Run]:
    """The runs of a sweep.

    Args:
        models: such as ``'sarlp'``.
        settings: backbone and data set as they stand in the names of the configs, such as ``'r18_digits'``.
        known_ratios: each in (0, 1]; the config is ``<model>_<setting>_p<ratio>``, see
            :func:`~sarlp.paths.find_config`.
        seeds: of run and label mask.
        root: folder of the work directories.
        options: ``KEY=VALUE`` for every run.
    """
    runs = []
    for model, setting, ratio, seed in product(models, settings, known_ratios, seeds):
        name = f'{model}_{setting}_p{ratio:g}'
        mask = 'train_dataloader.dataset.label_mask'
        seeded = [f'{mask}.seed={seed}'] if ratio < 1 else []  # nothing is hidden at 1
        runs.append(Run(find_config(name), Path(root) / name / f'seed{seed}', (*seeded, *options), seed))
    return runs


def execute(runs: Sequence[Run], slurm: Sequence[str] | None = None) -> list[Run]:
    """Do the runs that are not finished; a run that was cut off goes on where it stopped.

    Args:
        runs: of :func:`plan`.
        slurm: options of ``sbatch``, to hand each run to SLURM instead of doing it here.

    Returns:
        The runs that failed.

    Raises:
        UserError: one of the folders is of a sweep with other options; before the first run.
    """
    failed = []
    for run in runs:
        run.claim()
    for number, run in enumerate(runs, 1):
        state = 'finished before' if run.is_finished else 'starts; sweep.log there says how it fares'
        print(f'[{number}/{len(runs)}] {run.work_dir}: {state}', flush=True)
        if run.is_finished:
            continue
        started = time.monotonic()
        if slurm is not None:
            script = ' && '.join(map(shlex.join, run.commands()))
            command = ['sbatch', *slurm, f'--output={run.work_dir / "sweep.log"}', f'--wrap={script}']
            ok = subprocess.run(command, check=False).returncode == 0
        else:
            with open(run.work_dir / 'sweep.log', 'a', encoding='utf-8') as log:
                ok = all(
                    subprocess.run(command, stdout=log, stderr=log, check=False).returncode == 0
                    for command in run.commands()
                )
        if ok and run.is_finished:
            taken = timedelta(seconds=round(time.monotonic() - started))
            mean = read_json(run.metrics_file)['mAP']  # null if no class has a positive
            print(f'    mAP {"-" if mean is None else f"{mean:.2f}"} after {taken}', flush=True)
        if not ok:
            failed.append(run)
            print(f'    failed; see {run.work_dir / "sweep.log"}', flush=True)
    return failed

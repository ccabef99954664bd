"""Out-of-fold scores: every image is scored by a model that was trained without it."""

import contextlib
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.utils import import_modules_from_strings

from sarlp.apps.completion.scoring import Scored, score, stack
from sarlp.apps.completion.training import FINISHED, digest_of_inputs, require_unseen_weights, train_to_the_end
from sarlp.apps.processes import Processes
from sarlp.datasets.nesting import with_options
from sarlp.engine import MultiLabelRunner
from sarlp.engine.devices import use_device
from sarlp.engine.kept_tokens import keep_tokens
from sarlp.engine.terminal import brief
from sarlp.engine.testing import loader_for_testing
from sarlp.inference import init_model

MODEL = 'model'  # of all images, on the terminal


@dataclass(frozen=True)
class _Folds:
    """What a fold is trained and scored of; see :func:`score_out_of_fold`."""

    cfg: Config
    dataset: Mapping
    number: int
    folder: Path
    device: torch.device
    seed: int
    images: str
    model_dir: Path | None

    def name(self, index: int) -> str:
        return f'fold {index + 1} of {self.number}'

    def part(self, index: int, part: str) -> Mapping:
        return with_options(self.dataset, fold=dict(index=index, number=self.number, seed=self.seed, part=part))

    def work_dir(self, index: int) -> Path:
        return self.folder / f'fold{index}'

    def is_trained(self, index: int) -> bool:
        return (self.work_dir(index) / FINISHED).is_file()

    def do(self, index: int, left: str = '') -> tuple[Scored, Path]:
        """Train without a fold, and score it; returns the checkpoint, too."""
        cfg, name = self.cfg, self.name(index)
        checkpoint = train_to_the_end(cfg, self.part(index, 'rest'), self.images, self.work_dir(index), name, left)
        with brief(name):
            model = init_model(cfg.copy(), checkpoint, self.device)
            return score(model, loader_for_testing(cfg, self.part(index, 'fold')), name), checkpoint

    def train_on_all(self) -> Path | None:
        """The checkpoint of the model of all images, where one is wanted."""
        if self.model_dir is None:
            return None
        return train_to_the_end(self.cfg, self.dataset, self.images, self.model_dir, MODEL)

    def keep_all_tokens(self, checkpoint: Path) -> None:
        """See that no token is to be made while several processes train, each of which would make it."""
        with brief('tokens of all images'):
            model = init_model(self.cfg.copy(), checkpoint, self.device)
            loader = MultiLabelRunner.build_dataloader({**self.cfg.train_dataloader, 'dataset': self.dataset}, seed=0)
            keep_tokens(model, self.cfg, [loader], lambda line: print(line, flush=True))


@dataclass
class _Clock:
    """What to say of the time that is left, by the seconds that other folds took.

    Attributes:
        folds: their number.
        at_a_time: of them.
        models_after: how many are trained afterwards, in folds' worth of images.
    """

    folds: int
    at_a_time: int
    models_after: float
    _taken: list[float] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextlib.contextmanager
    def running(self, counts: bool) -> Iterator[None]:
        started = time.monotonic()
        yield
        if counts:
            with self._lock:
                self._taken.append(time.monotonic() - started)

    def left(self, index: int) -> str:
        """Before the fold ``index`` begins."""
        with self._lock:
            if not self._taken:
                return ''
            models = (self.folds - index + self.models_after) / self.at_a_time
            what = 'the folds and the model of all images' if self.models_after else 'the folds'
            return f', {timedelta(seconds=round(self._taken[-1] * models))} left for {what}'


def score_out_of_fold(
    cfg: Config,
    dataset: Mapping,
    number: int,
    folder: str | Path,
    device: str | torch.device,
    seed: int = 0,
    model_dir: Path | None = None,
    processes: int | None = 1,
) -> tuple[Scored, list[Path], Path | None]:
    """Train a model for each fold of the images, without that fold, and score the fold by it.

    No epoch is selected, since that would look at the fold: the last one counts. What is trained already in ``folder``
    with the same config, labels and images is not trained again, and a training that was cut off goes on.

    Args:
        cfg: of :func:`~sarlp.engine.load_config`; not changed.
        dataset: config of the data set.
        number: of folds, at least 2.
        folder: for the work directories ``fold0``, ``fold1``, ...
        device: of :func:`~sarlp.engine.devices.choose_device`, for scoring; MMEngine chooses for training.
        seed: of the folds.
        model_dir: work directory of one model more, of all images; None for none.
        processes: how many folds at a time, each on one core in a process of its own; None for one a core, of as many
            as torch takes. That is for heads on kept tokens on a CPU, of which one step has too little to do for
            several cores; all else is trained fold after fold. The first fold is, too: it makes the tokens.

    Returns:
        The scores, fold by fold, the checkpoint of each fold, and that of the model of all images.
    """
    require_unseen_weights(cfg, dataset)
    images = digest_of_inputs(cfg, dataset)
    folds = _Folds(cfg, dataset, number, Path(folder), torch.device(device), seed, images, model_dir)
    keeps_tokens = bool(cfg.get('tokens'))
    at_a_time = torch.get_num_threads() if processes is None else processes
    alone = None if keeps_tokens else 'the config keeps no tokens (tokens=dict(dir=...))'
    if {get_device(), folds.device.type} != {'cpu'}:
        alone = 'not all is computed on the CPU'
    if alone is not None:
        if processes is not None and processes > 1:
            warnings.warn(f'the folds are trained one after another, not {processes} at a time: {alone}', stacklevel=2)
        at_a_time = 1
    at_a_time = max(1, min(at_a_time, number - 1))
    clock = _Clock(number, at_a_time, 0 if model_dir is None else number / (number - 1))

    done = []
    makes_tokens = keeps_tokens
    for index in range(1 if at_a_time > 1 else number):
        with clock.running(not makes_tokens and not folds.is_trained(index)):
            makes_tokens &= folds.is_trained(index)  # the first that is trained does, and says nothing of the others
            done.append(folds.do(index, clock.left(index)))
    if at_a_time > 1:
        folds.keep_all_tokens(done[0][1])
        print(f'the other folds are trained {at_a_time} at a time, each on one core', flush=True)
        more, model = _in_processes(folds, at_a_time, clock)
        done += more
    else:
        model = folds.train_on_all()
    return stack([scored for scored, _ in done]), [checkpoint for _, checkpoint in done], model


def _in_processes(folds: _Folds, at_a_time: int, clock: _Clock) -> tuple[list[tuple[Scored, Path]], Path | None]:
    """All folds but the first, and the model of all images."""
    processes = Processes()

    def do(index: int) -> tuple[Scored, Path]:
        with clock.running(not folds.is_trained(index)):
            return processes.call(folds.name(index), _on_one_core, folds, folds.do, index, clock.left(index))

    with processes.stopped_with_this_one(), ThreadPoolExecutor(at_a_time) as pool:
        try:
            of_folds = [pool.submit(do, index) for index in range(1, folds.number)]
            of_all = pool.submit(processes.call, MODEL, _on_one_core, folds, folds.train_on_all)
            for finished in as_completed([*of_folds, of_all]):
                finished.result()  # what one refuses ends the others at once
            return [one.result() for one in of_folds], of_all.result()
        except BaseException:
            processes.stop()
            raise


def _on_one_core(folds: _Folds, function: Callable, *arguments: Any) -> Any:
    torch.set_num_threads(1)
    use_device(folds.device)
    if (modules := folds.cfg.get('custom_imports')) is not None:
        import_modules_from_strings(**modules)
    return function(*arguments)

"""A training loop that goes on in the middle of an epoch."""

import contextlib
import itertools
import warnings
from collections.abc import Iterator

from mmengine.dataset import DefaultSampler
from mmengine.runner import EpochBasedTrainLoop

from sarlp.engine.training.accumulation import parts_of_step
from sarlp.engine.training.cpu import keep_freed_memory, onednn_products
from sarlp.engine.training.loss_watch import LossWatch, watched
from sarlp.engine.training.workers import sigterm_held
from sarlp.engine.unwrap import unwrap
from sarlp.errors import UserError
from sarlp.registry import DATA_SAMPLERS, LOOPS


@DATA_SAMPLERS.register_module()
class ResumableSampler(DefaultSampler):
    """MMEngine's sampler, which can leave out the beginning of an epoch.

    Attributes:
        start: indices of this rank that the next iteration leaves out; 0 again afterwards.
    """

    start = 0

    def __iter__(self) -> Iterator[int]:
        start, self.start = self.start, 0
        return itertools.islice(super().__iter__(), start, None)


@LOOPS.register_module()
class ResumableTrainLoop(EpochBasedTrainLoop):
    """MMEngine's loop over epochs, that a resumed run enters where the interrupted one left it.

    - A checkpoint from within an epoch: the batches already seen are left out, without being loaded.
    - A checkpoint from the end of an epoch: its evaluation is made up for, since the run may have been killed before
      it had chosen its best epoch. Evaluated twice, an epoch gives the same numbers twice.

    On a GPU the losses of a step are looked at when all of it was asked for, and before anything else happens
    (:mod:`sarlp.engine.training.loss_watch`).
    """

    _watch: LossWatch | None = None

    def run(self):
        on_cpu = next(self.runner.model.parameters()).device.type == 'cpu'
        if on_cpu:
            keep_freed_memory()
        faster = on_cpu and self.runner.cfg.get('env_cfg', {}).get('onednn', False)
        products = onednn_products() if faster else contextlib.nullcontext()
        with products, warnings.catch_warnings(), watched(self.runner.model, self.runner.optim_wrapper) as self._watch:
            if parts_of_step(self.runner) > 1:
                # of course: schedules count batches, and the weights move after several
                warnings.filterwarnings('ignore', r'Detected call of `scheduler\.step\(\)` before')
            return self._run()

    def _run(self):
        self.runner.call_hook('before_train')
        if self._epoch > 0 and self._seen() == 0:
            self._validate()
        if self._epoch == self._max_epochs:
            self.runner.logger.warning(
                f'the run is finished: all of its {self._max_epochs} epochs are trained, so there is nothing to train; '
                'train_cfg.max_epochs of more makes it longer'
            )
        while self._epoch < self._max_epochs and not self.stop_training:
            self.run_epoch()
            self._validate()
        self.runner.call_hook('after_train')
        return self.runner.model

    def log_norms(self) -> None:
        """Bring the log up to the present step, see :class:`~sarlp.engine.training.loss_watch.LossWatch`."""
        if self._watch is not None:
            self._watch.log_norms()

    def _seen(self) -> int:
        """Batches of the present epoch that were trained on."""
        return self._iter - self._epoch * len(self.dataloader)

    def _validate(self) -> None:
        self._decide_current_val_interval()
        due = self._epoch % self.val_interval == 0 or self._epoch == self._max_epochs
        if self.runner.val_loop is not None and self._epoch >= self.val_begin and due:
            self.runner.val_loop.run()

    def run_epoch(self) -> None:
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        seen = self._seen()
        if seen:  # fewer than an epoch has, see sarlp.engine.records.resuming
            self.dataloader.sampler.start = seen * self.dataloader.batch_size
        with sigterm_held():  # workers begin here
            batches = iter(self.dataloader)
        for index, batch in enumerate(batches, seen):
            self.run_iter(index, batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

    def run_iter(self, idx: int, data_batch) -> None:
        self.runner.call_hook('before_train_iter', batch_idx=idx, data_batch=data_batch)
        if not unwrap(self.runner.model).training:
            raise UserError(
                'a hook left the model in evaluation mode, in which dropout and the statistics of BatchNorm stand '
                'still; call runner.model.train() after what needs runner.model.eval()'
            )
        outputs = self.runner.model.train_step(data_batch, optim_wrapper=self.runner.optim_wrapper)
        if self._watch is not None:  # the same numbers, but for the log to read without waiting
            _, outputs = unwrap(self.runner.model).parse_losses(self._watch.read())
        self.runner.call_hook('after_train_iter', batch_idx=idx, data_batch=data_batch, outputs=outputs)
        self._iter += 1

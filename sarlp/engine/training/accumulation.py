"""Gradients that were accumulated and have not moved the weights yet, in checkpoints."""

from mmengine.dist import get_world_size
from mmengine.hooks import Hook

from sarlp.engine.unwrap import unwrap

_KEY = 'accumulated'  # of a checkpoint


class AccumulationHook(Hook):
    """Part of every training run; the Runner adds it.

    Of several processes each has gradients of its own until the weights move, and a checkpoint is written by one: they
    are not saved then, and MMEngine warns, when such a run is resumed, that they are lost.
    """

    def __init__(self):
        self._saved: dict = {}

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        parameters = unwrap(runner.model).named_parameters()
        found = {name: one.grad.cpu() for name, one in parameters if one.grad is not None}
        parts = parts_of_step(runner)
        if found and parts > 1 and get_world_size() == 1:
            checkpoint[_KEY] = {'of': parts, 'gradients': found}

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        if runner._resume:
            self._saved = checkpoint.get(_KEY) or {}

    def before_train(self, runner) -> None:
        saved, self._saved = self._saved, {}
        if not saved:
            return
        parts = parts_of_step(runner)
        done = runner.iter % parts
        if saved['of'] != parts or not done or get_world_size() > 1:
            runner.logger.warning('the gradients that were accumulated before are dropped: they were of other parts')
            return
        for name, parameter in unwrap(runner.model).named_parameters():
            if name in saved['gradients']:
                parameter.grad = saved['gradients'][name].to(parameter.device)
        runner.logger.info(f'the gradients of the {done} of {parts} parts of before are in the checkpoint')


def parts_of_step(runner) -> int:
    """Batches whose gradients make one step of the optimizer."""
    return (runner.cfg.get('optim_wrapper') or {}).get('accumulative_counts', 1)

"""MMEngine's early stopping, which a resumed run goes on with."""

from mmengine.hooks import EarlyStoppingHook as _EarlyStoppingHook

from sarlp.errors import UserValueError
from sarlp.registry import HOOKS

_STATE = 'early_stopping'


@HOOKS.register_module()
class EarlyStoppingHook(_EarlyStoppingHook):
    """Stop when a metric has not improved for ``patience`` evaluations, also across interruptions.

    How long it has been waiting for which score is in the message hub, by which it comes into checkpoints. One at the
    end of an epoch is from before the epoch's evaluation, which is made up for after resuming.

    Args:
        monitor: metric.
        **kwargs: of :class:`mmengine.hooks.EarlyStoppingHook`.

    Raises:
        UserValueError: ``patience`` or ``min_delta`` is no number, which would end the run at its second evaluation.
    """

    def __init__(self, monitor: str, **kwargs):
        super().__init__(monitor, **kwargs)
        if type(self.patience) is not int or self.patience < 0:
            raise UserValueError(f'EarlyStoppingHook.patience must be a whole number from 0 on, got {self.patience!r}')
        if not isinstance(self.min_delta, int | float):
            raise UserValueError(f'EarlyStoppingHook.min_delta must be a number, got {self.min_delta!r}')

    def before_train(self, runner) -> None:
        state = runner.message_hub.get_info(_STATE)
        if state is not None and state['monitor'] == self.monitor:  # else the score is of something else
            self.wait_count, self.best_score = state['wait_count'], state['best_score']

    def after_val_epoch(self, runner, metrics: dict) -> None:
        super().after_val_epoch(runner, metrics)
        state = dict(monitor=self.monitor, wait_count=self.wait_count, best_score=float(self.best_score))
        runner.message_hub.update_info(_STATE, state)

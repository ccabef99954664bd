"""What binds a method to the run: progress, teacher, state in checkpoints."""

from mmengine.hooks import EMAHook, Hook
from mmengine.runner.checkpoint import weights_to_cpu

from sarlp.engine.training.accumulation import parts_of_step
from sarlp.engine.training.method_state import MethodState
from sarlp.engine.unwrap import unwrap
from sarlp.errors import UserError, shorten
from sarlp.losses import MultiLabelLoss
from sarlp.methods import Progress

_KEY = 'method'  # of a checkpoint


class MethodHook(Hook):
    """Part of every training run; the Runner adds it."""

    _state: MethodState | None = None  # until the first epoch of this process has shown what the method keeps

    def before_train(self, runner) -> None:
        method = unwrap(runner.model).method
        self._state, self._looked = MethodState(method), False
        held = sum(tensor.nbytes for tensor in method.state_dict().values())
        if held:
            runner.logger.info(f'{type(method).__name__} keeps {held / 2**20:,.1f} MB of its own in each checkpoint')
        first = method.first_epoch(runner.max_epochs)
        if first >= runner.max_epochs:
            runner.logger.warning(
                f'{type(method).__name__} begins with its epoch {first + 1}, and the run has {runner.max_epochs}: what '
                'it trains are the losses of before. Let it begin earlier (an option of model.method), or the run be '
                'longer'
            )
        if method.teacher is not None:
            averages = [hook for hook in runner.hooks if isinstance(hook, EMAHook)]
            if not averages:
                raise UserError(
                    f'{type(method).__name__} is taught by the average of the weights, and default_hooks.ema is off; '
                    'turn it on'
                )
            method.teacher.bind(averages[0].ema_model.module)

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        model = unwrap(runner.model)
        model.progress = Progress(runner.epoch, runner.iter, runner.max_iters, runner.max_epochs)
        if parts_of_step(runner) > 1:
            parts = round(1 / runner.optim_wrapper.scale_loss(1.0))  # fewer at the end of the run
            for part in model.method.modules():
                if isinstance(part, MultiLabelLoss):
                    part.parts = parts

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        unwrap(runner.model).method.after_step()
        if self._state is not None and not self._looked:
            self._state.require_no_new()
            self._looked = True

    def after_train_epoch(self, runner) -> None:
        method = unwrap(runner.model).method
        method.after_epoch()
        if self._state is not None:
            self._state.require_no_new()
            if forgotten := self._state.forgotten():
                runner.logger.warning(
                    f'{type(method).__name__} keeps {shorten(forgotten)}, which changed in this epoch, where no '
                    'checkpoint holds it: a resumed run would begin without. What is to be kept is a buffer '
                    '(self.register_buffer), or of rows for images a LabelStore'
                )
            self._state = None

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        method = unwrap(runner.model).method
        state = method.state_dict()
        if state:
            checkpoint[_KEY] = {'type': type(method).__name__, 'state_dict': weights_to_cpu(state)}

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        if not runner._resume:
            return
        method = unwrap(runner.model).method
        saved = checkpoint.get(_KEY) or {'type': 'a method without a state', 'state_dict': {}}
        own, had = (
            {name: tuple(value.shape) for name, value in state.items()}
            for state in (method.state_dict(), saved['state_dict'])
        )
        if own != had:
            other = [
                f'{name} {had.get(name, "none")} -> {own.get(name, "none")}'
                for name in {**had, **own}
                if had.get(name) != own.get(name)
            ]
            raise UserError(
                f'the checkpoint holds the state of {saved["type"]}, the config has {type(method).__name__} on '
                f'these data; resume with the method and the data that the run began with ({shorten(other)})'
            )
        method.load_state_dict(saved['state_dict'])

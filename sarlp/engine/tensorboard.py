"""Curves for TensorBoard."""

from collections.abc import Mapping

from mmengine.config import Config
from mmengine.visualization import TensorboardVisBackend

from sarlp.errors import UserError
from sarlp.registry import VISBACKENDS


@VISBACKENDS.register_module()
class TensorboardScalars(TensorboardVisBackend):
    """MMEngine's TensorBoard backend for the scalars of training and validation; ``tensorboard --logdir WORK_DIR``.

    - Names begin with ``train/``, over iterations, or ``val/``, over epochs; MMEngine would lay the seconds of both
      over each other under one name.
    - What is logged is on the disk at once, so a killed run loses nothing. A resumed run goes on at its step in a file
      of its own.
    - The config, which lies beside as a file, is left out, so testing writes nothing and does not import tensorboard.
    """

    def _init_env(self) -> None:
        try:
            super()._init_env()
        except ImportError as error:
            raise UserError(
                f'tensorboard cannot be imported ({error}): pip install tensorboard, or take TensorboardScalars out of '
                'visualizer.vis_backends in the config (configs/_base_/default_runtime.py)'
            ) from error

    def add_config(self, config: Config, **kwargs) -> None:
        """Leave it out."""

    def add_scalars(self, scalar_dict: Mapping, step: int = 0, file_path: str | None = None, **kwargs) -> None:
        """Write what MMEngine's logger hook collected.

        Args:
            scalar_dict: name to number; of training if ``'iter'`` is among the names, else of validation.
            step: iteration or epoch.
            file_path: not used.
        """
        kind = 'train' if 'iter' in scalar_dict else 'val'
        values = {f'{kind}/{name}': value for name, value in scalar_dict.items() if name not in ('iter', 'epoch')}
        super().add_scalars(values, step)
        self.experiment.flush()

"""A trained model in Python."""

from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope

from sarlp.engine import load_config, load_weights, read_checkpoint
from sarlp.engine.build import set_num_classes
from sarlp.errors import UserError
from sarlp.registry import MODELS


def init_model(config: str | Path | Config, checkpoint: str | Path, device: str = 'cpu'):
    """Build the model of a config with the weights of a checkpoint, ready for prediction.

    Args:
        config: file, name (see :func:`~sarlp.paths.find_config`) or config.
        checkpoint: file; its EMA weights and class names are used.
        device: of torch.

    Returns:
        The model in evaluation mode, with ``model.cfg`` and ``model.classes``.

    Raises:
        UserError: config or checkpoint is missing, or they do not fit.
    """
    cfg = config if isinstance(config, Config) else load_config(config)
    init_default_scope(cfg.get('default_scope', 'sarlp'))
    content = read_checkpoint(checkpoint)
    classes = (content.get('meta', {}).get('dataset_meta') or {}).get('classes')
    if classes is None:
        raise UserError(
            f'{checkpoint}: names no classes (meta.dataset_meta.classes); it is no checkpoint of tools/train.py'
        )
    set_num_classes(cfg, len(classes), str(checkpoint))
    model = MODELS.build(cfg.model)
    load_weights(model, content, checkpoint)
    model.cfg, model.classes = cfg, tuple(classes)
    return model.to(device).eval()


class Predictor:
    """Scores and token scores of single images.

    Args:
        model: of :func:`init_model`.
    """

    def __init__(self, model):
        self.model = model
        self.pipeline = Compose(model.cfg.test_dataloader.dataset.pipeline)

    def load(self, path: str | Path) -> torch.Tensor:
        """Through the test pipeline and the preprocessor. Returns (1, 3, h, w), normalised, on the device."""
        packed = self.pipeline({'img_path': str(path)})
        return self.model.data_preprocessor({'inputs': [packed['inputs']]})['inputs']

    @torch.no_grad()
    def __call__(self, path: str | Path) -> dict[str, np.ndarray | tuple[int, int]]:
        """Returns ``scores`` (C,) in [0, 1], ``token_scores`` (P, C) and ``grid`` (H, W), P = H * W."""
        outputs = self.model(self.load(path))
        return {
            'scores': outputs['scores'][0].cpu().numpy(),
            'token_scores': outputs['token_scores'][0].float().cpu().numpy(),
            'grid': outputs['grid'],
        }

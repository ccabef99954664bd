"""Grad-CAM maps, for models without attention maps and for comparison with them."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn


def grad_cam_maps(
    forward_scores: nn.Module, target_layer: nn.Module, image_tensor: torch.Tensor, class_ids: Sequence[int]
) -> np.ndarray:
    """Grad-CAM (Selvaraju et al., ICCV 2017) of one image for some classes, with the ``grad-cam`` package.

    The model runs in evaluation mode with gradients on, also inside ``torch.no_grad``, and is left as it was found:
    mode, gradients and hooks. It may be frozen.

    Args:
        forward_scores: maps images (1, 3, h, w) to logits (1, C). Logits, since the gradient of a score near 0 or 1
            vanishes.
        target_layer: the module inside it whose output (1, D, H, W) is looked at; the last stage, as a rule.
        image_tensor: (1, 3, h, w) floating point, normalised as the model needs it.
        class_ids: K indices in [0, C).

    Returns:
        (K, h, w) float32 in [0, 1], each map stretched to its own range; all 0 where nothing speaks for the class.

    Raises:
        ImportError: the ``grad-cam`` package is not installed.
        ValueError: ``image_tensor`` of another shape, a class id out of range, or a layer that is not in the model.
    """
    try:
        from pytorch_grad_cam import GradCAM
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
    except ImportError as error:
        raise ImportError(
            'Grad-CAM needs the package grad-cam, which is not installed: pip install "sarlp[gradcam]"'
        ) from error

    if image_tensor.ndim != 4 or tuple(image_tensor.shape[:2]) != (1, 3):
        raise ValueError(f'image_tensor must have the shape (1, 3, h, w), but has {tuple(image_tensor.shape)}')
    if not any(module is target_layer for module in forward_scores.modules()):
        raise ValueError('target_layer is not a module of the model')
    height, width = image_tensor.shape[2:]
    if not len(class_ids):
        return np.zeros((0, height, width), np.float32)

    parameters = list(forward_scores.parameters())
    state = [(parameter.requires_grad, parameter.grad) for parameter in parameters]
    modes = [(module, module.training) for module in forward_scores.modules()]
    cam = None
    try:
        # only the gradient at the layer is wanted; it reaches there from the image, so that a frozen model will do
        for parameter in parameters:
            parameter.requires_grad_(False)
            parameter.grad = None
        with torch.inference_mode(False), torch.enable_grad():
            image = image_tensor.detach().clone().requires_grad_(True)
            cam = GradCAM(model=forward_scores, target_layers=[target_layer])
            maps = []
            for class_id in class_ids:
                targets = [_checked_target(ClassifierOutputTarget, int(class_id))]
                maps.append(cam(input_tensor=image, targets=targets)[0])
    finally:
        # not as a context manager, which would swallow an IndexError of the model
        if cam is not None:
            cam.activations_and_grads.release()
        for parameter, (requires_grad, grad) in zip(parameters, state, strict=True):
            parameter.requires_grad_(requires_grad)
            parameter.grad = grad
        for module, training in modes:
            module.training = training
    return np.stack(maps).astype(np.float32)


def _checked_target(target_type: type, class_id: int):
    """The logit of a class, refusing an index that would wrap round or run out with an obscure message."""
    target = target_type(class_id)

    def logit(output: torch.Tensor) -> torch.Tensor:
        if output.ndim != 1:
            raise ValueError(f'the model must give logits (1, C), but gives {(1, *output.shape)}')
        if not 0 <= class_id < output.shape[0]:
            raise ValueError(f'class id {class_id} is out of range for a model of {output.shape[0]} classes')
        return target(output)

    return logit

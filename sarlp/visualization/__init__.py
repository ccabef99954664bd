"""Attention maps and the figures made of them; Grad-CAM for models without attention maps."""

from sarlp.visualization.attention import (
    attention_maps,
    draw_figure,
    overlay,
    save_figure,
    scale_map,
    select_panels,
)
from sarlp.visualization.gradcam import grad_cam_maps

__all__ = [
    'attention_maps',
    'draw_figure',
    'grad_cam_maps',
    'overlay',
    'save_figure',
    'scale_map',
    'select_panels',
]

"""A place whose model tells photographs apart; that of tests/place.py gives all of them the same."""

import cv2
import numpy as np
import torch
from scipy.special import logit

from sarlp.inference.inferencer import MultiLabelInferencer

from .place import Place

ORDER = ['a.PNG', 'b.png', 'c/a.png', 'c/d/a.bmp', 'z.jpg', 'é;,.png']  # of the photographs
SIZES = ((64, 48), (48, 64))


def spread_place(root):
    """``root / 'photos'`` has images in subfolders, and the model gives half of them more than 0.5, for each class."""
    place = Place(root)
    random = np.random.default_rng(0)
    for number, name in enumerate(ORDER):
        path = root / 'photos' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        colours = random.integers(0, 256, (3, 4, 3), np.uint8)
        image = cv2.resize(colours, SIZES[number % 2], interpolation=cv2.INTER_NEAREST)
        path.write_bytes(cv2.imencode(path.suffix.lower(), image)[1])
    (root / 'photos' / 'notes.txt').write_text('no image')

    checkpoint = place.checkpoint()
    content = torch.load(checkpoint, weights_only=True)
    noise = torch.Generator().manual_seed(0)
    for name, value in content['state_dict'].items():
        if name.startswith('head.sgfe.mlp') and value.ndim == 2:
            value.copy_(0.4 * torch.randn(value.shape, generator=noise))
    torch.save(content, checkpoint)
    results = MultiLabelInferencer(root / 'config.py', checkpoint)(root / 'photos', progress=False)
    middle = np.median([logit(result.scores) for result in results], 0)
    content['state_dict']['head.sgfe.mlp.3.bias'] -= torch.tensor(middle)
    torch.save(content, checkpoint)
    return place

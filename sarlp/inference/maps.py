"""Figures of where a trained model sees each class, for image files."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from torch import Tensor, nn
from tqdm import tqdm

from sarlp.datasets.nesting import annotation_paths, build_labels, each_once, order_classes
from sarlp.errors import UserError, check_threshold
from sarlp.inference import Predictor
from sarlp.io.image_files import ImageFile, as_text, has_frames, image_file, warn_of_frames
from sarlp.io.pixels import read_rgb
from sarlp.visualization.attention import attention_maps, draw_figure, select_panels
from sarlp.visualization.figure_files import FigureFiles
from sarlp.visualization.gradcam import grad_cam_maps

METHODS = ('attention', 'gradcam')


class _Logits(nn.Module):
    """The classifier as a map from images to logits, which is what Grad-CAM differentiates.

    ``places`` gives (B, D, H, W), what the head sees of each place, whatever the backbone is.
    """

    def __init__(self, model):
        super().__init__()
        self.model = model
        self.places = nn.Identity()

    def forward(self, inputs: Tensor) -> Tensor:
        tokens, grid = self.model.network.extract_tokens(inputs)
        front, places = tokens.split([tokens.shape[1] - grid[0] * grid[1], grid[0] * grid[1]], 1)
        places = self.places(places.transpose(1, 2).unflatten(2, grid))
        return self.model.head(torch.cat([front, places.flatten(2).transpose(1, 2)], 1), grid)['logits']


class KnownLabels:
    """The labels that the data sets of a config hold for image files; a config whose data are elsewhere knows none.

    Args:
        cfg: config, whose ``train_dataloader`` and ``test_dataloader`` count, if there; not changed.
        classes: C names, of the model; labels are in their order.

    Raises:
        UserError: a data set has other classes.
    """

    def __init__(self, cfg: Config, classes: Sequence[str]):
        self.datasets = {}
        self._found: dict[Path, tuple[str, int]] = {}
        for split in ('test', 'train'):
            if cfg.get(f'{split}_dataloader') is None:
                continue
            dataset = each_once(cfg[f'{split}_dataloader'].dataset)
            if not all(file.is_file() for file in annotation_paths(dataset)):
                continue
            order_classes(dataset, tuple(classes), 'the checkpoint')
            dataset = build_labels(dataset)
            self.datasets[split] = dataset
            for index in range(len(dataset)):
                self._found.setdefault(dataset.image_path(index).resolve(), (split, index))

    def __getitem__(self, image: Path) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Observed and complete labels, (C,) int8 of 1 / 0 / -1; None for an image that no data set has."""
        split, index = self._found.get(image.resolve(), (None, None))
        if split is None:
            return None, None
        return self.datasets[split].get_labels(index)[1:3]

    def images(self, split: str) -> Iterator[ImageFile]:
        """The images of ``'train'`` or ``'test'``, named as in the annotation file, and in its order."""
        if split not in self.datasets:
            raise UserError(f'the annotation file of the {split} split is not there, so its images are not known')
        dataset = self.datasets[split]
        own = ((image, index) for image, (owner, index) in self._found.items() if owner == split)
        return (ImageFile(dataset.get_labels(index)[0], str(image)) for image, index in own)


def draw_maps(
    model,
    images: Sequence[ImageFile | str | Path],
    out_dir: str | Path,
    labels: 'KnownLabels | Mapping | None' = None,
    method: str = 'attention',
    threshold: float = 0.5,
    max_panels: int = 9,
) -> list[Path]:
    """Draw one figure an image: the image, and a map for each class that is there or predicted.

    Args:
        model: of :func:`~sarlp.inference.init_model`.
        images: files, or of :func:`~sarlp.io.image_files.find_images` or :meth:`KnownLabels.images`.
        out_dir: where the figures go, see :class:`~sarlp.visualization.figure_files.FigureFiles`.
        labels: image path to (observed, complete) labels, such as :class:`KnownLabels`; None where nothing is known.
        method: ``'attention'``, the softmax of the head's token scores; ``'gradcam'``, of what the backbone
            gives the head.
        threshold: a class is predicted if its score reaches it.
        max_panels: at most so many maps a figure.

    Returns:
        The files written, one an image. Of a file with several frames the first is drawn, with one warning at the end.

    Raises:
        UserError: an image does not decode; the threshold is no number from 0 to 1; or a figure would replace what is
            no earlier figure of the same image.
    """
    if method not in METHODS:
        raise UserError(f'method must be one of {", ".join(METHODS)}, got {method!r}')
    threshold = check_threshold(threshold)
    predictor = Predictor(model)
    files = [image if isinstance(image, ImageFile) else image_file(image) for image in images]
    figures = FigureFiles(out_dir, files)
    written, frames = [], []
    for image in tqdm(files, desc='maps', unit='image', disable=None, leave=False):
        image_path = Path(image.path)
        outputs = predictor(image_path)
        observed, full = labels[image_path] if labels is not None else (None, None)
        scores = outputs['scores']
        maps = attention_maps(outputs['token_scores'], outputs['grid'])
        panels = select_panels(scores, maps, model.classes, observed, full, threshold, max_panels)
        if method == 'gradcam':
            ids = [model.classes.index(panel['name']) for panel in panels]
            logits = _Logits(model)
            maps = grad_cam_maps(logits, logits.places, predictor.load(image_path), ids)
            for panel, panel_map in zip(panels, maps, strict=True):
                panel['map'] = panel_map
        figure = draw_figure(read_rgb(image_path), panels, title=as_text(image_path.name))
        written.append(figures.save(figure, image))
        if has_frames(image_path):
            frames.append(image.name)
    warn_of_frames(frames)
    return written

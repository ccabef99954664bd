"""Where the model sees each class: maps from token scores, and figures of them.

Axis legend: ``P = H * W`` tokens (row-major), ``C`` classes, ``(h, w)`` pixels of the image. No state of pyplot is
read or changed, so figures can be drawn in a server or a data-loader worker.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import matplotlib
import numpy as np
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from sarlp.labels import NEGATIVE, POSITIVE, UNKNOWN, is_chosen

# What a panel shows: the words under its title and their colour. The hues are told apart with any colour vision, and
# the words say the same as the colour.
KINDS = {
    'positive': ('true class', '#007A5A'),
    'recovered': ('not labelled, recovered', '#0072B2'),
    'false': ('predicted, but absent', '#C84F00'),
    'predicted': ('predicted', '#8A2A6B'),
    'unknown': ('not labelled, below threshold', '#5F5F5F'),
    'negative': ('absent, below threshold', '#222222'),
}

_COLUMNS = 5
# Families that hold the scripts which matplotlib's own font lacks; those that are installed are fallen back on.
_FALLBACK_FONTS = (
    'Noto Sans CJK SC',
    'Noto Sans CJK JP',
    'Source Han Sans SC',
    'Microsoft YaHei',
    'PingFang SC',
    'WenQuanYi Zen Hei',
    'Arial Unicode MS',
)


def attention_maps(token_scores: Any, grid: tuple[int, int]) -> np.ndarray:
    """Softmax over the tokens, for each class.

    Args:
        token_scores: (P, C) tensor or array of the token scores ``s`` of one image, before any softmax.
        grid: (H, W) with H * W = P; tokens run along the rows.

    Returns:
        (C, H, W) float32, each map summing to 1.

    Raises:
        ValueError: another shape than (P, C), or scores that are not finite.
    """
    scores = _to_numpy(token_scores).astype(np.float64)
    height, width = grid
    if scores.ndim != 2 or scores.shape[0] != height * width:
        raise ValueError(
            f'token_scores of a grid of {height} x {width} must have the shape ({height * width}, classes), '
            f'but have {scores.shape}'
        )
    if not np.isfinite(scores).all():
        raise ValueError('token_scores hold a NaN or an infinite number')
    weights = np.exp(scores - scores.max(0))
    weights /= weights.sum(0)
    return weights.T.reshape(-1, height, width).astype(np.float32)


def scale_map(
    map_hw: np.ndarray, size: tuple[int, int], num_tokens: int | None = None, interpolation: str = 'bicubic'
) -> np.ndarray:
    """Scale a map to the image, and to [0, 1] if it has something to show.

    A softmax over P tokens that prefers none is 1/P everywhere, and a small wobble about that must not be stretched
    into a picture. So the map is brought to [0, 1] only if its largest and smallest value differ by more than 1/P;
    otherwise its values are kept, and it shows as (almost) one colour.

    Args:
        map_hw: (H, W) floating point, non-negative, as :func:`attention_maps` gives for one class.
        size: (h, w) of the image.
        num_tokens: P; None for H * W.
        interpolation: ``'bicubic'`` or ``'bilinear'``.

    Returns:
        (h, w) float32 in [0, 1].
    """
    flags = {'bicubic': cv2.INTER_CUBIC, 'bilinear': cv2.INTER_LINEAR}
    if interpolation not in flags:
        raise ValueError(f'interpolation must be one of {", ".join(map(repr, flags))}, but is {interpolation!r}')
    values = _to_numpy(map_hw).astype(np.float32)
    if values.ndim != 2 or not values.size:
        raise ValueError(f'a map must have the shape (H, W), but has {values.shape}')
    low, high = float(values.min()), float(values.max())
    if high - low > 1 / (values.size if num_tokens is None else num_tokens):
        values = (values - low) / (high - low)
    height, width = size
    scaled = cv2.resize(values, (width, height), interpolation=flags[interpolation])
    return np.clip(scaled, 0, 1)  # bicubic interpolation overshoots


def overlay(image: np.ndarray, map_hw: np.ndarray, strength: float = 0.5) -> np.ndarray:
    """Lay a map in jet colours over an image: blue is 0, red is 1.

    Args:
        image: (h, w, 3) uint8, RGB.
        map_hw: (h, w) in [0, 1].
        strength: share of the map's colour in [0, 1], the rest being the image.

    Returns:
        (h, w, 3) uint8, RGB.
    """
    image = _checked_image(image)
    values = _to_numpy(map_hw)
    if values.shape != image.shape[:2]:
        raise ValueError(f'map and image must have one size, but have {values.shape} and {image.shape[:2]}')
    colours = matplotlib.colormaps['jet'](values.astype(np.float32))[..., :3] * 255
    return np.rint(strength * colours + (1 - strength) * image).astype(np.uint8)


def select_panels(
    scores: Any,
    maps: Any,
    classes: Sequence[str],
    gt: Any = None,
    full: Any = None,
    threshold: float = 0.5,
    max_panels: int = 9,
) -> list[dict[str, Any]]:
    """Choose the classes of one image that are worth a panel.

    First the classes labelled positive, whatever their score; then the others that are predicted, which are
    ``'recovered'`` if they are known to be there, ``'false'`` if they are known not to be, else ``'predicted'``. Both
    from the highest score down. What is known is ``full`` and, where that is not given or unknown, ``gt``. An image
    with neither gets the class of the highest score, so that no figure is without a map.

    Args:
        scores: (C,) tensor or array, sigmoid scores.
        maps: (C, H, W) tensor or array.
        classes: C names.
        gt: (C,) of 1 / 0 / -1, the labels the model was given; None for none (then ``full``, if given, is taken).
        full: (C,) of 1 / 0 / -1, the complete labels; None if there are none.
        threshold: a class is predicted if its score is strictly greater.
        max_panels: at least 1; what comes after is left out.

    Returns:
        A list of dicts for :func:`draw_figure` with ``name`` (str), ``score`` (float), ``kind`` (a key of
        :data:`KINDS`) and ``map`` ((H, W) array).
    """
    scores, maps = _to_numpy(scores), _to_numpy(maps)
    num_classes = len(classes)
    if scores.shape != (num_classes,):
        raise ValueError(f'scores of {num_classes} classes must have the shape ({num_classes},), not {scores.shape}')
    if maps.ndim != 3 or maps.shape[0] != num_classes:
        raise ValueError(f'maps of {num_classes} classes must have the shape ({num_classes}, H, W), not {maps.shape}')
    if max_panels < 1:
        raise ValueError(f'max_panels must be at least 1, but is {max_panels}')
    full = np.full(num_classes, UNKNOWN) if full is None else _to_numpy(full)
    gt = full if gt is None else _to_numpy(gt)
    for name, labels in (('full', full), ('gt', gt)):
        if labels.shape != (num_classes,):
            raise ValueError(
                f'{name} of {num_classes} classes must have the shape ({num_classes},), not {labels.shape}'
            )
    truth = np.where(full == UNKNOWN, gt, full)

    order = np.argsort(-scores, kind='stable')
    chosen = [(c, 'positive') for c in order if gt[c] == POSITIVE]
    names = {POSITIVE: 'recovered', NEGATIVE: 'false', UNKNOWN: 'predicted'}
    chosen += [(c, names[int(truth[c])]) for c in order if gt[c] != POSITIVE and is_chosen(scores[c], threshold)]
    if not chosen and num_classes:
        chosen = [(order[0], 'negative' if truth[order[0]] == NEGATIVE else 'unknown')]
    return [
        {'name': str(classes[c]), 'score': float(scores[c]), 'kind': kind, 'map': maps[c]}
        for c, kind in chosen[:max_panels]
    ]


def draw_figure(image: np.ndarray, panels: Sequence[Mapping[str, Any]], title: str | None = None) -> Figure:
    """Draw an image and the maps of its classes over it, in rows of at most five.

    Args:
        image: (h, w, 3) uint8, RGB.
        panels: one dict a map, with ``name`` (str), ``score`` (float), ``kind`` (a key of :data:`KINDS`) and ``map``:
            (H, W) values of the tokens, which :func:`scale_map` brings to the image, or (h, w) of the image's size
            in [0, 1], which is drawn as it is. (A Grad-CAM map of another size than the image may also be given: it
            spans [0, 1], or is 0, before and after scaling.)
        title: a line over the figure, such as the image's id.

    Returns:
        A figure on an Agg canvas; see :func:`save_figure`.
    """
    image = _checked_image(image)
    for panel in panels:
        if panel['kind'] not in KINDS:
            raise ValueError(f'the kind of a panel must be one of {", ".join(KINDS)}, but is {panel["kind"]!r}')
    small = _shrink(image)
    tiles = [(small, 'image', '', f'{image.shape[1]} x {image.shape[0]} px', '#5F5F5F', 0.8)]
    for panel in panels:
        values = _to_numpy(panel['map'])
        if values.shape == image.shape[:2]:
            values = cv2.resize(values.astype(np.float32), small.shape[1::-1], interpolation=cv2.INTER_AREA)
        else:
            values = scale_map(values, small.shape[:2])
        picture = overlay(small, values)
        tiles.append((picture, panel['name'], f' {panel["score"]:.2f}', *KINDS[panel['kind']], 2.2))

    # all lengths in inches; texts need a certain width, so tall images get taller tiles and not narrower ones
    columns = min(_COLUMNS, len(tiles))
    rows = -(-len(tiles) // columns)
    tile_width = 2.3
    tile_height = tile_width * float(np.clip(image.shape[0] / image.shape[1], 0.4, 1.8))
    gap, caption, edge = 0.14, 0.42, 0.12
    heading = 0.27 if title else 0.0
    width = columns * tile_width + (columns - 1) * gap + 2 * edge
    height = rows * (tile_height + caption) + (rows - 1) * gap + 2 * edge + heading
    figure = Figure(figsize=(width, height), dpi=150, facecolor='white')
    FigureCanvasAgg(figure)
    fonts = font_families()

    def write(x: float, y: float, text: str, limit: float, ending: str = '', **style: Any) -> None:
        # names are data: a dollar sign in one must not start a formula
        artist = figure.text(x / width, y / height, text + ending, family=fonts, parse_math=False, **style)
        fits, too_long = 0, len(text) + 1
        keep = len(text)
        while too_long - fits > 1:  # measuring a text is slow, so the cut is bisected
            if artist.get_window_extent().width > limit * figure.dpi:
                too_long = keep
            elif keep == len(text):
                return
            else:
                fits = keep
            keep = (fits + too_long) // 2
            artist.set_text(text[:keep].rstrip() + '…' + ending)

    if title:
        write(edge, height - edge, title, width - 2 * edge, va='top', fontsize=11, fontweight='bold')
    for index, (picture, name, score, tag, colour, border) in enumerate(tiles):
        row, column = divmod(index, columns)
        left = edge + column * (tile_width + gap)
        top = height - edge - heading - row * (tile_height + caption + gap) - caption
        box = (left / width, (top - tile_height) / height, tile_width / width, tile_height / height)
        axes = figure.add_axes(box)
        axes.imshow(picture, interpolation='antialiased')
        axes.set(xticks=[], yticks=[], anchor='N')
        for spine in axes.spines.values():
            spine.set(color=colour, linewidth=border)
        write(left, top + 0.23, name, tile_width, score, va='bottom', fontsize=10.5, color='#111111')
        write(left, top + 0.055, tag, tile_width, va='bottom', fontsize=8.5, color=colour)
    return figure


def save_figure(figure: Figure, path: str | os.PathLike) -> None:
    """Save a figure in the format that the suffix of ``path`` names; its folder is made if needed.

    An older file is replaced; see :class:`~sarlp.visualization.figure_files.FigureFiles` for figures of images, and
    :func:`~sarlp.visualization.figure_files.save_named` for others.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def _shrink(image: np.ndarray, longest: int = 720) -> np.ndarray:
    """A photograph has far more pixels than a panel, and matplotlib is slow at throwing them away."""
    factor = longest / max(image.shape[:2])
    if factor >= 1:
        return image
    size = (max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def font_families() -> list[str]:
    """Families for texts that are data, such as class names: matplotlib's own, and what is installed for its gaps."""
    installed = set(font_manager.get_font_names())
    return ['DejaVu Sans', *(name for name in _FALLBACK_FONTS if name in installed)]


def _checked_image(image: np.ndarray) -> np.ndarray:
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f'an image must be (h, w, 3) uint8 in RGB, but is {image.shape} {image.dtype}')
    return image


def _to_numpy(value: Any) -> np.ndarray:
    if hasattr(value, 'detach'):
        # numpy has no bfloat16, which autocast gives
        value = value.detach().cpu()
        value = value.float() if value.is_floating_point() else value
    return np.asarray(value)

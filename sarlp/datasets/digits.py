"""Built-in demo data: scenes of handwritten digits, made on the spot in the layout of VOC 2007.

The drawings are the 1,797 real ones that come with scikit-learn (8 x 8 pixels; E. Alpaydin and C. Kaynak, "Optical
Recognition of Handwritten Digits", UCI, 1998). A quarter of them, of every digit alike, appears in test scenes only.

The law of a scene, so that results can be judged against it:

- A hidden scene type, one of five with equal chances, chooses four digits: ``{0,1,2,3} {2,3,4,5} {4,5,6,7} {6,7,8,9}
  {8,9,0,1}``. So 2k and 2k+1 are always of one type (zero and one, two and three, ...), and neighbouring pairs meet.
- One to five objects, with chances 0.10, 0.25, 0.30, 0.20, 0.15. Each takes its digit from the type's four, or with
  chance 0.15, as a stranger, from all ten. Digits may repeat. An object for which there is no room is left out.
- Each object has chance 0.08 of being difficult: small, faint, or half covered. In VOC's sense such an object is
  drawn and listed but should not count. The others have sides of 0.27 to 0.42 of the scene and hardly overlap.
- Ink is darker than the ground. Each digit has a favourite hue, a tenth of the circle for each, and is drawn in it with
  chance 0.75, else in any. This is what makes the data learnable in minutes on a CPU: a narrow ResNet-18 from scratch
  with a tenth of the labels gets from colour what it would need many times as many steps to get from shape alone.
- The colours of the ground, its stains, the noise and two to four thin strokes mean nothing.

A scene is a function of (seed, split, its number): the same files, byte for byte, with the same numpy and Pillow.
"""

import os
from colorsys import hsv_to_rgb
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
from PIL import Image, ImageDraw
from tqdm import tqdm

from sarlp.datasets.made_folder import check_least, make_folder

CLASSES = ('zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine')  # by the digit's value
SCENE_TYPES = ((0, 1, 2, 3), (2, 3, 4, 5), (4, 5, 6, 7), (6, 7, 8, 9), (8, 9, 0, 1))
OBJECT_COUNT_CHANCES = (0.10, 0.25, 0.30, 0.20, 0.15)  # of 1, 2, 3, 4, 5 objects
STRANGER_CHANCE = 0.15
DIFFICULT_CHANCE = 0.08
FAVOURITE_INK_CHANCE = 0.75
TEST_SHARE = 0.25
MAX_OVERLAP = 0.15  # intersection over the smaller box

_MARKER = 'digits.json'
_VERSION = 2  # raise it when the same parameters come to mean other scenes
_SPLITS = ('trainval', 'test')


def make_digits(
    root: str | os.PathLike, num_train: int = 4000, num_test: int = 1000, size: int = 64, seed: int = 0
) -> Path:
    """Make the scenes, unless they are there already.

    ``root`` appears complete or not at all. Made with other parameters before, it is replaced, annotation files in it
    included; a folder that this function did not make is never touched.

    Args:
        root: the folder to make, with ``JPEGImages``, ``Annotations`` and ``ImageSets/Main`` as in VOC 2007.
        num_train: number of scenes in ``trainval.txt``, at least 1.
        num_test: number of scenes in ``test.txt``, at least 1.
        size: side of the square RGB scenes in pixels, at least 48.
        seed: 0 or more; another seed gives other scenes and another division of the drawings.

    Returns:
        ``root`` as a path.

    Raises:
        UserError: a parameter is out of range, or ``root`` holds something else.
    """
    check_least(num_train=(num_train, 1), num_test=(num_test, 1), size=(size, 48), seed=(seed, 0))
    made_with = {'version': _VERSION, 'num_train': num_train, 'num_test': num_test, 'size': size, 'seed': seed}
    return make_folder(root, _MARKER, made_with, lambda work: _write_scenes(work, (num_train, num_test), size, seed))


def _write_scenes(root: Path, counts: tuple[int, int], size: int, seed: int) -> None:
    for folder in ('JPEGImages', 'Annotations', 'ImageSets/Main'):
        (root / folder).mkdir(parents=True)
    drawings = _divided_drawings(seed)
    first = 1
    with tqdm(total=sum(counts), desc='drawing scenes', disable=None, leave=False) as bar:
        for split, (name, count) in enumerate(zip(_SPLITS, counts, strict=True)):
            ids = [f'{number:06d}' for number in range(first, first + count)]
            first += count
            for number, image_id in enumerate(ids):
                rng = np.random.default_rng((seed, split, number))
                scene, objects = _draw_scene(rng, drawings[split], size)
                scene.save(root / 'JPEGImages' / f'{image_id}.jpg', quality=90)
                (root / 'Annotations' / f'{image_id}.xml').write_text(_xml(image_id, size, objects), 'utf-8')
                bar.update()
            (root / 'ImageSets' / 'Main' / f'{name}.txt').write_text('\n'.join(ids) + '\n', 'utf-8')


def _divided_drawings(seed: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """For training and for test scenes: ten arrays (N, 8, 8) float32 in [0, 1], one for each digit."""
    from sklearn.datasets import load_digits  # here, since the import takes a second

    data = load_digits()
    images = (data.images / 16).astype(np.float32)
    rng = np.random.default_rng(seed)
    train, test = [], []
    for digit in range(10):
        own = images[rng.permutation(np.flatnonzero(data.target == digit))]
        cut = round(len(own) * TEST_SHARE)
        test.append(own[:cut])
        train.append(own[cut:])
    return train, test


def _draw_scene(rng: np.random.Generator, drawings: list[np.ndarray], size: int) -> tuple[Image.Image, list[tuple]]:
    """One scene and its objects: (digit, difficult, box), the box as (left, top, right, bottom), right and bottom
    excluded."""
    scene = _ground(rng, size)
    group = SCENE_TYPES[rng.integers(len(SCENE_TYPES))]
    objects: list[tuple] = []
    for _ in range(1 + rng.choice(len(OBJECT_COUNT_CHANCES), p=OBJECT_COUNT_CHANCES)):
        digit = int(rng.integers(10) if rng.random() < STRANGER_CHANCE else rng.choice(group))
        flaw = rng.choice(('small', 'faint', 'covered')) if rng.random() < DIFFICULT_CHANCE else None
        ink = _ink(rng, drawings[digit], size, flaw)
        height, width = ink.shape
        for _ in range(40):
            left, top = int(rng.integers(size - width + 1)), int(rng.integers(size - height + 1))
            box = (left, top, left + width, top + height)
            if all(_overlap(box, other) <= MAX_OVERLAP for _, _, other in objects):
                break
        else:
            continue  # no room
        favourite = rng.random() < FAVOURITE_INK_CHANCE
        hue = digit / 10 + rng.normal(0, 0.02) if favourite else rng.random()
        colour = 255 * np.array(hsv_to_rgb(hue % 1, rng.uniform(0.7, 1), rng.uniform(0.35, 0.6)))
        under = scene[top : top + height, left : left + width]
        under += ink[..., None] * (colour - under)
        objects.append((digit, flaw is not None, box))
    scene += rng.normal(0, 5, scene.shape)
    return Image.fromarray(scene.clip(0, 255).astype(np.uint8)), objects


def _ground(rng: np.random.Generator, size: int) -> np.ndarray:
    """(size, size, 3) float of 0..255: a gradient between two light colours, soft stains, thin strokes."""
    here, there = rng.uniform(150, 240, 3), rng.uniform(150, 240, 3)
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[0:size, 0:size] / (size - 1) - 0.5
    along = (0.5 + 0.7 * (x * np.cos(angle) + y * np.sin(angle))).clip(0, 1)[..., None]
    stains = Image.fromarray(rng.normal(0, 1, (7, 7)).astype(np.float32)).resize((size, size), Image.Resampling.BICUBIC)
    ground = here + along * (there - here) + 9 * np.asarray(stains)[..., None]

    strokes = Image.new('L', (2 * size, 2 * size))  # twice the size, then reduced, for smooth edges
    pen = ImageDraw.Draw(strokes)
    for _ in range(rng.integers(2, 5)):
        ends = rng.uniform(0, 2 * size, 4).tolist()
        pen.line(ends, fill=int(rng.integers(60, 140)), width=int(rng.integers(2, 4)))
    shade = np.asarray(strokes.resize((size, size), Image.Resampling.BOX), np.float64)[..., None] / 255
    return ground + shade * (rng.uniform(40, 140, 3) - ground)


def _ink(rng: np.random.Generator, drawings: np.ndarray, size: int, flaw: str | None) -> np.ndarray:
    """How much each pixel is covered by ink: (H, W) float in [0, 1], cropped to the digit."""
    side = round(size * (rng.uniform(0.15, 0.19) if flaw == 'small' else rng.uniform(0.27, 0.42)))
    drawing = Image.fromarray(np.pad(drawings[rng.integers(len(drawings))], 2))  # room to turn
    drawing = drawing.resize((side * 12 // 8, side * 12 // 8), Image.Resampling.BICUBIC)
    drawing = drawing.rotate(rng.uniform(-12, 12), Image.Resampling.BILINEAR)
    ink = ((np.asarray(drawing) - 0.35) * 2.5).clip(0, 1)  # a firm edge in place of the blur of enlarging
    rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
    ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] * rng.uniform(0.8, 1)
    if flaw == 'faint':
        ink *= 0.25
    elif flaw == 'covered':
        half = (len(ink) + 1) // 2
        ink[slice(half) if rng.random() < 0.5 else slice(len(ink) - half, None)] *= 0.08
    return ink


def _overlap(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> float:
    """Intersection over the smaller box."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    smaller = min((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return max(width, 0) * max(height, 0) / smaller


def _xml(image_id: str, size: int, objects: list[tuple]) -> str:
    lines = [
        '<annotation>',
        f'  <filename>{escape(image_id)}.jpg</filename>',
        f'  <size><width>{size}</width><height>{size}</height><depth>3</depth></size>',
    ]
    for digit, difficult, (left, top, right, bottom) in objects:
        # VOC counts pixels from 1 and includes the last one
        lines.append(
            f'  <object><name>{CLASSES[digit]}</name><difficult>{int(difficult)}</difficult>'
            f'<bndbox><xmin>{left + 1}</xmin><ymin>{top + 1}</ymin><xmax>{right}</xmax><ymax>{bottom}</ymax></bndbox>'
            '</object>'
        )
    return '\n'.join([*lines, '</annotation>', ''])

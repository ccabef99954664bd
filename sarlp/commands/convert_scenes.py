"""Make the built-in scenes of drawn things with names, and their annotation files.

Nothing is downloaded; the drawings (OpenMoji, CC BY-SA 4.0) come with packages: pip install 'sarlp[scenes]'.

Example:
    sarlp convert scenes --out data/scenes
"""

import argparse

from sarlp.commands.arguments import new_parser


def parse_args() -> argparse.Namespace:
    # options that are not given stay unset, so that the library's defaults hold
    parser = new_parser('convert scenes', __doc__, argument_default=argparse.SUPPRESS)
    parser.add_argument('--out', default='data/scenes', help='folder to make; default: %(default)s')
    parser.add_argument('--num-train', type=int, help='number of training scenes')
    parser.add_argument('--num-test', type=int, help='number of test scenes')
    parser.add_argument('--size', type=int, help='side of a scene in pixels')
    parser.add_argument('--seed', type=int, help='another seed gives other scenes')
    return parser.parse_args()


def main() -> None:
    options = vars(parse_args())
    from sarlp.commands.friendly import friendly_errors  # after parsing: the import takes seconds, --help should not
    from sarlp.datasets.annotation import load_annotation
    from sarlp.datasets.scene_drawings import SPLITS
    from sarlp.datasets.scenes import make_scenes
    from sarlp.datasets.statistics import summary

    with friendly_errors():
        root = make_scenes(options.pop('out'), **options)
        for split in SPLITS:
            file = root / 'labels' / f'{split}.json'
            print(f'{file}: {summary(*load_annotation(file), by_class=False)}')

"""Convert PASCAL VOC 2007, or your own folder in its layout, to annotation files.

Example:
    sarlp convert voc2007 --data-dir data/VOC2007
"""

import argparse

from sarlp.commands.arguments import default_of, new_parser


def parse_args() -> argparse.Namespace:
    # options that are not given stay unset, so that the library's defaults hold
    parser = new_parser('convert voc2007', __doc__, argument_default=argparse.SUPPRESS)
    parser.add_argument(
        '--data-dir', required=True, help='folder with ImageSets, Annotations and JPEGImages, or a VOCdevkit above it'
    )
    parser.add_argument('--save-dir', help='where trainval.json and test.json go; default: labels in that folder')
    parser.add_argument(
        '--difficult',
        choices=('ignore', 'negative', 'positive'),
        help='what a class with only difficult objects is; ignore: negative in training, left out of metrics; default: '
        + default_of('datasets/converters/voc.py', 'convert_voc2007', 'difficult'),
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from sarlp.commands.friendly import friendly_errors  # after parsing: the import takes seconds, --help should not
    from sarlp.datasets.converters.voc import convert_voc2007

    with friendly_errors():
        convert_voc2007(**vars(args))

"""Convert MS-COCO 2014, or your own folder in its layout, to annotation files.

Example:
    sarlp convert coco --data-dir data/COCO2014
"""

import argparse

from sarlp.commands.arguments import new_parser


def parse_args() -> argparse.Namespace:
    # options that are not given stay unset, so that the library's defaults hold
    parser = new_parser('convert coco', __doc__, argument_default=argparse.SUPPRESS)
    parser.add_argument('--data-dir', required=True, help='folder with annotations, train2014 and val2014')
    parser.add_argument('--save-dir', help='where train.json and val.json go; default: labels in that folder')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from sarlp.commands.friendly import friendly_errors  # after parsing: the import takes seconds, --help should not
    from sarlp.datasets.converters.coco import convert_coco2014

    with friendly_errors():
        convert_coco2014(**vars(args))

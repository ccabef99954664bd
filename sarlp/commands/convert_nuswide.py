"""Convert NUS-WIDE to annotation files.

Example:
    sarlp convert nuswide --data-dir data/NUS-WIDE --allow-missing
"""

import argparse

from sarlp.commands.arguments import new_parser


def parse_args() -> argparse.Namespace:
    # options that are not given stay unset, so that the library's defaults hold
    parser = new_parser('convert nuswide', __doc__, argument_default=argparse.SUPPRESS)
    parser.add_argument(
        '--data-dir', required=True, help='folder with Concepts81.txt, Groundtruth, ImageList and Flickr'
    )
    parser.add_argument('--save-dir', help='where train.json and test.json go; default: labels in that folder')
    parser.add_argument(
        '--allow-missing', action='store_true', help='drop images that are not there, with a count, instead of stopping'
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from sarlp.commands.friendly import friendly_errors  # after parsing: the import takes seconds, --help should not
    from sarlp.datasets.converters.nuswide import convert_nuswide

    with friendly_errors():
        convert_nuswide(**vars(args))

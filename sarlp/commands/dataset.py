"""Print and draw what is known in annotation files: labels by class, classes that co-occur, images by known share.

    sarlp dataset data/mine/labels/trainval.json --out work_dirs/mine_report

Several files of the same classes, such as both splits of a data set, are taken together. Writes classes.png,
co_occurrence.png and known.png.
"""

import argparse

from sarlp.commands.arguments import new_parser


def parse_args() -> argparse.Namespace:
    parser = new_parser('dataset', __doc__)
    parser.add_argument('annotation', nargs='+', help='annotation file (docs/data.md), of any data set')
    parser.add_argument('--out', required=True, metavar='DIR', help='folder for the figures')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from sarlp.apps.dataset_report import write_dataset_report
    from sarlp.commands.friendly import friendly_errors  # after parsing: the import takes seconds, --help should not

    with friendly_errors():
        write_dataset_report(args.annotation, args.out)

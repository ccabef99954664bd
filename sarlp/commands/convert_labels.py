"""Convert a spreadsheet of labels, some known and some not, to annotation files.

The file is CSV with a column a class or a row a label, JSON lines, or COCO JSON with lists of verified classes;
docs/your_data.md shows each.

Example:
    sarlp convert labels --csv mine/labels.csv --img-root mine/images --save-dir mine
"""

import argparse
from functools import partial

from sarlp.commands.arguments import default_of, new_parser


def parse_args() -> argparse.Namespace:
    default = partial(default_of, 'apps/spreadsheets/csv_labels.py', 'convert_csv_labels')
    # options that are not given stay unset, so that the library's defaults hold
    parser = new_parser('convert labels', __doc__, argument_default=argparse.SUPPRESS)
    add = parser.add_argument
    add('--csv', required=True, metavar='FILE', help='the labels: CSV, JSON lines or COCO JSON')
    add('--img-root', required=True, metavar='DIR', help='folder of the images; paths in the file are relative to it')
    add(
        '--save-dir',
        required=True,
        metavar='DIR',
        help="data set to make, a config's data_root; files go to DIR/labels",
    )
    add(
        '--val-fraction',
        type=float,
        metavar='F',
        help=f'share of the images for test.json; default: {default("val_fraction")}',
    )
    add('--seed', type=int, help=f'another seed splits otherwise; default: {default("seed")}')
    add(
        '--on-conflict',
        choices=('refuse', 'unknown'),
        help=f'what a label is that is yes in one row and no in another; default: {default("on_conflict")}',
    )
    add('--allow-missing', action='store_true', help='leave out rows whose image is not in the folder')
    add('--include-unlabelled', action='store_true', help='list images of the folder that no row names, all unknown')

    form = parser.add_argument_group('how the file is read, where it is not found rightly by itself')
    add = form.add_argument
    add(
        '--form',
        choices=('wide', 'long', 'lists', 'coco'),
        help='a column a class, a row a label, lists of names, COCO',
    )
    add('--encoding', help='such as utf-8, utf-16, cp1252')
    add('--delimiter', metavar='CHARACTER', help='between cells')
    add('--image-column', metavar='NAME', help='column, or key, of the images')
    add('--class-columns', nargs='+', metavar='NAME', help='wide: the columns that are classes; default: all others')
    add('--ignore-columns', nargs='+', metavar='NAME', help='columns that are no class')
    add('--class-column', metavar='NAME', help='long: column of the classes')
    add('--value-column', metavar='NAME', help='long: column of the values')
    add('--positive', nargs='+', metavar='WORD', help='further spellings of yes, in any case')
    add('--negative', nargs='+', metavar='WORD', help='further spellings of no; --negative "" if a blank means no')
    add('--unknown', nargs='+', metavar='WORD', help='further spellings of unknown')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from sarlp.apps.spreadsheets.csv_labels import convert_csv_labels
    from sarlp.commands.friendly import friendly_errors  # after parsing: the import takes seconds, --help should not

    with friendly_errors():
        convert_csv_labels(**vars(args))

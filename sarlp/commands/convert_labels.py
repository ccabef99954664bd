"""Convert a spreadsheet of labels, some known and some not, to annotation files.

The file is CSV, or a sheet of an Excel (.xlsx) or OpenDocument (.ods) workbook, with a column a class, a row a label or
a column that names what is there; or JSON lines, COCO JSON with lists of verified classes, or what Roboflow, Open
Images, CheXpert, Label Studio, CVAT, FiftyOne and Hugging Face have. docs/your_data.md shows each.

Example:
    sarlp convert labels --csv mine/labels.csv --img-root mine/images --save-dir mine
"""

import argparse
from functools import partial

from sarlp.commands.arguments import add_label_options, default_of, new_parser


def parse_args() -> argparse.Namespace:
    default = partial(default_of, 'apps/spreadsheets/csv_labels.py', 'convert_csv_labels')
    fraction = default_of('apps/spreadsheets/csv_labels.py', 'write_annotations', 'val_fraction')
    # options that are not given stay unset, so that the library's defaults hold
    parser = new_parser('convert labels', __doc__, argument_default=argparse.SUPPRESS)
    add = parser.add_argument
    add('--csv', required=True, metavar='FILE', help='the labels: CSV, .xlsx, .ods, JSON lines, JSON or XML')
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
        help=f'share of the images for test.json; default: the split that the file has, or else {fraction}',
    )
    add('--seed', type=int, help=f'another seed splits otherwise; default: {default("seed")}')
    add_label_options(parser, default('near_duplicates'))
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from sarlp.apps.spreadsheets.csv_labels import convert_csv_labels
    from sarlp.commands.friendly import friendly_errors  # after parsing: the import takes seconds, --help should not

    with friendly_errors():
        convert_csv_labels(**vars(args))

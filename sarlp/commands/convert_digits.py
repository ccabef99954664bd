"""Make the built-in demo data: scenes of handwritten digits, in VOC's layout and as annotation files.

Nothing is downloaded; the drawings come with scikit-learn.

Example:
    sarlp convert digits --out data/digits
    sarlp convert digits --out data/digits --spreadsheet 0.1
"""

import argparse

from sarlp.commands.arguments import new_parser


def parse_args() -> argparse.Namespace:
    # options that are not given stay unset, so that the library's defaults hold
    parser = new_parser('convert digits', __doc__, argument_default=argparse.SUPPRESS)
    parser.add_argument('--out', default='data/digits', help='folder to make; default: %(default)s')
    parser.add_argument('--num-train', type=int, help='number of training scenes')
    parser.add_argument('--num-test', type=int, help='number of test scenes')
    parser.add_argument('--size', type=int, help='side of a scene in pixels')
    parser.add_argument('--seed', type=int, help='another seed gives other scenes')
    parser.add_argument(
        '--spreadsheet',
        type=float,
        metavar='RATIO',
        help='also write labels.csv, in which so large a share of the cells is filled, and labels_complete.csv',
    )
    return parser.parse_args()


def main() -> None:
    options = vars(parse_args())
    from sarlp.commands.friendly import friendly_errors  # after parsing: the import takes seconds, --help should not
    from sarlp.datasets.converters.voc2007 import convert_voc2007
    from sarlp.datasets.digits import make_digits
    from sarlp.datasets.digits_spreadsheet import write_spreadsheets

    ratio = options.pop('spreadsheet', None)
    with friendly_errors():
        root = make_digits(options.pop('out'), **options)
        convert_voc2007(root, by_class=False)
        if ratio is not None:
            print('spreadsheets: {} and {}'.format(*write_spreadsheets(root, ratio)))

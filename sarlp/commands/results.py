"""Collect the results below a folder of work directories into a table and a plot.

    sarlp results work_dirs/sweep --against baseline_r18_digits --out work_dirs/sweep/table

prints the tables as Markdown and writes table.md, table.csv and table.png.
"""

import argparse
import sys
from functools import partial

from sarlp.commands.arguments import new_parser


def parse_args() -> argparse.Namespace:
    parser = new_parser('results', __doc__)
    parser.add_argument('root', help='folder of work directories, such as that of sarlp sweep')
    parser.add_argument('--out', metavar='PREFIX', help='write PREFIX.md, PREFIX.csv and PREFIX.png')
    parser.add_argument(
        '--against', metavar='NAME', help='a model of the table: also the differences to it on the same masks and seeds'
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from sarlp.apps.sweep_results import collect
    from sarlp.apps.sweep_tables import markdown, write_results
    from sarlp.commands.friendly import friendly_errors

    with friendly_errors():
        table = collect(args.root, partial(print, file=sys.stderr))
        print(markdown(table, args.against))
        if args.out is not None:
            write_results(table, args.out, args.against)

"""Collect the results below a folder of work directories into a table and a plot.

    sarlp results work_dirs/sweep --out work_dirs/sweep/table

prints the table as Markdown and writes table.md, table.csv and table.png.
"""

import argparse

from sarlp.commands.arguments import new_parser


def parse_args() -> argparse.Namespace:
    parser = new_parser('results', __doc__)
    parser.add_argument('root', help='folder of work directories, such as that of sarlp sweep')
    parser.add_argument('--out', metavar='PREFIX', help='write PREFIX.md, PREFIX.csv and PREFIX.png')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from sarlp.commands.friendly import friendly_errors
    from sarlp.evaluation.results import collect, markdown, write_results

    with friendly_errors():
        table = collect(args.root)
        print(markdown(table))
        if args.out is not None:
            write_results(table, args.out)

"""Collect the results below a folder of work directories into a table and a plot.

    python tools/analysis_tools/results_table.py work_dirs/sweep --out work_dirs/sweep/table

prints the table as Markdown and writes table.md, table.csv and table.png.
"""

import argparse


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('root', help='folder of work directories, such as that of tools/sweep.py')
    parser.add_argument('--out', metavar='PREFIX', help='write PREFIX.md, PREFIX.csv and PREFIX.png')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from sarlp.cli import friendly_errors
    from sarlp.evaluation.results import collect, markdown, write_results

    with friendly_errors():
        table = collect(args.root)
        print(markdown(table))
        if args.out is not None:
            write_results(table, args.out)


if __name__ == '__main__':
    main()

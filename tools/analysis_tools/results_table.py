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
    from sarlp.evaluation.results import collect, comma_separated, markdown, plot
    from sarlp.files import atomic_write

    with friendly_errors():
        table = collect(args.root)
        print(markdown(table))
        if args.out is not None:
            for suffix, text in (('md', markdown(table) + '\n'), ('csv', comma_separated(table))):
                with atomic_write(f'{args.out}.{suffix}') as file:
                    file.write(text)
            plot(table).savefig(f'{args.out}.png', dpi=120)


if __name__ == '__main__':
    main()

"""Fill in the blanks of a spreadsheet of labels, from a folder of photographs: all in one command.

    sarlp complete labels.xlsx photos/
    sarlp complete labels.csv photos/ --precision 0.95 --out completed

The spreadsheet (.xlsx, .ods, .csv, or what else sarlp convert labels reads) has a row an image and a column a class, or
a row a label, or a column that names what is there; blank cells are unknown. It is completed as far as the precision
can be promised, and written under a new name, beside it a report, and what the review page shows. The file itself
stays as it is. If this is interrupted, the same command goes on.
"""

import argparse
from functools import partial

from sarlp.commands.arguments import (
    add_cfg_options,
    add_device,
    add_label_options,
    add_processes,
    constant_of,
    default_of,
    new_parser,
)


def parse_args() -> argparse.Namespace:
    default = partial(default_of, 'apps/spreadsheet_completion/run.py', 'complete')
    many, fewer = (constant_of('apps/spreadsheet_completion/run.py', one) for one in ('FOLDS', 'FEWER_FOLDS'))
    of_few = ', '.join(f'{number} of up to {most:,} photographs' for number, most in many)
    # options that are not given stay unset, so that the library's defaults hold
    parser = new_parser('complete', __doc__, argument_default=argparse.SUPPRESS)
    add = parser.add_argument
    add('labels', metavar='SPREADSHEET', help='the labels, some cells blank')
    add('photos', metavar='FOLDER', help='of the images; paths in the spreadsheet are relative to it')
    add('--out', metavar='FOLDER', help='for all that is written; default: SPREADSHEET_completed beside it')
    add(
        '--precision',
        type=float,
        metavar='P',
        help=f'of what is filled in as yes, in [0.5, 1); default: {default("precision")}',
    )
    add(
        '--folds',
        type=int,
        metavar='K',
        help=f'number of models that complete; default: {of_few}, of more {fewer}',
    )
    add('--config', help="what is trained, a config for one's own data; default: by what is on this machine")
    add_device(parser)
    add_processes(parser)
    add_cfg_options(parser)
    add_label_options(parser, default('near_duplicates'))
    return parser.parse_args()


def main() -> None:
    options = vars(parse_args())
    from sarlp.commands.friendly import friendly_errors  # after parsing: the import takes seconds, --help should not

    with friendly_errors():
        from sarlp.apps.spreadsheet_completion import complete

        try:
            done = complete(**options)
        except KeyboardInterrupt:
            raise KeyboardInterrupt('start the same command again to go on') from None
        head, *_ = done.report.split('\n## ')
        print(f'\n{head.strip()}\n')
        for name, file in done.files.items():
            print(f'{name:<12} {file}')
        print(f'\ngo on with:\n{done.next}')

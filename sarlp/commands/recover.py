"""Complete the labels of a data set: for every unknown label a probability and a decision.

    sarlp recover CONFIG CHECKPOINT --split train --precision 0.9 --out recovered.csv
    sarlp recover CONFIG --folds 5 --split all --precision 0.9 --out recovered.csv

Known labels stay as they are. Beside recovered.csv (image, class, probability, decision) go recovered_suspects.csv, the
known labels that the model strongly contradicts; recovered_labels/, annotation files with the decisions filled in and
the spreadsheet, if the data set came from one; and recovered.json, the record that review, prediction and export read.
"""

import argparse
from functools import partial

from sarlp.commands.arguments import (
    add_cfg_options,
    add_config,
    add_device,
    add_processes,
    default_of,
    new_parser,
)


def parse_args() -> argparse.Namespace:
    default = partial(default_of, 'apps/completion/complete.py', 'complete_labels')
    # options that are not given stay unset, so that the library's defaults hold
    parser = new_parser('recover', __doc__, argument_default=argparse.SUPPRESS)
    add_config(parser)
    parser.add_argument(
        'checkpoint', nargs='?', default=None, help='file, or a work directory, whose best checkpoint is taken'
    )
    parser.add_argument('--out', default='recovered.csv', metavar='FILE', help='default: %(default)s')
    parser.add_argument('--split', choices=['train', 'test', 'all'], help=f'whose labels; default: {default("split")}')
    parser.add_argument(
        '--precision',
        type=float,
        metavar='P',
        help=f'of the positive decisions, in [0.5, 1); default: {default("precision")}',
    )
    parser.add_argument(
        '--folds',
        type=int,
        metavar='K',
        help='train K models, each without a K-th of the images, and let it score those; in place of a checkpoint. '
        'A model may be surer of images that it was trained on; this does without, and has more labels to calibrate on',
    )
    parser.add_argument(
        '--calibration',
        choices=['auto', 'temperature', 'isotonic'],
        help=f'auto: what is better in a cross-validation; default: {default("calibration")}',
    )
    parser.add_argument(
        '--suspect',
        type=float,
        metavar='P',
        help=f'list a known label to which the model gives at most this probability; default: {default("suspect")}',
    )
    parser.add_argument(
        '--truth', metavar='FILE', help='complete labels to measure against: an annotation file or a spreadsheet'
    )
    add_device(parser)
    add_processes(parser)
    add_cfg_options(parser)
    return parser.parse_args()


def main() -> None:
    options = vars(parse_args())
    from sarlp.apps.completion import complete_labels
    from sarlp.apps.completion.report import format_completion
    from sarlp.commands.friendly import friendly_errors
    from sarlp.engine import find_checkpoint
    from sarlp.engine.devices import announce_device

    with friendly_errors():
        options['device'] = announce_device(options['device'])
        if options['checkpoint'] is not None:
            options['checkpoint'] = find_checkpoint(options['checkpoint'])
        print(format_completion(complete_labels(**options)))

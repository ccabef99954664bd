"""Train and test models x settings x known ratios x seeds; finished runs are skipped, cut-off ones resumed.

    sarlp sweep --models sarlp baseline --settings r18_digits --known-ratios 0.1 --seeds 0 1 2
    sarlp sweep --models few baseline --settings lite0_frozen_scenes --known-ratios 0.1 --folds 5 --jobs 2
    sarlp sweep --models sarlp --settings r101_voc --slurm --partition=gpu --gres=gpu:1

sarlp results makes the table and the plot.
"""

import argparse
import shlex
import sys

from sarlp.commands.arguments import add_cfg_options, new_parser


def parse_args() -> argparse.Namespace:
    parser = new_parser('sweep', __doc__)
    parser.add_argument('--models', nargs='+', required=True, help='such as sarlp, sarlp_wo_jls, baseline')
    parser.add_argument('--settings', nargs='+', required=True, help='backbone and data set, such as r18_digits')
    parser.add_argument(
        '--known-ratios', nargs='+', type=float, default=[i / 10 for i in range(1, 10)], help='default: 0.1 to 0.9'
    )
    parser.add_argument('--seeds', nargs='+', type=int, default=[0], help='of run and label mask; default: 0')
    parser.add_argument(
        '--masks',
        nargs='+',
        type=int,
        help='seeds of the label masks, where --seeds is to be of the runs alone: every seed is run with every mask, '
        'which tells the spread over runs from that over masks',
    )
    parser.add_argument('--root', default='work_dirs/sweep', help='folder of work directories; default: %(default)s')
    parser.add_argument(
        '--folds',
        type=int,
        metavar='K',
        help='also complete the hidden labels of the training images, as sarlp recover --folds K does',
    )
    parser.add_argument('--jobs', type=int, default=1, metavar='N', help='runs at a time; default: %(default)s')
    add_cfg_options(parser)
    parser.add_argument(
        '--slurm',
        nargs=argparse.REMAINDER,
        metavar='OPTION',
        help='hand the runs to sbatch with these options; must come last',
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from sarlp.apps.sweep import execute, plan
    from sarlp.commands.friendly import friendly_errors

    with friendly_errors():
        grid = (args.models, args.settings, args.known_ratios, args.seeds)
        runs = plan(*grid, args.root, args.cfg_options or (), args.folds, args.masks)
        failed = execute(runs, args.slurm, args.jobs)
    if args.slurm is None:
        print(f'{len(runs) - len(failed)} of {len(runs)} runs are finished; their table:')
        print(shlex.join(['sarlp', 'results', args.root]))
    if failed:
        sys.exit(f'error: {len(failed)} of {len(runs)} runs failed')

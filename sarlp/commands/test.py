"""Test a checkpoint: a table on the terminal; with --out also metrics.json and the predictions as CSV.

    sarlp test configs/sarlp/sarlp_r18_digits_p0.1.py work_dirs/sarlp_r18_digits_p0.1/best_mAP_epoch_30.pth

Several processes: tools/dist_test.sh.
"""

import argparse

from sarlp.commands.arguments import add_cfg_options, add_config, add_device, add_launcher, new_parser


def parse_args() -> argparse.Namespace:
    parser = new_parser('test', __doc__)
    add_config(parser)
    parser.add_argument('checkpoint', help='file, or a work directory, whose best checkpoint is taken')
    parser.add_argument('--out', metavar='DIR', help='write metrics.json, predictions.csv and recovered_labels.csv')
    parser.add_argument(
        '--no-recovery',
        action='store_true',
        help='leave out the recovery of hidden labels, which takes a pass over the training images',
    )
    parser.add_argument('--work-dir', help='where the log goes (default: work_dirs/<config name>)')
    add_device(parser)
    add_cfg_options(parser)
    add_launcher(parser)
    args = parser.parse_args()
    if args.launcher != 'none' and args.device != 'auto':
        parser.error('--device goes with one process; with a launcher each process has its own GPU')
    return args


def main() -> None:
    args = parse_args()
    from sarlp.commands.friendly import friendly_errors
    from sarlp.engine import find_checkpoint, load_config
    from sarlp.engine.build import end_distributed
    from sarlp.engine.devices import use_device
    from sarlp.engine.testing import test

    with friendly_errors():
        if args.launcher == 'none':
            use_device(args.device)
        cfg = load_config(args.config, args.cfg_options)
        if args.work_dir is not None:
            cfg.work_dir = args.work_dir
        test(cfg, find_checkpoint(args.checkpoint), args.out, not args.no_recovery, args.launcher)
        end_distributed()

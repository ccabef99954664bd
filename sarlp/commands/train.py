"""Train a config.

    sarlp train configs/sarlp/sarlp_r18_digits_p0.1.py
    sarlp train configs/sarlp/sarlp_r101_voc_p0.1.py --cfg-options train_dataloader.num_workers=4
    sarlp train configs/sarlp/sarlp_r101_voc_p0.1.py --resume

Several processes: tools/dist_train.sh.
"""

import argparse

from sarlp.commands.arguments import add_cfg_options, add_config, add_launcher, new_parser


def parse_args() -> argparse.Namespace:
    parser = new_parser('train', __doc__)
    add_config(parser)
    parser.add_argument('--work-dir', help='where logs and checkpoints go (default: work_dirs/<config name>)')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='go on from CHECKPOINT, or from the newest one in the work directory',
    )
    parser.add_argument(
        '--fresh',
        action='store_true',
        help='start although the work directory holds checkpoints of another run: they are moved into a folder of '
        'their own, nothing is deleted',
    )
    parser.add_argument('--amp', action='store_true', help='automatic mixed precision')
    parser.add_argument('--seed', type=int, help='seed of the run; the label mask has its own (label_mask.seed)')
    add_cfg_options(parser)
    add_launcher(parser)
    args = parser.parse_args()
    if args.fresh and args.resume == 'auto':
        parser.error('--resume goes on with the run of the work directory, --fresh leaves it; give one of them')
    return args


def main() -> None:
    args = parse_args()
    from sarlp.commands.friendly import friendly_errors
    from sarlp.engine import build_runner, load_config
    from sarlp.engine.build import end_distributed, use_amp

    with friendly_errors():
        cfg = load_config(args.config, args.cfg_options)
        if args.work_dir is not None:
            cfg.work_dir = args.work_dir
        if args.seed is not None:
            cfg.randomness.seed = args.seed
        if args.resume == 'auto':
            cfg.resume = 'auto'
        elif args.resume is not None:
            cfg.resume, cfg.load_from = True, args.resume
        cfg.fresh = args.fresh
        if args.amp:
            use_amp(cfg)
        build_runner(cfg, args.launcher).train()
        end_distributed()

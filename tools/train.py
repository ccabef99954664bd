"""Train a config.

    python tools/train.py configs/sarlp/sarlp_r18_digits_p0.1.py
    python tools/train.py configs/sarlp/sarlp_r101_voc_p0.1.py --cfg-options train_dataloader.num_workers=4
    python tools/train.py configs/sarlp/sarlp_r101_voc_p0.1.py --resume

Several processes: tools/dist_train.sh.
"""

import argparse


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file, or the name of one that comes with sarlp')
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
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action='extend',
        metavar='KEY=VALUE',
        help='change the config, e.g. train_dataloader.dataset.label_mask.known_ratio=0.3',
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='set by the tools/dist_*.sh and slurm_*.sh scripts',
    )
    args = parser.parse_args()
    if args.fresh and args.resume == 'auto':
        parser.error('--resume goes on with the run of the work directory, --fresh leaves it; give one of them')
    return args


def main() -> None:
    args = parse_args()
    from sarlp.cli import friendly_errors
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


if __name__ == '__main__':
    main()

"""Export which training labels a config may see, with a checksum, for use elsewhere or as a FileLabelMask.

Example:
    python tools/dataset_converters/label_mask.py configs/sarlp/sarlp_r101_voc_p0.1.py voc_p0.1.npz
"""

import argparse


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file, or the name of one that comes with sarlp')
    parser.add_argument('out', metavar='OUT.npz', help='file to write')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action='extend',
        metavar='KEY=VALUE',
        help='change the config, e.g. train_dataloader.dataset.label_mask.seed=1',
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from sarlp.cli import friendly_errors  # after parsing: the import takes seconds, --help should not
    from sarlp.datasets.label_masks import export_label_mask
    from sarlp.datasets.nesting import build_labels
    from sarlp.engine import load_config

    with friendly_errors():
        cfg = load_config(args.config, args.cfg_options)
        dataset = build_labels(cfg.train_dataloader.dataset)
        checksum, known = export_label_mask(args.out, dataset)
        print(
            f'{args.out}: {known.shape[0]:,} images x {known.shape[1]:,} classes, {known.mean():.2%} of the labels '
            f'known\nsha256 {checksum}'
        )


if __name__ == '__main__':
    main()

"""Export which training labels a config may see, with a checksum, for use elsewhere or as a FileLabelMask.

Example:
    sarlp convert mask configs/sarlp/sarlp_r101_voc_p0.1.py voc_p0.1.npz
"""

import argparse

from sarlp.commands.arguments import add_cfg_options, add_config, new_parser


def parse_args() -> argparse.Namespace:
    parser = new_parser('convert mask', __doc__)
    add_config(parser)
    parser.add_argument('out', metavar='OUT.npz', help='file to write')
    add_cfg_options(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from sarlp.commands.friendly import friendly_errors  # after parsing: the import takes seconds, --help should not
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

"""Convert a checkpoint released by the authors (best_ema_model.pth) for sarlp test and sarlp maps.

The file holds neither the class names nor the label embeddings, so both are given here.

Example:
    sarlp convert released best_ema_model.pth sarlp_voc.pth \
        --config sarlp_r101_voc_p0.1 --classes data/VOC2007/labels/trainval.json \
        --embeddings data/VOC2007/labels/bert.npz
"""

import argparse

from sarlp.commands.arguments import add_cfg_options, new_parser


def parse_args() -> argparse.Namespace:
    parser = new_parser('convert released', __doc__)
    parser.add_argument('source', metavar='IN', help='the released file')
    parser.add_argument('target', metavar='OUT', help='the checkpoint to write')
    parser.add_argument('--config', required=True, help='config of the same model and data set')
    parser.add_argument('--classes', required=True, metavar='ANN_FILE', help='annotation file with the class names')
    parser.add_argument(
        '--embeddings', metavar='NPZ', help='the label embeddings it was trained with; default: those of the config'
    )
    add_cfg_options(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from sarlp.commands.friendly import friendly_errors
    from sarlp.inference.convert_released import convert_released

    with friendly_errors():
        count = convert_released(args.source, args.target, args.config, args.classes, args.embeddings, args.cfg_options)
        print(f'{count} entries converted into {args.target}')

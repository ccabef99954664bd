"""Export a trained model to ONNX, checked against PyTorch; docs/deploy.md says how the file is used.

    sarlp export configs/sarlp/sarlp_r50_custom.py work_dirs/sarlp_r50_custom --out model.onnx
    sarlp export CONFIG CHECKPOINT --out model.onnx --calibration recovered.json --half

Pixels (images, 3, height, width) uint8 in RGB go in; scores, attention maps and, with a calibration, probabilities come
out. Classes, thresholds and what is to be done to an image before are in the metadata of the file.
"""

import argparse
from functools import partial

from sarlp.commands.arguments import add_cfg_options, add_config, default_of, new_parser


def parse_args() -> argparse.Namespace:
    default = partial(default_of, 'inference/onnx/export.py', 'export_onnx')
    parser = new_parser('export', __doc__)
    add_config(parser)
    parser.add_argument('checkpoint', help='file, or a work directory, whose best checkpoint is taken')
    parser.add_argument('--out', required=True, metavar='FILE', help='the file to write')
    parser.add_argument(
        '--image-size', type=int, nargs='+', metavar='PX', help='side, or width and height (default: the test pipeline)'
    )
    decide = parser.add_mutually_exclusive_group()
    decide.add_argument('--calibration', metavar='FILE', help='recovered.json of sarlp recover')
    decide.add_argument(
        '--threshold',
        type=float,
        default=default('threshold'),
        help='of the scores, without --calibration; default: %(default)s',
    )
    parser.add_argument(
        '--opset', type=int, default=default('opset'), help='version of the operators of ONNX; default: %(default)s'
    )
    parser.add_argument('--half', action='store_true', help='weights in float16: half the file, the same speed')
    parser.add_argument(
        '--tolerance', type=float, help='largest difference from PyTorch that passes (default: 1e-4, with --half 1e-2)'
    )
    parser.add_argument(
        '--repeats', type=int, default=default('repeats'), help='timed runs; 0 for none; default: %(default)s'
    )
    add_cfg_options(parser)
    args = parser.parse_args()
    if args.image_size is not None and len(args.image_size) > 2:
        parser.error('--image-size takes one or two numbers')
    return args


def main() -> None:
    args = parse_args()
    from sarlp.commands.friendly import friendly_errors
    from sarlp.inference.onnx import export_onnx

    with friendly_errors():
        export_onnx(
            args.config,
            args.checkpoint,
            args.out,
            args.image_size,
            args.calibration,
            args.threshold,
            args.opset,
            args.half,
            args.tolerance,
            args.repeats,
            args.cfg_options,
        )

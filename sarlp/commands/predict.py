"""Predict the classes of images: a file with all scores and the chosen classes, and figures of the images if wanted.

    sarlp predict configs/sarlp/sarlp_r50_custom.py work_dirs/sarlp_r50_custom photos/ --out photos.csv
    sarlp predict CONFIG CHECKPOINT photos/ --out photos.csv --calibration recovered.json
    sarlp predict CONFIG CHECKPOINT a.jpg b.jpg --out predictions.json --annotated figures

Folders are searched with their subfolders, and what is left out is said. Of a single folder, images are named by their
paths relative to it. Of images with several frames or pages the first one counts.

.csv: a row an image: image, classes (the chosen ones, highest first, joined by "; "), then a column for the score of
each class. .jsonl: an object an image. .json: one object, with the thresholds, and the images as a list.
"""

import argparse
import sys

from sarlp.commands.arguments import add_cfg_options, add_config, add_device, default_of, new_parser


def parse_args() -> argparse.Namespace:
    parser = new_parser('predict', __doc__)
    add_config(parser)
    parser.add_argument('checkpoint', help='file, or a work directory, whose best checkpoint is taken')
    parser.add_argument('inputs', nargs='+', metavar='INPUT', help='images and folders of images')
    parser.add_argument('--out', required=True, metavar='FILE', help='the file to write: .csv, .json or .jsonl')
    parser.add_argument(
        '--calibration',
        metavar='FILE',
        help='recovered.json of sarlp recover: scores become calibrated probabilities, each class with its '
        'threshold in there',
    )
    parser.add_argument(
        '--threshold',
        type=float,
        default=default_of('inference/inferencer.py', 'MultiLabelInferencer.__init__', 'threshold'),
        help='least score of a chosen class, without --calibration; default: %(default)s',
    )
    parser.add_argument('--annotated', metavar='DIR', help='also draw each image with the maps of its classes')
    parser.add_argument('--skip-bad-images', action='store_true', help='go on after a file that does not decode')
    parser.add_argument(
        '--batch-size',
        type=int,
        default=default_of('inference/inferencer.py', 'MultiLabelInferencer.stream', 'batch_size'),
        help='default: %(default)s',
    )
    parser.add_argument('--num-workers', type=int, help='threads that decode (default: one a core, at most 8)')
    add_device(parser)
    parser.add_argument(
        '--precision',
        choices=['float32', 'bfloat16', 'float16'],
        default=default_of('inference/model.py', 'prepare_for_inference', 'precision'),
        help='of convolutions and matrix products; default: %(default)s',
    )
    parser.add_argument('--channels-last', action='store_true', help='faster on GPUs with tensor cores')
    parser.add_argument('--compile', action='store_true', help='for many images: the first batch takes minutes')
    add_cfg_options(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from sarlp.commands.friendly import friendly_errors
    from sarlp.engine import find_checkpoint, load_config
    from sarlp.engine.devices import announce_device
    from sarlp.errors import UserError
    from sarlp.inference.inferencer import MultiLabelInferencer
    from sarlp.inference.prediction_files import write_predictions
    from sarlp.transforms import BadImageError

    with friendly_errors():
        device = announce_device(args.device)
        checkpoint = find_checkpoint(args.checkpoint)
        inferencer = MultiLabelInferencer(
            load_config(args.config, args.cfg_options),
            checkpoint,
            device,
            args.calibration,
            args.threshold,
            dict(precision=args.precision, channels_last=args.channels_last, compile=args.compile),
        )
        try:
            number = write_predictions(
                inferencer,
                args.inputs,
                args.out,
                args.annotated,
                about=dict(config=args.config, checkpoint=checkpoint),
                batch_size=args.batch_size,
                on_bad_image='skip' if args.skip_bad_images else 'raise',
                num_workers=args.num_workers,
                progress=sys.stderr.isatty(),
            )
        except BadImageError as error:
            raise UserError(f'{error}, or go on without such files by --skip-bad-images') from error
        print(f'{number:,} images in {args.out}{f", figures in {args.annotated}" if args.annotated else ""}')

"""Predict the classes of images: a file with all scores and the chosen classes, and figures of the images if wanted.

    sarlp predict configs/sarlp/sarlp_r50_custom.py work_dirs/sarlp_r50_custom photos/ --out photos.csv
    sarlp predict CONFIG CHECKPOINT photos/ --out photos.csv --calibration recovered.json
    sarlp predict CONFIG CHECKPOINT a.jpg b.jpg --out predictions.json --annotated figures
    sarlp predict CONFIG CHECKPOINT photos/ --out photos.csv --shard 3/16    # and the others, each by its own process
    sarlp predict --merge photos.csv

Folders are searched with their subfolders, and what is left out is said. Of a single folder, images are named by their
paths relative to it. Of images with several frames or pages the first one counts.

.csv: a row an image: image, classes (the chosen ones, highest first, joined by "; "), then a column for the score of
each class. .jsonl: an object an image. .json: one object, with the thresholds, and the images as a list.

--shard 3/16 predicts the third of sixteen parts, photos.03-of-16.csv, and goes on where it was stopped if started
again. Images that can not be read are named in photos.03-of-16.csv.json and stop nothing. --shard auto takes the part
of this process in an array of SLURM or under torchrun; of several processes of torchrun each takes its part without
that, too. Parts are .csv, or .parquet where pyarrow is installed.
"""

import argparse
import shlex
import sys
from pathlib import Path

from sarlp.commands.arguments import (
    add_cfg_options,
    add_config,
    add_device,
    begun_together,
    default_of,
    new_parser,
    require_alone,
)


def parse_args() -> argparse.Namespace:
    merging = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    merging.add_argument('--merge', metavar='FILE', help='put the parts of this file together; goes with nothing else')
    parser = new_parser('predict', __doc__, together=True, parents=[merging])
    add_config(parser)
    parser.add_argument('checkpoint', help='file, or a work directory, whose best checkpoint is taken')
    parser.add_argument('inputs', nargs='+', metavar='INPUT', help='images and folders of images')
    parser.add_argument('--out', required=True, metavar='FILE', help='the file to write: .csv, .json or .jsonl')
    decide = parser.add_mutually_exclusive_group()
    decide.add_argument(
        '--calibration',
        metavar='FILE',
        help='recovered.json of sarlp recover: scores become calibrated probabilities, each class with its '
        'threshold in there',
    )
    decide.add_argument(
        '--threshold',
        type=float,
        default=default_of('inference/inferencer.py', 'MultiLabelInferencer.__init__', 'threshold'),
        help='least score of a chosen class, without --calibration; default: %(default)s',
    )
    parser.add_argument('--annotated', metavar='DIR', help='also draw each image with the maps of its classes')
    parser.add_argument('--shard', metavar='K/N', help='predict one of N parts, or the rest of it; or auto')
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
    given, others = merging.parse_known_args()
    if given.merge is None:
        return parser.parse_args()
    require_alone('sarlp predict --merge')
    if others and not {'-h', '--help'} & {*others}:
        parser.error(f'--merge goes with nothing else than the file, got also {" ".join(others)}')
    return given if not others else parser.parse_args()


def main() -> None:
    args = parse_args()
    from sarlp.commands.friendly import friendly_errors
    from sarlp.errors import UserError
    from sarlp.transforms import BadImageError

    with friendly_errors():
        try:
            merge(args.merge) if args.merge is not None else predict(args)
        except BadImageError as error:
            raise UserError(f'{error}, or go on without such files by --skip-bad-images') from error


def predict(args: argparse.Namespace) -> None:
    from sarlp.engine import find_checkpoint, load_config
    from sarlp.engine.devices import announce_device
    from sarlp.errors import UserError
    from sarlp.inference.inferencer import MultiLabelInferencer
    from sarlp.inference.parts import FORMS, predict_part
    from sarlp.inference.prediction_files import write_predictions
    from sarlp.inference.shards import AUTO, Shard, device_of_rank, parse_shard
    from sarlp.io.files import sha256_of

    shard = None if args.shard is None else parse_shard(args.shard)
    begun = begun_together() if shard is None else None
    if begun is not None:
        if args.annotated is not None or Path(args.out).suffix not in FORMS:
            raise UserError(
                f'{begun[1]} processes were begun together, as torchrun does (RANK, WORLD_SIZE), and each predicts '
                f'a part: that takes an --out that ends in {" or ".join(FORMS)}, and no --annotated. Or begin one'
            )
        shard = Shard(begun[0] + 1, begun[1])
        print(f'{begun[1]} processes were begun together: this one predicts part {shard}, as --shard {AUTO} would')
    if shard is not None and args.annotated is not None:
        raise UserError('--annotated draws no parts; leave out one of --annotated and --shard')
    device = announce_device(device_of_rank(args.device) if args.shard == AUTO or begun else args.device)
    checkpoint = find_checkpoint(args.checkpoint)
    prepare = dict(precision=args.precision, channels_last=args.channels_last, compile=args.compile)
    config = load_config(args.config, args.cfg_options)
    inferencer = MultiLabelInferencer(config, checkpoint, device, args.calibration, args.threshold, prepare)
    options = dict(batch_size=args.batch_size, num_workers=args.num_workers, progress=sys.stderr.isatty())
    if shard is not None:
        with open(checkpoint, 'rb') as file:
            asked = dict(prepare, checkpoint_sha256=sha256_of(file))
        part = predict_part(inferencer, args.inputs, args.out, shard, asked, **options)
        after = f'; when all are: sarlp predict --merge {shlex.quote(args.out)}' if begun else ''
        print(f'part {shard} is finished: {part.rows:,} images in {shard.file(Path(args.out))}{after}')
        return
    number = write_predictions(
        inferencer,
        args.inputs,
        args.out,
        args.annotated,
        about=dict(config=args.config, checkpoint=checkpoint),
        on_bad_image='skip' if args.skip_bad_images else 'raise',
        **options,
    )
    print(f'{number:,} images in {args.out}{f", figures in {args.annotated}" if args.annotated else ""}')


def merge(out: str) -> None:
    from sarlp.errors import shorten
    from sarlp.inference.parts import merge_parts

    rows, skipped = merge_parts(out)
    left_out = f'; {len(skipped):,} can not be read and are left out: {shorten(skipped)}' if skipped else ''
    print(f'{rows:,} images in {out}{left_out}')

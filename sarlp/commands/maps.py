"""Draw where a trained model sees each class: one figure an image.

For each image: the image itself, a map for each true class, and a map for each class that is predicted without being
labelled. What is true is looked up in the annotation files of the config; images from elsewhere get their predicted
classes only. A map that is dark all over prefers no place. The figure of cam1/a.jpg is cam1/a.jpg.png; no image, and no
figure of another one, is replaced.

    sarlp maps configs/sarlp/sarlp_r18_digits_p0.1.py work_dirs/sarlp_r18_digits_p0.1 \
        --split test --max-images 12 --out-dir work_dirs/sarlp_r18_digits_p0.1/maps
    sarlp maps CONFIG CHECKPOINT --img photo.jpg --out-dir maps
    sarlp maps CONFIG CHECKPOINT --img photos/ --out-dir maps --method gradcam
"""

import argparse
from functools import partial
from itertools import islice

from sarlp.commands.arguments import add_cfg_options, add_config, add_device, default_of, new_parser


def parse_args() -> argparse.Namespace:
    default = partial(default_of, 'inference/maps.py', 'draw_maps')
    parser = new_parser('maps', __doc__)
    add_config(parser)
    parser.add_argument('checkpoint', help='file, or a work directory, whose best checkpoint is taken')
    images = parser.add_mutually_exclusive_group(required=True)
    images.add_argument(
        '--img', metavar='FILE_OR_DIR', help='an image, or a folder, which is searched with its subfolders'
    )
    images.add_argument('--split', choices=['train', 'test'], help='the images of a split of the config')
    parser.add_argument('--out-dir', required=True, metavar='DIR', help='where the figures go')
    parser.add_argument('--max-images', type=int, metavar='N', help='only the first N images')
    parser.add_argument(
        '--method',
        choices=['attention', 'gradcam'],
        default=default('method'),
        help='attention: the token scores of the head; gradcam: of what the backbone gives the head '
        '(needs the package grad-cam); default: %(default)s',
    )
    parser.add_argument(
        '--threshold',
        type=float,
        default=default('threshold'),
        help='score of a predicted class; default: %(default)s',
    )
    add_device(parser)
    add_cfg_options(parser)
    args = parser.parse_args()
    if args.max_images is not None and args.max_images < 1:
        parser.error(f'--max-images must be at least 1, got {args.max_images}')
    return args


def main() -> None:
    args = parse_args()
    from sarlp.commands.friendly import friendly_errors
    from sarlp.engine import find_checkpoint, load_config
    from sarlp.engine.devices import announce_device
    from sarlp.inference import init_model
    from sarlp.inference.maps import KnownLabels, draw_maps
    from sarlp.io.image_files import find_images

    with friendly_errors():
        cfg = load_config(args.config, args.cfg_options)
        model = init_model(cfg, find_checkpoint(args.checkpoint), announce_device(args.device))
        labels = KnownLabels(model.cfg, model.classes)
        images = find_images(args.img) if args.img is not None else labels.images(args.split)
        written = draw_maps(
            model, list(islice(images, args.max_images)), args.out_dir, labels, args.method, args.threshold
        )
        print(f'{len(written)} figures in {args.out_dir}')

"""Answer predictions over HTTP: of an ONNX file, without PyTorch, or of a config and a checkpoint.

    sarlp serve model.onnx
    sarlp serve CONFIG CHECKPOINT --calibration recovered.json --device cuda
    curl --data-binary @a.jpg -H 'Content-Type: image/jpeg' 'http://127.0.0.1:8080/predict?top=5'
    curl -F a=@a.jpg -F b=@b.jpg -F maps=1 http://127.0.0.1:8080/predict

POST /predict takes an image as the body, or some as files of a form, and answers in JSON what sarlp predict writes:
classes (the chosen ones) and scores; options top (of the scores), threshold, maps (PNG in base64). GET /health and
GET /classes tell of the model. It listens on this machine only; any other --host needs a token, of --token-file or the
environment variable SARLP_SERVE_TOKEN, which is then asked for as Authorization: Bearer TOKEN. SIGTERM and Ctrl-C end
it when what is under way is answered.
"""

import argparse
import os
from functools import partial

from sarlp.commands.arguments import add_cfg_options, add_device, default_of, new_parser


def parse_args() -> argparse.Namespace:
    default = partial(default_of, 'apps/serve/server.py', 'serve')
    parser = new_parser('serve', __doc__)
    add = parser.add_argument
    add('model', metavar='MODEL.onnx | CONFIG', help='file of sarlp export, or a config, by file or name')
    add('checkpoint', nargs='?', help='with a config: file, or a work directory, whose best checkpoint is taken')
    add('--host', default=default('host'), help='address to listen on; default: %(default)s')
    add('--port', type=int, default=default('port'), help='0 for a free one; default: %(default)s')
    add('--token-file', metavar='FILE', help='that has the token')
    add('--threshold', type=float, help='least score of a chosen class, in the place of those that the model has')
    add('--calibration', metavar='FILE', help='with a config: recovered.json of sarlp recover')
    add('--threads', type=int, metavar='N', help='of an ONNX file; default: one a core')
    add(
        '--batch-size',
        type=int,
        default=default('batch_size'),
        help='images that go through the model together; default: %(default)s',
    )
    add(
        '--wait-ms',
        type=float,
        default=default('wait_ms'),
        help='milliseconds that an image waits for others to come along; default: %(default)s',
    )
    add(
        '--queue',
        type=int,
        default=default('queue'),
        metavar='N',
        help='images in work at a time; who comes then is to try again later (503); default: %(default)s',
    )
    bound = partial(default_of, 'apps/serve/app.py', 'Limits')
    add(
        '--max-mb',
        type=millions,
        default=bound('max_bytes'),
        metavar='MB',
        help=f'bound of an upload; default: {bound("max_bytes") / 1e6:g}',
    )
    add(
        '--max-megapixels',
        type=millions,
        default=bound('max_pixels'),
        metavar='MP',
        help=f'bound of an image; default: {bound("max_pixels") / 1e6:g}',
    )
    add(
        '--max-images',
        type=int,
        default=bound('max_images'),
        metavar='N',
        help='bound of the images in a request; default: %(default)s',
    )
    add_device(parser, 'with a config: ')
    add_cfg_options(parser)
    args = parser.parse_args()
    args.is_onnx = args.checkpoint is None
    if args.is_onnx and (not args.model.lower().endswith('.onnx') or args.calibration or args.cfg_options):
        parser.error('give a file that ends in .onnx, which has its calibration, or a config and a checkpoint')
    if args.is_onnx and args.device not in ('auto', 'cpu'):
        parser.error(f'--device {args.device} goes with a config; an ONNX file is served on the CPU')
    if not args.is_onnx and args.threads is not None:
        parser.error('--threads goes with an ONNX file; for a config set OMP_NUM_THREADS')
    return args


def millions(text: str) -> int:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:  # nor NaN
        raise argparse.ArgumentTypeError(f'expected a number above 0, got {text!r}')
    return int(value * 1e6)


def main() -> None:
    args = parse_args()
    from sarlp.commands.friendly import friendly_errors

    with friendly_errors():
        from sarlp.apps.serve.app import Limits
        from sarlp.apps.serve.models import Model, OnnxModel, TorchModel
        from sarlp.apps.serve.server import read_token, serve
        from sarlp.errors import check_threshold

        limits = Limits(args.max_mb, args.max_megapixels, args.max_images, os.cpu_count() or 1)
        token = read_token(args.token_file)
        threshold = None if args.threshold is None else check_threshold(args.threshold)
        model: Model
        if args.is_onnx:
            model = OnnxModel(args.model, threshold, args.threads)
        else:
            from sarlp.engine import find_checkpoint, load_config
            from sarlp.engine.devices import announce_device

            device = announce_device(args.device)
            config = load_config(args.model, args.cfg_options)
            model = TorchModel(config, find_checkpoint(args.checkpoint), device, args.calibration, threshold)
        serve(model, args.host, args.port, token, limits, args.batch_size, args.wait_ms, args.queue)

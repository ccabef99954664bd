"""Refit the last layer of a trained model class by class, on the labels known of each (category-wise fine-tuning).

    sarlp refit CONFIG CHECKPOINT
    sarlp test CONFIG CHECKPOINT_refit.pth

The training images go through the trained model a few times; of its last layer each class's row is then fitted to the
known labels of that class, held near the trained row. The checkpoint stays as it is, a new one with weights alone goes
beside it. Whether that is better is for sarlp test to say: the losses in the table are of the labels it was fitted on.
"""

import argparse

from sarlp.commands.arguments import add_cfg_options, add_config, add_device, new_parser


def parse_args() -> argparse.Namespace:
    # options that are not given stay unset, so that the library's defaults hold
    parser = new_parser('refit', __doc__, argument_default=argparse.SUPPRESS)
    add_config(parser)
    parser.add_argument('checkpoint', help='file, or a work directory, whose best checkpoint is taken')
    parser.add_argument('--out', metavar='FILE', help='default: CHECKPOINT_refit.pth, beside it')
    parser.add_argument(
        '--l2', type=float, metavar='L', help='how strongly the trained row holds, more than 0; default: 0.1'
    )
    parser.add_argument(
        '--min-labels',
        type=int,
        metavar='N',
        help='a class with fewer known positives or negatives is left alone; default: 5',
    )
    parser.add_argument('--passes', type=int, metavar='N', help='over the images at most; default: 6')
    add_device(parser)
    add_cfg_options(parser)
    return parser.parse_args()


def main() -> None:
    options = vars(parse_args())
    from sarlp.apps.refit import format_refit, refit_checkpoint
    from sarlp.commands.friendly import friendly_errors
    from sarlp.engine import find_checkpoint
    from sarlp.engine.devices import announce_device

    with friendly_errors():
        options['device'] = announce_device(options['device'])
        options['checkpoint'] = find_checkpoint(options['checkpoint'])
        print(format_refit(refit_checkpoint(**options)))

"""Write one HTML file about a run: configuration, data, curves, classes, recovered labels, calibration, images.

    sarlp report work_dirs/sarlp_r18_digits_p0.1

The file holds everything it shows, and can be sent as it is. It uses what lies in the work directory, and for what is
not there names the command that makes it; most of it comes from

    sarlp test CONFIG WORK_DIR --work-dir WORK_DIR --out WORK_DIR/results
"""

import argparse

from sarlp.commands.arguments import add_device, default_of, new_parser


def parse_args() -> argparse.Namespace:
    parser = new_parser('report', __doc__)
    parser.add_argument('work_dir', help='work directory of sarlp train')
    parser.add_argument('--out', metavar='FILE', help='default: report.html in the work directory')
    parser.add_argument('--results', metavar='DIR', help='what sarlp test --out wrote (default: WORK_DIR/results)')
    parser.add_argument(
        '--recovered', metavar='CSV', help='what sarlp recover --out wrote (default: WORK_DIR/recovered.csv)'
    )
    add_device(parser, 'of the maps: ')
    parser.add_argument(
        '--images',
        type=int,
        default=default_of('apps/run_report/page.py', 'write_run_report', 'images'),
        help='how many of the best and how many of the worst images; default: %(default)s',
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from sarlp.apps.run_report import write_run_report
    from sarlp.commands.friendly import friendly_errors
    from sarlp.engine.devices import announce_device

    with friendly_errors():
        device = announce_device(args.device)
        out = write_run_report(args.work_dir, args.out, args.results, args.recovered, device, args.images)
        print(f'written to {out}')

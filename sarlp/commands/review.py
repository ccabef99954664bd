"""Review suggested labels in a browser: accept, reject or leave them open, the most informative first.

The page is on this machine only, and needs no network. Every decision is on disk, in recovered.review.jsonl, before the
page says that it is saved; close the tab or kill the server at any time. Of a completion in folds the models learn from
the decisions meanwhile, and what is asked next, suggested and filled is renewed. --export writes what the page's button
writes: annotation files, and the spreadsheet that the labels came from, with the reviewed labels in them.

    sarlp review recovered.csv
    sarlp review recovered.csv --export
    sarlp review recovered.csv --export reviewed --reviewed-only
"""

import argparse

from sarlp.commands.arguments import add_device, default_of, new_parser


def parse_args() -> argparse.Namespace:
    parser = new_parser('review', __doc__)
    parser.add_argument('csv', metavar='RECOVERED_CSV', help='of sarlp complete or recover, or its folder')
    port = default_of('apps/review/server.py', 'serve', 'port')
    parser.add_argument('--port', type=int, default=port, help='0 for a free one; default: %(default)s')
    add_device(parser, 'of the maps: ')
    parser.add_argument('--no-maps', action='store_true', help='show plain images; the model is not loaded')
    every = default_of('apps/review/learner.py', 'Learner.__init__', 'every')
    parser.add_argument(
        '--learn-every',
        type=int,
        default=every,
        metavar='N',
        help='learn after so many decisions; 0: never; default: %(default)s',
    )
    parser.add_argument('--open', action='store_true', help='open the page in the browser')
    parser.add_argument(
        '--export',
        nargs='?',
        const='',
        metavar='DIR',
        help='write the labels and end, without a server; default: RECOVERED_reviewed beside the table',
    )
    parser.add_argument(
        '--reviewed-only', action='store_true', help="with --export: without the model's decisions on other labels"
    )
    args = parser.parse_args()
    if args.reviewed_only and args.export is None:
        parser.error('--reviewed-only goes with --export; the page has a box for it')
    if not 0 <= args.port < 1 << 16:
        parser.error('--port must be from 0 to 65535')
    if args.learn_every < 0:
        parser.error('--learn-every must be at least 0')
    return args


def main() -> None:
    args = parse_args()
    from sarlp.apps.completion.record import find_recovered
    from sarlp.apps.review import Review
    from sarlp.commands.friendly import friendly_errors  # after parsing: the import takes seconds, --help should not

    with friendly_errors():
        csv = find_recovered(args.csv)
        if args.export is not None:
            exported = Review(csv, read_only=True).export(args.export or None, args.reviewed_only)
            learnt = f', learnt from {exported.answers:,} decisions' if exported.answers else ''
            print(f'{exported.reviewed:,} labels by the reviewer, {exported.suggested:,} by the model{learnt}')
            for note in exported.notes:
                print(f'note: {note}')
            for name, path in exported.files.items():
                print(f'{name:<8}{path}')
            print(f'to train on them:\n{exported.command}')
            return
        from sarlp.apps.review.learner import Learner
        from sarlp.apps.review.maps import AttentionMaps
        from sarlp.apps.review.server import serve
        from sarlp.engine.devices import announce_device

        device = None if args.no_maps else announce_device(args.device)  # before the review is locked
        review = Review(csv)
        maps = None if device is None else AttentionMaps(review.record, device)
        learner = Learner(review, args.learn_every, args.device) if args.learn_every else None
        if learner is not None:
            print(review.learning_status, flush=True)
        try:
            serve(review, args.port, maps, 'Maps are switched off (--no-maps).', args.open)
        finally:
            if learner is not None:
                learner.close()
            review.close()

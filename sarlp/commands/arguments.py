"""Arguments that several commands have, each with one meaning and one wording."""

import argparse
from typing import Any


def new_parser(command: str, doc: str | None, **options: Any) -> argparse.ArgumentParser:
    """The parser of ``sarlp COMMAND``, explained by the docstring of its module as it stands."""
    return argparse.ArgumentParser(
        prog=f'sarlp {command}', description=doc, formatter_class=argparse.RawDescriptionHelpFormatter, **options
    )


def add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('config', help='config file, or the name of one that comes with sarlp')


def add_cfg_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action='extend',
        metavar='KEY=VALUE',
        help='change the config, e.g. train_dataloader.dataset.label_mask.known_ratio=0.3',
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--device',
        default='auto',
        help='auto (the GPU if there is one), cpu, cuda, cuda:1, mps; default: %(default)s',
    )


def add_launcher(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='set by the tools/dist_*.sh and slurm_*.sh scripts',
    )

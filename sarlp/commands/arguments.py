"""Arguments that several commands have, each with one meaning and one wording."""

import argparse
import ast
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn


class _Parser(argparse.ArgumentParser):
    """Tells where the words went that it misses."""

    def error(self, message: str) -> NoReturn:
        greedy = [action for action in self._actions if action.option_strings and action.nargs in ('+', '*')]
        names = [name for action in greedy for name in action.option_strings if name in sys.argv[1:]]
        first = [str(action.metavar or action.dest) for action in self._actions if not action.option_strings]
        if message.startswith('the following arguments are required') and names and first:
            message += f'; {names[0]} takes all words behind it, so that {" ".join(first)} must stand before it'
        super().error(message)


def new_parser(command: str, doc: str | None, together: bool = False, **options: Any) -> argparse.ArgumentParser:
    """The parser of ``sarlp COMMAND``, explained by the docstring of its module as it stands.

    Args:
        command, doc: see above.
        together: whether processes that were begun together, as by torchrun, share the work, or may each do it. Those
            of other commands are refused, unless they have a launcher.
        **options: of the parser.
    """
    kind = _Parser if together else _AloneParser
    return kind(
        prog=f'sarlp {command}', description=doc, formatter_class=argparse.RawDescriptionHelpFormatter, **options
    )


class _AloneParser(_Parser):
    def parse_args(self, *args: Any, **options: Any) -> Any:
        found = super().parse_args(*args, **options)
        if getattr(found, 'launcher', 'none') == 'none':
            require_alone(self.prog, hasattr(found, 'launcher'))
        return found


def begun_together(environment: Mapping[str, str] = os.environ) -> tuple[int, int] | None:
    """Rank and number of processes that were begun together, as torchrun says it; None where this is the only one."""
    rank, number = (environment.get(name, '') for name in ('RANK', 'WORLD_SIZE'))
    if not (rank.isdecimal() and number.isdecimal() and int(rank) < int(number)):
        return None
    return None if int(number) == 1 else (int(rank), int(number))


def require_alone(prog: str, has_launcher: bool = False) -> None:
    """End this process where it is one of several that would all do the same, and write the same files."""
    begun = begun_together()
    if begun is None:
        return
    rank, number = begun
    way = 'give --launcher pytorch, by which they share it, or begin one' if has_launcher else 'begin one'
    print(
        f'error: {prog}: {number} processes were begun together, as torchrun does (RANK={rank}, WORLD_SIZE={number}), '
        f'and each would do all of it and write the same files; {way}. If it is alone, unset RANK and WORLD_SIZE',
        file=sys.stderr,
    )
    sys.exit(2)


def default_of(where: str, function: str, argument: str) -> Any:
    """The default of a function of the package, read from its source, since to import it takes seconds.

    Args:
        where: the file, ``'inference/onnx/export.py'``.
        function: its name in there, ``'export_onnx'`` or ``'Class.method'``; or ``'Class'``, of a dataclass.
        argument: whose default is a literal, or a constant of the file.
    """
    body = ast.parse((Path(__file__).parents[1] / where).read_text('utf-8')).body
    inside: list[ast.stmt] = body
    for name in function.split('.'):
        (found,) = (node for node in inside if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name)
        inside = found.body
    if isinstance(found, ast.ClassDef):
        fields = {ast.unparse(node.target): node.value for node in inside if isinstance(node, ast.AnnAssign)}
        return ast.literal_eval(fields[argument])  # type: ignore[arg-type]  # one that has a default
    names = [given.arg for given in found.args.args][-len(found.args.defaults) :]
    value = found.args.defaults[names.index(argument)]
    return _constant(body, value.id) if isinstance(value, ast.Name) else ast.literal_eval(value)


def constant_of(where: str, name: str) -> Any:
    """A constant of a file of the package, read as :func:`default_of` reads."""
    return _constant(ast.parse((Path(__file__).parents[1] / where).read_text('utf-8')).body, name)


def _constant(body: list[ast.stmt], name: str) -> Any:
    (value,) = (node.value for node in body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name)
    return ast.literal_eval(value)


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


def add_device(parser: argparse.ArgumentParser, of: str = '') -> None:
    parser.add_argument(
        '--device',
        default=default_of('engine/devices.py', 'choose_device', 'name'),
        help=f'{of}auto (the GPU if there is one), cpu, cuda, cuda:1, mps; default: %(default)s',
    )


def add_processes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--processes',
        type=int,
        default=None,
        metavar='N',
        help='with heads on kept tokens and a CPU: folds that are trained at a time, each on one core; each takes half '
        'a gigabyte; default: one for each core',
    )


def add_launcher(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default=default_of('engine/build.py', 'build_runner', 'launcher'),
        help='set by the tools/dist_*.sh and slurm_*.sh scripts',
    )


def add_label_options(parser: argparse.ArgumentParser, near_duplicates: str) -> None:
    """How a file of labels is read; those of ``convert_csv_labels``. What is not given is to stay unset."""
    conflict = default_of('apps/spreadsheets/csv_labels.py', 'convert_csv_labels', 'on_conflict')
    add = parser.add_argument
    add(
        '--on-conflict',
        choices=('refuse', 'unknown'),
        help=f'what a label is that is yes in one row and no in another; default: {conflict}',
    )
    add('--allow-missing', action='store_true', help='leave out rows whose image is not in the folder')
    add('--include-unlabelled', action='store_true', help='list images of the folder that no row names, all unknown')
    add(
        '--group-column',
        metavar='NAME',
        help='such as of patients, who stay on one side of split and folds',
    )
    add(
        '--split-column',
        metavar='NAME',
        help='of train, val and test; default: one called split, subset or the like, with nothing else in it',
    )
    add(
        '--near-duplicates',
        choices=('together', 'apart'),
        help=f'images that show the same, in split and folds; default: {near_duplicates}',
    )

    form = parser.add_argument_group('how the file is read, where it is not found rightly by itself')
    add = form.add_argument
    add(
        '--form',
        choices=(
            *('wide', 'long', 'lists', 'roboflow', 'openimages', 'chexpert', 'imagefolder', 'tags'),
            *('coco', 'labelstudio', 'cvat', 'fiftyone'),
        ),
        help='a column a class, a row a label, lists or a column of names, COCO, or what a tool or a data set has',
    )
    add('--encoding', help='such as utf-8, utf-16, cp1252')
    add('--delimiter', metavar='CHARACTER', help='between cells')
    add('--sheet', metavar='NAME', help='of a workbook; default: the first')
    add('--image-column', metavar='NAME', help='column, or key, of the images')
    add('--class-columns', nargs='+', metavar='NAME', help='wide: the columns that are classes; default: all others')
    add('--ignore-columns', nargs='+', metavar='NAME', help='columns that are no class')
    add(
        '--class-column',
        metavar='NAME',
        help='long: column of the classes; tags, imagefolder: of the names; labelstudio: choices',
    )
    add('--value-column', metavar='NAME', help='long: column of the values')
    add('--separator', metavar='TEXT', help='tags: between the names in a cell; "" where each cell is one name')
    add('--class-names', metavar='FILE', help='openimages: its class-descriptions.csv')
    add('--positive', nargs='+', metavar='WORD', help='further spellings of yes, in any case')
    add(
        '--negative',
        nargs='+',
        metavar='WORD',
        help='further spellings of no; --negative "" if a blank, or what is not named, means no',
    )
    add('--unknown', nargs='+', metavar='WORD', help='further spellings of unknown')

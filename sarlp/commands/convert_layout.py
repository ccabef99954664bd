"""``sarlp convert NAME`` of a layout: arguments and help from its module, which is read and not imported.

See :mod:`sarlp.datasets.converters.layouts`.
"""

import argparse
import ast
import importlib
import re
from pathlib import Path
from typing import Any

from sarlp.commands.arguments import new_parser

_FOLDER = Path(__file__).parents[1] / 'datasets' / 'converters'
_TYPES = {'str': str, 'int': int, 'float': float}


def layouts() -> dict[str, str]:
    """First line of the docstring by name of a layout."""
    found = {}
    for path in sorted(_FOLDER.glob('*.py')):
        text = path.read_text(encoding='utf-8')
        if re.search(r'^def read\(', text, re.MULTILINE):
            found[path.stem] = (ast.get_docstring(ast.parse(text)) or '').split('\n')[0].rstrip('.')
    return found


def parse_args(name: str) -> argparse.Namespace:
    module = ast.parse((_FOLDER / f'{name}.py').read_text(encoding='utf-8'))
    (read,) = (node for node in module.body if isinstance(node, ast.FunctionDef) and node.name == 'read')
    helps = _helps(ast.get_docstring(read) or '')
    folder, *options = read.args.args
    example = f'Example:\n    sarlp convert {name} --data-dir DIR'
    # options that are not given stay unset, so that the defaults of `read` hold
    parser = new_parser(
        f'convert {name}', f'{ast.get_docstring(module)}\n\n{example}', argument_default=argparse.SUPPRESS
    )
    parser.add_argument('--data-dir', required=True, metavar='DIR', help=helps.get(folder.arg))
    parser.add_argument(
        '--save-dir', metavar='DIR', help='where the annotation files go; default: labels in the folder of the data set'
    )
    for option, default in zip(options, read.args.defaults, strict=True):
        parser.add_argument(
            f'--{option.arg.replace("_", "-")}', **_kind(option.annotation, default, helps.get(option.arg, ''))
        )
    return parser.parse_args()


def _helps(doc: str) -> dict[str, str]:
    """What the ``Args`` of a docstring say, by argument."""
    section = re.search(r'^Args:\n((?:    .*\n?|\n)*)', doc, re.MULTILINE)
    found = re.findall(r'^    (\w+): (.*\n?(?: {8,}.*\n?)*)', section[1] if section else '', re.MULTILINE)
    return {name: ' '.join(text.split()).rstrip('.') for name, text in found}


def _kind(annotation: ast.expr | None, default: ast.expr, text: str) -> dict[str, Any]:
    """Options of ``add_argument`` for a parameter: bool, str, int, float or Literal of texts."""
    kind, value = ast.unparse(annotation) if annotation else 'str', ast.literal_eval(default)
    if kind == 'bool':
        return dict(action='store_true', help=text)
    text = text if value is None else f'{text}; default: {value}'
    if kind.startswith('Literal'):
        assert isinstance(annotation, ast.Subscript)
        return dict(choices=ast.literal_eval(annotation.slice), help=text)
    return dict(type=_TYPES[kind.removesuffix(' | None')], help=text)


def main(name: str) -> None:
    args = parse_args(name)
    from sarlp.commands.friendly import friendly_errors  # after parsing: the import takes seconds, --help should not
    from sarlp.datasets.converters.layouts import convert

    with friendly_errors():
        convert(importlib.import_module(f'sarlp.datasets.converters.{name}').read, **vars(args))

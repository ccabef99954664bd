"""List the configs that come with sarlp, or its parts by name.

    sarlp list
    sarlp list voc
    sarlp list --methods
    sarlp list --parts

A config <name>_p0.1 stands for each <name>_p<ratio>, such as p0.3 and, with every label known, p1.0. Each of the
methods goes on whatever a baseline_<setting> is there for: sarlp train hill_r18_digits_p0.1.
"""

import argparse
import re

from sarlp.commands.arguments import new_parser


def parse_args() -> argparse.Namespace:
    parser = new_parser('list', __doc__, together=True)
    parser.add_argument('word', nargs='?', default='', help='only names that hold this word')
    parser.add_argument('--methods', action='store_true', help='methods, of which <method>_<setting> is a config')
    parser.add_argument('--parts', action='store_true', help='types that a config may name, instead of configs')
    return parser.parse_args()


def configs(word: str = '') -> list[str]:
    """Names of the configs; ``..._p<ratio>`` where the ratio may be any."""
    from sarlp.paths import shipped

    names = sorted(path.stem for path in shipped('configs').glob('*/*.py') if path.parent.name != '_base_')
    names = [f'{name.removesuffix("0.1")}<ratio>' if name.endswith('_p0.1') else name for name in names]
    return [name for name in names if word in name]


def methods(word: str = '') -> list[str]:
    """Names of the methods that go on any setting."""
    from sarlp.paths import METHODS, shipped

    return sorted(path.stem for path in (shipped('configs') / METHODS).glob('*.py') if word in path.stem)


def parts() -> dict[str, dict[str, str]]:
    """First line of the docstring by type, by kind of part; those of sarlp only."""
    from mmengine.registry import Registry

    import sarlp.engine  # registers the average of the weights among the models
    import sarlp.registry

    kinds: dict[str, dict[str, str]] = {}
    for registry in vars(sarlp.registry).values():
        if not isinstance(registry, Registry) or registry.scope != sarlp.registry.SCOPE:
            continue
        registry.import_from_location()
        own = {
            name: _plain((part.__doc__ or '').strip().split('\n')[0])
            for name, part in sorted(registry.module_dict.items())
            if part.__module__.startswith('sarlp.')
        }
        if own:
            kinds[registry.name] = own
    return kinds


def _plain(text: str) -> str:
    """A line of a docstring as Markdown: names without their roles and modules."""
    text = re.sub(r':\w+:`~?(?:[\w.]*\.)?(\w+)`', r'`\1`', text)
    return text.replace('``', '`').replace('|', '\\|')


def parts_table() -> str:
    """The parts as a table in Markdown, as docs/configs.md has it."""
    lines = ['| kind | type | |', '|---|---|---|']
    for kind, own in parts().items():
        lines += [f'| {kind} | `{name}` | {what} |' for name, what in own.items()]
    return '\n'.join(lines)


def main() -> None:
    args = parse_args()
    from sarlp.commands.friendly import friendly_errors

    with friendly_errors():
        if args.parts:
            lines = [line for line in parts_table().split('\n')[2:] if args.word in line]
        elif args.methods:
            lines = methods(args.word)
        else:
            lines = configs(args.word)
        print('\n'.join(lines) or f'nothing here has {args.word!r} in its name')

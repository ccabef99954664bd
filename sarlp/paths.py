"""Where the configs are: in a checkout, or inside an installed package."""

import difflib
from pathlib import Path

from sarlp.errors import UserError


def shipped(folder: str) -> Path:
    """The folder ``configs`` or ``tools`` that came with this copy of sarlp."""
    package = Path(__file__).resolve().parent
    inside = package / '.mim' / folder
    return inside if inside.is_dir() else package.parent / folder


def find_config(name: str | Path) -> Path:
    """Find a config by path, or by the path or bare name it has in the shipped ``configs``.

    ``sarlp_r101_voc_p0.1``, ``sarlp/sarlp_r101_voc_p0.1.py`` and ``configs/sarlp/sarlp_r101_voc_p0.1.py`` all work
    outside a checkout.

    Raises:
        UserError: there is no such config; near names are listed.
    """
    path = Path(name)
    return path if path.is_file() else find_shipped_config(path, 'neither here nor')


def find_shipped_config(name: str | Path, where: str = 'not') -> Path:
    """Find a config among the shipped ones; see :func:`find_config`.

    Args:
        name: path or bare name in ``configs``.
        where: where it is not either, for the message: ``'neither here nor'``.

    Raises:
        UserError: there is no such config; near names are listed.
    """
    path = Path(name)
    root = shipped('configs')
    relative = Path(*path.parts[1:]) if path.parts[:1] == ('configs',) else path
    if (root / relative).is_file():
        return root / relative
    leaves = sorted(leaf for leaf in root.glob('*/*.py') if leaf.parent.name != '_base_')
    for leaf in leaves:
        if leaf.name in (path.name, f'{path.name}.py') and len(relative.parts) == 1:
            return leaf
    names = [leaf.stem for leaf in leaves]
    near = difflib.get_close_matches(path.name.removesuffix('.py'), names, n=12, cutoff=0.7) or names
    raise UserError(
        f'{name}: no such config, {where} in {root}; there are {", ".join(near[:12])}'
        f'{", ..." if len(near) > 12 else ""}'
    )

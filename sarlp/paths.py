"""Where the configs are: in a checkout, or inside an installed package."""

import difflib
import re
from pathlib import Path

from sarlp.errors import UserError


def shipped(folder: str) -> Path:
    """The folder ``configs`` or ``tools`` that came with this copy of sarlp."""
    package = Path(__file__).resolve().parent
    inside = package / '.mim' / folder
    return inside if inside.is_dir() else package.parent / folder


_KNOWN_RATIO = re.compile(r'(?P<rest>.+_p)(?P<ratio>0\.\d+|1(?:\.0)?)')


def variant_of(path: str | Path) -> tuple[Path, float] | None:
    """The config that a missing one is but for the share of known labels.

    A ``<name>_p0.3.py`` that is not there, beside a ``<name>_p0.1.py``, is that config with ``known_ratio=0.3``; with
    ``p1.0`` no label is hidden.

    Returns:
        The file and the ratio, in (0, 1]; None where the config is there, or nothing is beside it.
    """
    path = Path(path)
    name = _KNOWN_RATIO.fullmatch(path.name.removesuffix('.py'))
    if name is None or path.is_file() or not float(name['ratio']):
        return None
    beside = path.with_name(f'{name["rest"]}0.1.py')
    return (beside, float(name['ratio'])) if beside.is_file() else None


def _is_config(path: Path) -> bool:
    return path.is_file() or (path.suffix == '.py' and variant_of(path) is not None)


def find_config(name: str | Path) -> Path:
    """Find a config by path, or by the path or bare name it has in the shipped ``configs``.

    ``sarlp_r101_voc_p0.1``, ``sarlp/sarlp_r101_voc_p0.1.py`` and ``configs/sarlp/sarlp_r101_voc_p0.1.py`` all work
    outside a checkout. The path returned may be one of :func:`variant_of`, for
    :func:`~sarlp.engine.load_config` to read.

    Raises:
        UserError: there is no such config; near names are listed.
    """
    path = Path(name)
    return path if _is_config(path) else find_shipped_config(path, 'neither here nor')


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
    if _is_config(root / relative):
        return root / relative
    leaves = sorted(leaf for leaf in root.glob('*/*.py') if leaf.parent.name != '_base_')
    if len(relative.parts) == 1:
        wanted = f'{path.name.removesuffix(".py")}.py'
        for folder in sorted({leaf.parent for leaf in leaves}):
            if _is_config(folder / wanted):
                return folder / wanted
    names = [leaf.stem for leaf in leaves]
    near = difflib.get_close_matches(path.name.removesuffix('.py'), names, n=12, cutoff=0.7) or names
    raise UserError(
        f'{name}: no such config, {where} in {root}; there are {", ".join(near[:12])}'
        f'{", ..." if len(near) > 12 else ""}'
    )

"""Where the configs are: in a checkout, or inside an installed package."""

import difflib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from sarlp.errors import UserError


def shipped(folder: str) -> Path:
    """The folder ``configs`` or ``tools`` that came with this copy of sarlp."""
    package = Path(__file__).resolve().parent
    inside = package / '.mim' / folder
    return inside if inside.is_dir() else package.parent / folder


_KNOWN_RATIO = re.compile(r'(?P<rest>.+_p)(?P<ratio>0\.\d+|1(?:\.0)?)')
_OVER = re.compile(r"^over = '(\w+)'", re.MULTILINE)
METHODS = Path('_base_') / 'methods'  # of configs


@dataclass(frozen=True)
class Variant:
    """A config that need not be written down, since two rules say what is in it.

    Attributes:
        base: the config that it is but for what follows.
        ratio: share of known labels in (0, 1], where that is another one.
        overlay: file of ``configs/_base_/methods``, a config without ``_base_`` that goes over ``base``.
    """

    base: Path
    ratio: float | None = None
    overlay: Path | None = None


def variant_of(path: str | Path) -> Variant | None:
    """What a config that is not there stands for.

    - A ``<name>_p0.3.py`` beside a ``<name>_p0.1.py`` is that config with ``known_ratio=0.3``; with ``p1.0`` no label
      is hidden.
    - A ``<method>_<setting>.py``, where ``configs/_base_/methods`` has the method, is the ``baseline_<setting>.py`` of
      a neighbouring folder with that method; or the ``sarlp_<setting>.py``, if the method's file begins with
      ``over = 'sarlp'``.

    Returns:
        None where the config is there, or nothing that it could stand for.
    """
    path = Path(path)
    if path.is_file():
        return None
    stem = path.name.removesuffix('.py')
    base, ratio = path.with_name(f'{stem}.py'), None
    name = _KNOWN_RATIO.fullmatch(stem)
    if name is not None and float(name['ratio']):
        base, ratio = path.with_name(f'{name["rest"]}0.1.py'), float(name['ratio'])
        if base.is_file():
            return Variant(base, ratio)
    return _with_method(base, ratio)


def _with_method(path: Path, ratio: float | None) -> Variant | None:
    words = path.stem.split('_')
    for number in range(len(words) - 1, 0, -1):  # the longest name of a method goes first
        method, setting = '_'.join(words[:number]), '_'.join(words[number:])
        for configs in (path.absolute().parents[1], shipped('configs')):
            overlay = configs / METHODS / f'{method}.py'
            if not overlay.is_file():
                continue
            over = _OVER.search(overlay.read_text(encoding='utf-8'))
            base = f'{"baseline" if over is None else over[1]}_{setting}.py'
            found = sorted({*path.absolute().parents[1].glob(f'*/{base}'), *shipped('configs').glob(f'*/{base}')})
            if found:
                return Variant(found[0], None if ratio == 0.1 else ratio, overlay)
    return None


def _is_config(path: Path) -> bool:
    return path.is_file() or (path.suffix == '.py' and variant_of(path) is not None)


def find_config(name: str | os.PathLike) -> Path:
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
    written = [leaf.stem for leaf in leaves]
    settings = sorted({stem.partition('_')[2] for stem in written if stem.startswith(('baseline_', 'sarlp_'))})
    methods = sorted(file.stem for file in (root / METHODS).glob('*.py'))
    names = sorted({*written, *(f'{method}_{setting}' for method in methods for setting in settings)})
    stem = path.name.removesuffix('.py')
    near = [
        one
        for one in difflib.get_close_matches(stem, names, n=24, cutoff=0.7)
        if one in written or _with_method(root / 'methods' / f'{one}.py', None) is not None
    ] or written
    raise UserError(
        f'{name}: no such config, {where} in {root}; there are {", ".join(near[:12])}'
        f'{", ..." if len(near) > 12 else ""}'
    )

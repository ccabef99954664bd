"""Where the configs are: in a checkout, or inside an installed package."""

import difflib
import os
import re
from collections.abc import Sequence
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
      its folder, of a neighbouring one, or of sarlp's, with that method; or the ``sarlp_<setting>.py``, if the method's
      file begins with ``over = 'sarlp'``.

    Returns:
        None where the config is there, or nothing that it could stand for.

    Raises:
        UserError: it could stand for several.
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
        for configs in (path.absolute().parent.parent, shipped('configs')):
            overlay = configs / METHODS / f'{method}.py'
            if not overlay.is_file():
                continue
            over = _OVER.search(overlay.read_text(encoding='utf-8'))
            base = _beside(path, f'{"baseline" if over is None else over[1]}_{setting}.py')
            if base is not None:
                return Variant(base, None if ratio == 0.1 else ratio, overlay)
    return None


def _beside(path: Path, name: str) -> Path | None:
    """A config in the folder of ``path``, else in a neighbouring one, else a shipped one: what is nearest is meant.

    Raises:
        UserError: several neighbouring folders have it.
    """
    own = path.absolute().with_name(name)
    if own.is_file():
        return own
    near = sorted(own.parent.parent.glob(f'*/{name}'))
    if len(near) > 1:
        raise UserError(
            f'{path}: is not there, and may be made of any of {", ".join(map(str, near))}; put a copy of the one that '
            'is meant into its folder'
        )
    return next(iter(near or sorted(shipped('configs').glob(f'*/{name}'))), None)


def _is_config(path: Path) -> bool:
    return path.is_file() or (path.suffix == '.py' and variant_of(path) is not None)


def find_config(name: str | os.PathLike) -> Path:
    """Find a config by path, or by the path or bare name it has in the shipped ``configs``.

    ``sarlp_r101_voc_p0.1``, ``sarlp/sarlp_r101_voc_p0.1.py`` and ``configs/sarlp/sarlp_r101_voc_p0.1.py`` all work
    outside a checkout. A config of one's own goes before a shipped one, and has a bare name too, in this folder and in
    those of its ``configs``. The path returned may be one of :func:`variant_of`, for
    :func:`~sarlp.engine.load_config` to read.

    Raises:
        UserError: there is no such config, and near names are listed; or several of one's own have the name.
    """
    path = Path(name)
    if _is_config(path):
        return path
    own = _find_own(path)
    return find_shipped_config(path, 'neither here nor') if own is None else own


def _find_own(path: Path) -> Path | None:
    """A config of one's own that is named without ``.py``, or only by that name in a folder of ``configs`` here.

    One that need not be written down is one's own where what it is made of lies in one of these folders.

    Raises:
        UserError: there are several.
    """
    if not path.name:
        return None
    wanted = path.with_name(f'{path.name.removesuffix(".py")}.py')
    folders = [wanted.parent]
    if len(path.parts) == 1:
        folders += [folder for folder in sorted(Path('configs').glob('*/')) if folder.name != '_base_']
    root = shipped('configs').resolve()
    folders = [folder for folder in folders if folder.is_dir() and root not in folder.resolve().parents]
    written = [folder / wanted.name for folder in folders if (folder / wanted.name).is_file()]
    made = {} if written else {_base_in(folders, folder / wanted.name): folder / wanted.name for folder in folders}
    found = written or [place for base, place in made.items() if base is not None]
    if len(found) > 1 and wanted not in found:
        raise UserError(f'{path}: there are several, {", ".join(map(str, found))}; give the path of one')
    return wanted if wanted in found else next(iter(found), None)


def _base_in(folders: Sequence[Path], path: Path) -> Path | None:
    """What a config that is not there is made of, where that lies in one of the folders and not just near it."""
    try:
        variant = variant_of(path)
    except UserError:  # of several neighbours
        return None
    base = None if variant is None else variant.base.resolve()
    return base if base is not None and base.parent in [folder.resolve() for folder in folders] else None


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

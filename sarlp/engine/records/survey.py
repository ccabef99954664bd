"""Which checkpoint of a work directory is the newest, and which the best: by its record, else by what they say."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sarlp.engine.records.checkpoint_file import is_whole, read_checkpoint
from sarlp.engine.records.run_record import BEST, RESUMABLE, RunRecord, Saved, read_record
from sarlp.errors import UserError, shorten


def newest_checkpoint(work_dir: str | Path, warn: Callable[[str], None]) -> Path | None:
    """The newest checkpoint to go on from that is whole.

    Args:
        work_dir: of :class:`~sarlp.engine.ResumableCheckpointHook`.
        warn: called with a message about every damaged file that is passed over.

    Returns:
        None if there is none at all.

    Raises:
        UserError: there are some, and all are damaged; or, without a record, they are of more than one run.
    """
    record = read_record(work_dir)
    if record is None or not record.files():
        said = _newest_said(work_dir, warn)
        return None if said is None else said.path
    listed = [record.place(work_dir) / saved.file for saved in record.resumable]
    paths = [path for path in listed if path.is_file()]
    for path in reversed(paths):
        if is_whole(path):
            return path
        warn(_damaged(path))
    if paths:
        raise _all_damaged(work_dir, len(paths))
    return None


def find_checkpoint(path: str | Path) -> str:
    """A checkpoint by its file, or the best one of a work directory (the newest, if none was selected).

    Of several metrics that a run selected by (``save_best`` is a list) the first one counts.

    Raises:
        UserError: there is none; or, without a record, more than one may be meant.
    """
    path = Path(path)
    if not path.is_dir():
        return str(path)
    record = read_record(path)
    if record is not None and record.files():
        return str(_recorded(path, record))
    files = sorted(path.glob('*.pth'))
    if not files:
        raise UserError(f'{path}: holds no checkpoint (*.pth)')
    return str(files[0] if len(files) == 1 else _best_said(path, files))


def _recorded(work_dir: Path, record: RunRecord) -> Path:
    place = record.place(work_dir)
    if record.best:
        file = place / next(iter(record.best.values())).file
        if not file.is_file():
            raise UserError(f'{file}: is the best checkpoint by the record of the run, but is not there; name a file')
        return file
    for saved in reversed(record.resumable):
        if (place / saved.file).is_file():
            return place / saved.file
    raise UserError(f'{work_dir}: none of the checkpoints in its record is there ({shorten(sorted(record.files()))})')


def adopt(work_dir: str | Path, path: Path, run: str) -> RunRecord:
    """A record for a run of an earlier version that goes on from a checkpoint; only what is of that run is in it.

    Args:
        work_dir: without a record.
        path: of the checkpoint, in it.
        run: the name that the run has from now on.
    """
    said = _ask(path)
    kept = [_ask(path.with_name(name)) for name in said.kept or () if _is_resumable(path.with_name(name))]
    resumable = [one for one in kept if one.position < said.position]
    record = RunRecord(run, None, [Saved(one.path.name, *one.position) for one in (*resumable, said)])
    best = said.best or ''
    name = BEST.fullmatch(best)
    if name and is_whole(path.with_name(best)):
        record.best = {name['metric']: Saved(best, *_ask(path.with_name(best)).position)}
    return record


def _is_resumable(path: Path) -> bool:
    return RESUMABLE.fullmatch(path.name) is not None and is_whole(path)


@dataclass(frozen=True)
class _Said:
    """What a checkpoint says of itself.

    Attributes:
        path: file.
        position: epochs and iterations done.
        kept: names of the run's checkpoints to go on from, of which it is one; None if it does not say.
        best: name of the best checkpoint of its run so far, if it says.
    """

    path: Path
    position: tuple[int, int]
    kept: tuple[str, ...] | None
    best: str | None


def _ask(path: Path) -> _Said:
    content = read_checkpoint(path)
    meta = content.get('meta', {})
    info = content.get('message_hub')
    info = info.get('runtime_info') if isinstance(info, Mapping) else None
    info = info if isinstance(info, Mapping) else {}
    kept, best = info.get('resumable'), info.get('best_ckpt')
    return _Said(
        path,
        (meta.get('epoch') or 0, meta.get('iter') or 0),
        tuple(map(str, kept)) if isinstance(kept, list) else None,
        Path(best).name if isinstance(best, str) else None,
    )


def _newest_said(work_dir: str | Path, warn: Callable[[str], None]) -> _Said | None:
    """Of a directory without a record; a run lists in each checkpoint those that it keeps."""
    work_dir = Path(work_dir)
    paths = [path for path in sorted(work_dir.glob('*.pth')) if RESUMABLE.fullmatch(path.name)]
    whole = []
    for path in paths:
        if is_whole(path):
            whole.append(_ask(path))
        else:
            warn(_damaged(path))
    if not whole:
        if paths:
            raise _all_damaged(work_dir, len(paths))
        return None
    newest = max(whole, key=lambda said: said.position)
    names = {said.path.name for said in whole}
    pointer = work_dir / 'last_checkpoint'
    last = Path(pointer.read_text('utf-8').strip()).name if pointer.is_file() else newest.path.name
    others = names - set(newest.kept) if newest.kept is not None else {last} & names - {newest.path.name}
    if others:
        raise UserError(
            f'{work_dir}: holds checkpoints of more than one run, and no {_RECORD_HINT}: {newest.path.name} is the '
            f'furthest, and {shorten(sorted(others))} not of its run. Name the one that you mean; to go on from it '
            'give --resume FILE --fresh, which moves all of them into a folder of their own'
        )
    return newest


_RECORD_HINT = 'record that says which is which, as this version writes it'


def _best_said(work_dir: Path, files: list[Path]) -> Path:
    newest = _newest_said(work_dir, lambda message: None)
    best = [file for file in files if BEST.fullmatch(file.name)]
    if not best:
        if newest is not None:
            return newest.path
        raise UserError(f'{work_dir}: holds {len(files)} files *.pth; name one: {shorten([f.name for f in files])}')
    said = [_ask(path) for path in best]
    latest = max(said, key=lambda one: one.position)
    one_metric = len({name['metric'] for path in best if (name := BEST.fullmatch(path.name))}) == 1
    if newest is None or newest.best is None:
        certain = len(best) == 1
    else:  # a run that was killed may have written its best, and not yet that it did
        certain = latest.path.name == newest.best or latest.position[0] == newest.position[0]
    if certain and one_metric:
        return latest.path
    raise UserError(
        f'{work_dir}: which of {shorten([path.name for path in best])} is the best checkpoint of the run can not be '
        f'told, since there is no {_RECORD_HINT}; name one'
    )


def _damaged(path: Path) -> str:
    return f'{path}: is damaged (its checksums do not fit its content); the checkpoint before it is tried'


def _all_damaged(work_dir: str | Path, number: int) -> UserError:
    return UserError(
        f'{work_dir}: all of its {number} checkpoints are damaged; start again with --fresh, which moves them '
        'aside, or give a whole one with --cfg-options load_from=FILE'
    )

"""Predictions of very many images in parts, each made by a process of its own, resumable, and put together at the end.

Part 3 of 16 of ``photos.csv`` is ``photos.03-of-16.csv``. Beside it, ``photos.03-of-16.csv.json`` is its record: what
was asked for, how far it is, and which images can not be read; ``photos.03-of-16.csv.unfinished`` holds its rows until
all are there. A killed process leaves rows that the record does not count, and they are made again.

A part is a run of whole batches in the order of the images. So an image goes through the model with the same others
whatever the number of parts and wherever one was resumed, and its score is the same to the last bit on the same kind of
machine.
"""

import contextlib
import hashlib
import io
import json
import os
import re
import time
import warnings
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

from sarlp.engine.testing import pipeline_for_testing
from sarlp.errors import UserError, UserValueError, shorten
from sarlp.inference import parquet
from sarlp.inference.inferencer import MultiLabelInferencer
from sarlp.inference.part_record import (
    Record,
    begin_anew,
    check_part,
    checksum,
    read_record,
    record_path,
    require_same,
    rows_path,
    save_record,
)
from sarlp.inference.prediction_files import OWN, csv_rows, only_or_all
from sarlp.inference.shards import Shard
from sarlp.io.files import atomic_write, keep_others_out
from sarlp.io.image_files import as_text, find_images
from sarlp.io.json_file import plain
from sarlp.io.outputs import check_output
from sarlp.transforms import BadImageError

FORMS = ('.csv', '.parquet')
_SAMPLED, _TAIL = 64, 4096  # how many images tell one folder from another, and by how many of their last bytes


class Merged(NamedTuple):
    """How many images have rows, and the names of those that have none since they can not be read."""

    rows: int
    skipped: list[str]


def predict_part(
    inferencer: MultiLabelInferencer,
    inputs: Iterable[str | os.PathLike],
    out: str | os.PathLike,
    shard: Shard,
    asked: Mapping[str, Any],
    batch_size: int,
    save_every: float = 10.0,
    **options: Any,
) -> Record:
    """Predict a part of the images, or the rest of it; a finished one is left as it is.

    An image that does not decode gets no row and is named in the record. A file system that fails ends the process, and
    the part goes on from there when it is back.

    Args:
        inferencer: the model.
        inputs: image files and folders, all of them.
        out: the file that all parts make, .csv or .parquet; see :meth:`Shard.file`.
        shard: which part.
        asked: what the rows depend on beyond the config, the classes, thresholds and names, such as the checkpoint.
        batch_size: images that go through the model together.
        save_every: seconds after which the rows are brought to the disk.
        options: of :meth:`~sarlp.inference.inferencer.MultiLabelInferencer.stream`.

    Returns:
        The record of the finished part.

    Raises:
        UserError: the part was begun with something else; its files are no longer what the record says, or someone
            else's; another process is at it; an image can not be read for a reason that is not the image's.
    """
    out = Path(out)
    if out.suffix not in FORMS:
        raise UserValueError(f'{out}: expected a name that ends in {" or ".join(FORMS)}, for parts')
    if batch_size < 1:  # before it is on record
        raise UserValueError(f'batch_size must be a positive whole number, got {batch_size}')
    if out.suffix == '.parquet':
        parquet.require_pyarrow(out)
        parquet.check_columns(out, inferencer.classes)
    images = find_images(only_or_all(inputs))
    own = images[shard.span(len(images), batch_size)]
    cfg: Any = inferencer.model.cfg  # a Config, which torch's type of a module does not say
    asked = {
        **asked,
        'config': _digest([cfg.model, pipeline_for_testing(cfg)]),
        'calibration': inferencer.calibration and _digest(inferencer.calibration.to_json()),
        'thresholds': _digest(inferencer.thresholds) if inferencer.calibration else inferencer.thresholds[0],
        'classes': _digest(inferencer.classes),
        'images': len(images),
        'names': _digest([as_text(image.name) for image in images]),
        'batch_size': batch_size,
        'contents': _contents([image.path for image in images]),
    }
    part = shard.file(out)
    rows = rows_path(part)
    new = Record(shard.number, shard.total, plain(asked), len(own))
    record = _begun(part, new)
    if record.finished:
        rows.unlink(missing_ok=True)  # of a process that ended just before it did so
        warnings.warn(f'{part}: part {shard} was finished before; it is left as it is', stacklevel=2)
        return record
    with open(rows, 'a+b') as file:
        keep_others_out(file, f'{part}: another process is at part {shard}; wait for it, or end it')
        record = _begun(part, new)  # by then
        if not record.finished:
            if checksum(rows, record.bytes) != (record.bytes, record.crc32):
                raise UserError(f'{rows}: was changed since; {begin_anew(part)}')
            file.truncate(record.bytes)
            if record.done:
                warnings.warn(f'{part}: goes on after {record.done:,} of {record.images:,} images', stacklevel=2)
            _predict(inferencer, own, part, record, file, batch_size, save_every, options)
            check_output(part, [image.path for image in images], _own(part))
            with atomic_write(part, 'wb') as target:
                if out.suffix == '.parquet':
                    parquet.from_csv(rows, target)
                else:
                    _join_csv([(rows, 0)], target)
            record.bytes, record.crc32 = checksum(part)
            record.finished = True
            save_record(part, record)
    rows.unlink(missing_ok=True)
    if record.skipped:
        warnings.warn(
            f'{part}: {len(record.skipped):,} of {record.images:,} images have no row, since the files cannot be read: '
            f'{shorten(record.skipped)}; {record_path(part).name} names them',
            stacklevel=2,
        )
    return record


def _predict(
    inferencer: MultiLabelInferencer,
    images: list,
    part: Path,
    record: Record,
    file: IO[bytes],
    batch_size: int,
    save_every: float,
    options: dict[str, Any],
) -> None:
    """Add the rows that are missing."""
    text = io.StringIO(newline='')
    done, saved = record.done, time.monotonic()

    def save() -> None:
        data = text.getvalue().encode()
        text.seek(0)
        text.truncate()
        file.write(data)
        file.flush()
        os.fsync(file.fileno())  # before the record that counts it
        record.bytes, record.crc32, record.done = record.bytes + len(data), zlib.crc32(data, record.crc32), done
        save_record(part, record)

    def on_bad_image(name: str | int, error: BadImageError) -> None:
        nonlocal done
        cause = error.__cause__
        gone = isinstance(cause, FileNotFoundError | PermissionError)
        if isinstance(cause, OSError | MemoryError) and not gone:
            raise UserError(f'{error}. This part is not finished; with the same command it goes on') from error
        record.skipped.append(as_text(str(name)))
        done += 1

    with csv_rows(text, inferencer, {}) as write:
        if record.header:
            text.seek(0)
            text.truncate()
        else:
            record.header = len(text.getvalue().encode())
        options = {**options, 'batch_size': batch_size, 'on_bad_image': on_bad_image}
        for prediction in inferencer.stream(images[done:], **options):
            write(prediction)
            done += 1
            # the bad ones of a batch were counted before its first row, so that this is true at its end only
            if done % batch_size == 0 and time.monotonic() - saved >= save_every:
                save()
                saved = time.monotonic()
    save()


def _begun(part: Path, new: Record) -> Record:
    """The record of a part, made if there is none. Raises: UserError, see :func:`predict_part`."""
    path = record_path(part)
    if not path.exists():
        for file in (part, rows_path(part)):
            if file.exists():
                raise UserError(
                    f'{file}: is there, but no record {path.name} of a part begun before. It was left as it is; '
                    'choose another name for the output, or move that file'
                )
        save_record(part, new)
        return new
    record = read_record(path)
    require_same(record.asked, new.asked, f'{part}: was begun with', 'asked for is', begin_anew(part))
    if record.finished:
        check_part(part, record)
    return record


def _contents(paths: list[str]) -> str:
    """Digest of a sample of the images, wherever they lie: cameras number those of another folder alike."""
    digest = hashlib.sha256()
    for path in paths[:: -(-len(paths) // _SAMPLED)]:
        with contextlib.suppress(OSError), open(path, 'rb') as file:  # one that can not be read is told of in its turn
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL))
            digest.update(size.to_bytes(8, 'big') + file.read())
    return digest.hexdigest()


def merge_parts(out: str | os.PathLike) -> Merged:
    """Put all parts of a file together; they stay.

    Args:
        out: what the parts were told. An earlier output of the same kind is replaced.

    Raises:
        UserError: parts are missing, unfinished, changed, or of something else than the others; or another file would
            be replaced.
    """
    out = Path(out)
    pattern = re.compile(rf'{re.escape(out.stem)}\.([0-9]+)-of-([0-9]+){re.escape(out.suffix)}\.json')
    found = {path: read_record(path) for path in out.parent.glob('*.json') if pattern.fullmatch(path.name)}
    records = sorted(found.values(), key=lambda record: record.part)
    for path, record in found.items():
        if record_path(record.shard.file(out)) != path:
            raise UserError(f'{path}: is the record of part {record.shard}, under another name; remove it')
    if not records:
        raise UserError(f'{out}: there is no part of it, {out.stem}.1-of-N{out.suffix}; make them by --shard 1/N')
    first, total = records[0], records[0].of
    parts = {record.shard: record.shard.file(out) for record in records}
    for record in records:
        names = f'{parts[first.shard]} and {parts[record.shard]}'
        if record.of != total:
            raise UserError(f'{names}: parts of {total} and of {record.of}; remove those that are not meant')
        advice = 'make the parts by one command, but for --shard'
        require_same(first.asked, record.asked, f'{names} disagree:', 'and', advice)
    lacking = [f'{number}/{total}' for number in range(1, total + 1) if Shard(number, total) not in parts]
    unfinished = [str(record.shard) for record in records if not record.finished]
    if lacking or unfinished:
        kinds = {'missing': lacking, 'not finished': unfinished}
        said = ', '.join(f'{kind}: {shorten(names)}' for kind, names in kinds.items() if names)
        raise UserError(
            f'{out}: not all {total} parts are there ({said}); make them by --shard {[*lacking, *unfinished][0]}'
        )
    for record in records:
        check_part(parts[record.shard], record)
    rows = sum(record.rows for record in records)
    if not rows:
        raise UserError(f'{out}: not written, since none of the images can be read')
    check_output(out, parts.values(), _own(out))
    with atomic_write(out, 'wb') as target:
        if out.suffix == '.parquet':
            parquet.join(parts.values(), target)
        else:
            _join_csv([(parts[record.shard], record.header) for record in records], target)
    return Merged(rows, [name for record in records for name in record.skipped])


def _join_csv(parts: Iterable[tuple[Path, int]], target: IO[bytes]) -> None:
    for number, (part, header) in enumerate(parts):
        with open(part, 'rb') as source:
            if number:
                source.seek(header)
            while block := source.read(1 << 20):
                target.write(block)


def _own(out: Path) -> Callable[[Path], bool]:
    return parquet.is_own if out.suffix == '.parquet' else OWN[out.suffix]


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(plain(value), default=str).encode()).hexdigest()

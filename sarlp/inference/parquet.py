"""Tables of predictions as Parquet, where pyarrow is installed: image and classes as text, the scores as doubles."""

import csv
import os
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import IO, Any

from sarlp.errors import UserError, shorten

_ROWS = 8192  # at a time
_OWN = ('image', 'classes')


def require_pyarrow(out: str | os.PathLike) -> Any:
    """Pyarrow with its Parquet. Raises: UserError, it is not installed; ``out``: what is to be written."""
    try:
        import pyarrow.parquet
    except ImportError:
        raise UserError(f"{out}: needs pyarrow (pip install 'sarlp[parquet]'); or choose a name in .csv") from None
    return pyarrow


def check_columns(out: str | os.PathLike, classes: Iterable[str]) -> None:
    """See that each column has a name of its own, without which hardly anything reads the file. Raises: UserError."""
    if taken := [name for name in classes if name in _OWN]:
        raise UserError(
            f'{out}: a class is called {shorten(taken)}, as a column of every such table is, and a Parquet file with '
            'two columns of one name can not be read; choose a name in .csv'
        )


def from_csv(source: Path, target: IO[bytes]) -> None:
    """Write a table of :func:`~sarlp.inference.prediction_files.csv_rows` as Parquet."""
    pyarrow = require_pyarrow(source)
    with open(source, encoding='utf-8', newline='') as file:
        table = csv.reader(file)
        header = next(table)
        types = [pyarrow.string()] * 2 + [pyarrow.float64()] * (len(header) - 2)
        schema = pyarrow.schema(list(zip(header, types, strict=True)))
        with pyarrow.parquet.ParquetWriter(target, schema) as writer:
            for lines in iter(lambda: list(islice(table, _ROWS)), []):
                texts, scores = [line[:2] for line in lines], [list(map(float, line[2:])) for line in lines]
                columns = [*zip(*texts, strict=True), *zip(*scores, strict=True)]
                arrays = [pyarrow.array(column, kind) for column, kind in zip(columns, types, strict=True)]
                writer.write_batch(pyarrow.record_batch(arrays, schema=schema))


def join(tables: Iterable[Path], target: IO[bytes]) -> None:
    """Write the rows of tables with the same columns as one; there is at least one table."""
    first, *_ = tables = list(tables)
    parquet = require_pyarrow(first).parquet
    with parquet.ParquetWriter(target, parquet.read_schema(first)) as writer:
        for path in tables:
            with parquet.ParquetFile(path) as table:
                for batch in table.iter_batches():
                    writer.write_batch(batch)


def is_own(path: Path) -> bool:
    """Whether a file is such a table."""
    try:
        return require_pyarrow(path).parquet.read_schema(path).names[:2] == [*_OWN]
    except ValueError:  # of pyarrow: no Parquet
        return False

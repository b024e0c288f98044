"""Read a user's own table: .csv and its relatives, Parquet, or .npz, as columns of pandas."""

from collections.abc import Collection
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from experiments.data.decode import LARGEST, decode, read_bytes
from experiments.data.dialect import Dialect, find_dialect
from experiments.data.npz import read_npz
from experiments.errors import DataError, needs
from experiments.wording import counted

if TYPE_CHECKING:
    import pandas as pd

SUFFIXES = (".csv", ".tsv", ".txt", ".dat", ".data", ".tab", ".gz", ".npz", ".parquet", ".pq")
_CELLS = 2**26  # values of a Parquet file


class Table(NamedTuple):
    """A table.

    columns   name -> values: text without spaces around it ("" if empty), or numbers (int, unsigned int, float)
    rows      line of each row in its file, or its row number from 1
    place     "line" or "row": what `rows` counts
    notes     what was decided about the file, in words
    comma     numbers are probably written with a decimal comma, since fields are separated by ;
    """

    columns: dict[str, Any]  # pandas.Series
    rows: np.ndarray
    place: str
    notes: tuple[str, ...]
    comma: bool = False


def read_table(
    path: Path, known: Collection[str] = (), delimiter: str | None = None, encoding: str | None = None
) -> Table:
    """Read a table of one of the kinds of SUFFIXES; the first bytes decide which.

    Args:
      path: the file, at most LARGEST bytes.
      known: names of columns, which tell a line of names from a line of values.
      delimiter: character between fields of a text. None: found.
      encoding: encoding of a text. None: found.

    Raises:
      DataError: if the file is not such a table; the message names the file and the line.
      UsageError: if `delimiter` or `encoding` is invalid.
    """
    needs("pandas", "pyarrow")
    if path.suffix.lower() == ".npz":
        return _from_arrays(path)
    data = read_bytes(path)
    if data[:4] == b"PAR1":
        return _from_parquet(path)
    text = decode(path, data, encoding)
    del data
    dialect = find_dialect(path, text.text, delimiter, frozenset(known))
    return _from_text(path, dialect, f"encoding: {text.encoding} ({text.why})")


def _from_text(path: Path, dialect: Dialect, note: str) -> Table:
    import pandas as pd

    frame = pd.read_csv(
        StringIO(dialect.body),
        sep=dialect.delimiter,
        escapechar=dialect.escape,
        header=None,
        names=range(dialect.width),
        index_col=False,
        dtype=str,
        na_filter=False,
        skip_blank_lines=False,
        engine="c",
    )
    if len(frame) != len(dialect.rows):
        raise DataError(
            f"{path}: has {len(dialect.rows):,} rows by one reader, {len(frame):,} by another; check quotes"
        )
    columns: list[Any] = [column.str.strip() for _, column in frame.items()]
    if '="' in dialect.body:  # ="01067" is text, as some programs write it for Excel
        columns = [column.str.replace(r'^="(.*)"$', r"\1", regex=True) for column in columns]
    unnamed = [j for j, name in enumerate(dialect.names) if not name and not columns[j].any()]
    names = [name for j, name in enumerate(dialect.names) if j not in unnamed]
    notes = [note, *dialect.notes]
    if unnamed:
        notes.append(f"{counted(len(unnamed), 'empty column')} without a name left out")
    kept = [column for j, column in enumerate(columns) if j not in unnamed]
    return Table(
        dict(zip(_distinct(names, notes), kept, strict=True)),
        np.array(dialect.rows),
        "line",
        tuple(notes),
        dialect.delimiter == ";",
    )


def _distinct(names: list[str], notes: list[str]) -> list[str]:
    """Return distinct names: a second x is x.1, and a column without a name is column 1, by its place."""
    found: dict[str, None] = {}
    for j, name in enumerate(names):
        new = " ".join(name.split()) or f"column {j + 1}"
        count = 0
        while new in found or (count and new in names):
            count += 1
            new = f"{name}.{count}"
        if count:
            notes.append(f"a second column {name!r} is called {new!r}")
        found[new] = None
    return list(found)


def _from_parquet(path: Path) -> Table:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(path)
        held = file.metadata
        bytes_held = sum(held.row_group(i).total_byte_size for i in range(held.num_row_groups))
        if held.num_rows * held.num_columns > _CELLS or bytes_held > 4 * LARGEST:
            raise DataError(f"{path}: holds {held.num_rows:,} rows of {held.num_columns:,} columns, which is too much")
        frame = file.read().to_pandas()
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DataError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from None
    if frame.index.name is not None:
        frame = frame.reset_index()
    if not frame.size:
        raise DataError(f"{path}: has no rows" if len(frame.columns) else f"{path}: is empty")
    names = _distinct([str(name) for name in frame.columns], [])
    series = [column for _, column in frame.items()]
    columns = {name: _plain(path, name, column) for name, column in zip(names, series, strict=True)}
    return Table(columns, np.arange(1, len(frame) + 1), "row", ("a Parquet file",))


def _plain(path: Path, name: str, column: "pd.Series") -> "pd.Series":
    """Return a column as numbers, or as text."""
    from pandas.api import types

    if types.is_bool_dtype(column.dtype):
        return column.astype("object").map({True: "true", False: "false"}).fillna("").astype(str)
    if types.is_numeric_dtype(column.dtype) and column.dtype.kind in "iuf":
        return column if isinstance(column.dtype, np.dtype) else column.astype("float64")
    if types.is_datetime64_any_dtype(column.dtype):
        return column.map(lambda value: value.isoformat(), na_action="ignore").fillna("").astype(str)
    texts = column.astype("object")
    if any(isinstance(value, list | dict | tuple | np.ndarray | bytes) for value in texts):
        raise DataError(f"{path}: the column {name!r} holds lists, records or bytes, not numbers or text")
    return texts.map(str, na_action="ignore").fillna("").astype(str).str.strip()


def _from_arrays(path: Path) -> Table:
    """Read arrays, a row per example; an array with more than one axis gives several columns, name[0], name[1] …."""
    import pandas as pd

    columns: dict[str, np.ndarray] = {}
    for name, values in read_npz(path).items():
        if values.ndim == 0 or values.size == 0 or values.dtype.kind == "c":
            raise DataError(f"{path}: {name!r} must be an array of real numbers with a row per example")
        flat = values.reshape(len(values), -1)
        flat = flat.astype(flat.dtype.newbyteorder("="))
        flat = np.where(flat, "true", "false") if flat.dtype.kind == "b" else flat
        one = values.ndim == 1 or flat.shape[1] == 1
        columns |= {name if one else f"{name}[{i}]": column for i, column in enumerate(flat.T)}
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) != 1:
        shown = ", ".join(f"{name} {n:,}" for name, n in sorted(lengths.items(), key=lambda item: item[1])[:8])
        raise DataError(f"{path}: the arrays must have the same number of rows, got {shown}")
    table = {name: pd.Series(column) for name, column in columns.items()}
    return Table(table, np.arange(1, max(lengths.values()) + 1), "row", ("arrays of NumPy",))

"""Ranges of a parquet file's rows: each worker reads its own, so no table goes through the process that hands out.

A range may only begin where the work on it can begin anew; each stage knows where that is.
"""

import platform
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from stages.cli import DataError
from stages.rows import PART_ROWS, Rows

#: Rows of a range, before its ends are moved to where work can begin anew. A worker holds so many at once.
RANGE_ROWS = PART_ROWS


class Range(NamedTuple):
    """Rows from ``start`` to before ``stop``."""

    start: int
    stop: int


def cut_evenly(rows: int, size: int) -> list[Range]:
    """Ranges of ``size`` rows, the last one shorter; none if there are no rows."""
    return [Range(start, min(start + size, rows)) for start in range(0, rows, size)]


def cut_at(rows: int, places: Iterable[int], size: int) -> list[Range]:
    """Ranges that begin at some of these places: for each multiple of ``size``, at the first place from there on.

    Args:
        rows: In the file.
        places: Rows where work can begin anew, ascending.
        size: Of a range, in rows; where places are rare, ranges are longer.
    """
    chosen = [0]
    needed = size
    for place in places:
        if place >= needed:
            chosen.append(place)
            needed = place - place % size + size
    return [Range(*pair) for pair in pairwise([*chosen, rows]) if pair[0] < pair[1]]


class RowRange(Rows):
    """Some successive rows of a parquet file; of the file no more is read than the row groups that hold them."""

    def __init__(self, path: Path, schema: pa.Schema, start: int, stop: int | None = None) -> None:
        """Open the file.

        Args:
            path: As every worker sees it.
            schema: Of the rows.
            start: First row.
            stop: Row after the last one; None for all that follow.

        Raises:
            DataError: As ``Rows``, and if this machine does not see the file.
        """
        if not path.exists():
            raise DataError(
                f"{path}: not there on {platform.node()}. Every node needs the project's folder under the same path, "
                "on storage that they share."
            )
        super().__init__(path, schema)
        self.start = min(start, self.num_rows)
        self.stop = self.num_rows if stop is None else min(stop, self.num_rows)
        self.num_rows = max(0, self.stop - self.start)

    def parts(self, columns: Sequence[str] | None = None, rows: int = PART_ROWS) -> Iterator[pa.Table]:
        """Tables of up to so many rows, in order, as ``Rows.parts`` gives them."""
        names = list(columns or self.schema.names)
        schema = pa.schema([self.schema.field(name) for name in names])
        try:
            with pq.ParquetFile(self.path) as file:
                groups, position = self._groups(file.metadata)
                for batch in file.iter_batches(rows, row_groups=groups, columns=names) if groups else ():
                    begin, end = max(self.start - position, 0), min(self.stop - position, batch.num_rows)
                    position += batch.num_rows
                    if begin < end:
                        own = batch.slice(begin, end - begin)
                        yield self._typed(pa.Table.from_batches([own]).select(names), schema)
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise DataError(f"{self.path}: expected a parquet file: {error}") from error

    def table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All rows of the range."""
        parts = list(self.parts(columns))
        names = list(columns or self.schema.names)
        empty = pa.schema([self.schema.field(name) for name in names]).empty_table()
        return pa.concat_tables(parts) if parts else empty

    def _groups(self, metadata: pq.FileMetaData) -> tuple[list[int], int]:
        """The row groups that hold the range, and the first one's first row."""
        groups: list[int] = []
        first = position = 0
        for number in range(metadata.num_row_groups):
            end = position + metadata.row_group(number).num_rows
            if position < self.stop and end > self.start:
                first = first if groups else position
                groups.append(number)
            position = end
        return groups, first

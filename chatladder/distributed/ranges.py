"""Ranges of a parquet file's rows: each worker reads its own, so no table goes through the process that hands out.

A range may only begin where the work on it can begin anew; each stage knows where that is.
"""

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from chatladder.distributed import check_seen
from chatladder.io.rows import PART_ROWS, Rows

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
    """Some successive rows of a parquet file, as a worker reads them; see ``Rows`` for the arguments."""

    def __init__(self, path: Path, schema: pa.Schema, start: int, stop: int | None = None) -> None:
        """Open the file.

        Raises:
            DataError: As ``Rows``, and if this machine does not see the file.
        """
        check_seen(path)
        super().__init__(path, schema, start, stop)

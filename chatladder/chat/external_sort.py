"""Sort rows on disk, so that memory does not grow with the chat."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

#: The rows that are sorted together, and the most parts that a chat is cut into: each part is a file.
PART_ROWS, MOST_PARTS = 131_072, 200
#: The bytes that are sorted together; a column of more than 2 GiB cannot be sorted.
PART_BYTES = 2**27


class HiddenFile:
    """Rows in a file without a name: nobody else can open it, and it vanishes however the process ends."""

    def __init__(self, schema: pa.Schema, folder: Path) -> None:
        """Open a file on the disk of ``folder``.

        Raises:
            OSError: If the folder cannot be written.
        """
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - it lives as long as this object
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        self._writer = pa.ipc.new_stream(pa.PythonFile(self._file, "w"), schema, options=options)
        self.nbytes = 0  # size in memory

    def write(self, rows: pa.Table | pa.RecordBatch) -> None:
        """Append rows."""
        self._writer.write(rows)
        self.nbytes += rows.nbytes

    def read(self) -> Iterator[pa.RecordBatch]:
        """Yield everything that was written, in order; nothing can be written afterwards."""
        self._writer.close()
        self._file.flush()
        self._file.seek(0)
        yield from pa.ipc.open_stream(pa.PythonFile(self._file, "r"))

    def close(self) -> None:
        """Free the disk space."""
        self._file.close()


def sort_rows(
    rows: Iterator[pa.RecordBatch], position: np.ndarray, schema: pa.Schema, folder: Path
) -> Iterator[pa.Table]:
    """Sort rows without keeping them all in memory.

    Rows are distributed over files by their position, and each file is small enough to be sorted in memory.

    Args:
        rows: Batches of the schema.
        position: The position of each row, from 0 without gaps; -1 for a row to drop. Shape ``(rows,)``.
        schema: The schema of the rows.
        folder: A folder with disk space for all of them.

    Yields:
        The rows in order, as tables of any size.
    """
    kept = int((position >= 0).sum())
    if np.array_equal(position, np.arange(len(position))):  # most exports are in order: save the trip
        yield from (pa.Table.from_batches([batch]) for batch in rows)
        return
    yield from _sorted(rows, position, kept, max(PART_ROWS, -(-kept // MOST_PARTS)), schema, folder)


def _sorted(
    rows: Iterator[pa.RecordBatch], position: np.ndarray, kept: int, size: int, schema: pa.Schema, folder: Path
) -> Iterator[pa.Table]:
    """Distribute rows over files of ``size`` rows each, and a file of too many bytes again over smaller ones.

    Args:
        rows: As for ``sort_rows``.
        position: As for ``sort_rows``.
        kept: The number of rows that are not dropped.
        size: The rows of a file.
        schema: As for ``sort_rows``.
        folder: As for ``sort_rows``.
    """
    parts = [HiddenFile(schema, folder) for _ in range(-(-kept // size))]
    start = 0
    for batch in rows:
        where = position[start : start + batch.num_rows]
        start += batch.num_rows
        _deal(batch, where, parts, size)
    for number, part in enumerate(parts):
        inside = position[(position >= number * size) & (position < (number + 1) * size)] - number * size
        pieces = min(-(-part.nbytes // PART_BYTES), len(inside), MOST_PARTS)
        if pieces > 1:
            yield from _sorted(part.read(), inside, len(inside), -(-len(inside) // pieces), schema, folder)
        else:
            table = pa.Table.from_batches(part.read(), schema)
            yield table.take(np.argsort(inside))
        part.close()


def _deal(batch: pa.RecordBatch, where: np.ndarray, parts: list[HiddenFile], size: int) -> None:
    """Write each row to its part, in the order in which the rows arrive."""
    part = np.where(where >= 0, where // size, -1)
    for number in np.unique(part[part >= 0]):
        own = np.flatnonzero(part == number)
        parts[number].write(batch.take(own) if len(own) < batch.num_rows else batch)

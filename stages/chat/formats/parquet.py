"""Tables as parquet, a batch of rows at a time.

A small file can claim a gigantic table. So only the wanted columns are read, and of plain types; a row group may not
claim more than 2 GiB; texts are read as a dictionary, so that one that a million rows repeat is held once; and
in all they may not be longer than 250 times the file, as in other files that unpack.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import IO, TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import types

from stages.chat.formats.clock import EPOCH
from stages.chat.source import FREE_BYTES, LONGEST_LINE, MOST_EXPANSION, Source
from stages.cli import DataError

if TYPE_CHECKING:
    from stages.chat.formats.table import Columns

BATCH_ROWS = 8192
READ_BYTES = 2**20
LARGEST_ROW_GROUP = 2**31
PER_SECOND = {"s": 1, "ms": 1000, "us": 1_000_000, "ns": 1_000_000_000}
#: What pyarrow raises about damage: its own, OSError, and for texts that are not UTF-8 ValueError.
DAMAGED = (pa.ArrowException, OSError, ValueError, MemoryError, OverflowError)


def parquet_rows(source: Source, columns: "Columns") -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (record number from 1, cells under our names); times are datetimes, aware if the column is.

    Raises:
        DataError: If the file is damaged, lies inside another, lacks a column, or is gigantic.
    """
    number = 0
    with source.open() as stream:
        if not stream.seekable():
            raise DataError(f"{source}: expected a parquet file of its own, got one inside another. Unpack it first.")
        left = max(FREE_BYTES, stream.seek(0, 2) * MOST_EXPANSION)
        with _refusing_damage(source, 1):
            file = _open(stream)
            wanted = _wanted(file, columns, source)
        batches = file.iter_batches(BATCH_ROWS, columns=sorted(set(wanted.values())), use_threads=False)
        while True:
            with _refusing_damage(source, number + 1):
                batch = next(batches, None)
                if batch is None:
                    break
                left -= _text_bytes(batch, source, number + 1)
                if left < 0:
                    raise _gigantic(source, number + 1, f"texts of more than {MOST_EXPANSION} times its size")
                cells = [_cells(batch.column(theirs)) for theirs in wanted.values()]
            for values in zip(*cells, strict=True):
                number += 1
                yield number, dict(zip(wanted, values, strict=True))
        if number != file.metadata.num_rows:
            raise DataError(f"{source.where(number)}: expected {file.metadata.num_rows} rows, got {number}.")


@contextmanager
def _refusing_damage(source: Source, number: int) -> Iterator[None]:
    try:
        yield
    except DAMAGED as error:
        # Only the kind of error: its message may quote the file.
        message = f"{source.where(number)}: expected a whole parquet file, but reading stopped: {type(error).__name__}."
        raise DataError(message) from error


def _open(stream: IO[bytes]) -> pq.ParquetFile:
    names = pq.ParquetFile(stream).schema_arrow
    texts = [field.name for field in names if _is_text(field.type)]
    return pq.ParquetFile(
        stream, read_dictionary=texts, buffer_size=READ_BYTES, pre_buffer=False, page_checksum_verification=True
    )


def _wanted(file: pq.ParquetFile, columns: "Columns", source: Source) -> dict[str, str]:
    """Names of the table's columns by ours, once they are known to be there, plain, and of a size to read.

    Raises:
        DataError: If they are not.
    """
    columns.check_header(file.schema_arrow.names, source.where(1))
    wanted = {ours: theirs for ours, theirs in columns.theirs.items() if theirs in file.schema_arrow.names}
    for theirs in wanted.values():
        kind = file.schema_arrow.field(theirs).type
        plain = types.is_integer(kind) or types.is_floating(kind) or types.is_timestamp(kind) or types.is_null(kind)
        if not plain and not _is_text(kind):
            raise DataError(f'{source}: expected "{theirs}" to hold texts, numbers or timestamps, got {kind}.')
    # Not by column: pyarrow 26 ends the process where a chunk's metadata is damaged and Python asks for it.
    groups = range(file.num_row_groups)
    if any(file.metadata.row_group(group).total_byte_size > LARGEST_ROW_GROUP for group in groups):
        raise _gigantic(source, 1, f"row groups of more than {LARGEST_ROW_GROUP // 2**30} GiB")
    return wanted


def _gigantic(source: Source, number: int, what: str) -> DataError:
    return DataError(
        f"{source.where(number)}: expected a table of messages, got one with {what}. No chat has that; it may be made "
        "to fill the machine. Write it anew as JSON lines if you trust it."
    )


def _is_text(kind: pa.DataType) -> bool:
    if types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return any(is_kind(kind) for is_kind in (types.is_string, types.is_large_string, types.is_string_view))


def _text_bytes(batch: pa.RecordBatch, source: Source, number: int) -> int:
    """Bytes of all texts of a batch, each counted as often as a row has it.

    Raises:
        DataError: If one is longer than a line of other files may be.
    """
    total = 0
    for column in batch.columns:
        if types.is_dictionary(column.type):
            lengths = pc.binary_length(column.dictionary.cast(pa.large_string())).take(column.indices)
            if (pc.max(lengths).as_py() or 0) > LONGEST_LINE:
                raise _gigantic(source, number, f"a text of more than {LONGEST_LINE // 2**20} MiB")
            total += pc.sum(lengths).as_py() or 0
    return total


def _cells(column: pa.Array) -> list[Any]:
    if types.is_dictionary(column.type):
        # Only what the batch has of the dictionary, and each text once.
        used = pc.unique(column.indices).drop_null()
        texts = dict(zip(used.to_pylist(), column.dictionary.take(used).to_pylist(), strict=True))
        return [texts.get(index) for index in column.indices.to_pylist()]
    if types.is_timestamp(column.type):
        per_second, zone = PER_SECOND[column.type.unit], UTC if column.type.tz else None
        ticks = column.cast(pa.int64()).to_pylist()
        return [_moment(tick // per_second, zone) if tick is not None else None for tick in ticks]
    values: list[Any] = column.to_pylist()
    return values


def _moment(seconds: int, zone: Any) -> datetime:
    return (EPOCH + timedelta(seconds=seconds)).replace(tzinfo=zone)

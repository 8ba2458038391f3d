"""Tables as Parquet, a batch of rows at a time.

A small file can claim a gigantic table. So only the wanted columns are read, and only if they are of plain types; a row
group may not claim more than 2 GiB; texts are read as a dictionary, so that a text that a million rows repeat is in
memory once; and the size of its pages and texts is compared with the file's size, as for other files that unpack.

pyarrow unpacks a whole page before it returns a row of it, and the sizes in the footer need not be true. So the headers
are read first. They are Thrift structures in the compact protocol (apache/parquet-format: parquet.thrift;
apache/thrift: doc/specs/thrift-compact-protocol.md), of which only numbers and lists are needed.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import IO, TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import types

from chatladder.chat.formats.times import EPOCH
from chatladder.chat.source import LONGEST_LINE, Source
from chatladder.io.console import DataError

if TYPE_CHECKING:
    from chatladder.chat.formats.table import Columns

BATCH_ROWS = 8192
READ_BYTES = 2**20
LARGEST_ROW_GROUP = 2**31
#: Limits of the footer, which is decoded before its size is known: parts of one kind, and bytes of a text.
MOST_PARTS, LONGEST_NAME = 100_000, 2**24
PER_SECOND = {"s": 1, "ms": 1000, "us": 1_000_000, "ns": 1_000_000_000}
#: pyarrow's errors about damage: its own, OSError, and ValueError for texts that are not UTF-8.
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
        with _refusing_damage(source, 1):
            file = _open(stream)
            wanted = _wanted(file, columns, source)
            check_size(source, stream, file.metadata)
        length = 0  # bytes of all texts
        batches = file.iter_batches(BATCH_ROWS, columns=sorted(set(wanted.values())), use_threads=False)
        while True:
            with _refusing_damage(source, number + 1):
                batch = next(batches, None)
                if batch is None:
                    break
                length += _text_bytes(batch, source, number + 1)
                source.spend("bytes", length)
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
        # Only the type of the error: its message may quote the file.
        message = f"{source.where(number)}: expected a whole parquet file, but reading stopped: {type(error).__name__}."
        raise DataError(message) from error


def _open(stream: IO[bytes]) -> pq.ParquetFile:
    limits: Any = {"thrift_string_size_limit": LONGEST_NAME, "thrift_container_size_limit": MOST_PARTS}
    names = pq.ParquetFile(stream, **limits).schema_arrow
    texts = [field.name for field in names if _is_text(field.type)]
    return pq.ParquetFile(
        stream,
        read_dictionary=texts,
        buffer_size=READ_BYTES,
        pre_buffer=False,
        page_checksum_verification=True,
        **limits,
    )


def _wanted(file: pq.ParquetFile, columns: "Columns", source: Source) -> dict[str, str]:
    """Return the table's names of our columns, after checking that they exist and are of plain types.

    Raises:
        DataError: If a column is missing or of another type.
    """
    columns.check_header(file.schema_arrow.names, source.where(1))
    wanted = {ours: theirs for ours, theirs in columns.theirs.items() if theirs in file.schema_arrow.names}
    for theirs in wanted.values():
        kind = file.schema_arrow.field(theirs).type
        plain = types.is_integer(kind) or types.is_floating(kind) or types.is_timestamp(kind) or types.is_null(kind)
        if not plain and not _is_text(kind):
            raise DataError(f'{source}: expected "{theirs}" to hold texts, numbers or timestamps, got {kind}.')
    return wanted


def check_size(source: Source, stream: IO[bytes], metadata: pq.FileMetaData) -> None:
    """Refuse a gigantic table before any of it is unpacked.

    Raises:
        DataError: If the table is gigantic.
        ValueError: If the file is damaged.
    """
    source.spend("records", metadata.num_rows)
    size = 0
    for page in page_sizes(stream):
        size += page
        source.spend("bytes", size)
    # Not by column: pyarrow 26 ends the process if a chunk's metadata is damaged and Python asks for it.
    sizes = [metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups)]
    if any(size > LARGEST_ROW_GROUP for size in sizes):
        raise _gigantic(source, 1, f"row groups of more than {LARGEST_ROW_GROUP // 2**30} GiB")


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
    """Return the bytes of all texts of a batch, each counted as often as rows repeat it.

    Raises:
        DataError: If a text is longer than a line of other files may be.
    """
    total = 0
    for column in batch.columns:
        if types.is_dictionary(column.type):
            # Only the batch's part of the dictionary, which may be far larger.
            used = pc.value_counts(column.indices.drop_null())
            lengths = pc.binary_length(column.dictionary.take(used.field("values")).cast(pa.large_string()))
            if (pc.max(lengths).as_py() or 0) > LONGEST_LINE:
                raise _gigantic(source, number, f"a text of more than {LONGEST_LINE // 2**20} MiB")
            total += pc.sum(pc.multiply(lengths.cast(pa.int64()), used.field("counts"))).as_py() or 0
    return total


def _cells(column: pa.Array) -> list[Any]:
    if types.is_dictionary(column.type):
        # Only the batch's part of the dictionary, and each text once.
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


#: Field numbers: of the footer, a row group, a column's chunk, a chunk's metadata, and a page's header.
ROW_GROUPS, COLUMNS, META_DATA = 4, 1, 3
VALUES, CHUNK_BYTES, FIRST_DATA, FIRST_DICTIONARY = 5, 7, 9, 11
UNPACKED, PACKED = 2, 3
TAIL_BYTES = 8
#: Bytes that are read of a header at first, and at most; its statistics may hold texts.
HEADER_BYTES, LONGEST_HEADER = 1024, 2**24
#: Types of values in the compact protocol.
TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(1, 13)
#: Bytes of a value; TRUE and FALSE take one only in a list.
SIZES = {TRUE: 1, FALSE: 1, BYTE: 1, DOUBLE: 8}


def page_sizes(stream: IO[bytes]) -> Iterator[int]:
    """Yield the number of bytes that each page of a file unpacks to.

    Raises:
        ValueError: If the file is damaged.
    """
    try:
        yield from _sizes(stream)
    except (LookupError, TypeError, RecursionError) as error:
        raise ValueError("damaged") from error


def _sizes(stream: IO[bytes]) -> Iterator[int]:
    end = stream.seek(-TAIL_BYTES, 2)
    length = int.from_bytes(stream.read(4), "little")
    stream.seek(max(0, end - length))
    footer, _ = _struct(stream.read(length), 0)
    for group in footer.get(ROW_GROUPS, ()):
        for column in group[COLUMNS]:
            chunk = column[META_DATA]
            if chunk[VALUES] < 1:
                continue  # nothing is read of it, and its offset may be invalid
            # As pyarrow finds the first page.
            at, dictionary = chunk[FIRST_DATA], chunk.get(FIRST_DICTIONARY, 0)
            at = dictionary if 0 < dictionary < at else at
            stop = at + chunk[CHUNK_BYTES]
            while at < stop:
                header, size = _header(stream, at)
                if min(header[UNPACKED], header[PACKED]) < 0:
                    raise ValueError("damaged")
                yield header[UNPACKED]
                at += size + header[PACKED]


def _header(stream: IO[bytes], at: int) -> tuple[dict[int, Any], int]:
    """Return a page's header, and its length."""
    wanted = HEADER_BYTES
    while True:
        stream.seek(at)
        data = stream.read(wanted)
        try:
            return _struct(data, 0)
        except IndexError:
            if len(data) < wanted or wanted >= LONGEST_HEADER:
                raise
            wanted *= 16


def _struct(data: bytes, at: int) -> tuple[dict[int, Any], int]:
    """Return the values by field number, and the offset of the structure's end."""
    fields: dict[int, Any] = {}
    number = 0
    while start := data[at]:
        at += 1
        if step := start >> 4:
            number += step
        else:
            number, at = _number(data, at)
        kind = start & 15
        fields[number], at = (None, at) if kind in (TRUE, FALSE) else _value(kind, data, at)
    return fields, at + 1


def _value(kind: int, data: bytes, at: int) -> tuple[Any, int]:
    if kind in (I16, I32, I64):
        return _number(data, at)
    if kind == STRUCT:
        return _struct(data, at)
    if kind in (LIST, SET):
        inner, size = data[at] & 15, data[at] >> 4
        size, at = _unsigned(data, at + 1) if size == 15 else (size, at + 1)
        values = []
        for _ in range(size):
            value, at = _value(inner, data, at)
            values.append(value)
        return values, at
    if kind == BINARY:
        size, at = _unsigned(data, at)
    elif kind in SIZES:
        size = SIZES[kind]
    else:  # a map, which headers do not have
        raise ValueError("damaged")
    if at + size > len(data):
        raise IndexError
    return None, at + size


def _number(data: bytes, at: int) -> tuple[int, int]:
    value, at = _unsigned(data, at)
    return value >> 1 ^ -(value & 1), at


def _unsigned(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
    raise ValueError("damaged")

"""How large the pages of a parquet file are once they are unpacked, by the headers that they begin with.

pyarrow unpacks a page whole before it gives out a row of it, and what the footer says of sizes need not be true. So the
headers are read here first. They are Thrift structures in the compact protocol (apache/parquet-format: parquet.thrift;
apache/thrift: doc/specs/thrift-compact-protocol.md), and only numbers and lists in them are of interest.
"""

from collections.abc import Iterator
from typing import IO, Any

#: Numbers of fields: of the footer, of a row group, of a column's chunk, of what is said of it, and of a page's header.
ROW_GROUPS, COLUMNS, META_DATA = 4, 1, 3
VALUES, CHUNK_BYTES, FIRST_DATA, FIRST_DICTIONARY = 5, 7, 9, 11
UNPACKED, PACKED = 2, 3
TAIL_BYTES = 8
#: Bytes that are read of a header at first, and at most; statistics in it may hold texts.
HEADER_BYTES, LONGEST_HEADER = 1024, 2**24
#: Kinds of values in the compact protocol.
TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(1, 13)


def page_sizes(stream: IO[bytes]) -> Iterator[int]:
    """Bytes that each page of a file unpacks to.

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
                continue  # nothing is read of it, and it may begin nowhere
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
    """A page's header, and its length."""
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
    """Values by the number of their field, and where the structure ends."""
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
    elif kind in (TRUE, FALSE, BYTE):  # in a list
        size = 1
    elif kind == DOUBLE:
        size = 8
    else:  # a map: no header has one
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

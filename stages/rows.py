"""The rows that stages hand to each other, as parquet schemas, and how they are read and written.

Every table keeps its rows in a fixed order, so equal inputs give equal bytes.
"""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from stages.cli import DataError
from stages.files import whole_file

#: Kinds of a message; only ``text`` is ever merged into turns.
KINDS = ("text", "image", "file", "link", "system", "other")
#: What an annotator may answer.
LABELS = ("needed", "not_needed", "not_a_question", "unsure")
SPLITS = ("train", "validation", "test")

MESSAGES = pa.schema(
    [
        ("message_id", pa.string()),
        ("group", pa.string()),
        ("sender", pa.string()),  # pseudonym
        ("timestamp", pa.int64()),  # UTC seconds; null if the source has none
        ("resolution_seconds", pa.int32()),  # how exact the source's clock is: 1, or 60 without seconds
        ("kind", pa.string()),  # one of KINDS
        ("text", pa.string()),
        ("reply_to", pa.string()),  # message_id, or null
        ("source", pa.string()),  # file:line
    ]
)
TURNS = pa.schema(
    [
        ("turn_id", pa.string()),
        ("group", pa.string()),
        ("sender", pa.string()),
        ("timestamp", pa.int64()),  # of the first message
        ("kind", pa.string()),
        ("text", pa.string()),
        ("message_ids", pa.list_(pa.string())),
    ]
)
SCORES = pa.schema([("turn_id", pa.string()), ("score", pa.float32())])  # 0-10
WINDOW = pa.list_(pa.struct([("sender", pa.string()), ("text", pa.string()), ("timestamp", pa.int64())]))
QUESTIONS = pa.schema(
    [
        ("item_id", pa.string()),
        ("turn_id", pa.string()),
        ("group", pa.string()),
        ("conversation", pa.string()),
        ("sender", pa.string()),
        ("text", pa.string()),
        ("timestamp", pa.int64()),
        ("window", WINDOW),  # earlier turns of the conversation, oldest first
    ]
)
LABELLED = pa.schema(
    [
        *QUESTIONS,
        ("label", pa.string()),  # needed or not_needed
        ("agreement", pa.float32()),  # share of annotators who gave that label
        ("split", pa.string()),  # one of SPLITS
    ]
)
PREDICTIONS = pa.schema(
    [
        ("item_id", pa.string()),
        ("p_needed", pa.float64()),
        ("p_not_needed", pa.float64()),
        ("p_unknown", pa.float64()),
        ("answer", pa.string()),  # needed, not_needed, unknown
        ("parsed", pa.bool_()),  # False where an endpoint's answer could not be read
    ]
)


def write_rows(path: Path, rows: pa.Table | list[dict[str, Any]], schema: pa.Schema) -> None:
    """Write rows as parquet, whole or not at all.

    Raises:
        DataError: If the disk is full or the folder cannot be written.
    """
    table = pa.Table.from_pylist(rows, schema=schema) if isinstance(rows, list) else rows.cast(schema)
    with whole_file(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read_rows(path: Path, schema: pa.Schema) -> pa.Table:
    """Read a parquet file that another stage wrote.

    Raises:
        DataError: If it is not parquet, or its columns are not those of ``schema``.
    """
    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path}: expected a parquet file: {error}") from error
    missing = [name for name in schema.names if name not in table.column_names]
    if missing:
        raise DataError(f"{path}: expected columns {', '.join(schema.names)}; missing {', '.join(missing)}.")
    return table.select(schema.names).cast(schema)

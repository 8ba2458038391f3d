"""The parquet schemas of the rows that stages pass on, and how they are read and written.

Every table has its rows in a fixed order, so equal inputs give equal bytes.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from chatladder.io.console import DataError
from chatladder.io.files import whole_file

#: The number of rows in a row group.
ROW_GROUP = 131_072
#: The number of rows in memory at once when a stage streams them.
PART_ROWS = 65_536
#: Errors of a file that is damaged or is not parquet; Python decodes the column names.
_DAMAGED = (pa.ArrowException, OSError, UnicodeDecodeError)

#: Kinds of messages; only ``text`` is ever merged into turns.
KINDS = ("text", "image", "file", "link", "system", "other")
SPLITS = ("train", "validation", "test")

MESSAGES = pa.schema(
    [
        ("message_id", pa.string()),
        ("group", pa.string()),
        ("sender", pa.string()),  # pseudonym
        ("timestamp", pa.int64()),  # UTC seconds; null if the source has none
        ("resolution_seconds", pa.int32()),  # of the source's clock: 1, or 60 without seconds
        ("kind", pa.string()),  # one of KINDS
        ("text", pa.string()),
        ("reply_to", pa.string()),  # message_id, or null
        ("source", pa.string()),  # pseudonym of the file:line
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
        ("reply_to", pa.string()),  # message_id that its first message replies to, or null
        ("message_ids", pa.list_(pa.string())),
    ]
)
SCORES = pa.schema([("turn_id", pa.string()), ("score", pa.float32())])  # 0-10
WINDOW = pa.list_(pa.struct([("sender", pa.string()), ("text", pa.string()), ("timestamp", pa.int64())]))
#: A person's pseudonym in a text, as a regular expression (chatladder/privacy/pseudonyms.py makes them).
PSEUDONYM = r"u(?:[0-9a-f]{16}|[0-9a-f]{8})"
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
        ("label", pa.string()),  # a scored label, for training
        ("agreement", pa.float32()),  # share of annotators who gave that label
        ("split", pa.string()),  # one of SPLITS
        ("check_label", pa.string()),  # by answers that no model requested, or null; for the scaling check
    ]
)
LABEL_SETS = pa.schema(
    [
        ("kind", pa.string()),  # annotators or rounds
        ("first", pa.string()),  # an annotator's name, or such as "round 2"
        ("second", pa.string()),
        ("item_id", pa.string()),
        ("conversation", pa.string()),
        ("first_label", pa.string()),  # a scored label
        ("second_label", pa.string()),
    ]
)
REWRITES = pa.schema(
    [
        ("item_id", pa.string()),  # a labelled question that is needed
        ("annotator", pa.string()),  # its author
        ("rewrite", pa.string()),  # the question rewritten so that it stands alone, on one line
        ("chosen", pa.bool_()),  # true for one row of each question
    ]
)
REWRITTEN = pa.schema(
    [
        ("item_id", pa.string()),
        ("seed", pa.int64()),  # of the adapter
        ("text", pa.string()),  # a model's rewrite, on one line, with people as numbers
    ]
)
#: Predictions of a task of two labels. With more there is a probability for each label: ``prediction_schema`` in
#: ``chatladder/vocabulary.py`` returns the schema of the present task.
PREDICTIONS = pa.schema(
    [
        ("item_id", pa.string()),
        ("seed", pa.int64()),  # of the training of the model or its adapter; 0 if there is only one
        ("p_needed", pa.float64()),  # of the task's positive label, whatever its name
        ("p_not_needed", pa.float64()),  # of its negative label
        ("p_unknown", pa.float64()),
        ("answer", pa.string()),  # a scored label, or unknown
        ("parsed", pa.bool_()),  # False if the answer could not be parsed
    ]
)
RANKING = pa.schema(
    [
        ("item_id", pa.string()),
        ("split", pa.string()),  # train or validation, since models choose no test item
        ("label", pa.string()),  # the present one
        ("p_label", pa.float64()),  # probability of that label on all evidence except the label itself
        ("suspicion", pa.float64()),  # the sort key, highest first
        ("reason", pa.string()),  # the evidence against the label, in a few words
        ("role", pa.string()),  # suspect, or empty if the item is not in the queue
    ]
)


class RowWriter:
    """Writes rows as parquet incrementally, in row groups of a fixed size, so that equal rows give equal bytes."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._writer = pq.ParquetWriter(path, schema, compression="zstd")
        self._schema = schema
        self._waiting: list[pa.Table] = []
        self._rows = 0

    def write(self, rows: pa.Table) -> None:
        """Take some rows: full row groups are written, the rest is buffered."""
        if not rows.num_rows:
            return
        self._waiting.append(rows.select(self._schema.names).cast(self._schema))
        self._rows += rows.num_rows
        if self._rows < ROW_GROUP:
            return
        waiting = pa.concat_tables(self._waiting)
        whole = self._rows - self._rows % ROW_GROUP
        for start in range(0, whole, ROW_GROUP):
            self._write(waiting.slice(start, ROW_GROUP))
        # Copied, since a slice keeps its whole source in memory.
        self._waiting = [waiting.slice(whole).combine_chunks()]
        self._rows -= whole

    def close(self) -> None:
        """Write the buffered rows, and close the file."""
        if self._rows:
            self._write(pa.concat_tables(self._waiting))
        self._writer.close()

    def _write(self, group: pa.Table) -> None:
        self._writer.write_table(group.combine_chunks(), row_group_size=ROW_GROUP)


@contextmanager
def row_writer(path: Path, schema: pa.Schema) -> Iterator[RowWriter]:
    """Open a RowWriter whose file appears, complete, only once the block ends without an error.

    Raises:
        DataError: If the disk is full or the folder cannot be written.
    """
    with whole_file(path) as temporary:
        writer = RowWriter(temporary, schema)
        try:
            yield writer
        except BaseException:
            with suppress(OSError):  # the first error is the one to report
                writer.close()
            raise
        writer.close()


def count_other_chats(data: Path) -> int:
    """Return the number of labelled questions of other chats in a project's folder ``data``.

    Raises:
        DataError: If a file is damaged.
    """
    return sum(Rows(path, LABELLED).num_rows for path in (data / "other_chats").glob("*.parquet"))


def write_rows(path: Path, rows: pa.Table | list[dict[str, Any]], schema: pa.Schema) -> None:
    """Write rows as parquet, whole or not at all.

    Raises:
        DataError: If the disk is full or the folder cannot be written.
    """
    table = pa.Table.from_pylist(rows, schema=schema) if isinstance(rows, list) else rows
    with row_writer(path, schema) as writer:
        writer.write(table)


@contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    try:
        with pq.ParquetFile(path) as file:
            yield file
    except _DAMAGED as error:
        raise DataError(f"{path}: expected a parquet file: {error}") from error


class Rows:
    """Rows of a parquet file that another stage wrote, read in parts, any number of times.

    Attributes:
        start: The index of the first row in the file.
        stop: The index after the last row.
        num_rows: The number of rows from ``start`` to ``stop``.
    """

    def __init__(self, path: Path, schema: pa.Schema, start: int = 0, stop: int | None = None) -> None:
        """Open the file and check its columns against the schema.

        Args:
            path: The file.
            schema: The schema of the rows.
            start: The index of the first row; only row groups that contain wanted rows are read.
            stop: The index after the last row; None for the end of the file.

        Raises:
            DataError: If it is not parquet, or a column of ``schema`` is missing or occurs twice.
        """
        self.path = path
        self.schema = schema
        with _opened(path) as file:
            names = file.schema_arrow.names
            rows: int = file.metadata.num_rows
        missing = [name for name in schema.names if name not in names]
        if missing:
            raise DataError(f"{path}: expected columns {', '.join(schema.names)}; missing {', '.join(missing)}.")
        twice = [name for name in schema.names if names.count(name) > 1]
        if twice:
            raise DataError(f"{path}: expected every column once, got {', '.join(twice)} twice.")
        self.start = min(start, rows)
        self.stop = rows if stop is None else min(stop, rows)
        self.num_rows = max(0, self.stop - self.start)

    def parts(self, columns: Sequence[str] | None = None, rows: int = PART_ROWS) -> Iterator[pa.Table]:
        """Yield tables of at most ``rows`` rows, in order, with the given columns or all of them.

        Raises:
            DataError: If the file is damaged, or a column has another type.
        """
        schema = self._chosen(columns)
        with _opened(self.path) as file:
            groups, position = self._groups(file.metadata)
            for batch in file.iter_batches(rows, row_groups=groups, columns=schema.names) if groups else ():
                begin, end = max(self.start - position, 0), min(self.stop - position, batch.num_rows)
                position += batch.num_rows
                if begin < end:
                    table = pa.Table.from_batches([batch.slice(begin, end - begin)])
                    yield self._typed(table.select(schema.names), schema)

    def table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Return all rows as one table; see ``parts``."""
        parts = list(self.parts(columns))
        return pa.concat_tables(parts) if parts else self._chosen(columns).empty_table()

    def _chosen(self, columns: Sequence[str] | None) -> pa.Schema:
        return pa.schema([self.schema.field(name) for name in columns or self.schema.names])

    def _groups(self, metadata: pq.FileMetaData) -> tuple[list[int], int]:
        """Return the row groups that contain the rows, and the index of their first row."""
        groups: list[int] = []
        first = position = 0
        for number in range(metadata.num_row_groups):
            end = position + metadata.row_group(number).num_rows
            if position < self.stop and end > self.start:
                first = first if groups else position
                groups.append(number)
            position = end
        return groups, first

    def _typed(self, table: pa.Table, schema: pa.Schema) -> pa.Table:
        try:
            return table.cast(schema)
        except pa.ArrowException as error:
            # Not Arrow's own message, which quotes the value: it may be text of the chat.
            pairs = zip(schema, table.schema, strict=True)
            other = [f"{to.name} as {to.type}, got {got.type}" for to, got in pairs if to.type != got.type]
            raise DataError(f"{self.path}: expected {'; '.join(other)}.") from error


def read_rows(path: Path, schema: pa.Schema) -> pa.Table:
    """Read a whole parquet file that another stage wrote.

    Raises:
        DataError: If it is not parquet, or its columns do not match ``schema``.
    """
    return Rows(path, schema).table()


def read_written_out(labelled: Path, rewrites: Path) -> pa.Table:
    """Read the labelled questions with their chosen rewrites.

    Args:
        labelled: Rows of ``LABELLED``.
        rewrites: Rows of ``REWRITES`` for these questions.

    Returns:
        Rows of ``LABELLED``, in their order, with a column ``rewrite``: null if nobody rewrote the question.

    Raises:
        DataError: If a file is damaged, a chosen rewrite is for another question, or a question has two chosen ones.
    """
    questions = read_rows(labelled, LABELLED)
    rows = read_rows(rewrites, REWRITES)
    chosen = rows.filter(rows["chosen"])
    texts = dict(zip(chosen["item_id"].to_pylist(), chosen["rewrite"].to_pylist(), strict=True))
    ids = questions["item_id"].to_pylist()
    if len(texts) < chosen.num_rows or not texts.keys() <= {*ids}:
        raise DataError(
            f"{rewrites}: expected at most one rewrite that counts for each question of {labelled}, and for no other. "
            "Both must be of one run: run dvc repro label."
        )
    column = pa.array([texts.get(item_id) for item_id in ids], pa.string())
    return questions.append_column(pa.field("rewrite", pa.string()), column)

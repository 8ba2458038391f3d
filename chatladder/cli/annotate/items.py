"""The questions as an annotator needs them: every id at once, the windows only when they are shown."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from chatladder.io.console import DataError
from chatladder.io.files import read_jsonl
from chatladder.io.rows import QUESTIONS, Rows

#: Items that are shown next and read along with one that is needed now.
AHEAD = 512
#: Rows decoded at a time while looking for some.
_BATCH = 4096


class Items:
    """The questions of a parquet file, which stays open: a pipeline that replaces it meanwhile does no harm.

    Attributes:
        ids: Ids of the items, in the order of the chat, shape ``(n,)``.
        conversations: The conversation of each, shape ``(n,)``.
    """

    def __init__(self, path: Path) -> None:
        """Read the ids.

        Raises:
            DataError: If it is not a file of questions, or holds none, or one id twice.
        """
        Rows(path, QUESTIONS)
        self._path = path
        with self._reading():
            self._file = pq.ParquetFile(path)
            table = self._file.read(columns=["item_id", "conversation"])
            self.ids: list[str] = table["item_id"].to_pylist()
            self.conversations: list[str] = table["conversation"].to_pylist()
        metadata = self._file.metadata
        sizes = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
        self._starts = [*accumulate(sizes, initial=0)]
        self._rows = {item_id: row for row, item_id in enumerate(self.ids)}
        self._read: dict[str, dict[str, Any]] = {}
        if not self.ids:
            raise DataError(f"{path}: expected questions, got none. Run the stages before it, or lower a threshold.")
        if len(self._rows) < len(self.ids) or None in self._rows or None in self.conversations:
            raise DataError(
                f"{path}: expected an id of its own, and a conversation, for every question. Write it again."
            )

    def get(self, item_id: str, upcoming: Sequence[str] = ()) -> dict[str, Any]:
        """One question, a row of ``QUESTIONS``.

        Args:
            item_id: Its id.
            upcoming: Ids likely to be asked for next: those stored with it are kept at hand.

        Raises:
            DataError: If the file is damaged.
        """
        if item_id not in self._read:
            group = self._group(self._rows[item_id])
            near = [other for other in upcoming[:AHEAD] if self._group(self._rows[other]) == group]
            # Forgotten at some size, so that memory does not grow with the work done.
            kept = {} if len(self._read) > 4 * AHEAD else self._read
            self._read = {**kept, **self._load(group, {item_id, *near})}
        return self._read[item_id]

    def containing(self, text: str) -> set[str]:
        """Ids of the questions whose own text has ``text`` in it, upper and lower case alike.

        Raises:
            DataError: If the file is damaged.
        """
        found: set[str] = set()
        wanted = text.encode("utf-8", "replace").decode("utf-8")
        with self._reading():
            for batch in self._file.iter_batches(65_536, columns=["item_id", "text"]):
                hits = batch.filter(pc.match_substring(batch["text"], wanted, ignore_case=True))
                found.update(hits["item_id"].to_pylist())
        return found

    def _group(self, row: int) -> int:
        return bisect_right(self._starts, row) - 1

    def _load(self, group: int, wanted: set[str]) -> dict[str, dict[str, Any]]:
        rows = sorted(self._rows[item_id] - self._starts[group] for item_id in wanted)
        found: dict[str, dict[str, Any]] = {}
        start = 0
        with self._reading():
            for batch in self._file.iter_batches(_BATCH, row_groups=[group], columns=QUESTIONS.names):
                wanted_rows = [row - start for row in rows if start <= row < start + batch.num_rows]
                found.update((row["item_id"], row) for row in batch.take(pa.array(wanted_rows, pa.int64())).to_pylist())
                start += batch.num_rows
                if start > rows[-1]:
                    break
        if found.keys() != wanted:
            raise DataError(f"{self._path}: its rows changed while it was open. Start again.")
        return found

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            what = type(error).__name__
            raise DataError(f"{self._path}: expected a parquet file of questions: {what}. Write it again.") from error


def listed_items(path: Path, known: set[str]) -> tuple[list[str], int]:
    """The items that a list (JSON lines with an ``item_id``) names, in its order, and how many others it names.

    Raises:
        DataError: If it is malformed, or names no question.
    """
    named: dict[str, int] = {}
    for number, row in read_jsonl(path):
        if not isinstance(row.get("item_id"), str):
            raise DataError(f'{path}:{number}: expected a field "item_id" with a text in it.')
        named.setdefault(row["item_id"], number)
    found = [item_id for item_id in named if item_id in known]
    if not found:
        raise DataError(f"{path}: expected ids of the questions; none of the {len(named):,} named there is one.")
    return found, len(named) - len(found)

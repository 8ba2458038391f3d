"""Answers of endpoints on disk, so that nothing is paid for twice.

An answer is kept as numbers under a hash of what was asked, with the tokens it took: never a text, never a key, and
never a failure.

One SQLite file in WAL mode, one transaction an answer. A committed answer outlives the process however it ends, and
with ``synchronous=NORMAL`` a power cut may cost the last answers but never the file. Processes may share the file.

Sources:
    sqlite.org/wal.html; sqlite.org/pragma.html#pragma_synchronous.
"""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from chatladder.io.console import DataError

FILE_NAME = "answers.sqlite"
VERSION = 1
#: Seconds to wait for another process's transaction.
BUSY_SECONDS = 60.0
#: SQLite took at most 999 variables in one statement before 3.32.
KEYS_A_QUERY = 900
#: The numbers of one answer, named by the cache's columns.
Values = tuple[float | None, ...]


class KeptReply(NamedTuple):
    """One answer, and the tokens of its prompt and of itself."""

    values: Values
    prompt_tokens: int
    completion_tokens: int


class AnswerCache:
    """The answers under one folder.

    Attributes:
        path: The SQLite file.
    """

    def __init__(self, folder: Path, columns: Mapping[str, str]) -> None:
        """Open the file, and make it and its folder where there is none.

        Args:
            folder: The folder, a kind of answer each.
            columns: The kind's numbers by name, with their SQL type.

        Raises:
            DataError: If it cannot be written, or is not a file of answers.
        """
        self.path = folder / FILE_NAME
        self._columns = ", ".join([*columns, "prompt_tokens", "completion_tokens"])
        self._insert = (
            f"INSERT INTO answers VALUES (?, ?{', ?' * (len(columns) + 2)}) ON CONFLICT (key, form) DO NOTHING"
        )
        declared = ", ".join(f"{name} {kind}" for name, kind in columns.items())
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"{folder}: cannot be written: {error.strerror or error}.") from error
        with self._explained():
            # Every statement commits by itself.
            self._database = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None)
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=NORMAL")
            version = self._database.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, VERSION):
                raise DataError(f"{self.path}: expected answers of version {VERSION}, got {version}; move it away.")
            self._database.execute(
                f"CREATE TABLE IF NOT EXISTS answers (key BLOB NOT NULL, form TEXT NOT NULL, {declared}, "
                "prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, PRIMARY KEY (key, form)) "
                "WITHOUT ROWID"
            )
            self._database.execute(f"PRAGMA user_version={VERSION}")

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def find(self, keys: Sequence[bytes], form: str) -> dict[bytes, KeptReply]:
        """Return the answers to those ``keys`` that were asked in this form."""
        kept = {}
        with self._explained():
            for start in range(0, len(keys), KEYS_A_QUERY):
                some = keys[start : start + KEYS_A_QUERY]
                query = (
                    f"SELECT key, {self._columns} FROM answers WHERE form = ? AND key IN ({','.join('?' * len(some))})"
                )
                for key, *values, prompt, completion in self._database.execute(query, (form, *some)):
                    kept[key] = KeptReply(tuple(values), prompt, completion)
        return kept

    def keep(self, key: bytes, form: str, answer: KeptReply) -> KeptReply:
        """Commit one answer; it outlives this process when this returns.

        Returns:
            The answer that counts: that of another process which answered before, if one did.
        """
        with self._explained():
            if self._database.execute(self._insert, (key, form, *answer.values, *answer[1:])).rowcount:
                return answer
        return self.find([key], form)[key]

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise DataError(
                f"{self.path}: the answers kept here cannot be read or written: {error}. "
                "Free space if the disk is full; otherwise move the file away, and its answers are asked for again."
            ) from error

"""A cache on disk of answers from endpoints, so that nothing is paid for twice.

An answer is stored as numbers under a hash of its question, with the tokens it took: never a text, an API key or a
failure.

The cache is one SQLite file in WAL mode, with one transaction for each answer. A committed answer outlives the process
however it ends; with ``synchronous=NORMAL`` a power cut may cost the last answers but never the file. Processes may
share the file.

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
#: The most variables in a statement; before 3.32 SQLite allowed 999.
KEYS_A_QUERY = 900
#: The numbers of one answer, in the order of the cache's columns.
Values = tuple[float | None, ...]


class KeptReply(NamedTuple):
    """One answer, and the tokens of its prompt and of the answer."""

    values: Values
    prompt_tokens: int
    completion_tokens: int


class AnswerCache:
    """The cached answers in one folder.

    Attributes:
        path: The SQLite file.
    """

    def __init__(self, folder: Path, columns: Mapping[str, str]) -> None:
        """Open the file; create it and its folder if they are missing.

        Args:
            folder: The folder for one kind of answer.
            columns: The numbers of that kind by name, with their SQL type.

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
            # Autocommit: every statement is a transaction.
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
        """Return the answers to those of ``keys`` that were asked in this form."""
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
        """Commit one answer; when this returns, the answer outlives the process.

        Returns:
            The answer that counts: an earlier one of another process, if there is one.
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

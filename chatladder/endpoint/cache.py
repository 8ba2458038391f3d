"""Answers of endpoints on disk, so that nothing is paid for twice.

A judge's answer is kept as the hash of what was asked, its score and the tokens it took: never the text, never a key.
Only scores are kept; failures and unusable answers are not.

One SQLite file in WAL mode, one transaction an answer. A committed answer outlives the process however it ends, and
with ``synchronous=NORMAL`` a power cut may cost the last answers but never the file. Processes may share the file.

Sources:
    sqlite.org/wal.html; sqlite.org/pragma.html#pragma_synchronous.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from chatladder.io.console import DataError

FILE_NAME = "answers.sqlite"
VERSION = 1
#: Seconds to wait for another process's transaction.
BUSY_SECONDS = 60.0
#: SQLite took at most 999 variables in one statement before 3.32.
KEYS_A_QUERY = 900
_TABLE = """
CREATE TABLE IF NOT EXISTS answers (
  key BLOB NOT NULL,
  form TEXT NOT NULL,
  score REAL NOT NULL CHECK (score BETWEEN 0 AND 10),
  prompt_tokens INTEGER NOT NULL,
  completion_tokens INTEGER NOT NULL,
  PRIMARY KEY (key, form)
) WITHOUT ROWID
"""
_INSERT = "INSERT INTO answers VALUES (?, ?, ?, ?, ?) ON CONFLICT (key, form) DO NOTHING"


class AnswerFile:
    """One table of answers in a file of its own.

    Attributes:
        path: The SQLite file.
    """

    def __init__(self, folder: Path, table: str = _TABLE) -> None:
        """Open the file, and make it and its folder where there is none; ``table`` is the statement that makes it.

        Raises:
            DataError: If it cannot be written, or is no file of answers.
        """
        self.path = folder / FILE_NAME
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
            self._database.execute(table)
            self._database.execute(f"PRAGMA user_version={VERSION}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise DataError(
                f"{self.path}: the answers kept here cannot be read or written: {error}. "
                "Free space if the disk is full; otherwise move the file away, and its answers are asked for again."
            ) from error


class AnswerCache(AnswerFile):
    """The scores under one folder."""

    def scores(self, keys: Sequence[bytes], forms: Sequence[str]) -> dict[bytes, float]:
        """The scores of those ``keys`` that were answered in one of ``forms``, the first form that has one."""
        found: dict[tuple[bytes, str], float] = {}
        with self._explained():
            for start in range(0, len(keys), KEYS_A_QUERY):
                some = keys[start : start + KEYS_A_QUERY]
                marks = ",".join("?" * len(some))
                rows = self._database.execute(f"SELECT key, form, score FROM answers WHERE key IN ({marks})", some)
                found.update(((key, form), score) for key, form, score in rows)
        return {key: found[key, form] for form in reversed(forms) for key in keys if (key, form) in found}

    def tokens(self, keys: Sequence[bytes], forms: Sequence[str]) -> tuple[int, int]:
        """Prompt and completion tokens that the answers to ``keys`` took, of the first form that has one."""
        totals = [0, 0]
        with self._explained():
            for start in range(0, len(keys), KEYS_A_QUERY):
                some = keys[start : start + KEYS_A_QUERY]
                marks = ",".join("?" * len(some))
                rows = self._database.execute(
                    f"SELECT key, form, prompt_tokens, completion_tokens FROM answers WHERE key IN ({marks})", some
                )
                found = {(key, form): (prompt, completion) for key, form, prompt, completion in rows}
                for key in some:
                    counted = next((found[key, form] for form in forms if (key, form) in found), (0, 0))
                    totals = [total + tokens for total, tokens in zip(totals, counted, strict=True)]
        return totals[0], totals[1]

    def keep(self, key: bytes, form: str, score: float, prompt_tokens: int, completion_tokens: int) -> float:
        """Commit one answer; it outlives this process when this returns.

        Returns:
            The score that counts: that of another process which answered before, if one did.
        """
        row = (key, form, score, prompt_tokens, completion_tokens)
        with self._explained():
            done = self._database.execute(_INSERT, row)
            if done.rowcount:
                return score
        return self.scores([key], [form])[key]

"""Answers of served rungs on disk, so that none is paid for twice: probabilities under a hash of what was asked.

Neither prompts nor what a model wrote are kept, nor a key. An answer that is no option is kept too: asked again, a
model that answers without chance would say the same.
"""

from collections.abc import Sequence
from pathlib import Path

from chatladder.endpoint.cache import KEYS_A_QUERY, AnswerFile
from chatladder.models.served.reading import Answer

#: Where answers are kept unless told otherwise; git and DVC pass over it.
CACHE_FOLDER = Path(".chatladder/served")
_TABLE = """
CREATE TABLE IF NOT EXISTS answers (
  key BLOB NOT NULL,
  form TEXT NOT NULL,
  needed REAL,
  not_needed REAL,
  unknown REAL,
  seen REAL NOT NULL,
  prompt_tokens INTEGER NOT NULL,
  completion_tokens INTEGER NOT NULL,
  PRIMARY KEY (key, form)
) WITHOUT ROWID
"""
_INSERT = "INSERT INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key, form) DO NOTHING"


class KeptAnswers(AnswerFile):
    """The answers under one folder."""

    def __init__(self, folder: Path) -> None:
        """Open the file, and make it and its folder where there is none.

        Raises:
            DataError: If it cannot be written, or is no file of answers.
        """
        super().__init__(folder, _TABLE)

    def find(self, keys: Sequence[bytes], form: str) -> dict[bytes, Answer]:
        """The answers to those ``keys`` that were asked in this form."""
        found = {}
        with self._explained():
            for start in range(0, len(keys), KEYS_A_QUERY):
                some = keys[start : start + KEYS_A_QUERY]
                marks = ",".join("?" * len(some))
                rows = self._database.execute(
                    f"SELECT key, needed, not_needed, unknown, seen FROM answers WHERE form = ? AND key IN ({marks})",
                    (form, *some),
                )
                for key, *shares, seen in rows:
                    found[key] = Answer(None if shares[0] is None else tuple(shares), seen)
        return found

    def keep(self, key: bytes, form: str, answer: Answer, prompt_tokens: int, completion_tokens: int) -> Answer:
        """Commit one answer; it outlives this process when this returns.

        Returns:
            The answer that counts: that of another process which answered before, if one did.
        """
        row = (key, form, *(answer.shares or (None, None, None)), answer.seen, prompt_tokens, completion_tokens)
        with self._explained():
            if self._database.execute(_INSERT, row).rowcount:
                return answer
        return self.find([key], form)[key]

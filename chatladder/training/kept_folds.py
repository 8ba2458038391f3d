"""Answers of folds that are done, kept while others are not: a long run that is stopped loses one fold at most."""

import re
from collections.abc import Mapping, Sequence
from glob import escape
from pathlib import Path
from typing import Any

from chatladder.io.console import DataError
from chatladder.io.rows import PREDICTIONS, read_rows, write_rows
from chatladder.models.digests import described, digest

#: Outside the outs, which DVC removes before it runs a stage.
FOLDER = Path(".chatladder/folds")
#: Names that do not say whose fold it is: earlier versions gave them, and nothing reads them.
_UNNAMED = re.compile(r"[0-9a-f]{32}\.parquet")


class KeptFolds:
    """The folds of one run, each under its out's name and a digest of all that its answers depend on.

    Args:
        out: Predictions that they become.
        sources: Files, and folders with all that is in them: the base, and the code that trains and answers.
        options: Of the training.
        folder: Where they are kept.
    """

    def __init__(self, out: Path, sources: Sequence[Path], options: Mapping[str, Any], folder: Path = FOLDER) -> None:
        self._folder = folder
        self._out = f"{out.name}-{digest(str(out.absolute()))[:8]}"
        self._run = [dict(options), described(sources)]

    def get(
        self, learned: Sequence[Mapping[str, Any]], asked: Sequence[Mapping[str, Any]]
    ) -> list[dict[str, Any]] | None:
        """The answers of a fold, if they were kept; of a file that is damaged none are used.

        Args:
            learned: Alpaca rows that the fold's adapter learns.
            asked: Alpaca rows that it answers; their labels do not matter.
        """
        path = self._path(learned, asked)
        if not path.is_file():
            return None
        try:
            answers = read_rows(path, PREDICTIONS).to_pylist()
        except (DataError, UnicodeDecodeError):
            return None  # to train anew costs time, to stop here would cost it again and again
        return answers if [row["item_id"] for row in answers] == [row["item_id"] for row in asked] else None

    def put(
        self, learned: Sequence[Mapping[str, Any]], asked: Sequence[Mapping[str, Any]], answers: list[dict[str, Any]]
    ) -> None:
        """Keep the answers of a fold: rows of ``PREDICTIONS``, in the order of ``asked``.

        Raises:
            DataError: If the disk is full or the folder cannot be written.
        """
        write_rows(self._path(learned, asked), answers, PREDICTIONS)

    def clear(self) -> None:
        """Forget the folds of this run, since its out holds them all, and those that other settings of it left."""
        unnamed = [path for path in self._folder.glob("*.parquet") if _UNNAMED.fullmatch(path.name)]
        for path in [*self._folder.glob(f"{escape(self._out)}-*.parquet"), *unnamed]:
            path.unlink(missing_ok=True)

    def _path(self, learned: Sequence[Mapping[str, Any]], asked: Sequence[Mapping[str, Any]]) -> Path:
        questions = [[row["item_id"], row["instruction"], row["options"]] for row in asked]
        run = digest([self._run, list(map(dict, learned)), questions])
        return self._folder / f"{self._out}-{run}.parquet"

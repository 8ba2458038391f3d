"""Answers of folds that are done, kept while others are not: a long run that is stopped loses one fold at most."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from stages.cli import DataError
from stages.rows import PREDICTIONS, read_rows, write_rows

#: Outside the outs, which DVC removes before it runs a stage.
FOLDER = Path(".chatladder/folds")
#: Libraries whose releases differ in their last digits.
LIBRARIES = ("peft", "tokenizers", "torch", "transformers")


class KeptFolds:
    """The folds of one run, each under a digest of all that its answers depend on.

    Args:
        sources: Files, and folders with all that is in them: the base, and the code that trains and answers.
        options: Of the training.
        folder: Where they are kept.
    """

    def __init__(self, sources: Sequence[Path], options: Mapping[str, Any], folder: Path = FOLDER) -> None:
        self._folder = folder
        self._used: set[Path] = set()
        releases = {name: version(name) for name in LIBRARIES}
        files = [file for source in sources for file in _files(source)]
        self._run = json.dumps([options, releases, files], sort_keys=True)

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
        """Forget the folds of this run: its out holds them all."""
        for path in self._used:
            path.unlink(missing_ok=True)

    def _path(self, learned: Sequence[Mapping[str, Any]], asked: Sequence[Mapping[str, Any]]) -> Path:
        questions = [[row["item_id"], row["instruction"], row["options"]] for row in asked]
        fold = json.dumps([self._run, list(map(dict, learned)), questions], sort_keys=True)
        path = self._folder / f"{hashlib.sha256(fold.encode()).hexdigest()[:32]}.parquet"
        self._used.add(path)
        return path


def _files(source: Path) -> Iterator[tuple[str, str]]:
    """Names of files and digests of what they hold, in a fixed order; what Python caches is no content."""
    inside = [path for path in source.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    for path in sorted(inside) if source.is_dir() else [source]:
        with path.open("rb") as file:
            yield path.relative_to(source.parent).as_posix(), hashlib.file_digest(file, "sha256").hexdigest()

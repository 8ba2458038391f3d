"""Answers of folds that are done, kept while others are not: a long run that is stopped loses one fold at most."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.rows import PREDICTIONS, read_rows, write_rows

#: Outside the outs, which DVC removes before it runs a stage.
FOLDER = Path(".chatladder/folds")


class KeptFolds:
    """The folds of one run, each under a digest of all that its answers depend on."""

    def __init__(self, base: Path, options: Mapping[str, Any], folder: Path = FOLDER) -> None:
        self._folder = folder
        self._asked_for: list[Path] = []
        digest = hashlib.sha256(json.dumps(options, sort_keys=True).encode())
        for path in sorted(path for path in base.rglob("*") if path.is_file()):
            digest.update(f"\0{path.relative_to(base).as_posix()}\0".encode())
            digest.update(path.read_bytes())
        self._run = digest.digest()

    def get(
        self, learned: Sequence[Mapping[str, Any]], asked: Sequence[Mapping[str, Any]]
    ) -> list[dict[str, Any]] | None:
        """The answers of a fold, if they were kept.

        Raises:
            DataError: If the kept file is damaged.
        """
        path = self._path(learned, asked)
        return read_rows(path, PREDICTIONS).to_pylist() if path.is_file() else None

    def put(
        self, learned: Sequence[Mapping[str, Any]], asked: Sequence[Mapping[str, Any]], answers: list[dict[str, Any]]
    ) -> None:
        """Keep the answers of a fold."""
        path = self._path(learned, asked)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_rows(path, answers, PREDICTIONS)

    def clear(self) -> None:
        """Forget the folds of this run: its out holds them all."""
        for path in self._asked_for:
            path.unlink(missing_ok=True)

    def _path(self, learned: Sequence[Mapping[str, Any]], asked: Sequence[Mapping[str, Any]]) -> Path:
        digest = hashlib.sha256(self._run)
        questions = [[row["item_id"], row["instruction"], row["options"]] for row in asked]
        digest.update(json.dumps([list(map(dict, learned)), questions], sort_keys=True).encode())
        path = self._folder / f"{digest.hexdigest()[:32]}.parquet"
        if path not in self._asked_for:
            self._asked_for.append(path)
        return path

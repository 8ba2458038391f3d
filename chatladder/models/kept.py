"""A long run's results, kept outside the outs, which DVC removes before it runs a stage, so that a killed run resumes.

A file's name says what its content depends on: the out that it becomes, and a digest of sources, settings and code.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from glob import escape
from importlib.metadata import version
from pathlib import Path
from typing import Any

from chatladder.io.console import DataError
from chatladder.models.devices import LIBRARIES

#: The folder of the answers of a stage that is not done.
ANSWERS_FOLDER = Path(".chatladder/answers")
#: The code that trains adapters and lets models answer; results of other code are not reused.
CODE = tuple(Path(__file__).parents[1] / folder for folder in ("demo", "models", "training"))


def beginning(out: Path) -> str:
    """Return the prefix of file names for an out, by which a finished run finds what other settings left."""
    return f"{out.name}-{digest(str(out.absolute()))[:8]}"


def digest(value: Any) -> str:
    """Return 32 hexadecimal digits for a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]


def described(sources: Sequence[Path]) -> list[Any]:
    """Return the versions of libraries, and the names and digests of files and of folders' content."""
    releases: list[Any] = [{name: version(name) for name in LIBRARIES}]
    return releases + [file for source in sources for file in _files(source)]


def _files(source: Path) -> Iterator[tuple[str, str]]:
    """Yield the names and digests of files, in a fixed order; Python's caches are left out."""
    inside = [path for path in source.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    for path in sorted(inside) if source.is_dir() else [source]:
        with path.open("rb") as file:
            yield path.relative_to(source.parent).as_posix(), hashlib.file_digest(file, "sha256").hexdigest()


class KeptBatches:
    """A model's answers to the batches of a run; each is written when it is done, as a line of JSON.

    Args:
        run: The beginning of the paths of the run's files; None to keep nothing.
        part: The name of the part of the run that this process works on. Each writes a file, and reads all.
    """

    def __init__(self, run: Path | None = None, part: str = "") -> None:
        self._path = run and run.with_name(f"{run.name}-{part}.jsonl")
        self._results = dict(_read_batches(run)) if run else {}

    def get(self, batch: Sequence[int]) -> Any:
        """Return the result of a batch, None if it is not done."""
        return self._results.get(batch[0])

    def put(self, batch: Sequence[int], result: Any) -> None:
        """Write the result of a batch, a JSON value.

        Raises:
            DataError: If the disk is full or the folder cannot be written.
        """
        if not self._path:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8", newline="\n") as file:
                # A line that a killed run wrote in part then ends before the next.
                file.write(f"\n{json.dumps([batch[0], result])}")
        except OSError as error:
            raise DataError(f"{self._path}: cannot be written: {error.strerror or error}.") from error


def _read_batches(run: Path) -> Iterator[tuple[int, Any]]:
    """Yield the first index of each batch that is done, and its result."""
    for path in sorted(run.parent.glob(f"{escape(run.name)}-*.jsonl")):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                first, result = json.loads(line)
            except ValueError:
                continue  # written in part
            yield first, result


def answers_run(out: Path, base: Path, adapter: Path | None, asked: Any) -> Path:
    """Return where the answers of a run are kept.

    Args:
        out: The file that they become.
        base: The model's folder.
        adapter: That of its adapter; None for the untouched model.
        asked: Prompts and settings, a JSON value.
    """
    sources = [base, *([adapter] if adapter else []), *CODE]
    return (ANSWERS_FOLDER / f"{beginning(out)}-{digest([described(sources), asked])}").absolute()


def clear_answers(out: Path) -> None:
    """Remove what is kept for an out, also by runs with other settings."""
    for path in ANSWERS_FOLDER.glob(f"{escape(beginning(out))}-*.jsonl"):
        path.unlink(missing_ok=True)

"""Names for work that is kept while a run is not done: a digest of all that its result depends on."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

#: What adapters are trained and scored with: answers of other code are made again.
CODE = tuple(Path(__file__).parents[1] / folder for folder in ("demo", "models", "training"))
#: Libraries whose releases differ in their last digits.
LIBRARIES = ("peft", "tokenizers", "torch", "transformers")


def digest(value: Any) -> str:
    """32 hexadecimal digits for a value that JSON can hold."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]


def described(sources: Sequence[Path]) -> list[Any]:
    """Releases of libraries, and names and digests of files and of all that is in folders."""
    releases: list[Any] = [{name: version(name) for name in LIBRARIES}]
    return releases + [file for source in sources for file in _files(source)]


def _files(source: Path) -> Iterator[tuple[str, str]]:
    """Names of files and digests of what they hold, in a fixed order; what Python caches is no content."""
    inside = [path for path in source.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    for path in sorted(inside) if source.is_dir() else [source]:
        with path.open("rb") as file:
            yield path.relative_to(source.parent).as_posix(), hashlib.file_digest(file, "sha256").hexdigest()

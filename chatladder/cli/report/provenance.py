"""Where a page comes from: the command that makes it again, versions, and a hash of every file that was read."""

import hashlib
import shlex
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import python_version

from chatladder.io.console import DataError

#: What the figures of the page depend on.
_PACKAGES = ("chatladder", "numpy", "scikit-learn", "krippendorff", "scipy", "Jinja2")


def shown_path(path: Path) -> str:
    """A path as a page that is passed on may show it: below the working folder, or its name alone."""
    try:
        return path.resolve().relative_to(Path.cwd().resolve()).as_posix()
    except ValueError:
        return f"…/{path.name}"


def command(options: Iterable[tuple[str, str | int | Path | None]]) -> str:
    """The command line, options with the value None as flags."""
    words = ["chatladder", "report"]
    for name, value in options:
        words.append(f"--{name}")
        if value is not None:
            words.append(shlex.quote(shown_path(value) if isinstance(value, Path) else str(value)))
    return " ".join(words)


def versions() -> list[tuple[str, str]]:
    """Package -> version."""
    found = [("Python", python_version())]
    for name in _PACKAGES:
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:
            found.append((name, "not installed"))
    return found


def hashes(paths: Iterable[Path]) -> list[tuple[str, str]]:
    """Path and SHA-256 of every file, in the order given, each file once.

    Raises:
        DataError: If one cannot be read.
    """
    found = {}
    for path in paths:
        try:
            with path.open("rb") as file:
                found[shown_path(path)] = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror or error}.") from error
    return list(found.items())

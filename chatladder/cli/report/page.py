"""The page itself: a filled-in template, with all text of the chat escaped and made harmless."""

import base64
import hashlib
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from platform import python_version
from typing import Any

from chatladder.cli.annotate.display import clock, literal, shortened
from chatladder.evaluation.summary import short_count
from chatladder.io.console import DataError

#: Nothing may be loaded or run, even if escaping missed something; one style sheet is allowed, by its hash.
_POLICY = "default-src 'none'; style-src 'sha256-{}'; img-src data:; base-uri 'none'; form-action 'none'"
#: Packages that the figures of the page depend on.
_PACKAGES = ("chatladder", "numpy", "scikit-learn", "krippendorff", "scipy", "Jinja2")


def signed(value: float | None, digits: int = 3) -> str:
    """Return a number with its sign, a true minus; a dash for None."""
    return "–" if value is None else f"{value + 0.0:+.{digits}f}".replace("-", "−")


def plain(value: float | None, digits: int = 2) -> str:
    """Return a number; a dash for None."""
    return "–" if value is None else f"{value:.{digits}f}".replace("-", "−")


def state(value: str | None) -> str:
    """Return a label or state as words, such as "not needed"."""
    return "not asked before" if value is None else value.replace("_", " ")


def direction(old: str | None, new: str | None) -> str:
    """Return a change of a scored label, in words."""
    if old is None:
        return f"came in as {state(new)}"
    return f"left, was {state(old)}" if new is None else f"{state(old)} → {state(new)}"


def shown_path(path: Path) -> str:
    """Return a path that a shared page may show: relative to the working folder, or the name alone."""
    try:
        return path.resolve().relative_to(Path.cwd().resolve()).as_posix()
    except ValueError:
        return f"…/{path.name}"


def versions() -> list[tuple[str, str]]:
    """Return the version of each package that figures depend on."""
    versions = [("Python", python_version())]
    for name in _PACKAGES:
        try:
            versions.append((name, version(name)))
        except PackageNotFoundError:
            versions.append((name, "not installed"))
    return versions


def hashes(paths: Iterable[Path]) -> dict[str, str]:
    """Return path and SHA-256 of every file, in the order given.

    Raises:
        DataError: If one cannot be read.
    """
    digests = {}
    for path in paths:
        try:
            with path.open("rb") as file:
                digests[shown_path(path)] = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror or error}.") from error
    return digests


def _harmless(value: Any) -> Any:
    """Return the value of an expression of the template without control characters; it is escaped after this."""
    from markupsafe import Markup

    if value is None:
        return "–"
    return literal(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def render(context: Mapping[str, Any]) -> str:
    """Fill in the page.

    Args:
        context: The values that the template shows, by name.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("chatladder.cli.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_harmless,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "signed": signed,
        "plain": plain,
        "count": "{:,}".format,
        "short_count": short_count,
        "state": state,
        "shown_path": shown_path,
        "shortened": shortened,
        "way": lambda each: direction(each.old, each.new),
        "clock": clock,
    }
    style = files("chatladder.cli.report").joinpath("report.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    template = environment.get_template("report.html")
    return template.render(**context, style=Markup(style), policy=_POLICY.format(digest))

"""Ladders that are ready to use: which models, with which settings, at which commit, and of what shape.

A catalogue is a YAML file: ``ladder`` is written into params.yaml word for word (less what is chosen otherwise),
``params`` are values of params.yaml that the whole ladder shares, ``review`` names the rungs whose adapters judge
labels, and ``models`` says of each model of the hub how many parameters it has and what its config.json says of its
shape, by which needs are counted before anything is downloaded.
"""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from chatladder.io.console import DataError
from chatladder.presets.nodes import block, child, compose, keys, plain, span

FOLDER = Path(__file__).parent
COMMIT = re.compile(r"[0-9a-f]{40}")
#: Names that DVC's command line and its foreach both take.
KEY = re.compile(r"[A-Za-z]\w*", re.ASCII)
_SOURCES = ("embedded", "folder", "hub")


@dataclass(frozen=True)
class Catalogue:
    """One ladder.

    Attributes:
        name: As the command takes it.
        title: What it is, in a line.
        rungs: Key -> what params.yaml holds of it, smallest first.
        texts: Key -> its lines as they go under ``ladder:``.
        train_texts: Key -> the lines of its train section.
        params: Dotted path in params.yaml -> value, as it is written there.
        review: Keys of the rungs whose adapters judge labels.
        models: Hub repo -> ``params``, perhaps ``active_params``, and ``config``.
    """

    name: str
    title: str
    rungs: dict[str, dict[str, Any]]
    texts: dict[str, str]
    train_texts: dict[str, str]
    params: dict[str, str]
    review: list[str]
    models: dict[str, dict[str, Any]]


def names() -> list[str]:
    """The catalogues of this package."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def read_text(path: Path) -> str:
    """Text of a YAML file, with line feeds alone.

    Raises:
        DataError: If it cannot be read, or is not UTF-8.
    """
    try:
        return path.read_bytes().decode("utf-8").replace("\r\n", "\n")
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: expected UTF-8, got byte 0x{error.object[error.start]:02x}.") from error


def read(name: str) -> Catalogue:
    """A catalogue of this package, or a file of the same form.

    Raises:
        DataError: If there is none of that name, or it has another form.
    """
    path = FOLDER / f"{name}.yaml"
    if name not in names():
        path = Path(name)
        if path.suffix not in (".yaml", ".yml") or not path.is_file():
            raise DataError(f"{name!a}: expected {', '.join(names())} or a catalogue's .yaml file, got neither.")
    place = str(path) if path.parent != FOLDER else path.name
    text = read_text(path)
    root = compose(text, place)
    ladder = block(root, "ladder", place)[1]
    content = plain(text)
    rungs = {key: _checked(key, rung, place) for key, rung in content["ladder"].items()}
    texts = {key.value: _lines(text, key, value) for key, value in ladder.value}
    for key, rung in rungs.items():
        if rung["base"]["source"] == "hub":
            block(ladder, f"{key}.base", place)  # its commit gets a line
    trains = {key: _lines(text, *child(ladder, f"{key}.train", place)) for key in keys(ladder)}
    review = content.get("review") or []
    if not isinstance(review, list) or not review or not {*review} <= {*rungs}:
        raise DataError(f"{place}: expected review to name rungs of its ladder, got {review!a}.")
    values: dict[str, str] = {}
    if content.get("params"):
        _flatten(block(root, "params", place)[1], "", values)
    models = content.get("models") or {}
    return Catalogue(path.stem, str(content.get("title", name)), rungs, texts, trains, values, review, models)


def _checked(key: Any, rung: Any, place: str) -> dict[str, Any]:
    if not isinstance(key, str) or not KEY.fullmatch(key):
        raise DataError(f"{place}: expected a rung's key of letters, digits and _, a letter first, got {key!a}.")
    parts = rung if isinstance(rung, dict) else {}
    base, train = parts.get("base"), parts.get("train")
    if not isinstance(base, dict) or not isinstance(train, dict) or base.get("source") not in _SOURCES:
        raise DataError(
            f"{place}: ladder.{key}: expected sections base (with a source, {', '.join(_SOURCES)}) and train."
        )
    if base["source"] == "hub" and not re.fullmatch(r"[\w.-]+/[\w.-]+", str(base.get("repo", ""))):
        raise DataError(f"{place}: ladder.{key}: expected a repo, owner/name, got {base.get('repo')!a}.")
    return parts


def _lines(text: str, key: Any, value: Any) -> str:
    start, end = span(text, key, value)
    return text[start:end]


def _flatten(section: Any, prefix: str, into: dict[str, str]) -> None:
    from ruamel.yaml.nodes import MappingNode

    for key, value in section.value:
        path = f"{prefix}{key.value}"
        if isinstance(value, MappingNode):
            _flatten(value, f"{path}.", into)
        else:
            into[path] = str(value.value)


@cache
def known_models() -> dict[str, dict[str, Any]]:
    """What the catalogues of this package say of the hub's models, by repo."""
    found: dict[str, dict[str, Any]] = {}
    for name in names():
        found |= read(name).models
    return found

"""Put other rungs into params.yaml, whose comments, order and form of numbers stay."""

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatladder.io.console import DataError
from chatladder.io.files import whole_file
from chatladder.io.params import round_trip, section_of

if TYPE_CHECKING:
    from ruamel.yaml.comments import CommentedMap

COMMIT = re.compile(r"[0-9a-f]{40}")
#: Names that DVC's command line and its foreach both take.
KEY = re.compile(r"[A-Za-z]\w*", re.ASCII)
#: Where DVC keeps the files that are made for one rung.
DERIVED = (
    "data/bases/{}",
    "data/predictions/vanilla/{}.parquet",
    "data/adapters/{}",
    "data/curves/{}",
    "data/predictions/tuned/{}.parquet",
    "data/predictions/out_of_fold/{}.parquet",
)


def as_text(content: "CommentedMap") -> str:
    """Return sections as YAML."""
    text = io.StringIO()
    round_trip().dump(content, text)
    return text.getvalue()


def write_yaml(path: Path, content: "CommentedMap") -> None:
    """Replace a YAML file, whole or not at all, and keep the kind of its line ends.

    Raises:
        DataError: If it cannot be written.
    """
    end = "\r\n" if b"\r\n" in path.read_bytes() else "\n"
    with whole_file(path) as temporary:
        temporary.write_text(as_text(content), encoding="utf-8", newline=end)


def ladder_of(params: Mapping[str, Any], place: str) -> Any:
    """Return the rungs of params.yaml by their key.

    Raises:
        DataError: If there is none, or one has no section base.
    """
    ladder = section_of(params, "ladder", place)
    if not ladder:
        raise DataError(f"{place}: ladder: expected rungs, got none.")
    for key, rung in ladder.items():
        base = rung.get("base") if isinstance(rung, dict) else None
        if not isinstance(key, str) or not KEY.fullmatch(key) or not isinstance(base, dict):
            raise DataError(f"{place}: ladder: expected rungs with a section base, got {key!a} without.")
    return ladder


def swap_ladder(
    params: "CommentedMap", ladder: Mapping[str, Any], review: Sequence[str], shared: Mapping[str, Any], place: str
) -> list[str]:
    """Put other rungs into params.yaml, and return the other values that changed, a line each.

    Args:
        params: The content of params.yaml.
        ladder: The rungs, by key.
        review: Keys of the rungs whose adapters judge labels.
        shared: Values that all rungs share, by section.
        place: Name of the file, for errors.

    Raises:
        DataError: If the file lacks a section or a value that is to be replaced.
    """
    from ruamel.yaml.comments import CommentedMap, CommentedSeq

    judges = section_of(params, "review", place)
    ladder_of(params, place)
    changes = list(_replace(params, shared, "", place))
    behind = _comments_behind(params["ladder"])
    params["ladder"] = CommentedMap(deepcopy([*ladder.items()]))
    _comments_behind(params["ladder"], behind)
    if list(judges.get("rungs") or ()) != [*review]:
        judges["rungs"] = CommentedSeq(review)
        judges["rungs"].fa.set_flow_style()
    return changes


def _replace(section_: Any, values: Mapping[str, Any], prefix: str, place: str) -> Iterator[str]:
    for name, value in values.items():
        path = f"{prefix}{name}"
        if isinstance(value, dict):
            yield from _replace(section_of(section_, name, place), value, f"{path}.", place)
        elif name not in section_ or isinstance(section_[name], dict):
            raise DataError(f"{place}: expected a value {path}, got {'a section' if name in section_ else 'none'}.")
        elif section_[name] != value:
            yield f"{path}: {section_[name]} -> {value}"
            section_[name] = value


def _comments_behind(section_: "CommentedMap", token: Any = None) -> Any:
    """Take the comment lines behind a section from its last value, where ruamel.yaml has them; put others there."""
    *_, key = section_
    if isinstance(section_[key], dict) and section_[key]:
        return _comments_behind(section_[key], token)
    tokens = section_.ca.items.pop(key, None)
    if token is not None:
        section_.ca.items[key] = [None, None, token, None]
    if tokens is None or tokens[2] is None:
        return None
    tokens[2].value = "\n" + tokens[2].value.partition("\n")[2]  # less the comment beside the value
    return tokens[2]


def leftovers(root: Path, gone: Sequence[str], judges_gone: Sequence[str]) -> list[str]:
    """Return the files and folders that were made for rungs that are no longer named, or no longer judge labels."""
    paths = [path.format(key) for key in gone for path in DERIVED]
    paths += [DERIVED[-1].format(key) for key in judges_gone if key not in gone]
    return [path for path in paths if (root / path).exists()]

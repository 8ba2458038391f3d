"""Ladders that are ready to use: models with their settings, commits and shapes.

A catalogue is a YAML file: ``ladder`` is copied into params.yaml (except what is chosen otherwise), ``params`` are
values of params.yaml that the whole ladder shares, ``languages`` names the languages that its models know, and
``models`` gives for each model of the hub its number of parameters and the shape in its config.json, from which needs
are computed before anything is downloaded.
"""

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatladder.io.console import DataError
from chatladder.io.files import whole_file
from chatladder.io.params import read_yaml, round_trip, section_of

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo
    from ruamel.yaml.comments import CommentedMap


FOLDER = Path(__file__).parent
#: Timeouts in seconds for an answer of the hub, and for the check that it can be reached.
TIMEOUT, SIGN_TIMEOUT = 10.0, 3.0
#: Small models that are trained on the demo's invented chat, and know nothing else.
EMBEDDED = "embedded"
#: Languages of a chat: those of the prompts, and any other.
CHAT_LANGUAGES = ("zh", "en", "other")
_SOURCES = ("embedded", "folder", "hub")


@dataclass(frozen=True)
class Catalogue:
    """One ladder.

    Attributes:
        name: The catalogue's name, as the command takes it.
        title: A line about it.
        rungs: Key -> the rung's section in params.yaml, smallest first.
        params: The values of params.yaml that all rungs share, by section.
        models: Hub repo -> ``params``, optionally ``active_params``, and ``config``.
        languages: The languages that its models know, of ``CHAT_LANGUAGES``.
    """

    name: str
    title: str
    rungs: dict[str, Any]
    params: Mapping[str, Any]
    models: dict[str, dict[str, Any]]
    languages: tuple[str, ...] = CHAT_LANGUAGES

    def choose(self, only: Sequence[str]) -> list[str]:
        """Return the chosen rungs in the catalogue's order, all if none is named.

        Raises:
            DataError: If a chosen rung is not in the catalogue.
        """
        keys = list(self.rungs)
        if unknown := [key for key in only if key not in keys]:
            raise DataError(f"--only: expected rungs of {self.name} ({', '.join(keys)}), got {', '.join(unknown)}.")
        return [key for key in keys if key in only] if only else keys


def names() -> list[str]:
    """Return the names of this package's catalogues."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def read(name: str) -> Catalogue:
    """Read a catalogue of this package, or a file of the same form.

    Raises:
        DataError: If there is no such catalogue, or its form is wrong.
    """
    path = FOLDER / f"{name}.yaml"
    if name not in names():
        path = Path(name)
        if path.suffix not in (".yaml", ".yml") or not path.is_file():
            raise DataError(f"{name!a}: expected {', '.join(names())} or a catalogue's .yaml file, got neither.")
    place = path.name if path.parent == FOLDER else str(path)
    content = read_yaml(path)
    rungs = {key: _checked(key, rung, place) for key, rung in section_of(content, "ladder", place).items()}
    title, params, models = (content.get(name) or {} for name in ("title", "params", "models"))
    languages = tuple(content.get("languages") or CHAT_LANGUAGES)
    return Catalogue(path.stem, str(title or path.stem), rungs, params, models, languages)


def _checked(key: Any, rung: Any, place: str) -> dict[str, Any]:
    if not isinstance(key, str) or not KEY.fullmatch(key):
        raise DataError(f"{place}: expected a rung's key of letters, digits and _, a letter first, got {key!a}.")
    parts: dict[str, Any] = rung if isinstance(rung, dict) else {}
    base, train = parts.get("base"), parts.get("train")
    if not isinstance(base, dict) or not isinstance(train, dict) or base.get("source") not in _SOURCES:
        raise DataError(
            f"{place}: ladder.{key}: expected sections base (with a source, {', '.join(_SOURCES)}) and train."
        )
    if base["source"] == "hub" and not re.fullmatch(r"[\w.-]+/[\w.-]+", str(base.get("repo", ""))):
        raise DataError(f"{place}: ladder.{key}: expected a repo, owner/name, got {base.get('repo')!a}.")
    return parts


@cache
def known_models() -> dict[str, dict[str, Any]]:
    """Return the hub's models that this package's catalogues describe, by repo."""
    return {repo: model for name in names() for repo, model in read(name).models.items()}


def model_info(repo: str, revision: str | None = None) -> "ModelInfo":
    """Ask the hub about a model, at a commit or at the newest one.

    Raises:
        DataError: If the hub does not answer, or has no such model or commit that we may see.
    """
    import httpx2
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, OfflineModeIsEnabled, RepositoryNotFoundError

    where = f"{repo}@{revision}" if revision else repo
    try:
        return HfApi().model_info(repo, revision=revision, timeout=TIMEOUT)
    except OfflineModeIsEnabled as error:
        raise DataError(f"{where}: HF_HUB_OFFLINE is set, so the hub is not asked.") from error
    except GatedRepoError as error:
        raise DataError(f"{where}: its owner wants terms accepted first; do so, then hf auth login.") from error
    except RepositoryNotFoundError as error:
        raise DataError(f"{where}: the hub has no such model, or none that you may see.") from error
    except (HfHubHTTPError, httpx2.HTTPError, OSError, ValueError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise DataError(f"{where}: the hub does not answer as expected: {reason}") from error


def hub_trouble() -> str | None:
    """Return why no model hub can be reached, or None if one answers."""
    import httpx2
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    try:
        get_session().head(constants.ENDPOINT, timeout=SIGN_TIMEOUT)
    except (httpx2.HTTPError, OSError, ValueError) as error:
        return f"{constants.ENDPOINT} does not answer: {(str(error) or type(error).__name__).splitlines()[0]}"
    return None


def current_commit(repo: str) -> str:
    """Return the newest commit of a model, 40 hexadecimal digits.

    Raises:
        DataError: As ``model_info``, or if the hub names no commit.
    """
    commit = model_info(repo).sha
    if not commit or not COMMIT.fullmatch(commit):
        raise DataError(f"{repo}: expected the hub to name a commit of 40 hexadecimal digits, got {commit!a}.")
    return commit


COMMIT = re.compile(r"[0-9a-f]{40}")
#: Names that DVC's command line and its foreach both accept.
KEY = re.compile(r"[A-Za-z]\w*", re.ASCII)
#: The paths of files that are made for one rung.
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


def swap_ladder(params: "CommentedMap", ladder: Mapping[str, Any], shared: Mapping[str, Any], place: str) -> list[str]:
    """Replace the rungs in params.yaml, and return the other values that changed, a line each.

    Of the rungs whose adapters judge labels, those that are in the new ladder stay.

    Args:
        params: The content of params.yaml.
        ladder: The rungs, by key.
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
    named = list(judges.get("rungs") or ())
    if (stay := [key for key in named if key in ladder]) != named:
        changes.append(f"review.rungs: {named} -> {stay}")
    judges["rungs"] = CommentedSeq(stay)
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
    """Take the comment lines after a section off its last value, where ruamel.yaml stores them; put others there."""
    *_, key = section_
    if isinstance(section_[key], dict) and section_[key]:
        return _comments_behind(section_[key], token)
    tokens = section_.ca.items.pop(key, None)
    if token is not None:
        section_.ca.items[key] = [None, None, token, None]
    if tokens is None or tokens[2] is None:
        return None
    tokens[2].value = "\n" + tokens[2].value.partition("\n")[2]  # without the comment on the value's own line
    return tokens[2]


def leftovers(root: Path, gone: Sequence[str], judges_gone: Sequence[str]) -> list[str]:
    """Return the files and folders that were made for rungs that are no longer named, or no longer judge labels."""
    paths = [path.format(key) for key in gone for path in DERIVED]
    paths += [DERIVED[-1].format(key) for key in judges_gone if key not in gone]
    return [path for path in paths if (root / path).exists()]

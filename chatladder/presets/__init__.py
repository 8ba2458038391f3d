"""Ladders that are ready to use: which models, with which settings, at which commit, and of what shape.

A catalogue is a YAML file: ``ladder`` is written into params.yaml as it is (less what is chosen otherwise), ``params``
are values of params.yaml that the whole ladder shares, ``review`` names the rungs whose adapters judge labels, and
``models`` gives for each model of the hub its number of parameters and the shape in its config.json, from which needs
are counted before anything is downloaded.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from chatladder.io.console import DataError
from chatladder.io.params import read_yaml, section_of
from chatladder.presets.params import COMMIT, KEY

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo

FOLDER = Path(__file__).parent
#: Seconds to wait for an answer of the hub.
TIMEOUT = 10.0
_SOURCES = ("embedded", "folder", "hub")


class Rungs(NamedTuple):
    """The keys of all rungs, and of those whose adapters judge labels."""

    ladder: list[str]
    review: list[str]


@dataclass(frozen=True)
class Catalogue:
    """One ladder.

    Attributes:
        name: Its name, as the command takes it.
        title: A line about it.
        rungs: Key -> the rung's section in params.yaml, smallest first.
        params: The values of params.yaml that all rungs share, by section.
        review: Keys of the rungs whose adapters judge labels.
        models: Hub repo -> ``params``, perhaps ``active_params``, and ``config``.
    """

    name: str
    title: str
    rungs: dict[str, Any]
    params: Mapping[str, Any]
    review: list[str]
    models: dict[str, dict[str, Any]]

    def choose(self, only: Sequence[str]) -> Rungs:
        """Return the chosen rungs in the catalogue's order, all if none is named, and those of them that judge labels.

        A choice without the catalogue's own judge takes the largest rung below it, or else the smallest: labels are
        judged by several adapters, so by one that is cheap to train.

        Raises:
            DataError: If a chosen rung is not in the catalogue.
        """
        keys = list(self.rungs)
        if unknown := [key for key in only if key not in keys]:
            raise DataError(f"--only: expected rungs of {self.name} ({', '.join(keys)}), got {', '.join(unknown)}.")
        ladder = [key for key in keys if key in only] if only else keys
        judges = [key for key in self.review if key in ladder]
        below = [key for key in ladder if keys.index(key) < keys.index(self.review[0])]
        return Rungs(ladder, judges or [below[-1] if below else ladder[0]])


def names() -> list[str]:
    """Return the names of this package's catalogues."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def read(name: str) -> Catalogue:
    """Read a catalogue of this package, or a file of the same form.

    Raises:
        DataError: If there is none of that name, or it has another form.
    """
    path = FOLDER / f"{name}.yaml"
    if name not in names():
        path = Path(name)
        if path.suffix not in (".yaml", ".yml") or not path.is_file():
            raise DataError(f"{name!a}: expected {', '.join(names())} or a catalogue's .yaml file, got neither.")
    place = path.name if path.parent == FOLDER else str(path)
    content = read_yaml(path)
    rungs = {key: _checked(key, rung, place) for key, rung in section_of(content, "ladder", place).items()}
    review = content.get("review") or []
    if not isinstance(review, list) or not review or not {*review} <= {*rungs}:
        raise DataError(f"{place}: expected review to name rungs of its ladder, got {review!a}.")
    title, params, models = (content.get(name) or {} for name in ("title", "params", "models"))
    return Catalogue(path.stem, str(title or path.stem), rungs, params, list(review), models)


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
    """Ask the hub about a model, at a commit or at its newest.

    Raises:
        DataError: If the hub does not answer, or has no such model or commit for us.
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


def current_commit(repo: str) -> str:
    """Return the newest commit of a model, 40 hexadecimal digits.

    Raises:
        DataError: As ``model_info``, or if the hub names no commit.
    """
    commit = model_info(repo).sha
    if not commit or not COMMIT.fullmatch(commit):
        raise DataError(f"{repo}: expected the hub to name a commit of 40 hexadecimal digits, got {commit!a}.")
    return commit

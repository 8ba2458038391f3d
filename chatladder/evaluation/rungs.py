"""The rungs that params.yaml names, and folders that must hold one file for each: no fewer and no more.

A stage that gathers all rungs depends on whole folders. So it reads the names from params.yaml, and refuses a folder
that lacks a rung, or in which one is left over from an earlier ladder.
"""

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from chatladder.io.console import DataError, InputFile, InputFolder
from chatladder.io.files import read_json
from chatladder.io.options import setting
from chatladder.io.params import read_yaml, section_of

_KEY = re.compile(r"[A-Za-z]\w*")


@dataclass(frozen=True)
class Gathered:
    """The inputs of every stage that gathers rungs: the labels, and the rungs' sizes and names."""

    labelled: Path = setting("Labelled questions (parquet).", type=InputFile)
    bases: Path = setting("Folder of base folders, one a rung.", type=InputFolder)
    params: Path = setting("File that names the rungs (YAML).", default=Path("params.yaml"), type=InputFile)


class Rung(NamedTuple):
    """A model of the ladder: its key and its number of parameters."""

    key: str
    params: int


class Ladder(NamedTuple):
    """Rungs in ascending order: dense ones, which are fitted, and mixtures of experts with their active parameters."""

    dense: list[Rung]
    mixtures: dict[Rung, int]

    def rungs(self) -> list[Rung]:
        """Return all rungs, the dense ones first."""
        return [*self.dense, *self.mixtures]

    def ascending(self) -> list[Rung]:
        """Return all rungs by size."""
        return sorted(self.rungs(), key=lambda rung: (rung.params, rung.key))


class NamedRungs(NamedTuple):
    """Names of rungs by section of params.yaml, in its order.

    Attributes:
        path: The file.
        ladder: The rungs that are trained.
        served: The rungs behind an endpoint.
        judges: The rungs with out-of-fold adapters.
    """

    path: Path
    ladder: tuple[str, ...]
    served: tuple[str, ...]
    judges: tuple[str, ...] = ()

    def trained(self, stage: str) -> dict[str, str]:
        """Return the stage that writes the file of each rung of the ladder."""
        return {rung: f"{stage}@{rung}" for rung in self.ladder}

    def untouched(self, stage: str) -> dict[str, str]:
        """Return the same, and ``predict_served`` for each served rung."""
        return self.trained(stage) | {rung: f"predict_served@{rung}" for rung in self.served}

    def check(self, folder: Path, suffix: str, stages: Mapping[str, str], others: Iterable[str] = ()) -> None:
        """Refuse a folder that lacks a rung, or holds one that is not named.

        Args:
            folder: The folder with one file, or one folder, for each rung.
            suffix: The suffix of the files; empty for folders.
            stages: The stage that writes each rung.
            others: Rungs that may be in the folder, but are not read.

        Raises:
            DataError: If a rung is missing, or one is left over.
        """
        for rung, stage in stages.items():
            path = folder / f"{rung}{suffix}"
            if not path.exists():
                raise DataError(
                    f"{path}: expected rung {rung}, which {self.path} names, got nothing. In a fresh clone run "
                    f'"dvc pull", else "dvc repro {stage}".'
                )
        known = {f"{rung}{suffix}" for rung in (*stages, *others)}
        for path in sorted(folder.glob("*")):
            if not path.name.startswith(".") and path.name not in known:
                expected = ", ".join(stages) or "none"
                raise DataError(
                    f"{path}: expected only the rungs that {self.path} names here ({expected}), got another. If it is "
                    f"left over, delete it: rm -r {shlex.quote(str(path))} (it is derived; DVC's cache has it)."
                )


def read_named(params: Path, *, judges: bool = False) -> NamedRungs:
    """Return the names of the rungs in params.yaml.

    Args:
        params: The file.
        judges: True to read the names of ``review.rungs``, too.

    Raises:
        DataError: If a section is missing, a name is not a valid key, or one is in both ``ladder`` and ``served``.
    """
    content = read_yaml(params)
    ladder, served = (tuple(map(str, section_of(content, name, params))) for name in ("ladder", "served"))
    check_keys((*ladder, *served))
    reviewing: Any = (section_of(content, "review", params).get("rungs") if judges else None) or []
    if not isinstance(reviewing, list):
        raise DataError(f"{params}: review.rungs: expected a list of names of rungs, got {reviewing!a}.")
    names = tuple(map(str, reviewing))
    check_keys(names)
    return NamedRungs(params, ladder, served, names)


def check_keys(keys: Sequence[str]) -> None:
    """Refuse keys that are repeated or invalid.

    Raises:
        DataError: If one is.
    """
    for key in keys:
        if keys.count(key) > 1:
            raise DataError(f"rung {key}: expected each rung once, got it {keys.count(key)} times.")
        if not _KEY.fullmatch(key):
            raise DataError(f"rung {key!a}: expected a letter, then letters, digits and underscores.")


def read_rungs(bases: Path, keys: Sequence[str]) -> Ladder:
    """Return the rungs, with mixtures of experts separate.

    Those are rungs whose ``rung.json`` has ``active_params``, the parameters that one token passes through, smaller
    than ``params``. Neither figure is the effective size of such a model, so it has no place on a size axis.

    Raises:
        DataError: If a key is repeated or invalid, or a rung's description cannot be used.
    """
    check_keys(keys)
    ladder = Ladder([], {})
    described = (_read_rung(bases, key) for key in keys)
    for rung, active in sorted(described, key=lambda each: (each[0].params, each[0].key)):
        if active < rung.params:
            ladder.mixtures[rung] = active
        else:
            ladder.dense.append(rung)
    return ladder


def _read_rung(bases: Path, key: str) -> tuple[Rung, int]:
    path = bases / key / "rung.json"
    if not path.is_file():
        raise DataError(f"{path}: expected the base model's description, got no file. Run its base stage.")
    description = read_json(path)
    params: Any = description.get("params") if isinstance(description, dict) else None
    if not _is_count(params):
        raise DataError(f'{path}: expected "params" to be a number of parameters, got {params!a}.')
    active = description.get("active_params", params)
    if not _is_count(active) or active > params:
        raise DataError(
            f'{path}: expected "active_params" from 1 to its {params:,} parameters, got {active!a}. Leave it out for a '
            "dense model."
        )
    return Rung(key, params), active


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1

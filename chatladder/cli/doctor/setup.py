"""Checks of a project's setup: packages, git, DVC, data, the secret, the launcher; problems and hints."""

import configparser
import os
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from chatladder.cli.git import git
from chatladder.cli.status import exports, other_code
from chatladder.io.console import DataError
from chatladder.privacy.secret import KEY_FILE, KEY_VARIABLE, local_key

if TYPE_CHECKING:
    from packaging.requirements import Requirement

PACKAGE = "chatladder"
LAUNCHER = "LAUNCHER"
#: How DVC must turn params into options (.dvc/config).
PARSING = {"bool": "boolean_optional", "list": "append"}


def problems(root: Path) -> list[str]:
    """Return all problems, each with what to do.

    Args:
        root: Folder where stages run.
    """
    return [*packages(), *code(root), *repository(root), *raw_data(root), *launcher(os.environ.get(LAUNCHER, ""))]


def hints(gpus: int) -> list[str]:
    """Return hints on what stops nothing and may explain a slow run or other digits.

    Args:
        gpus: Number of GPUs that torch can use.
    """
    return [*releases(), *torch_build(gpus), *idle_gpus(os.environ.get(LAUNCHER, ""), gpus)]


def packages() -> Iterator[str]:
    """Yield problems with the versions of Python and of required packages."""
    from packaging.specifiers import SpecifierSet

    try:
        about = metadata.metadata(PACKAGE)
    except metadata.PackageNotFoundError:
        yield "chatladder is not installed as a package: pip install its wheel, or its clone."
        return
    python = ".".join(map(str, sys.version_info[:3]))
    if not SpecifierSet(about["Requires-Python"] or "").contains(python):
        yield f"Python {python} runs; expected {about['Requires-Python']}."
    for wanted in _requirements():
        try:
            metadata.version(wanted.name)
        except metadata.PackageNotFoundError:
            yield f"{wanted.name} is not installed: run pip install '{wanted.name}{wanted.specifier}'."


def code(root: Path) -> Iterator[str]:
    """Yield a problem if the project is of another version of chatladder than the installed one."""
    if other := other_code(root):
        yield f"{other}. Run chatladder upgrade."


def releases() -> Iterator[str]:
    """Yield the packages that are of another version than was tested."""
    for wanted in _requirements():
        with suppress(metadata.PackageNotFoundError):
            installed = metadata.version(wanted.name)
            if not wanted.specifier.contains(installed, prereleases=True):
                yield f"{wanted.name} {installed} is installed; tested with {wanted.specifier}. Results may differ."


def _requirements() -> "Iterator[Requirement]":
    from packaging.requirements import Requirement

    with suppress(metadata.PackageNotFoundError):
        for wanted in map(Requirement, metadata.requires(PACKAGE) or []):
            if not wanted.marker or wanted.marker.evaluate({"extra": ""}):
                yield wanted


def torch_build(gpus: int) -> Iterator[str]:
    """Yield a hint if there is a GPU that torch cannot use."""
    if not gpus and shutil.which("nvidia-smi"):
        import torch

        build = "without CUDA" if torch.version.cuda is None else f"for CUDA {torch.version.cuda}"
        yield f"nvidia-smi is installed, but torch, built {build}, finds no GPU: everything would run on the CPU."


def repository(root: Path) -> Iterator[str]:
    """Yield problems with git and DVC."""
    try:
        git(root, "rev-parse", "--is-inside-work-tree")
    except DataError:
        yield (
            f"git is not installed, or {root.absolute()} is not in a git repository: dvc exp, which compares runs, "
            "needs one (git init)."
        )
    if not (root / ".dvc").is_dir():
        yield f"{root.absolute()} has no .dvc folder: run in the repository's root, or run dvc init."
        return
    config = configparser.ConfigParser(interpolation=None)
    try:
        config.read([root / ".dvc" / "config", root / ".dvc" / "config.local"], encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError):
        yield f"{root / '.dvc' / 'config'} cannot be read as DVC's configuration."
        return
    for name, value in PARSING.items():
        if config.get("parsing", name, fallback="") != value:
            yield f"DVC turns params into options that stages do not know: run dvc config parsing.{name} {value}."


def raw_data(root: Path) -> Iterator[str]:
    """Yield a problem if exports are missing, or are private and there is no secret for pseudonyms."""
    raw = root / "data" / "raw"
    paths, _ = exports(raw)
    if not paths:
        yield f"{raw} has no export of a chat: copy one to it, make one with chatladder simulate, or run dvc pull."
    try:
        key = local_key(root / KEY_FILE)
    except DataError as error:
        yield error.message
        return
    private = own_exports(paths)
    if private and key is None:
        yield (
            f"{raw} has exports besides the demo ({len(private)}), but the secret for their pseudonyms is missing: "
            f"run chatladder secret, or set {KEY_VARIABLE}."
        )


def own_exports(paths: Sequence[Path]) -> list[Path]:
    """Return the exports that are not the demo's."""
    return [path for path in paths if not path.name.startswith("demo")]


def launcher(command: str) -> Iterator[str]:
    """Yield a problem if the launcher of trainings is missing, or cannot start."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        yield f"{LAUNCHER} is not a command line: {error}."
        return
    if words and shutil.which(words[0]) is None:
        yield f"{LAUNCHER} names {words[0]!a}, which is not on the PATH."


def idle_gpus(command: str, gpus: int) -> Iterator[str]:
    """Yield a hint if there are GPUs that no training would use."""
    if not command.strip() and gpus > 1:
        yield (
            f"{gpus} GPUs are available, but one process would train: set "
            f'{LAUNCHER}="accelerate launch --num_processes {gpus}" to use them all.'
        )

"""What of a project's setup is amiss, in plain words: packages, git, DVC, data, the secret, the launcher."""

import configparser
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from chatladder.io.console import DataError
from chatladder.presets.edit import rungs_of, swap_pipeline
from chatladder.privacy.secret import KEY_VARIABLE, local_key

PACKAGE = "chatladder"
LAUNCHER = "LAUNCHER"
#: How DVC must turn params into options (.dvc/config).
PARSING = {"bool": "boolean_optional", "list": "append"}
#: Files of data/raw that are no exports: notes, and what git and DVC keep there.
_NO_EXPORT = ("README.md", ".gitignore", ".gitkeep")


def problems(root: Path, params: tuple[Path, str], pipeline: tuple[Path, str], gpus: int) -> list[str]:
    """Everything that is amiss, what to do included.

    Args:
        root: Folder where stages run.
        params: Path and text of params.yaml.
        pipeline: Path and text of dvc.yaml.
        gpus: That torch can use.
    """
    return [
        *packages(),
        *torch_build(gpus),
        *repository(root),
        *agreement(params, pipeline),
        *raw_data(root),
        *launcher(os.environ.get(LAUNCHER, ""), gpus),
    ]


def packages() -> Iterator[str]:
    """Python and the packages that chatladder names, where they are of other releases than were tested."""
    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet

    try:
        about = metadata.metadata(PACKAGE)
    except metadata.PackageNotFoundError:
        yield "chatladder is not installed as a package: run pip install -e . in the repository."
        return
    python = ".".join(map(str, sys.version_info[:3]))
    if not SpecifierSet(about["Requires-Python"] or "").contains(python):
        yield f"Python {python} runs; expected {about['Requires-Python']}."
    for line in metadata.requires(PACKAGE) or []:
        wanted = Requirement(line)
        if wanted.marker and not wanted.marker.evaluate({"extra": ""}):
            continue
        try:
            installed = metadata.version(wanted.name)
        except metadata.PackageNotFoundError:
            yield f"{wanted.name} is not installed: run pip install -e . in the repository."
            continue
        if not wanted.specifier.contains(installed, prereleases=True):
            yield f"{wanted.name} {installed} is installed; tested with {wanted.specifier}. Results may differ."


def torch_build(gpus: int) -> Iterator[str]:
    """A GPU that torch cannot use."""
    if not gpus and shutil.which("nvidia-smi"):
        import torch

        build = "without CUDA" if torch.version.cuda is None else f"for CUDA {torch.version.cuda}"
        yield f"nvidia-smi is here and torch, built {build}, finds no GPU: everything would run on the CPU."


def repository(root: Path) -> Iterator[str]:
    """Git and DVC."""
    if shutil.which("git") is None:
        yield "git is not installed: dvc exp, which compares runs, needs it."
    elif _git(root, "rev-parse", "--is-inside-work-tree") != "true":
        yield f"{root.absolute()} is in no git repository: dvc exp, which compares runs, needs one (git init)."
    if not (root / ".dvc").is_dir():
        yield f"{root.absolute()} has no .dvc folder: run in the repository's root, or dvc init."
        return
    config = configparser.ConfigParser(interpolation=None)
    try:
        config.read([root / ".dvc" / "config", root / ".dvc" / "config.local"], encoding="utf-8")
        parsing = dict(config["parsing"]) if config.has_section("parsing") else {}
    except (configparser.Error, UnicodeDecodeError):
        yield f"{root / '.dvc' / 'config'} cannot be read as DVC's configuration."
        return
    for name, value in PARSING.items():
        if parsing.get(name) != value:
            yield f"DVC turns params into other options than stages take: dvc config parsing.{name} {value}."


def _git(root: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def agreement(params: tuple[Path, str], pipeline: tuple[Path, str]) -> Iterator[str]:
    """Rungs that dvc.yaml names otherwise than params.yaml."""
    try:
        rungs = rungs_of(params[1], str(params[0]))
        swap_pipeline(pipeline[1], rungs, rungs, str(pipeline[0]))
    except DataError as error:
        yield error.message


def raw_data(root: Path) -> Iterator[str]:
    """Exports that are not there, or are private and have no secret to hide their people with."""
    raw = root / "data" / "raw"
    exports = [
        path
        for path in sorted(raw.rglob("*"))
        if path.is_file() and path.name not in _NO_EXPORT and path.suffix != ".dvc"
    ]
    if not exports:
        yield f"{raw} has no export of a chat: put one there, make one with chatladder simulate, or dvc pull."
    try:
        key = local_key(root / ".chatladder" / "privacy_key")
    except DataError as error:
        yield error.message
        return
    private = [path for path in exports if not path.name.startswith("demo")]
    if private and key is None:
        yield (
            f"{raw} has exports beside the demo ({len(private)}) and there is no secret to hide their people with: "
            f"run chatladder secret, or set {KEY_VARIABLE}."
        )


def launcher(command: str, gpus: int) -> Iterator[str]:
    """A launcher that cannot start what it is told to."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        yield f"{LAUNCHER} is no command line: {error}."
        return
    if not words:
        if gpus > 1:
            yield (
                f"{gpus} GPUs are here and one process would train: set "
                f'{LAUNCHER}="accelerate launch --num_processes {gpus}" to use them all.'
            )
        return
    if shutil.which(words[0]) is None:
        yield f"{LAUNCHER} names {words[0]!a}, which is not on the PATH."
    wanted = _processes(words)
    if wanted is not None and gpus and wanted > gpus:
        yield f"{LAUNCHER} starts {wanted} processes and there are {gpus} GPUs: more than one would share a GPU."


def _processes(words: list[str]) -> int | None:
    for word, following in zip(words, [*words[1:], ""], strict=True):
        name, _, value = word.partition("=")
        if name.replace("-", "_") in ("__num_processes", "__nproc_per_node"):
            value = value or following
            return int(value) if value.isascii() and value.isdigit() else None
    return None

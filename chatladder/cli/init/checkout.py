"""Copy the pipeline of a new project: the files that git tracks in the checkout of this code, without the demo's."""

import os
import shutil
import subprocess
from pathlib import Path, PurePosixPath

from chatladder.io.console import DataError

#: The folder that this package lies in.
CHECKOUT = Path(__file__).resolve().parents[3]
#: Without these it is no pipeline.
ESSENTIAL = ("dvc.yaml", "params.yaml", "pyproject.toml", ".dvc/config", "chatladder/cli/app.py")
#: The demo, its results, and what only the development of chatladder needs.
LEFT_OUT = {
    ".ci", ".github", "CHANGELOG.md", "CONTRIBUTING.md", "README.md", "README.zh-CN.md", "benchmarks", "data/demo",
    "docs", "dvc.lock", "metrics", "tests",
}  # fmt: skip
#: Of the folders that a person owns, only these are not the demo's.
_OWNED = ("data/raw", "data/annotations", "data/marks")
_NOTES = ("README.md", ".gitignore", ".gitkeep")
#: DVC's settings of the pipeline. Remotes are not among them: a new chat must not go where the demo went.
DVC_CONFIG = """\
[core]
    analytics = false
    autostage = false
[parsing]
    bool = boolean_optional
    list = append
"""


def tracked(checkout: Path) -> list[str]:
    """Return the paths of the files that a new project takes, from the checkout's root, sorted.

    Raises:
        DataError: If the folder is not the root of a checkout, or no pipeline is in it.
    """
    if not (checkout / ".git").exists():
        raise DataError(
            f"{checkout}: expected the git checkout of chatladder that this command belongs to, got a "
            "folder without .git. Clone the repository, run pip install -e . in it, and try again."
        )
    names = git(checkout, "ls-files", "-z").split("\0")
    missing = [name for name in ESSENTIAL if name not in names]
    if missing:
        raise DataError(
            f"{checkout}: expected a checkout of chatladder, got one without {', '.join(missing)} in git. Restore it."
        )
    return sorted(name for name in names if name and is_taken(name))


def is_taken(name: str) -> bool:
    """Whether a file of the checkout belongs to every project, and not to the demo or to development."""
    path = PurePosixPath(name)
    places = {name, *map(str, path.parents)}
    if places & LEFT_OUT:
        return False
    if places & {*_OWNED}:
        return path.name in _NOTES
    # Exports that the checkout's owner keeps with DVC lie anywhere.
    return path.suffix != ".dvc"


def copy_pipeline(checkout: Path, folder: Path) -> int:
    """Copy the pipeline into an empty folder.

    Returns:
        How many files.

    Raises:
        DataError: If the checkout lacks a file that git tracks, or has a link in its place.
        OSError: If a file cannot be written.
    """
    names = tracked(checkout)
    for name in names:
        source, target = checkout / name, folder / name
        if source.is_symlink() or not source.is_file():
            raise DataError(f"{source}: expected a file, as git has it. Bring it back: git status.")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)
    (folder / ".dvc" / "config").write_text(DVC_CONFIG, encoding="utf-8", newline="\n")
    _notes(folder)
    return len(names)


def _notes(folder: Path) -> None:
    """Take what is true of the demo alone from the notes, and keep git off the chat."""
    raw = folder / "data" / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    (raw / "README.md").write_text(
        "Exports of the group chat go here; stages only read them. Git passes over them (`.gitignore`), so that the "
        "chat is\nnever committed; `dvc add data/raw/<export>` keeps a version of one all the same.\n",
        encoding="utf-8",
        newline="\n",
    )
    listed = (".gitignore", "README.md", "*.dvc", "*.deny", "*.keep", "*.forgotten")
    (raw / ".gitignore").write_text(
        "".join(["*\n", *(f"!{name}\n" for name in listed)]), encoding="utf-8", newline="\n"
    )
    for note in (folder / "data" / "annotations" / "README.md", folder / "data" / "marks" / "README.md"):
        note.parent.mkdir(parents=True, exist_ok=True)
        if note.is_file():
            paragraphs = note.read_text(encoding="utf-8").split("\n\n")
            note.write_text(
                "\n\n".join(each for each in paragraphs if "simulate" not in each), encoding="utf-8", newline="\n"
            )


def git(folder: Path, *arguments: str) -> str:
    """Return the output of a git command.

    Raises:
        DataError: If git is not installed, or fails.
    """
    # Inside a git hook these would point to another repository.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, timeout=60, env=environment)
    except FileNotFoundError as error:
        raise DataError("git is not installed: a project needs it. Install it and run again.") from error
    except (OSError, subprocess.SubprocessError) as error:
        raise DataError(f"git {arguments[0]}: cannot be run: {type(error).__name__}.") from error
    if done.returncode:
        reason = done.stderr.decode("utf-8", "replace").strip().partition("\n")[0][:200]
        raise DataError(f"{folder}: git {arguments[0]} failed: {reason or 'it gives no reason'}.")
    return done.stdout.decode("utf-8", "surrogateescape")

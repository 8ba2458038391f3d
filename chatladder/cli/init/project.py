"""A new project, made whole or not at all: the pipeline, git, DVC, params, the secret, an export, the annotators."""

import errno
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from chatladder.chat.exports import find_exports
from chatladder.cli.annotate.round_records import settle_assignment
from chatladder.cli.init.adapting import adapt_params, rungs_here, swap_ladder
from chatladder.cli.init.checkout import copy_pipeline, git, untracked
from chatladder.io.console import DataError, printable, shortened
from chatladder.io.files import whole_folder
from chatladder.labels.rounds import log_path
from chatladder.presets import read_text
from chatladder.privacy.secret import KEY_FILE, create

#: In a folder that is there, what is made lies under this name until it is whole.
BEING_MADE = ".being_made"
LEFT_BEHIND = re.compile(rf"\.{re.escape(BEING_MADE)}\.[a-z0-9_]{{8}}")
#: Files that are named, in so many columns each; more are counted.
MOST_NAMES, NAME_COLUMNS = 4, 40

README = """\
# A chatladder project

`chatladder status` says where this project stands and what to do next; `chatladder doctor` what its models need.

The chat is in `data/raw/` and the key of the pseudonyms in `.chatladder/`; git passes over both. Keep the key: another
one gives other pseudonyms and ids. The answers of the annotators are in `data/annotations/`; commit them. Numbers live
in `params.yaml`; `dvc repro` makes everything else, and the results in `metrics/`.
"""


@dataclass(frozen=True)
class Plan:
    """What a new project is to be.

    Attributes:
        folder: Where; absent or empty.
        export: File or folder to copy into data/raw, or None for later.
        timezone: Of exports in local time, as in the IANA database.
        language: Of the prompts.
        ladder: Name of a catalogue.
        annotators: Who shares the first round; none for whoever comes.
    """

    folder: Path
    export: Path | None
    timezone: str
    language: str
    ladder: str
    annotators: tuple[str, ...]


@dataclass(frozen=True)
class Made:
    """What was made.

    Attributes:
        files: Of the pipeline.
        left: Code that git does not track and that was left out.
        rungs: Of the ladder, smallest first.
        exports: Files below data/raw that stages read.
        overlap: How many annotators get each question.
    """

    files: int
    left: list[str]
    rungs: list[str]
    exports: int
    overlap: int


def check_folder(folder: Path) -> Path:
    """The folder of a new project, as an absolute path.

    Raises:
        DataError: If something is in it, or it cannot be read.
    """
    try:
        path = folder.resolve()
    except OSError as error:  # the current folder was removed
        raise DataError(f"{printable(str(folder))}: cannot be read: {error.strerror or error}.") from error
    _check_empty(path, folder)
    return path


def _check_empty(path: Path, shown: Path) -> None:
    """Refuse a folder that holds anything but what is being made there, or was when a try was killed."""
    place = printable(str(shown))
    try:
        if path.exists() and not path.is_dir():
            raise DataError(f"{place}: expected a new or an empty folder, got a file. Name another.")
        found = sorted(each.name for each in path.iterdir()) if path.exists() else []
    except OSError as error:
        raise DataError(f"{place}: cannot be read: {error.strerror or error}.") from error
    found = [name for name in found if not LEFT_BEHIND.fullmatch(name)]
    if {"dvc.yaml", "params.yaml"} <= {*found}:
        raise DataError(
            f"{place}: expected a new or an empty folder, got a project; it was left as it is. Run chatladder status "
            "in it to see where it stands, or name another folder."
        )
    if found:
        raise DataError(
            f"{place}: expected a new or an empty folder, got one that holds {some_of(found)}; it was left as it is. "
            "Name another: chatladder init FOLDER, with --export PATH for a chat that is here."
        )


def some_of(names: list[str]) -> str:
    """The first few of some names, printable and cut, and how many more there are."""
    said = [printable(shortened(name, NAME_COLUMNS)) for name in names]
    return ", ".join(said[:MOST_NAMES]) + (f" and {len(said) - MOST_NAMES:,} more" if len(said) > MOST_NAMES else "")


@contextmanager
def filled(path: Path) -> Iterator[Path]:
    """Give a temporary folder whose content is that of ``path`` once the block ends without an error.

    A folder that is there is filled and not replaced: a shell may be in it, or another disk mounted on it.

    Raises:
        DataError: If the disk is full or the folder cannot be written.
    """
    if not path.exists():
        with whole_folder(path) as folder:
            yield folder
        return
    with whole_folder(path / BEING_MADE) as folder:
        yield folder
        _move_all(folder, path)
    (path / BEING_MADE).rmdir()


def _move_all(source: Path, target: Path) -> None:
    moved: list[str] = []
    try:
        for entry in sorted(source.iterdir()):
            entry.rename(target / entry.name)
            moved.append(entry.name)
    except BaseException:
        for name in moved:
            (target / name).rename(source / name)
        raise


def check_export(export: Path, folder: Path) -> None:
    """Refuse an export that cannot lie in data/raw as one.

    Raises:
        DataError: If it is not there, is a link, or holds the new project, or no stage would read it by its name.
    """
    place = printable(str(export))
    if export.is_symlink():
        raise DataError(f"{place}: expected a file or a folder, got a link. Give the path that it leads to.")
    if not export.is_file() and not export.is_dir():
        raise DataError(f"{place}: expected an export of a chat, a file or a folder; there is none.")
    if folder.is_relative_to(export.resolve()):
        raise DataError(f"{place}: expected an export outside of the new project, got a folder that would hold it.")


def make(plan: Plan, checkout: Path) -> Made:
    """Make the project; if anything fails, nothing is left of it.

    Raises:
        DataError: If the folder, the export or the checkout do not allow it, git fails, or the disk is full.
    """
    path = check_folder(plan.folder)
    if plan.export is not None:
        check_export(plan.export, path)
    for name in plan.annotators:
        log_path(Path("data/annotations"), 1, name)  # a name that names no file is refused before anything
    with filled(path) as folder:
        files = copy_pipeline(checkout, folder)
        (folder / "README.md").write_text(README, encoding="utf-8")
        rungs = _adapt(folder, plan)
        create(folder / KEY_FILE)
        exports = _copy_export(plan.export, folder / "data" / "raw") if plan.export else 0
        overlap = _share(folder / "data" / "annotations" / "round_1", plan.annotators)
        git(folder, "init", "--quiet", "--initial-branch=main")
        # Somebody may have put something there meanwhile, which must not be replaced.
        _check_empty(path, plan.folder)
    return Made(files, untracked(checkout), rungs, exports, overlap)


def _adapt(folder: Path, plan: Plan) -> list[str]:
    params, pipeline = read_text(folder / "params.yaml"), read_text(folder / "dvc.yaml")
    params, pipeline, rungs = swap_ladder(params, pipeline, plan.ladder, rungs_here(plan.ladder))
    params = adapt_params(params, plan.timezone, plan.language, "params.yaml")
    (folder / "params.yaml").write_bytes(params.encode())
    (folder / "dvc.yaml").write_bytes(pipeline.encode())
    return rungs


def _copy_export(export: Path, raw: Path) -> int:
    """Copy an export, links as links so that nothing from elsewhere comes along, and see that stages would read it."""
    source = export.resolve()
    place, target = printable(str(export)), raw / source.name
    if target.exists():
        raise DataError(f"{place}: expected another name: data/raw has a {printable(source.name)} of its own.")
    try:
        if source.is_dir():
            shutil.copytree(source, target, symlinks=True)
        else:
            shutil.copy2(source, target)
        _keep_private(target)
    except shutil.Error as error:
        failed = error.args[0] if error.args and isinstance(error.args[0], list) else [("", "", error)]
        raise DataError(
            f"{place}: cannot be copied: {len(failed)} of its files, the first: {printable(str(failed[0][2]))[:200]}."
        ) from error
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise
        raise DataError(f"{place}: cannot be copied: {error.strerror or error}.") from error
    try:
        return len(find_exports(raw, Counter()))
    except DataError as error:
        # It names the copy, which is about to go.
        raise DataError(error.message.replace(f"{raw}/", f"{source.parent}/").replace(str(raw), place)) from error


def _keep_private(export: Path) -> None:
    """Let nobody but the owner read a copied export, whatever the modes of the original were."""
    for entry in (export, *export.rglob("*")):
        if not entry.is_symlink():
            entry.chmod(0o700 if entry.is_dir() else 0o600)


def _share(folder: Path, annotators: tuple[str, ...]) -> int:
    """Have several annotators share the first round; one alone needs no sharing, and others may join."""
    if len(annotators) < 2:
        return 1
    folder.mkdir(parents=True, exist_ok=True)
    settle_assignment(folder, annotators, 2)
    return 2

"""Make a new project whole or not at all: the graph, git, DVC, params, the secret, an export, the annotators."""

import errno
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chatladder.chat.exports import find_exports
from chatladder.cli.annotate.options import names, zone
from chatladder.cli.annotate.round_records import settle_assignment
from chatladder.cli.doctor.memory import Machine, facts_of, needs, this_machine
from chatladder.cli.doctor.recommend import FEWEST_RUNGS, FOR_THE_DEMO, LANGUAGE_NAMES, RECOMMENDED, describe, recommend
from chatladder.cli.git import git
from chatladder.cli.upgrade import write_code
from chatladder.io.code import shipped
from chatladder.io.console import DataError, printable, shortened
from chatladder.io.files import whole_folder
from chatladder.io.options import setting
from chatladder.io.params import read_yaml, section_of
from chatladder.io.task_folder import DEFAULT, SHIPPED, shipped_tasks
from chatladder.labels.rounds import log_path
from chatladder.models.prompts import LANGUAGES
from chatladder.presets import CHAT_LANGUAGES, EMBEDDED, Catalogue, read, swap_ladder, write_yaml
from chatladder.presets import names as catalogues
from chatladder.privacy.secret import KEY_FILE, create
from chatladder.vocabulary import ITEMS, read_task

if TYPE_CHECKING:
    from ruamel.yaml.comments import CommentedMap

#: In a folder that exists, the project is made under this name until it is complete.
BEING_MADE = ".being_made"
LEFT_BEHIND = re.compile(rf"\.{re.escape(BEING_MADE)}\.[a-z0-9_]{{8}}")
#: The number of questions to sample. Untouched models answer every one of them, whether or not a person does.
SAMPLE = 600
#: The most files to name, and the most columns of each; further ones are counted.
MOST_NAMES, NAME_COLUMNS = 4, 40

README = """\
# A chatladder project

Activate the environment that has chatladder (`. .venv/bin/activate`, where yours is). A colleague makes one, and
installs the same release there from its wheel or its clone: `pip install PATH`. Then

    chatladder status            # where this project stands, and what to do next; at any time
    chatladder doctor            # what its models need, and whether the setup is complete
    dvc repro pick_questions     # from the exports in data/raw/ to the questions
    dvc repro                    # all that follows from the answers, with the results in metrics/

The chat is in `data/raw/` and the key of the pseudonyms in `.chatladder/`; git passes over both. Keep the key: another
one gives other pseudonyms and ids. The answers of the annotators are in `data/annotations/`; commit them. Numbers live
in `params.yaml`.

To upgrade, install another release in the environment and run `chatladder upgrade` here: it renews `stages/`,
`dvc.yaml` and `code.json`, and says which stages run again. Until then stages refuse to run. Do not edit these files:
it replaces them.
"""
#: The files of a project besides the shipped ones.
OWN_FILES = {
    "README.md": README,
    # Not the clone's, because of its remote: a new chat must not go where the demo went.
    ".dvc/config": """\
[core]
    analytics = false
    autostage = false
[parsing]
    bool = boolean_optional
    list = append
""",
    "data/.gitignore": """\
# Stages write everything else, and DVC keeps it.
/*
!/.gitignore
!/raw/
!/annotations/
!/marks/
!/other_chats/
!/predictions/
/predictions/*
!/predictions/out_of_fold/
""",
    # A dependency, which is empty if no rung judges labels.
    "data/predictions/out_of_fold/.gitignore": "*\n!.gitignore\n",
    "data/raw/.gitignore": "*\n!.gitignore\n!README.md\n!*.dvc\n!*.deny\n!*.keep\n!*.forgotten\n",
    "data/raw/README.md": """\
Exports of the group chat go here; stages only read them. Git passes over them (`.gitignore`), so that the chat is
never committed; `dvc add data/raw/<export>` keeps a version of one all the same.
""",
}


def _reader(read: Callable[[str], Any]) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        try:
            return read(text)
        except ValueError as error:
            raise click.BadParameter(str(error)) from error

    return parse


def _timezone(name: str) -> str:
    zone(name)
    return name


def _ladder(name: str) -> str:
    if name not in (RECOMMENDED, *catalogues()):
        raise ValueError(f"expected {RECOMMENDED}, {', '.join(catalogues())}, got {name!a}.")
    return name


def _people(text: str) -> tuple[str, ...]:
    people = tuple(names(text))
    for name in people:
        log_path(Path("data/annotations"), 1, name)  # refuses a name that cannot name a file
    return people


@dataclass(frozen=True)
class ProjectPlan:
    """The settings of a new project, each with the question that asks for it."""

    export: Path | None = setting(
        "Export of the chat, a file or folder to copy. Empty: later.",
        metavar="PATH",
        parse=lambda path: Path(path).expanduser() if path else None,
    )
    timezone: str = setting(
        "Time zone of the export's local times, such as UTC or Asia/Shanghai.", metavar="ZONE", parse=_reader(_timezone)
    )
    language: str = setting(
        f"Language of the chat, models and prompts: {', '.join(CHAT_LANGUAGES)}; other has English prompts.",
        metavar="LANGUAGE",
        parse=click.Choice(CHAT_LANGUAGES),
    )
    ladder: str = setting(
        f"Models: {RECOMMENDED} for language and machine, or {', '.join(catalogues())}.",
        metavar="NAME",
        parse=_reader(_ladder),
    )
    annotators: tuple[str, ...] = setting(
        "Annotators, as li,wu; two answer each question. Empty: anybody.",
        metavar="NAMES",
        parse=_reader(_people),
    )
    task: str = setting("Task: the question that is asked about the chat.", choices=shipped_tasks(), default=DEFAULT)


@dataclass(frozen=True)
class Made:
    """A new project.

    Attributes:
        files: Number of files in git.
        rungs: Keys of the ladder, smallest first.
        exports: Number of files below data/raw that stages read.
        notes: Lines about the models.
    """

    files: int
    rungs: list[str]
    exports: int
    notes: list[str]


def check_folder(folder: Path) -> Path:
    """Return the folder of a new project as an absolute path.

    Files of an earlier try that was killed may be in it.

    Raises:
        DataError: If anything else is in it, or it cannot be read.
    """
    place = printable(str(folder))
    try:
        path = folder.resolve()
        if path.exists() and not path.is_dir():
            raise DataError(f"{place}: expected a new or an empty folder, got a file. Name another.")
        names = sorted(each.name for each in path.iterdir()) if path.exists() else []
    except OSError as error:  # such as a current folder that was removed
        raise DataError(f"{place}: cannot be read: {error.strerror or error}.") from error
    names = [name for name in names if not LEFT_BEHIND.fullmatch(name)]
    if {"dvc.yaml", "params.yaml"} <= {*names}:
        raise DataError(
            f"{place}: expected a new or an empty folder, got a project, which is unchanged. Run chatladder status in "
            "it to see its state, or name another folder."
        )
    if names:
        raise DataError(
            f"{place}: expected a new or an empty folder, got one with {some_of(names)}, which is unchanged. Name "
            "another: chatladder init FOLDER, with --export PATH for a chat in this folder."
        )
    return path


def some_of(names: list[str]) -> str:
    """Return the first few of some names, printable and shortened, and the number of others."""
    shown = ", ".join(printable(shortened(name, NAME_COLUMNS)) for name in names[:MOST_NAMES])
    return shown + (f" and {len(names) - MOST_NAMES:,} more" if len(names) > MOST_NAMES else "")


@contextmanager
def filled(path: Path) -> Iterator[Path]:
    """Yield a temporary folder whose content becomes that of ``path`` once the block ends without an error.

    An existing folder is filled and not replaced: a shell may be in it, or another disk mounted on it.

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
    """Refuse an export that cannot be copied into data/raw.

    Raises:
        DataError: If it does not exist, is a link, or holds the new project.
    """
    place = printable(str(export))
    if export.is_symlink():
        raise DataError(f"{place}: expected a file or a folder, got a link. Give the path of its target.")
    if not export.is_file() and not export.is_dir():
        raise DataError(f"{place}: expected an export of a chat, a file or a folder, got nothing.")
    if folder.is_relative_to(export.resolve()):
        raise DataError(f"{place}: expected an export outside of the new project, got a folder that would contain it.")


def make(folder: Path, plan: ProjectPlan) -> Made:
    """Make the project, with all but the chat and the key in a commit; if anything fails, nothing is left of it.

    Raises:
        DataError: If the folder or the export do not allow it, git fails, or the disk is full.
    """
    path = check_folder(folder)
    if plan.export is not None:
        check_export(plan.export, path)
    with filled(path) as made:
        write_files(made)
        params = read_yaml(made / "params.yaml")
        rungs, notes = adapt_params(params, plan)
        write_yaml(made / "params.yaml", params)
        create(made / KEY_FILE)
        exports = _copy_export(plan.export, made / "data" / "raw") if plan.export else 0
        if len(plan.annotators) > 1:  # one alone needs no sharing, and others may join
            round_1 = made / "data" / "annotations" / "round_1"
            round_1.mkdir(parents=True, exist_ok=True)
            settle_assignment(round_1, plan.annotators, 2)
        files = commit(made)
        check_folder(folder)  # somebody may have put something there meanwhile, which must not be replaced
    return Made(files, rungs, exports, notes)


def write_files(project: Path) -> None:
    """Write the files of every project; from the notes about answers, leave out what is true of the demo alone."""
    for name, content in shipped().items():
        path = project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".md":
            content = b"\n\n".join(part for part in content.split(b"\n\n") if b"simulate" not in part)
        path.write_bytes(content)
    write_code(project)
    for name, text in OWN_FILES.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text, encoding="utf-8", newline="\n")


def commit(project: Path) -> int:
    """Commit a new project, as dvc exp requires, and return the number of files; git's user, if set, is the author."""
    git(project, "init", "--quiet", "--initial-branch=main")
    git(project, "add", "--all")
    named = git(project, "config", "--default", "", "--get", "user.email").strip()
    author = () if named else ("-c", "user.name=chatladder", "-c", "user.email=chatladder@localhost")
    git(project, *author, "commit", "--quiet", "--no-verify", "--no-gpg-sign", "--message=A project of chatladder")
    return git(project, "ls-files", "-z").count("\0")


def adapt_params(params: "CommentedMap", plan: ProjectPlan) -> tuple[list[str], list[str]]:
    """Adapt params.yaml to a new chat, and return the keys of its rungs and lines about them.

    It sets time zone, language and ladder, one round, a sample of the questions, and a test drawn from the whole chat:
    ``split.test_from``, a date of the demo, stays as a comment.

    Raises:
        DataError: If a section is missing, or the models do not know the language.
    """
    params["task"] = plan.task
    if read_task(SHIPPED / plan.task).item == ITEMS["messages"]:
        params["judges"] = {"unaddressed": {"kind": "unaddressed", "seed": 0}}
        section_of(params, "questions", "params.yaml")["judge"] = ["unaddressed=5"]
    language = plan.language if plan.language in LANGUAGES else "en"
    values = {
        "ingest": ("timezone", plan.timezone),
        "questions": ("sample", SAMPLE),
        "prompt": ("language", language),
        "annotation": ("round", 1),
    }
    for name, (key, value) in values.items():
        section_of(params, name, "params.yaml")[key] = value
    split = section_of(params, "split", "params.yaml")
    if split.pop("test_from", None) is not None:
        split.yaml_set_comment_before_after_key(
            "test", before='test_from: "YYYY-MM-DD"  # conversations from here on are the test', indent=2
        )
    catalogue, notes = catalogue_of(plan, params)
    swap_ladder(params, catalogue.rungs, catalogue.params, "params.yaml")
    return [*catalogue.rungs], notes


def catalogue_of(plan: ProjectPlan, params: Mapping[str, Any]) -> tuple[Catalogue, list[str]]:
    """Return the catalogue of a plan with the chosen rungs alone, and lines about them.

    Raises:
        DataError: If its models do not know the language of the chat.
    """
    if plan.ladder == RECOMMENDED:
        machine = this_machine()
        advice = recommend(plan.language, machine, params)
        return advice.catalogue, describe(advice, machine)
    if plan.ladder == EMBEDDED and plan.task != DEFAULT:
        raise DataError(
            f"--ladder {EMBEDDED}: expected models that can learn {plan.task}, got some that know only {DEFAULT}."
        )
    catalogue = read(plan.ladder)
    if plan.language not in catalogue.languages:
        known = " and ".join(LANGUAGE_NAMES[each] for each in catalogue.languages)
        raise DataError(
            f"--ladder {plan.ladder}: expected models for a chat in {LANGUAGE_NAMES[plan.language]}, got some that "
            f"know {known}. Omit --ladder for models that suit the chat, or give another --language."
        )
    rungs = catalogue.choose(rungs_here(plan.ladder))
    chosen = replace(catalogue, rungs={key: catalogue.rungs[key] for key in rungs})
    return chosen, [FOR_THE_DEMO] if catalogue.name == EMBEDDED else []


def rungs_here(name: str) -> list[str]:
    """Return the rungs of a catalogue that this machine can run; all of them if those are too few for a slope.

    Somebody who requests a ladder on a machine that cannot run it means to run it on another.
    """
    catalogue = read(name)
    fit = [] if name == EMBEDDED else fitting(catalogue, this_machine())
    return fit if len(fit) >= FEWEST_RUNGS else [*catalogue.rungs]


def fitting(catalogue: Catalogue, machine: Machine) -> list[str]:
    """Return the rungs that a machine has memory and disk for, as ``chatladder doctor`` computes them."""
    facts = {key: facts_of(key, rung["base"], Path("data/bases")) for key, rung in catalogue.rungs.items()}
    params = catalogue.params
    counted = needs(catalogue.rungs, facts, params["train"], params["max_length"], machine)
    return [key for key, each in counted.items() if each.runs]


def _copy_export(export: Path, raw: Path) -> int:
    """Copy an export, links as links so that no other files come along; return the number of files that stages read."""
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
        # It names the copy, which is about to be removed.
        raise DataError(error.message.replace(f"{raw}/", f"{source.parent}/").replace(str(raw), place)) from error


def _keep_private(export: Path) -> None:
    """Let nobody but the owner read a copied export, whatever the modes of the original were."""
    for entry in (export, *export.rglob("*")):
        if not entry.is_symlink():
            entry.chmod(0o700 if entry.is_dir() else 0o600)

"""Bring a project to the installed chatladder, and say which stages run again.

Example:
    chatladder upgrade

It renews the files that a project has from chatladder: stages/, dvc.yaml, the plots' templates, and code.json, which
holds a hash of each part of the package. A stage runs again if a part that it depends on behaves differently than
before. Your params.yaml, exports, answers and metrics stay. The replaced files must be in git: git diff shows the
changes.

A project that an earlier release made by copying its code is converted: the copy is removed, and stages stay up to date
if the code does what the copy did.
"""

import shutil
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import Any

import click

from chatladder.cli.git import git
from chatladder.cli.status import check_project, is_clone, stages_in_words, staleness
from chatladder.io.code import CODE, hashes, meaning, part_hash, part_of, shipped
from chatladder.io.console import SETTINGS, DataError, example
from chatladder.io.files import write_json
from chatladder.io.params import read_yaml, round_trip
from chatladder.presets import as_text, write_yaml

#: The paths that an upgrade writes.
RENEWED = ("stages", "dvc.yaml", ".dvc/plots", ".dvcignore", CODE)
#: The paths that projects of earlier releases have a copy of.
PACKAGE = "chatladder"
COPIED = (PACKAGE, "pyproject.toml", "LICENSE", "requirements.lock", "requirements-torch.lock",
          "requirements-torch-cpu.lock")  # fmt: skip
#: The folder of a project's own tasks, on which stages depend as well as on the hash of chatladder's tasks.
TASKS = "tasks"
TASKS_README = """\
A folder here is a question of your own to ask of the chat; `task` of `params.yaml` names the one that is asked. It
holds `task.toml`, `guidelines.md` and `prompts/`, as those of chatladder's own tasks do (docs/how-to/tasks.md). Stages
depend on this folder: it stays where it is empty, too.
"""
GRAPH_NOTE = """\
Written by chatladder upgrade, which replaces what is changed here; numbers of experiments are in params.yaml.
Of the package, stages depend on the hashes in code.json.
"""


def write_code(project: Path) -> None:
    """Write the files that a project has from the installed chatladder.

    A stage that differs in comments alone stays as it is, since DVC compares bytes.
    """
    for name, content in shipped().items():
        path = project / name
        if not any(PurePosixPath(name).is_relative_to(each) for each in RENEWED):
            continue
        if name == "dvc.yaml":
            content = render(content)
        elif path.is_file() and meaning(name, path.read_bytes()) == meaning(name, content):
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    write_json(project / CODE, hashes())
    make_tasks(project)


def make_tasks(project: Path) -> None:
    """Make the folder of a project's own tasks, if there is none."""
    readme = project / TASKS / "README.md"
    if not readme.exists():
        readme.parent.mkdir(exist_ok=True)
        readme.write_text(TASKS_README, encoding="utf-8", newline="\n")


def render(graph: bytes) -> bytes:
    """Return dvc.yaml for a project: stages depend on hashes in place of folders of the package."""
    content = round_trip().load(graph.decode("utf-8"))
    for stage in content["stages"].values():
        stage = stage.get("do", stage)
        code = [dep for dep in stage["deps"] if part_of(dep)]
        for dep in code:
            stage["deps"].remove(dep)
        if code:
            stage.setdefault("params", []).append({CODE: [part_of(dep) for dep in code]})
        if TASKS in map(part_of, code):
            stage["deps"].append(TASKS)
    content.yaml_set_start_comment(GRAPH_NOTE)
    return as_text(content).encode()


def carry_lock(lock: Path, package: Path, stale: Collection[str]) -> None:
    """Replace the folders of a copied package in dvc.lock by their hashes, for the stages that are up to date.

    Args:
        lock: The lock file.
        package: The copied package.
        stale: The stages that are not up to date.
    """
    content = read_yaml(lock)
    for name, run in content["stages"].items():
        deps: list[Any] = list(run.get("deps", ()))
        parts = [part for dep in deps if (part := part_of(dep["path"]))]
        if parts and name not in stale:
            run["deps"] = [dep for dep in deps if not part_of(dep["path"])]
            run.setdefault("params", {})[CODE] = {part: part_hash(part, package) for part in parts}
            if TASKS in parts:
                run["deps"].append(_locked(lock.parent, TASKS))
    write_yaml(lock, content)


def _locked(project: Path, name: str) -> dict[str, Any]:
    """Return a folder as a dependency in dvc.lock."""
    from chatladder.cli.export.record import md5_of

    sizes = [path.stat().st_size for path in (project / name).rglob("*") if path.is_file()]
    return {"path": name, "hash": "md5", "md5": md5_of(project / name), "size": sum(sizes), "nfiles": len(sizes)}


def take_over(project: Path) -> None:
    """Remove the copy of the code from a project, and keep its results up to date.

    Raises:
        DataError: If DVC does not say what is up to date.
    """
    lock = project / "dvc.lock"
    if lock.is_file():
        now = staleness(project)
        if now.stale is None:
            raise DataError(f"DVC does not say which stages are up to date: {now.trouble}. Nothing was changed.")
        make_tasks(project)
        carry_lock(lock, project / PACKAGE, now.stale)
    for path in (project / name for name in COPIED):
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
    ours = shipped()
    for path in (project / "stages").iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif f"stages/{path.name}" not in ours:
            path.unlink()


@click.command(name="upgrade", context_settings=SETTINGS, epilog=example(__doc__))
def upgrade_command() -> None:
    """Upgrade the project in this folder to the installed version, and list the stages that run again."""
    project = Path()
    check_project(project)
    if is_clone(project):
        raise DataError("expected a project, got a clone of chatladder, whose stages depend on its own folders.")
    copied = (project / PACKAGE).is_dir()
    names = [name for name in (*RENEWED, *(COPIED if copied else ())) if (project / name).exists()]
    if git(project, "status", "--porcelain", "--", *names):
        raise DataError(f"{', '.join(names)}: expected these in git as they are, for they are replaced. Commit first.")
    if copied:
        take_over(project)
    write_code(project)
    changed = git(project, "status", "--porcelain", "--", *names, CODE)
    if not changed:
        click.echo("Nothing to do: the project is that of the installed chatladder.")
        return
    places = sorted({line[3:].split("/")[0] for line in changed.splitlines()})
    click.echo(f"Renewed{' or removed' if copied else ''}: {', '.join(places)}; git diff shows how.")
    now = staleness(project)
    runs = f"unknown: {now.trouble}" if now.stale is None else stages_in_words(now.stale) or "nothing"
    click.echo(f"Runs again: {runs}")
    if f"{PACKAGE}/" in (params := project / "params.yaml").read_text(encoding="utf-8") and copied:
        click.echo(f"{params} names a file of the copy, which is gone: git show HEAD:PATH > FILE, and name that.")
    click.echo('Next: git add -A && git commit -m "Upgrade chatladder" && dvc repro')


if __name__ == "__main__":
    upgrade_command()

"""Where this process finds its task: the folder that says what is asked."""

import os
from functools import cache
from pathlib import Path

from chatladder.io.console import DataError
from chatladder.io.params import PARAMS, not_yaml

#: Names the task before params.yaml does: workers on other machines have that of the process that they work for.
VARIABLE = "CHATLADDER_TASK"
#: The tasks that come with chatladder, and those of a project, a folder each.
SHIPPED, OWN = Path(__file__).resolve().parents[1] / "tasks", Path("tasks")
DEFAULT = "needs_history"


@cache
def task_folder() -> Path:
    """Return the folder of the task that the environment names, else ``task`` of params.yaml, else the usual one.

    A process has one task: it is found once.

    Raises:
        DataError: If there is no such task, or params.yaml cannot be read.
    """
    if name := os.environ.get(VARIABLE):
        # A path is what a worker is told of a project's own task.
        return Path(name) if Path(name).is_absolute() else folder_of(name, VARIABLE)
    return folder_of(_named(PARAMS), f"{PARAMS}: task")


def task_name(folder: Path) -> str:
    """Return what a worker is told: the name of a shipped task, the path of another."""
    return folder.name if folder.parent == SHIPPED else str(folder)


def shipped_tasks() -> list[str]:
    """Return the names of the tasks that come with chatladder."""
    return sorted(path.name for path in SHIPPED.iterdir() if path.is_dir() and not path.name.startswith((".", "_")))


def folder_of(name: object, place: str) -> Path:
    """Return the folder of a task by its name.

    Args:
        name: As it was given.
        place: Where it was given, for errors.

    Raises:
        DataError: If it names none, or two.
    """
    shipped = shipped_tasks()
    own = sorted(path.name for path in OWN.iterdir() if path.is_dir()) if OWN.is_dir() else []
    if both := {*shipped} & {*own} & {name}:
        raise DataError(f"{OWN / both.pop()}: expected another name: a task of chatladder has this one.")
    if name in shipped:
        return SHIPPED / str(name)
    if name in own:
        return (OWN / str(name)).resolve()
    raise DataError(f"{place}: expected {', '.join(shipped)}, or a folder of {OWN}/, got {name!a}.")


def _named(params: Path) -> object:
    """Return the task that a params.yaml names; the usual one where there is no file, or it names none.

    Raises:
        DataError: If it is no YAML.
    """
    import yaml

    try:
        content = yaml.load(params.read_bytes(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except FileNotFoundError:
        return DEFAULT
    except OSError as error:
        raise DataError(f"{params}: cannot be read: {error.strerror or error}.") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise not_yaml(params, error) from error
    return content.get("task", DEFAULT) if isinstance(content, dict) else DEFAULT

"""The folder of this process's task."""

import os
from functools import cache
from pathlib import Path

from chatladder.io.console import DataError
from chatladder.io.params import PARAMS, not_yaml

#: The variable that overrides params.yaml, by which workers on other machines get the task of their driver process.
VARIABLE = "CHATLADDER_TASK"
#: The folders of the tasks that come with chatladder, and of a project's own tasks.
SHIPPED, OWN = Path(__file__).resolve().parents[1] / "tasks", Path("tasks")
DEFAULT = "needs_history"


@cache
def task_folder() -> Path:
    """Return the folder of the task in the environment, else of ``task`` in params.yaml, else of the default task.

    A process has one task, so the result is cached.

    Raises:
        DataError: If there is no such task, or params.yaml cannot be read.
    """
    if name := os.environ.get(VARIABLE):
        # Workers get a project's own task as a path.
        return Path(name) if Path(name).is_absolute() else folder_of(name, VARIABLE)
    return folder_of(_named(PARAMS), f"{PARAMS}: task")


def task_name(folder: Path) -> str:
    """Return the value of ``VARIABLE`` for workers: the name of a shipped task, or the path of a project's own."""
    return folder.name if folder.parent == SHIPPED else str(folder)


def shipped_tasks() -> list[str]:
    """Return the names of the tasks that come with chatladder."""
    return sorted(path.name for path in SHIPPED.iterdir() if path.is_dir() and not path.name.startswith((".", "_")))


def folder_of(name: object, place: str) -> Path:
    """Return the folder of a task by its name.

    Args:
        name: The name as the user gave it.
        place: The setting that it comes from, for errors.

    Raises:
        DataError: If there is no such task, or both chatladder and the project have one of this name.
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
    """Return the task that a params.yaml names; the default one if there is no file, or it names none.

    Raises:
        DataError: If the file cannot be read, or is not YAML.
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

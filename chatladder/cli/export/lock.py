"""What ``dvc.lock`` records of the pipeline's runs: parameters, commands, and the MD5 of what was read and written."""

import hashlib
import json
import shlex
from pathlib import Path
from typing import Any, cast

from chatladder.io.console import DataError


class Lock:
    """One lock file, read whole."""

    def __init__(self, path: Path) -> None:
        """Read it.

        Raises:
            DataError: If it is not there, or is no lock file.
        """
        import yaml

        self.path = path
        try:
            read = yaml.safe_load(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise DataError(
                f"{path}: expected the lock file of the pipeline, got none. Run dvc repro first."
            ) from error
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror or error}.") from error
        except (ValueError, RecursionError, yaml.YAMLError) as error:
            raise DataError(f"{path}: expected a lock file of DVC, got no YAML that can be read.") from error
        stages = read.get("stages") if isinstance(read, dict) else None
        if not isinstance(stages, dict):
            raise DataError(f"{path}: expected a lock file of DVC, got none with stages.")
        self._stages: dict[str, Any] = stages

    def params(self, stage: str) -> dict[str, Any]:
        """What the stage read of ``params.yaml``, by the name of its section."""
        return dict(self._stage(stage).get("params", {}).get("params.yaml", {}))

    def section(self, stage: str, name: str) -> dict[str, Any]:
        """One section of what the stage read of ``params.yaml``.

        Raises:
            DataError: If it read no such section.
        """
        section = self.params(stage).get(name)
        if not isinstance(section, dict):
            raise DataError(f"{self.path}: expected section {name} in the params of {stage}. Run dvc repro again.")
        return section

    def options(self, stage: str) -> dict[str, list[str]]:
        """The options of the stage's command line, each with its values in their order; a flag has none."""
        found: dict[str, list[str]] = {}
        values: list[str] = []
        for word in shlex.split(self._stage(stage)["cmd"]):
            if word.startswith("--"):
                name, _, value = word[2:].partition("=")
                values = found.setdefault(name.replace("_", "-"), [])
                values += [value] if value else []
            else:
                values.append(word)
        return found

    def md5(self, stage: str, path: Path) -> str | None:
        """MD5 of something that the stage read or wrote, as DVC writes it; None if it did neither."""
        try:
            name = path.resolve().relative_to(self.path.resolve().parent).as_posix()
        except ValueError:
            return None
        rows = [*self._stage(stage).get("deps", []), *self._stage(stage).get("outs", [])]
        return next((row.get("md5") for row in rows if row["path"] == name), None)

    def _stage(self, stage: str) -> dict[str, Any]:
        try:
            return cast("dict[str, Any]", self._stages[stage])
        except KeyError as error:
            message = f"{self.path}: expected a run of stage {stage}, got none. Run dvc repro {stage} first."
            raise DataError(message) from error


def md5_of(path: Path) -> str:
    """MD5 of a file or folder, as DVC computes it: a folder's is that of the list of its files.

    Raises:
        DataError: If it cannot be read.
    """
    try:
        if not path.is_dir():
            with path.open("rb") as file:
                return hashlib.file_digest(file, "md5").hexdigest()
        files = sorted((each.relative_to(path).as_posix(), each) for each in path.rglob("*") if each.is_file())
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}.") from error
    rows = [{"md5": md5_of(file), "relpath": name} for name, file in files]
    return hashlib.md5(json.dumps(rows).encode(), usedforsecurity=False).hexdigest() + ".dir"

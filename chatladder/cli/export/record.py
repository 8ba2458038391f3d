"""The record of a model: its settings, and the commit, versions and data that it comes from.

``dvc.lock`` records the inputs and outputs of the pipeline's runs, and ``chatladder.json`` the same settings in an
exported folder, so that new messages get the form that the model knows. A card states metrics of one adapter, trained
on one state of the labels, so the files on disk are compared with ``dvc.lock``, link by link, before anything is
written.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args, get_type_hints

from chatladder.cli.git import git
from chatladder.evaluation.threshold import THRESHOLDS
from chatladder.io.console import DataError
from chatladder.io.files import read_json
from chatladder.io.options import setting
from chatladder.io.task_folder import DEFAULT, VARIABLE
from chatladder.models.prompts import ANSWER_FORMS, LANGUAGES, ORDERS, USUAL_ORDERS, WORDINGS, PromptSettings
from chatladder.vocabulary import TASK

#: The file in which an exported folder describes itself to programs.
RECORD = "chatladder.json"
BASES, ADAPTERS, ALPACA = Path("data/bases"), Path("data/adapters"), Path("data/alpaca")
LABELLED, TUNED, METRICS = Path("data/labelled.parquet"), Path("data/predictions/tuned"), Path("metrics")
_SAME = "As the model was trained."


@dataclass(frozen=True)
class Settings:
    """The settings with which turns, questions, prompts and answers were made, named as the options of the stages."""

    gap_seconds: int = setting(_SAME, least=0)
    min_characters: int = setting(_SAME, least=0)
    rules_threshold: float = setting(_SAME, least=0, most=10)
    window: int = setting(_SAME, least=0)
    conversation_gap: int = setting(_SAME, least=0)
    max_conversation_turns: int = setting(_SAME, least=2)
    reply_reach: int = setting(_SAME, least=0)
    language: str = setting(_SAME, choices=LANGUAGES)
    answer: str = setting(_SAME, choices=ANSWER_FORMS)
    seed: int = setting(_SAME)
    max_length: int = setting(_SAME, least=64)
    wording: str = setting(_SAME, choices=WORDINGS, default=WORDINGS[0])
    turns: int | None = setting(_SAME, default=None, least=0)
    orders: int = setting("As the threshold was chosen.", default=USUAL_ORDERS, least=1, most=ORDERS)
    threshold: float | None = setting(
        "Log-odds above which the answer is the positive label, as evaluate chose them.", default=None
    )

    @property
    def prompt(self) -> PromptSettings:
        """The settings of a prompt."""
        return PromptSettings(self.language, self.answer, self.seed, self.wording, self.turns)

    @property
    def shown(self) -> int:
        """The most earlier turns in a prompt."""
        return self.window if self.turns is None else min(self.turns, self.window)


FIELDS = [each.name for each in fields(Settings)]
#: The fields without a default.
REQUIRED = [each.name for each in fields(Settings) if each.default is MISSING]


class Lock:
    """The content of a lock file of DVC."""

    def __init__(self, path: Path) -> None:
        """Read the file.

        Raises:
            DataError: If it is missing, or is not a lock file.
        """
        import yaml

        self.path = path
        try:
            self._stages: dict[str, Any] = dict(yaml.safe_load(path.read_text(encoding="utf-8"))["stages"])
        except OSError as error:
            reason = error.strerror or error
            raise DataError(f"{path}: cannot be read: {reason}. Run dvc repro first; it writes this file.") from error
        except (KeyError, TypeError, ValueError, RecursionError, yaml.YAMLError) as error:
            raise DataError(f"{path}: expected a lock file of DVC, got no YAML with stages.") from error

    def params(self, stage: str) -> dict[str, Any]:
        """Return the sections of ``params.yaml`` as the stage read them, by name."""
        return dict(self._stage(stage).get("params", {}).get("params.yaml", {}))

    def section(self, stage: str, name: str) -> dict[str, Any]:
        """Return one section of ``params.yaml`` as the stage read it.

        Raises:
            DataError: If the stage read no such section.
        """
        section = self.params(stage).get(name)
        if not isinstance(section, dict):
            raise DataError(f"{self.path}: expected section {name} in the params of {stage}. Run dvc repro again.")
        return section

    def md5(self, stage: str, path: Path) -> str | None:
        """Return the MD5 of a path that the stage read or wrote, as DVC writes it; None if it did neither."""
        rows = [*self._stage(stage).get("deps", []), *self._stage(stage).get("outs", [])]
        return next((row.get("md5") for row in rows if row["path"] == path.as_posix()), None)

    def check(self, stage: str, path: Path, md5: str | None, of: Path | None = None) -> None:
        """Refuse a path that is not in the state that the stage read or wrote.

        Args:
            stage: Name of the stage.
            path: The path that the stage read or wrote.
            md5: The path's MD5 on the disk, or in the record of another stage.
            of: The file that the error names, if it is not the path.

        Raises:
            DataError: If the states differ.
        """
        if md5 is None or self.md5(stage, path) != md5:
            raise DataError(
                f"{of or path}: expected the state that {self.path} records for {stage}, got another, so "
                f"they do not belong together. Run dvc repro {stage} (or dvc checkout) first."
            )

    def _stage(self, stage: str) -> dict[str, Any]:
        if stage not in self._stages:
            raise DataError(f"{self.path}: expected a run of stage {stage}, got none. Run dvc repro {stage} first.")
        run: dict[str, Any] = self._stages[stage]
        return run


def md5_of(path: Path) -> str:
    """Return the MD5 of a file or folder as DVC computes it; that of a folder is the MD5 of its list of files.

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


def locked_settings(lock: Lock, rung: str) -> dict[str, Any]:
    """Return the settings of one rung in the pipeline's last runs.

    Raises:
        DataError: If a stage has not run.
    """
    questions = lock.section("pick_questions", "questions")
    thresholds = dict(str(each).split("=", 1) for each in questions.get("judge", ()) if "=" in str(each))
    read = {
        **lock.section("merge", "merge"),
        **questions,
        **lock.section("to_alpaca", "prompt"),
        "rules_threshold": thresholds.get("rules"),
        "max_length": lock.params(f"train@{rung}").get("max_length"),
        "orders": lock.params(f"predict_tuned@{rung}").get("predict", {}).get("orders"),
        "threshold": _locked_threshold(lock, rung),
    }
    return {name: read[name] for name in FIELDS if read.get(name) is not None}


def _locked_threshold(lock: Lock, rung: str) -> float | None:
    """Return the threshold of the adapter of the rung's first seed; None if evaluate wrote none.

    Raises:
        DataError: If it was chosen for another adapter.
    """
    path = METRICS / "models.json"
    if not path.is_file():
        return None
    lock.check("evaluate", path, md5_of(path))
    adapter = ADAPTERS / rung
    lock.check(f"predict_tuned@{rung}", adapter, lock.md5(f"train@{rung}", adapter), of=path)
    if (TUNED / f"{rung}.parquet").is_file():  # a clone may have none of them
        lock.check("evaluate", TUNED, md5_of(TUNED), of=path)
    thresholds = (read_json(path).get(rung) or {}).get("tuned", {}).get(THRESHOLDS) or {}
    return next(iter(thresholds.values()), None)


def locked_training(lock: Lock, rung: str) -> dict[str, Any]:
    """Return the training settings of one rung; its own section overrides the section of all rungs."""
    params = lock.params(f"train@{rung}")
    of_rung = params.get(f"ladder.{rung}.train") or {}
    return {**(params.get("train") or {}), **of_rung, "max_length": params.get("max_length")}


def exported_settings(folder: Path) -> dict[str, Any]:
    """Return the settings in the record of an exported folder; empty if it has no record.

    Raises:
        DataError: If the record is damaged, or the model was trained on a task other than this process's.
    """
    path = folder / RECORD
    if not path.is_file():
        return {}
    record = read_json(path)
    settings = record.get("settings") if isinstance(record, dict) else None
    if not isinstance(settings, dict):
        raise DataError(f"{path}: expected a record of chatladder export with its settings. Export the model again.")
    if (task := record.get("task", DEFAULT)) != TASK.name:
        raise DataError(
            f"{path}: expected a model trained for the task {TASK.name}, got one for {task!a}. Run in a project "
            f"of that task, or set {VARIABLE}."
        )
    return {name: settings[name] for name in FIELDS if name in settings}


def checked(values: Mapping[str, Any], place: str) -> Settings:
    """Return the settings, converted to their types.

    Raises:
        DataError: If one is missing or has another type; the error names the first.
    """
    settings: dict[str, Any] = {}
    for name, hint in get_type_hints(Settings).items():
        value, kind = values.get(name), next(iter(get_args(hint)), hint)
        if value is None and name not in REQUIRED:
            continue
        try:
            settings[name] = kind(value)
        except (TypeError, ValueError) as error:
            got = "nothing" if value is None else "something else"
            raise DataError(f"{place}: expected {name} ({kind.__name__}), got {got}.") from error
    for name, choices in (("language", LANGUAGES), ("answer", ANSWER_FORMS)):
        if settings[name] not in choices:
            raise DataError(f"{place}: expected {name} to be one of {', '.join(choices)}.")
    return Settings(**settings)


def lineage(lock: Lock, rung: str) -> dict[str, Any]:
    """Return the lineage of the model, as the card states it.

    Returns:
        ``chatladder`` (version), ``git_commit`` (None outside a repository), ``uncommitted_changes``, and ``dvc``: the
        MD5 of base, adapter, alpaca and labelled as ``dvc.lock`` has them.

    Raises:
        DataError: If base, adapter or training rows on the disk are not those that the lock file records.
    """
    train = f"train@{rung}"
    paths = {"base": BASES / rung, "adapter": ADAPTERS / rung, "alpaca": ALPACA}
    for path in paths.values():
        lock.check(train, path, md5_of(path))
    lock.check(train, ALPACA, lock.md5("to_alpaca", ALPACA))
    md5 = {name: lock.md5(train, path) for name, path in paths.items()}
    md5["labelled"] = lock.md5("to_alpaca", LABELLED)
    commit, changed = _commit(lock.path.resolve().parent)
    return {"chatladder": version("chatladder"), "git_commit": commit, "uncommitted_changes": changed, "dvc": md5}


def read_metrics(lock: Lock, rung: str) -> dict[str, dict[str, Any] | None]:
    """Return the metrics of label, evaluate and check_scaling, by file name; None if there is no file.

    Raises:
        DataError: If they were measured on another adapter, or on other labels.
    """
    metrics: dict[str, dict[str, Any] | None] = {}
    for name, stage in (("annotation", "label"), ("models", "evaluate"), ("scaling", "check_scaling")):
        path = METRICS / f"{name}.json"
        metrics[name] = None
        if path.is_file():
            lock.check(stage, path, md5_of(path))
            lock.check(stage, LABELLED, lock.md5("to_alpaca", LABELLED), of=path)
            metrics[name] = read_json(path)
    if metrics["models"] is not None:
        predictions, predict = TUNED / f"{rung}.parquet", f"predict_tuned@{rung}"
        lock.check(predict, ADAPTERS / rung, lock.md5(f"train@{rung}", ADAPTERS / rung), of=predictions)
        lock.check(predict, predictions, md5_of(predictions))
        lock.check("evaluate", TUNED, md5_of(TUNED), of=METRICS / "models.json")
    return metrics


def _commit(folder: Path) -> tuple[str | None, bool]:
    """Return the commit that is checked out, and True if tracked files differ from it; None outside a repository."""
    try:
        commit = git(folder, "rev-parse", "HEAD").strip()
        return commit, bool(git(folder, "status", "--porcelain", "--untracked-files=no").strip())
    except DataError:
        return None, False

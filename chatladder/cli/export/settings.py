"""The settings that a model belongs to: how turns, windows and prompts were made that it was trained on.

They are read from ``dvc.lock``, or from ``chatladder.json`` of an exported model, so that new messages are brought
into the very form that the model knows.
"""

from pathlib import Path
from typing import Any, NamedTuple

from chatladder.cli.export.lock import Lock
from chatladder.io.console import DataError
from chatladder.io.files import read_json
from chatladder.models.prompts import ANSWER_FORMS, LANGUAGES

#: What an exported folder says of itself, for programs.
RECORD = "chatladder.json"


class Settings(NamedTuple):
    """Named as the options of the stages that use them."""

    gap_seconds: int  # of stages.merge
    min_characters: int  # of stages.pick_questions, as all up to reply_reach
    rules_threshold: float
    window: int
    conversation_gap: int
    max_conversation_turns: int
    reply_reach: int
    language: str  # of stages.predict, as all that follow
    answer: str
    seed: int
    max_length: int


def locked_settings(lock: Lock, rung: str) -> dict[str, Any]:
    """The settings of one rung, as the pipeline's last runs had them.

    Raises:
        DataError: If a stage has not run.
    """
    questions, prompt = lock.section("pick_questions", "questions"), lock.section("to_alpaca", "prompt")
    thresholds = dict(str(each).partition("=")[::2] for each in questions.get("judge") or [])
    found = {
        "gap_seconds": lock.section("merge", "merge").get("gap_seconds"),
        "rules_threshold": thresholds.get("rules"),
        "max_length": lock.params(f"train@{rung}").get("max_length"),
        **{name: questions.get(name) for name in Settings._fields if name in questions},
        **{name: prompt.get(name) for name in ("language", "answer", "seed")},
    }
    return {name: value for name, value in found.items() if value is not None}


def exported_settings(folder: Path) -> dict[str, Any]:
    """The settings that an exported folder brings along; none where it has no record.

    Raises:
        DataError: If the record is damaged.
    """
    path = folder / RECORD
    if not path.is_file():
        return {}
    record = read_json(path)
    settings = record.get("settings") if isinstance(record, dict) else None
    if not isinstance(settings, dict):
        raise DataError(f"{path}: expected a record of chatladder export with its settings. Export the model again.")
    return {name: settings[name] for name in Settings._fields if name in settings}


def checked(found: dict[str, Any], place: str) -> Settings:
    """Settings of the right kinds.

    Raises:
        DataError: Naming the first that is missing or is something else.
    """
    values: dict[str, Any] = {}
    for name, kind in Settings.__annotations__.items():
        value = found.get(name)
        try:
            values[name] = kind(value)
        except (TypeError, ValueError) as error:
            got = "nothing" if value is None else "something else"
            raise DataError(f"{place}: expected {name} ({kind.__name__}), got {got}.") from error
    if values["language"] not in LANGUAGES or values["answer"] not in ANSWER_FORMS:
        raise DataError(
            f"{place}: expected language to be one of {', '.join(LANGUAGES)} and answer one of "
            f"{', '.join(ANSWER_FORMS)}."
        )
    return Settings(**values)

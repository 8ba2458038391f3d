"""The way from raw lines to labels, step by step, with what is left out at each."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from chatladder.io.console import DataError
from chatladder.io.files import read_json
from chatladder.vocabulary import KINDS, LABELS, SCORED

COLUMNS = ("place", "step", "unit", "count", "share", "left_out")
#: Digits of a share.
DIGITS = 5

#: Splits, as a step names them.
_PURPOSES = {"train": "to train", "validation": "to validate", "test": "to test"}
#: What is left once a reason has taken its turns, and how the reason reads behind a number.
_STEPS = {"not_text": ("turns of text", "without text"), "too_short": ("long enough", "too short")}
_JOINED = {"below_majority": "not passed by most judges", "below_mean": "below the judges' mean threshold"}
_UNDECIDED = {**{name: KINDS[name].words for name in LABELS if name not in SCORED}, "disagreed": "disagreed"}


def read_picked(path: Path) -> dict[str, Any]:
    """What pick_questions counted.

    Raises:
        DataError: If it is something else.
    """
    picked = read_json(path)
    if not (isinstance(picked, dict) and {"turns", "questions", "left_out"} <= {*picked}):
        raise DataError(f"{path}: expected the counts of pick_questions, got something else. Run that stage again.")
    return picked


def funnel_rows(
    picked: Mapping[str, Any], counts: Mapping[str, Any], sizes: Mapping[str, int]
) -> Iterator[tuple[Any, ...]]:
    """Rows of ``COLUMNS``, from the most to the fewest.

    ``share`` is that of the step before, and for a split that of all labels. What a chat never counted (one that came
    in as turns has no lines) is no step.

    Args:
        picked: What pick_questions counted: ``metrics/questions.json``.
        counts: Items by what they were decided to be, as ``metrics/annotation.json`` has them.
        sizes: Labelled items of each split.
    """
    place = before = 0
    for place, (step, unit, count, left_out) in enumerate(_steps(picked, counts)):
        yield place, step, unit, count, round(count / before, DIGITS) if before else "", left_out
        before = count
    for split, count in sizes.items():
        place += 1
        yield place, _PURPOSES[split], "splits", count, round(count / before, DIGITS), ""


def _steps(picked: Mapping[str, Any], counts: Mapping[str, Any]) -> Iterator[tuple[str, str, int, str]]:
    """Step, unit, count, and in words what was left out."""
    if "raw_lines" in picked:
        yield "raw lines", "lines", picked["raw_lines"], ""
    if "messages" in picked:
        yield "messages", "messages", picked["messages"], _words(picked.get("skipped", 0), "no message")
    yield "turns", "turns", picked["turns"], _words(picked.get("joined", 0), "joined to the turn before")
    reasons = [name for name in picked["left_out"] if not name.startswith("skipped_")]
    left = picked["turns"]
    for reason in reasons:
        left -= picked["left_out"][reason]
        judge = reason.removeprefix("below_")
        step, said = _STEPS.get(reason, (f"passed by {judge}", _JOINED.get(reason, f"not passed by {judge}")))
        unit = "turns"
        if reason == reasons[-1]:
            step = unit = "questions"
        yield step, unit, left, _words(picked["left_out"][reason], said)
    yield "answered", "questions", counts["items"], _words(picked["questions"] - counts["items"], "without an answer")
    undecided = ", ".join(filter(None, (_words(counts[name], said) for name, said in _UNDECIDED.items())))
    yield "labelled", "labels", counts["needed"] + counts["not_needed"], undecided


def _words(count: int, said: str) -> str:
    return f"{count:,} {said}" if count > 0 else ""

"""One answer of an annotator: the label, who gave it, when, and its line in a log."""

import json
import re
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from chatladder.io.console import DataError
from chatladder.vocabulary import LABELS, POSITIVE


class Label(StrEnum):
    """A label that an annotator may give. It has no truth value, since there are more than two labels."""

    _ignore_ = "_name"
    for _name in LABELS:
        vars()[_name.upper()] = _name

    def __bool__(self) -> bool:
        raise TypeError(f"a label is not true or false: compare it, as in label == Label.{self.name}")


_FIELDS = (("item_id", str), ("annotator", str), ("round", int), ("label", str), ("at", str))
_LABELS = {label.value: label for label in Label}
_OPENING = '{"item_id": "'
#: The content of a JSON string, to its end or to where the line was cut, perhaps within an escape sequence.
_STRING = r'(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-f]{4}))*(?:\\(?:u[0-9a-f]{0,3})?\Z)?'
_ID_BEGUN = re.compile(re.escape(_OPENING) + _STRING)
_AT = re.compile("[0-9T:.+Z-]*")
_REWRITE_OPENING = '", "rewrite": "'
_REWRITE_BEGUN = re.compile(re.escape(_REWRITE_OPENING) + _STRING)


@dataclass(frozen=True)
class Answer:
    """One line of a log.

    Attributes:
        item_id: The question that was answered.
        annotator: Name of the person who answered; also the name of the file.
        round: Number of the round, from 1; also in the name of the folder.
        label: The answer; in a line with ``undo``, the answer that is taken back.
        at: Time of the answer, ISO 8601 in UTC.
        undo: True if the line takes back the latest answer to this item.
        rewrite: The question rewritten to stand alone, if the annotator did so; only with the positive label, and not
            in a line with ``undo``.
    """

    item_id: str
    annotator: str
    round: int
    label: Label
    at: str
    undo: bool = False
    rewrite: str | None = None


def now() -> str:
    """Return the current time for ``Answer.at``: ISO 8601 in UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def line_of(answer: Answer) -> str:
    """Return the log line of an answer, without its line end."""
    row = {name: value for name, value in asdict(answer).items() if name not in ("undo", "rewrite") or value}
    return json.dumps(row, ensure_ascii=False)


def is_beginning(text: str, annotator: str, round_number: int) -> bool:
    """Return True if a text is the beginning of a line of ``line_of``, as an interrupted write leaves it.

    Args:
        text: The text found where a whole line was expected.
        annotator: The log's owner.
        round_number: The log's round.
    """
    start = _ID_BEGUN.match(text)
    if start is None:
        return _OPENING.startswith(text)
    rest = text[start.end() :]
    for label in _LABELS:
        middle = f'", {_own(annotator, round_number)}, "label": "{label}", "at": "'
        if middle.startswith(rest):
            return True
        if rest.startswith(middle):
            end = _AT.sub("", rest.removeprefix(middle), count=1)
            if written := _REWRITE_BEGUN.match(end):
                return '"}'.startswith(end[written.end() :])
            return any(whole.startswith(end) for whole in ('"}', '", "undo": true}', _REWRITE_OPENING))
    return False


def _own(annotator: str, round_number: int) -> str:
    """Return the part that all lines of a log share."""
    return f'"annotator": {json.dumps(annotator, ensure_ascii=False)}, "round": {round_number}'


def parse(row: Any, where: str) -> Answer:
    """Return the answer that a JSON value from a log represents.

    Args:
        row: The line, parsed as JSON.
        where: ``file:line``, for the error.

    Raises:
        DataError: If a field is missing or malformed.
    """
    if not isinstance(row, dict):
        raise DataError(f"{where}: expected a JSON object, got {type(row).__name__}.")
    for field, kind in _FIELDS:
        value = row.get(field)
        # Not isinstance, which takes a bool for an int: "round": true is not round 1.
        if type(value) is not kind or value == "":
            if field not in row:
                raise DataError(f'{where}: expected a field "{field}", got {_shown(list(row))}.')
            raise DataError(f'{where}: expected "{field}" to be {kind.__name__}, got {_shown(value)}.')
    label = _LABELS.get(row["label"])
    if label is None:
        raise DataError(f'{where}: expected "label" to be one of {", ".join(LABELS)}, got {_shown(row["label"])}.')
    undo = row.get("undo", False)
    if not isinstance(undo, bool):
        raise DataError(f'{where}: expected "undo" to be true or false, got {_shown(undo)}.')
    if not _is_utc(row["at"]):
        raise DataError(f'{where}: expected "at" in ISO 8601, UTC, as {now()}; got {_shown(row["at"])}.')
    rewrite = row.get("rewrite")
    if rewrite is not None and (type(rewrite) is not str or not rewrite):
        raise DataError(f'{where}: expected "rewrite" to be a text, or not there; got {_shown(rewrite)}.')
    if rewrite is not None and (label != POSITIVE or undo):
        raise DataError(f'{where}: expected "rewrite" only in an answer {POSITIVE}. Remove it.')
    return Answer(row["item_id"], row["annotator"], row["round"], label, row["at"], undo, rewrite)


def _is_utc(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo == UTC
    except ValueError:
        return False


def _shown(value: Any) -> str:
    """Return a value from a file in printable form: escaped, since a log can be hostile, and short."""
    text = ascii(value)
    return text if len(text) <= 60 else text[:57] + "..."

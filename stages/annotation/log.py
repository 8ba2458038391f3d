"""The annotation log: one JSON object a line, only ever appended to, one file per round and annotator.

``data/annotations/round_2/li.jsonl`` holds what ``li`` answered in round 2::

    {"item_id": "9f2c…", "annotator": "li", "round": 2, "label": "needed", "at": "2023-10-01T12:00:00Z"}

A later line about the same item replaces the earlier one; a line with ``"undo": true`` takes the latest one
back, so the one before it counts again. Replaying the file therefore gives one answer per item and annotator,
however often the work was interrupted.
"""

import errno
import json
import os
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import IO, Any

from stages.cli import DataError
from stages.files import write_jsonl
from stages.rows import LABELS

_ROUND_FOLDER = re.compile(r"round_([1-9]\d*)")
#: Names that are safe as a file's name everywhere: letters of any script, digits, dot, dash, underscore.
_ANNOTATOR = re.compile(r"\w[\w.-]*")


class Label(StrEnum):
    """What an annotator may answer. It has no truth value: four answers are not two."""

    NEEDED = "needed"
    NOT_NEEDED = "not_needed"
    NOT_A_QUESTION = "not_a_question"
    UNSURE = "unsure"

    def __bool__(self) -> bool:
        raise TypeError(f"a label is not true or false: compare it, as in label == Label.{self.name}")


@dataclass(frozen=True)
class Answer:
    """One line of a log.

    Attributes:
        item_id: The question that was answered.
        annotator: Who answered; also the name of the file.
        round: Number of the round, from 1; also in the name of the folder.
        label: The answer (of a line with ``undo``: the answer taken back).
        at: When, ISO 8601 in UTC.
        undo: True where the line takes back the latest answer to this item.
    """

    item_id: str
    annotator: str
    round: int
    label: Label
    at: str
    undo: bool = False


@dataclass(frozen=True)
class Replay:
    """What a log says once it is read to its end.

    Attributes:
        answers: The answer that counts, by item, in the order in which items were first answered.
        lines: The line each of them stands on, from 1.
        torn: Number of a last line that was cut short while it was written, or None.
    """

    answers: dict[str, Answer]
    lines: dict[str, int]
    torn: int | None


def now() -> str:
    """The time for ``Answer.at``: ISO 8601 in UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def log_path(annotations: Path, round_number: int, annotator: str) -> Path:
    """Where the answers of one annotator in one round are kept.

    Raises:
        DataError: If the round is below 1 or the annotator's name cannot be a file's name.
    """
    path = annotations / f"round_{round_number}" / f"{annotator}.jsonl"
    if not _ANNOTATOR.fullmatch(annotator):
        raise DataError(
            f"annotator {annotator!a}: expected letters, digits, dots, dashes and underscores, "
            "beginning with a letter or digit, since it names a file."
        )
    _owner(path)
    return path


def log_files(annotations: Path, last_round: int) -> list[Path]:
    """Every log of rounds 1 to ``last_round``, by round, then by name.

    Raises:
        DataError: If ``last_round`` has no log, or answers lie where no round is.
    """
    rounds: dict[int, Path] = {}
    for entry in sorted(annotations.iterdir()):
        match = _ROUND_FOLDER.fullmatch(entry.name)
        if match and entry.is_dir():
            rounds[int(match[1])] = entry
        elif (entry.is_dir() or entry.suffix == ".jsonl") and not entry.name.startswith("."):
            raise DataError(
                f"{entry}: expected only folders round_1, round_2, … here, with <annotator>.jsonl in them. "
                "Move or rename it."
            )
    logs = {number: sorted(folder.glob("[!.]*.jsonl")) for number, folder in rounds.items()}
    if not logs.get(last_round):
        present = ", ".join(str(number) for number in sorted(logs) if logs[number]) or "none"
        raise DataError(
            f"{annotations}: expected answers of round {last_round} in round_{last_round}/<annotator>.jsonl; "
            f"rounds that have some: {present}. Annotate that round or let fewer rounds count."
        )
    return [path for number in sorted(logs) if number <= last_round for path in logs[number]]


def append(path: Path, answer: Answer) -> None:
    """Add one answer to a log and wait until it is on the disk.

    A last line that an earlier crash cut short is removed first, so that it cannot swallow this one.

    Raises:
        DataError: If the answer belongs into another file, or cannot be written.
    """
    _check_owner(answer, path, where=str(path))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as log:
            _heal(log)
            log.write(json.dumps(_row(answer), ensure_ascii=False).encode("utf-8") + b"\n")
            log.flush()
            os.fsync(log.fileno())
    except OSError as error:
        reason = "the disk is full" if error.errno == errno.ENOSPC else error.strerror or str(error)
        raise DataError(f"{path}: the answer could not be recorded: {reason}.") from error


def create(path: Path, answers: Iterable[Answer]) -> None:
    """Write a new log of answers that were given elsewhere, whole or not at all.

    Raises:
        DataError: If the log exists, or an answer belongs into another file.
    """
    if path.exists():
        raise DataError(f"{path}: expected no log here yet; answers are only ever added to one, never replaced.")
    rows = []
    for answer in answers:
        _check_owner(answer, path, where=str(path))
        rows.append(_row(answer))
    write_jsonl(path, rows)


def replay(path: Path) -> Replay:
    """Read a log from its first line to its last.

    Raises:
        DataError: At the first line that is malformed, belongs to another round or annotator, or undoes
            nothing. A last line cut short is not an error: it is named in ``torn``.
    """
    given: dict[str, list[tuple[int, Answer]]] = {}
    lines = path.read_bytes().split(b"\n")
    torn = None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            row = json.loads(line.decode("utf-8"))
        except ValueError as error:
            # Whole lines end in a newline: only a piece after the last one can be an interrupted write.
            if number == len(lines):
                torn = number
                break
            raise DataError(f"{where}: expected a JSON object: {error}. Correct or remove the line.") from error
        answer = _parse(row, where)
        _check_owner(answer, path, where)
        _apply(given.setdefault(answer.item_id, []), number, answer, where)
    kept = {item_id: earlier[-1] for item_id, earlier in given.items() if earlier}
    return Replay(
        answers={item_id: answer for item_id, (_, answer) in kept.items()},
        lines={item_id: number for item_id, (number, _) in kept.items()},
        torn=torn,
    )


def _row(answer: Answer) -> dict[str, Any]:
    return {name: value for name, value in asdict(answer).items() if name != "undo" or value}


def _apply(earlier: list[tuple[int, Answer]], number: int, answer: Answer, where: str) -> None:
    if not answer.undo:
        earlier.append((number, answer))
    elif earlier:
        earlier.pop()
    else:
        raise DataError(f"{where}: expected an earlier answer to undo, got none for this item. Remove the line.")


def _heal(log: IO[bytes]) -> None:
    """End the log with a newline: complete a last line that lacks only that, drop one that was cut short."""
    log.seek(0)
    content = log.read()
    last = content.rpartition(b"\n")[2]
    if not last:
        return
    try:
        json.loads(last.decode("utf-8"))
    except ValueError:
        log.truncate(len(content) - len(last))
    else:
        log.write(b"\n")


def _parse(row: Any, where: str) -> Answer:
    if not isinstance(row, dict):
        raise DataError(f"{where}: expected a JSON object, got {type(row).__name__}.")
    for field, kind in (("item_id", str), ("annotator", str), ("round", int), ("label", str), ("at", str)):
        if field not in row:
            raise DataError(f'{where}: expected a field "{field}", got {_shown(list(row))}.')
        # bool is an int to Python; "round": true is not round 1.
        if not isinstance(row[field], kind) or isinstance(row[field], bool) or row[field] == "":
            raise DataError(f'{where}: expected "{field}" to be {kind.__name__}, got {_shown(row[field])}.')
    if row["label"] not in LABELS:
        raise DataError(f'{where}: expected "label" to be one of {", ".join(LABELS)}, got {_shown(row["label"])}.')
    undo = row.get("undo", False)
    if not isinstance(undo, bool):
        raise DataError(f'{where}: expected "undo" to be true or false, got {_shown(undo)}.')
    if not _is_utc(row["at"]):
        raise DataError(f'{where}: expected "at" in ISO 8601, UTC, as {now()}; got {_shown(row["at"])}.')
    return Answer(row["item_id"], row["annotator"], row["round"], Label(row["label"]), at=row["at"], undo=undo)


def _is_utc(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).utcoffset() == timedelta(0)
    except ValueError:
        return False


def _owner(path: Path) -> tuple[int, str]:
    match = _ROUND_FOLDER.fullmatch(path.parent.name)
    if not match:
        raise DataError(f"{path}: expected a log in a folder round_1, round_2, …, got {path.parent.name!a}.")
    return int(match[1]), path.stem


def _check_owner(answer: Answer, path: Path, where: str) -> None:
    round_number, annotator = _owner(path)
    if answer.round != round_number:
        raise DataError(
            f'{where}: expected "round" {round_number}, as the folder says, got {answer.round}. '
            "Move the line to its round's folder or correct it."
        )
    if answer.annotator != annotator:
        raise DataError(f'{where}: expected "annotator" {annotator!a}, as the file is named, got {answer.annotator!a}.')


def _shown(value: Any) -> str:
    """A value from a file as it may be printed: escaped (a log can be hostile) and short."""
    text = ascii(value)
    return text if len(text) <= 60 else text[:57] + "..."

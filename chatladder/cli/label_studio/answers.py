"""The answers in an export of Label Studio (JSON): whose they are, which of them count, and which a log lacks.

An export is a list of tasks with their ``annotations``; an annotation is one person's submitted answer to one task. A
file is taken as it comes, from whoever wrote it: anything in it that is not of the expected shape is refused with its
place. People are known by number; their e-mail addresses are neither read nor repeated.

Source:
    https://labelstud.io/guide/task_format, https://labelstud.io/guide/export; both compared with release 1.23.2.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from chatladder.cli.label_studio.tasks import CHOICES
from chatladder.io.console import DataError
from chatladder.io.files import read_json
from chatladder.labels.answer import Answer, Label
from chatladder.labels.log import Replay
from chatladder.vocabulary import LABELS

#: Bytes of an export; it is read as a whole.
MOST_BYTES = 1 << 29
_VERSION = re.compile(r"[0-9a-f]{12}")
_NAMED = re.compile(r"(0|[1-9][0-9]{0,18})\s*=\s*([^@\s][^@]*)")


class Given(NamedTuple):
    """An answer in an export.

    Attributes:
        item_id: The question.
        user: Number of the person who answered.
        label: The answer.
        at: When it was last changed, UTC.
        number: The annotation's; later ones have higher numbers.
        version: Wording of the guidelines that the task was exported with.
        place: File and row, for errors.
    """

    item_id: str
    user: int
    label: Label
    at: datetime
    number: int
    version: str
    place: str


def read_export(path: Path) -> tuple[list[Given], Counter[str]]:
    """Read all of an export.

    Returns:
        Its answers, in the order of the file, and counts: ``annotations``; of these, those that are nobody's answer:
        ``skipped``, ``empty``, where the choice was taken away again, and ``ownerless``, whose user is gone; besides,
        ``drafts`` and ``predictions``.

    Raises:
        DataError: If it is too big, no JSON, or not of the shape that Label Studio writes.
    """
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise DataError(f"{path}: expected at most {MOST_BYTES:,} bytes, got {size:,}. Export fewer tasks at once.")
    tasks = read_json(path)
    if not isinstance(tasks, list):
        raise DataError(f"{path}: expected a list of tasks, got {type(tasks).__name__}. Export the project as JSON.")
    given: list[Given] = []
    counts: Counter[str] = Counter()
    for number, task in enumerate(tasks, start=1):
        where = f"{path}: row {number}"
        if not isinstance(task, dict) or "annotations" not in task:
            raise DataError(f'{where}: expected a task with "annotations". Export the project as JSON.')
        given += _given(task, where, counts)
    return given, counts


def _given(task: Mapping[str, Any], where: str, counts: Counter[str]) -> Iterator[Given]:
    for name in ("drafts", "predictions"):
        counts[name] += len(_field(task, name, list, where, []))
    data = _field(task, "data", dict, where)
    for position, annotation in enumerate(_field(task, "annotations", list, where), start=1):
        place = f"{where}, annotation {position}"
        if not isinstance(annotation, dict):
            raise DataError(f"{place}: expected an object, got {type(annotation).__name__}.")
        counts["annotations"] += 1
        if _field(annotation, "was_cancelled", bool, place, False):
            counts["skipped"] += 1
            continue
        label, user = _label(annotation, place), _user(annotation.get("completed_by"), place)
        if label is None or user is None:
            counts["empty" if label is None else "ownerless"] += 1
            continue
        item_id, version = (_field(data, name, str, place) for name in ("item_id", "guidelines"))
        if not item_id or not _VERSION.fullmatch(version):
            raise DataError(f"{place}: expected an item_id and the version of the guidelines, as tasks are exported.")
        number = _field(annotation, "id", int, place)
        yield Given(item_id, user, label, _moment(annotation, place), number, version, place)


def _label(annotation: Mapping[str, Any], place: str) -> Label | None:
    """Return the choice; results of other tags, which a project may have beside ours, are skipped."""
    chosen: list[Any] = []
    for result in _field(annotation, "result", list, place):
        if not isinstance(result, dict):
            raise DataError(f'{place}: expected objects in "result", got {type(result).__name__}.')
        if result.get("from_name") == CHOICES:
            chosen += _field(_field(result, "value", dict, place), "choices", list, place)
    if not chosen:
        return None
    if len(chosen) > 1 or chosen[0] not in LABELS:
        raise DataError(f"{place}: expected one choice of {', '.join(LABELS)}; got another, or several.")
    return Label(chosen[0])


def _user(value: Any, place: str) -> int | None:
    if value is None:
        return None
    number = value.get("id") if isinstance(value, dict) else value
    if type(number) is not int or not 0 <= number < 2**63:
        raise DataError(f"{place}, completed_by: expected a user's number.")  # it may be somebody's address: not shown
    return number


def _moment(annotation: Mapping[str, Any], place: str) -> datetime:
    text = annotation.get("updated_at") or annotation.get("created_at")
    try:
        moment = datetime.fromisoformat(str(text))
        if moment.utcoffset() is None:
            raise ValueError
        return moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise DataError(
            f'{place}: expected "updated_at" or "created_at" in ISO 8601 with its distance from UTC.'
        ) from error


def _field(row: Mapping[str, Any], name: str, kind: type, where: str, *default: Any) -> Any:
    value = row.get(name, *default)
    if type(value) is not kind:
        raise DataError(f'{where}: expected "{name}" to be {kind.__name__}, got {type(value).__name__}.')
    return value


def parse_names(text: str | None) -> dict[int, str]:
    """Read ``1=li,2=wu``: the names of annotators by a user's number.

    Raises:
        ValueError: If a pair is malformed or a user there twice. Addresses are not repeated in it.
    """
    names: dict[int, str] = {}
    for pair in filter(None, (pair.strip() for pair in (text or "").split(","))):
        match = _NAMED.fullmatch(pair)
        if match is None:
            raise ValueError("expected pairs of a user's number and a name, as 1=li,2=wu.")
        number, name = int(match[1]), match[2].strip()
        if names.setdefault(number, name) != name:
            raise ValueError(f"expected one name for a user, got {names[number]!a} and {name!a} for the same.")
    return names


def latest(given: Iterable[Given], names: Mapping[int, str]) -> dict[str, list[Given]]:
    """Return each annotator's latest answer to each item, in the order in which they were given.

    Args:
        given: All answers.
        names: User -> name; anybody else is named by their number in Label Studio.
    """
    by_name: dict[str, dict[str, Given]] = {}
    for answer in sorted(given, key=lambda answer: (answer.at, answer.number, answer.item_id)):
        answers = by_name.setdefault(names.get(answer.user, f"labelstudio_{answer.user}"), {})
        answers.pop(answer.item_id, None)  # so that what replaces it stands at its own time
        answers[answer.item_id] = answer
    return {name: [*answers.values()] for name, answers in sorted(by_name.items())}


def new_answers(
    given: Sequence[Given], log: Replay, annotator: str, round_number: int
) -> tuple[list[Answer], Counter[str]]:
    """Return the answers that a log lacks.

    Args:
        given: One for each item.
        log: Its content.
        annotator: Its owner.
        round_number: Its round.

    Returns:
        The answers to add, and how many there was no need to: ``known``, where the log says the same, and ``older``,
        where it says something else that was answered later.
    """
    added = []
    left: Counter[str] = Counter()
    for answer in given:
        current = log.answers.get(answer.item_id)
        if current is not None and current.label == answer.label:
            left["known"] += 1
        elif current is not None and datetime.fromisoformat(current.at) >= answer.at:
            left["older"] += 1
        else:
            at = answer.at.isoformat().replace("+00:00", "Z")
            added.append(Answer(answer.item_id, annotator, round_number, answer.label, at))
    return added, left

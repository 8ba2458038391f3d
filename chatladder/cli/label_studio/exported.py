"""What an export of Label Studio holds, as JSON or JSON-MIN.

JSON is a list of tasks with their ``annotations``; JSON-MIN has a row for each annotation instead. An annotation is
one person's submitted answer to one task. A file is taken as it comes, from whoever wrote it: anything in it that is
not of the expected shape is refused with its place, and nobody's e-mail address is ever repeated.

Source:
    https://labelstud.io/guide/task_format, https://labelstud.io/guide/export; both held against release 1.23.2.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from chatladder.cli.label_studio.tasks import CHOICES
from chatladder.io.console import DataError
from chatladder.labels.answer import Label
from chatladder.vocabulary import LABELS

#: Bytes of an export; it is read as a whole.
MOST_BYTES = 1 << 29
_VERSION = re.compile(r"[0-9a-f]{12}")
_LABELS = {label.value: label for label in Label}


class User(NamedTuple):
    """Who answered, as an export names them: by number, by address, or by both."""

    number: int | None
    address: str | None


class Given(NamedTuple):
    """An answer in an export.

    Attributes:
        item_id: The question.
        user: Who answered.
        label: What.
        at: When the answer was last changed, UTC.
        number: Of the annotation; later ones have higher numbers.
        version: Of the guidelines that the task was exported with.
        place: Where it stands, for errors.
    """

    item_id: str
    user: User
    label: Label
    at: datetime
    number: int
    version: str
    place: str


@dataclass
class Export:
    """What an export holds.

    Attributes:
        given: Its answers, in the order of the file.
        counts: ``annotations``; of these, those that are nobody's answer: ``skipped``, ``empty``, where the choice
            was taken away again, and ``ownerless``, whose user is gone; besides, ``drafts`` and ``predictions``.
    """

    given: list[Given] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


def read_export(path: Path) -> Export:
    """Read all of an export.

    Raises:
        DataError: If it is too big, no JSON, or not of the shape that Label Studio writes.
    """
    export = Export()
    for number, row in enumerate(_rows(path), start=1):
        where = f"{path}: row {number}"
        if not isinstance(row, dict) or not ("annotations" in row or "annotation_id" in row):
            raise DataError(
                f'{where}: expected a task with "annotations", or a row with an "annotation_id". '
                "Export the project from Label Studio as JSON or JSON-MIN."
            )
        read = _of_task if "annotations" in row else _of_row
        export.given += read(row, where, export.counts)
    return export


def _rows(path: Path) -> list[Any]:
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise DataError(f"{path}: expected at most {MOST_BYTES:,} bytes, got {size:,}. Export fewer tasks at once.")
        rows = json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}.") from error
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{error.lineno}: expected JSON: {error.msg}. Export the project again.") from error
    except (ValueError, RecursionError) as error:
        what = {UnicodeDecodeError: "not UTF-8", RecursionError: "nested too deep"}
        raise DataError(f"{path}: expected JSON: {what.get(type(error), 'a number too long')}.") from error
    if not isinstance(rows, list):
        raise DataError(f"{path}: expected a list of tasks, got {type(rows).__name__}. Export the project as JSON.")
    return rows


def _of_task(row: Mapping[str, Any], where: str, counts: Counter[str]) -> Iterator[Given]:
    for name in ("drafts", "predictions"):
        counts[name] += len(_of_type(row, name, list, where, []))
    data = _of_type(row, "data", dict, where)
    for number, annotation in enumerate(_of_type(row, "annotations", list, where), start=1):
        place = f"{where}, annotation {number}"
        if not isinstance(annotation, dict):
            raise DataError(f"{place}: expected an object, got {type(annotation).__name__}.")
        counts["annotations"] += 1
        if _of_type(annotation, "was_cancelled", bool, place, False):
            counts["skipped"] += 1
            continue
        label = _label(_choices(annotation, place), place)
        user = _user(annotation.get("completed_by"), f"{place}, completed_by")
        if label is None or user is None:
            counts["empty" if label is None else "ownerless"] += 1
        else:
            yield _given(data, annotation, user, label, _of_type(annotation, "id", int, place), place)


def _of_row(row: Mapping[str, Any], where: str, counts: Counter[str]) -> Iterator[Given]:
    if row["annotation_id"] is None:  # a task that nobody answered
        return
    counts["annotations"] += 1
    chosen = row.get(CHOICES)
    label = _label([chosen] if isinstance(chosen, str) else chosen, where)
    user = _user(row.get("annotator"), f"{where}, annotator")
    if label is None or user is None:
        counts["empty" if label is None else "ownerless"] += 1
    else:
        yield _given(row, row, user, label, _of_type(row, "annotation_id", int, where), where)


def _given(
    data: Mapping[str, Any], times: Mapping[str, Any], user: User, label: Label, number: int, place: str
) -> Given:
    item_id = _of_type(data, "item_id", str, place)
    version = _of_type(data, "guidelines", str, place)
    if not item_id or not _VERSION.fullmatch(version):
        raise DataError(f"{place}: expected an item_id and the version of the guidelines, as tasks are exported.")
    return Given(item_id, user, label, _moment(times, place), number, version, place)


def _choices(annotation: Mapping[str, Any], place: str) -> list[Any]:
    """What was chosen; results of other tags, which a project may have beside ours, are passed over."""
    chosen: list[Any] = []
    for result in _of_type(annotation, "result", list, place):
        if not isinstance(result, dict):
            raise DataError(f'{place}: expected objects in "result", got {type(result).__name__}.')
        if result.get("from_name") == CHOICES:
            chosen += _of_type(_of_type(result, "value", dict, place), "choices", list, place)
    return chosen


def _label(chosen: Any, place: str) -> Label | None:
    if chosen is None or chosen == []:
        return None
    label = _LABELS.get(chosen[0]) if isinstance(chosen, list) and isinstance(chosen[0], str) else None
    if label is None or len(chosen) > 1:
        raise DataError(f"{place}: expected one choice of {', '.join(LABELS)}; got another, or several.")
    return label


def _user(value: Any, place: str) -> User | None:
    if value is None:
        return None
    if isinstance(value, dict):
        number, address = value.get("id"), value.get("email")
    else:
        number, address = (None, value) if isinstance(value, str) else (value, None)
    is_number = type(number) is int and 0 <= number < 2**63
    if (number is not None and not is_number) or not isinstance(address, str | None) or number is address is None:
        # What came may be somebody's address: not shown.
        raise DataError(f"{place}: expected a user's number or e-mail address.")
    return User(number, address)


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


def _of_type(row: Mapping[str, Any], name: str, kind: type, where: str, *default: Any) -> Any:
    value = row.get(name, *default)
    if type(value) is not kind:
        raise DataError(f'{where}: expected "{name}" to be {kind.__name__}, got {type(value).__name__}.')
    return value

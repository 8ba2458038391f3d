"""The tasks and the configuration for Label Studio, and the answers in its exports.

In a task's data, only the id and the version of the guidelines are plain strings; everything that people wrote is in
lists for ``Paragraphs`` tags. These show a line literally, whereas the ``Text`` tag cleans and escapes what it takes
for HTML, the ``Chat`` tag renders Markdown, and the server replaces a plain string that looks like a link to one of its
files by such a link. So nothing in a message can have an effect.

An export (JSON) is a list of tasks with their ``annotations``; an annotation is one person's submitted answer to one
task. A file may come from anybody: anything in it that is not of the expected shape is refused with its place. People
are identified by number; their e-mail addresses are neither read nor repeated.

Sources:
    https://labelstud.io/tags/paragraphs, https://labelstud.io/tags/choices, https://labelstud.io/tags/textarea,
    https://labelstud.io/guide/task_format, https://labelstud.io/guide/export; all compared with release 1.23.2.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree as Xml

from chatladder.cli.annotate.display import clock, day, literal, pause
from chatladder.cli.annotate.writing import masked_line
from chatladder.io.console import DataError
from chatladder.io.files import read_json, whole_file
from chatladder.labels.answer import Answer, Label
from chatladder.labels.log import Replay
from chatladder.vocabulary import KINDS, LABELS, POSITIVE, TASK

#: Names of the tags that hold the answer, and the rewrite.
CHOICES, TEXT_AREA = "label", "rewrite"
#: The text for an empty history, since Label Studio cannot show an empty list.
NOTHING_BEFORE = "(nothing was said before it)"
#: An invisible sign that keeps "$word" in a text from being read as the name of a field.
_APART = "\u2060"
#: The screen, without guidelines and choices.
_CONFIG = Path(__file__).with_name("config.xml")


def task_of(question: Mapping[str, Any], version: str) -> dict[str, Any]:
    """Return one question as a task.

    Args:
        question: A row of ``QUESTIONS``.
        version: Version of the guidelines to answer it by.

    Returns:
        ``{"data": {"item_id", "guidelines", "question", "dialogue"}}``. The latter two are lists of
        ``{"author", "text", "time", "shown"}``: ``text`` is the message itself, ``time`` ISO 8601 in UTC or null,
        ``shown`` the two as an annotator sees them, without characters that could hide or turn others.
    """
    window = question["window"] or []
    before = window[-1]["timestamp"] if window else None
    return {
        "data": {
            "item_id": question["item_id"],
            "guidelines": version,
            "question": [_line(question, before, day(before))],
            "dialogue": _dialogue(window),
        }
    }


def _dialogue(window: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    if not window:
        return [{"author": "", "text": "", "time": None, "shown": NOTHING_BEFORE}]
    earlier = [None, *(turn["timestamp"] for turn in window[:-1])]
    return [_line(turn, before, day(before)) for turn, before in zip(window, earlier, strict=True)]


def _line(turn: Mapping[str, Any], before: int | None, last_day: str) -> dict[str, Any]:
    at = turn["timestamp"]
    text = turn["text"] or ""
    today = day(at)
    note = " · ".join(filter(None, (today if today != last_day else "", pause(before, at))))
    shown = f"{clock(at)}  {literal(text)}" if today else literal(text)
    return {
        "author": literal(turn["sender"] or "").replace("\n", " "),
        # A server on PostgreSQL can store any character but this one.
        "text": text.replace("\0", "\ufffd"),
        "time": _iso(at),
        "shown": f"— {note} —\n{shown}" if note else shown,
    }


def _iso(timestamp: int | None) -> str | None:
    try:
        return None if timestamp is None else datetime.fromtimestamp(timestamp, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return None  # beyond what a calendar holds


def config_of(guidelines: str, version: str) -> str:
    """Return the labelling configuration: guidelines to unfold, the history, the question, one key per answer.

    Args:
        guidelines: The text of the guidelines, shown as it is written, without the signs of line breaks.
        version: The version of the guidelines.

    Raises:
        DataError: If the guidelines hold characters that XML cannot.
    """
    view = Xml.fromstring(_CONFIG.read_text(encoding="utf-8"))
    panel, words, group = (next(view.iter(name)) for name in ("Panel", "Header", "Choices"))
    panel.set("value", f"{panel.get('value')} {version}")
    words.set("value", _plain(guidelines))
    header, writing = view.findall("Header")[-1], view.find("View")
    header.set("value", " · ".join((TASK.item[1], TASK.item[0].capitalize())))
    if writing is not None and TASK.is_written_out:
        writing.set("whenChoiceValue", POSITIVE)
    elif writing is not None:
        view.remove(writing)
    for label in LABELS:
        Xml.SubElement(group, "Choice", value=label, hotkey=KINDS[label].key)
    Xml.indent(view)
    config = Xml.tostring(view, encoding="unicode") + "\n"
    try:
        Xml.fromstring(config)
    except Xml.ParseError as error:
        raise DataError(f"the guidelines: expected characters that XML can hold: {error}.") from error
    return config


def _plain(text: str) -> str:
    text = re.sub(r"\\$", "", text, flags=re.MULTILINE)  # a line break in Markdown
    return re.sub(r"\$", f"{_APART}${_APART}", literal(text.strip()))


def write_tasks(path: Path, questions: Iterable[Mapping[str, Any]], version: str) -> int:
    """Write a JSON list with one task per line, and return their number.

    Raises:
        DataError: If it cannot be written.
    """
    count = 0
    with whole_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as out:
        for question in questions:
            out.write(",\n" if count else "[\n")
            json.dump(task_of(question, version), out, ensure_ascii=False)
            count += 1
        out.write("\n]\n" if count else "[]\n")
    return count


#: The most bytes of an export, which is read as a whole.
MOST_BYTES = 1 << 29
_VERSION = re.compile(r"[0-9a-f]{12}")
_NAMED = re.compile(r"(0|[1-9][0-9]{0,18})\s*=\s*([^@\s][^@]*)")


class Given(NamedTuple):
    """An answer in an export.

    Attributes:
        item_id: The question.
        user: Number of the person who answered.
        label: The answer.
        at: Time of its last change, UTC.
        number: The annotation's number; later ones have higher numbers.
        version: Version of the guidelines that the task was exported with.
        place: File and row, for errors.
        rewrite: The rewrite, on one line and masked, if the question is needed and the person wrote one.
    """

    item_id: str
    user: int
    label: Label
    at: datetime
    number: int
    version: str
    place: str
    rewrite: str | None


def read_export(path: Path, phone_regions: Sequence[str] = ()) -> tuple[list[Given], Counter[str]]:
    """Read all of an export.

    Args:
        path: The file.
        phone_regions: Countries whose phone numbers are masked without their +, in what people wrote.

    Returns:
        Its answers, in the order of the file, and counts: ``annotations``; among these the ones that are not answers:
        ``skipped``, ``empty`` (the choice was removed again) and ``ownerless`` (the user is gone); and in addition
        ``drafts`` and ``predictions``.

    Raises:
        DataError: If it is too big, not JSON, or not of the shape that Label Studio writes.
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
        given += _given(task, where, counts, phone_regions)
    return given, counts


def _given(task: Mapping[str, Any], where: str, counts: Counter[str], phone_regions: Sequence[str]) -> Iterator[Given]:
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
        rewrite = _rewrite(annotation, place, phone_regions) if label == POSITIVE and TASK.is_written_out else None
        yield Given(item_id, user, label, _moment(annotation, place), number, version, place, rewrite)


def _label(annotation: Mapping[str, Any], place: str) -> Label | None:
    """Return the choice."""
    chosen = _results(annotation, CHOICES, "choices", place)
    if not chosen:
        return None
    if len(chosen) > 1 or chosen[0] not in LABELS:
        raise DataError(f"{place}: expected one choice of {', '.join(LABELS)}; got another, or several.")
    return Label(chosen[0])


def _rewrite(annotation: Mapping[str, Any], place: str, phone_regions: Sequence[str]) -> str | None:
    """Return the person's rewrite, or None."""
    lines = _results(annotation, TEXT_AREA, "text", place)
    if not all(isinstance(line, str) for line in lines):
        raise DataError(f'{place}: expected texts in the area "{TEXT_AREA}", got other values.')
    return masked_line(" ".join(lines), phone_regions)[0] or None


def _results(annotation: Mapping[str, Any], tag: str, kind: str, place: str) -> list[Any]:
    """Return the values of one of our tags; results of other tags, which a project may have as well, are skipped."""
    values: list[Any] = []
    for result in _field(annotation, "result", list, place):
        if not isinstance(result, dict):
            raise DataError(f'{place}: expected objects in "result", got {type(result).__name__}.')
        if result.get("from_name") == tag:
            values += _field(_field(result, "value", dict, place), kind, list, place)
    return values


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
        ValueError: If a pair is malformed or a user occurs twice. The message repeats no addresses.
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
        answers.pop(answer.item_id, None)  # so that the later answer is ordered by its own time
        answers[answer.item_id] = answer
    return {name: [*answers.values()] for name, answers in sorted(by_name.items())}


def new_answers(
    given: Sequence[Given], log: Replay, annotator: str, round_number: int
) -> tuple[list[Answer], Counter[str]]:
    """Return the answers that a log lacks.

    Args:
        given: One for each item.
        log: The content of the log.
        annotator: The log's owner.
        round_number: The log's round.

    Returns:
        The answers to add, and the numbers of others: ``known``, if the log has the same answer, and ``older``, if it
        has another one that was given later.
    """
    added = []
    left: Counter[str] = Counter()
    for answer in given:
        current = log.answers.get(answer.item_id)
        if current is not None and (current.label, current.rewrite) == (answer.label, answer.rewrite):
            left["known"] += 1
        elif current is not None and datetime.fromisoformat(current.at) >= answer.at:
            left["older"] += 1
        else:
            at = answer.at.isoformat().replace("+00:00", "Z")
            added.append(Answer(answer.item_id, annotator, round_number, answer.label, at, rewrite=answer.rewrite))
    return added, left

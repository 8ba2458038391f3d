"""The tasks that Label Studio shows, one for each question, and the configuration that puts it on the screen.

Of a task's data only the id and the version of the guidelines are texts of their own; all that people wrote lies in
lists for ``Paragraphs`` tags. Those show a line as it is, whereas the ``Text`` tag cleans and escapes what it takes for
HTML, the ``Chat`` tag renders Markdown, and the server puts a link to a file of its own in place of a text of its own
that looks like one. So nothing in a message can do anything there.

Source:
    https://labelstud.io/tags/paragraphs, https://labelstud.io/tags/choices; both compared with release 1.23.2.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

from chatladder.cli.annotate.display import clock, day, literal, pause
from chatladder.io.console import DataError
from chatladder.io.files import whole_file
from chatladder.vocabulary import KINDS, LABELS

#: Name of the tag that holds the answer.
CHOICES = "label"
#: Stands where there is nothing to show: Label Studio cannot show an empty list.
NOTHING_BEFORE = "(nothing was said before it)"
#: An invisible sign that keeps "$word" in a text from being read as the name of a field.
_APART = "\u2060"
#: One message a line, as in a chat. Without it newer releases put each on a card of its own, with a button to mark all
#: of it and the time in a recording, which there is none of.
_STYLE = """
[class*="phrase--"] { display: flex; align-items: baseline; gap: 1em; margin: 0; padding: 1px 8px; }
[class*="titleWrapper"] { flex: 0 0 7em; }
[class*="dialoguetext"] { white-space: pre-wrap; overflow-wrap: anywhere; }
[class*="time--"], [class*="selectAllBtn"], [class*="authorFilter"] { display: none; }
"""
_WORDS = "white-space: pre-wrap; font-size: 14px; font-weight: 400; line-height: 1.5"
_PARAGRAPHS = {
    "valueType": "json",
    "layout": "dialogue",
    "nameKey": "author",
    "textKey": "shown",
    "saveTextResult": "no",
}


def task_of(question: Mapping[str, Any], version: str) -> dict[str, Any]:
    """One question as a task.

    Args:
        question: A row of ``QUESTIONS``.
        version: Wording of the guidelines that it is to be answered by.

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
    """The labelling configuration: guidelines to unfold, what was said before, the question, one key an answer.

    Args:
        guidelines: Their text, shown as it is written, less the signs of line breaks.
        version: Names their wording.

    Raises:
        DataError: If the guidelines hold characters that XML cannot.
    """
    view = Xml.Element("View")
    Xml.SubElement(view, "Style").text = _STYLE
    panel = Xml.SubElement(Xml.SubElement(view, "Collapse"), "Panel", value=f"标注说明 · Guidelines {version}")
    words = {"value": _plain(guidelines), "size": "5", "style": _WORDS}
    Xml.SubElement(panel, "Header", words)
    Xml.SubElement(view, "Header", value="之前 · Before", size="5")
    Xml.SubElement(view, "Paragraphs", {"name": "dialogue", "value": "$dialogue", **_PARAGRAPHS})
    Xml.SubElement(view, "Header", value="问题 · Question", size="4")
    Xml.SubElement(view, "Paragraphs", {"name": "question", "value": "$question", **_PARAGRAPHS})
    choices = {"name": CHOICES, "toName": "question", "choice": "single-radio", "showInline": "true"}
    message = {"required": "true", "requiredMessage": "Choose one of them, or skip the task."}
    group = Xml.SubElement(view, "Choices", {**choices, **message})
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
    """Write a JSON list with one task a line, and say how many.

    Raises:
        DataError: If it cannot be written.
    """
    count = 0
    with whole_file(path) as temporary, temporary.open("w", encoding="utf-8") as out:
        for question in questions:
            out.write(",\n" if count else "[\n")
            json.dump(task_of(question, version), out, ensure_ascii=False)
            count += 1
        out.write("\n]\n" if count else "[]\n")
    return count

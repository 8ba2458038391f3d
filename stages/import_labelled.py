r"""Bring in questions that were labelled elsewhere, as questions and an annotation log of this project.

Example:
    chatladder import labelled.jsonl --out imported --only-with-history
    python -m stages.label --questions imported/questions.parquet --annotations imported/annotations \
        --round 1 --validation 0.05 --test 0.25 --out imported/labelled.parquet --metrics imported/counts.json

A line is ``{"id", "history": [{"sender", "text", "timestamp"}], "sender", "text", "needs_context": bool}``,
history oldest first; ``timestamp`` (UTC seconds or null) and ``conversation`` of the question are optional,
anything else is passed over. Without ``conversation`` it is the id up to its last ``:`` or ``_``:
``camrest:354_1`` belongs to ``camrest:354``. Names of senders become pseudonyms, also where a text begins with
one (``anna: did it work?``), and numbers are masked, as in ingest; names elsewhere in a text stay.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import click
from tqdm import tqdm

from stages.annotation.log import Answer, Label, create, log_path, now
from stages.cli import SETTINGS, DataError, InputFile, OutputFolder, example
from stages.files import read_jsonl, whole_folder
from stages.privacy.masking import mask
from stages.privacy.pseudonyms import Pseudonyms
from stages.rows import QUESTIONS, write_rows

#: Who the imported labels are attributed to.
ANNOTATOR = "imported"
#: Milliseconds would be beyond this many seconds (the year 5138).
_LATEST = 10**11
_ADDRESS = re.compile(r"([^\s:,：，]+)[:,：，]\s*")


class Imported(NamedTuple):
    """One labelled question: a row as in ``questions.parquet``, and its label."""

    question: dict[str, Any]
    label: Label


def conversation_of(item_id: str) -> str:
    """An id up to its last ``:`` or ``_``, or all of it if it has neither."""
    return item_id[: max(item_id.rfind(":"), item_id.rfind("_"))] if re.search(r".[:_]", item_id) else item_id


def read_labelled(path: Path) -> list[Imported]:
    """Read labelled questions, with the names and texts as they are in the file.

    Raises:
        DataError: At the first line with a field missing or of another type, or with an id used before.
    """
    rows: list[Imported] = []
    lines: dict[str, int] = {}
    for number, row in read_jsonl(path):
        where = f"{path}:{number}"
        imported = _imported(row, path.stem, where)
        item_id = imported.question["item_id"]
        if item_id in lines:
            raise DataError(f'{where}: expected an "id" not used before, got the one of line {lines[item_id]}.')
        lines[item_id] = number
        rows.append(imported)
    if not rows:
        raise DataError(f"{path}: expected labelled questions, one JSON object a line; the file is empty.")
    return rows


def _imported(row: Mapping[str, Any], group: str, where: str) -> Imported:
    item_id = _text(row, "id", where)
    needed = row.get("needs_context")
    if not isinstance(needed, bool):
        raise DataError(f'{where}: expected "needs_context" to be true or false, got {needed!a}.')
    history = row.get("history")
    if not isinstance(history, list) or not all(isinstance(turn, dict) for turn in history):
        raise DataError(f'{where}: expected "history" to be a list of objects, got {type(history).__name__}.')
    conversation = _text(row, "conversation", where) if "conversation" in row else conversation_of(item_id)
    question = {
        "item_id": item_id,
        "turn_id": item_id,
        "group": group,
        "conversation": conversation,
        **_turn(row, where),
        "window": [_turn(turn, where) for turn in history],
    }
    return Imported(question, Label.NEEDED if needed else Label.NOT_NEEDED)


def _turn(row: Mapping[str, Any], where: str) -> dict[str, Any]:
    timestamp = row.get("timestamp")
    if timestamp is not None and (not isinstance(timestamp, int) or isinstance(timestamp, bool)):
        raise DataError(f'{where}: expected "timestamp" in UTC seconds or null, got {timestamp!a}.')
    if timestamp is not None and abs(timestamp) > _LATEST:
        raise DataError(f'{where}: expected "timestamp" in seconds, got {timestamp}: milliseconds? Divide by 1000.')
    return {"sender": _text(row, "sender", where), "text": _text(row, "text", where), "timestamp": timestamp}


def _text(row: Mapping[str, Any], field: str, where: str) -> str:
    value = row.get(field)
    if not isinstance(value, str) or not value:
        raise DataError(f'{where}: expected "{field}" to be text, got {type(value).__name__} or nothing.')
    return value


def hide_names(rows: Iterable[Imported], pseudonyms: Pseudonyms) -> Iterator[Imported]:
    """The rows with pseudonyms for senders, also where a text begins with one, and with numbers masked."""
    rows = list(rows)
    names: dict[str, dict[str, str]] = {}
    for question, _ in rows:
        known = names.setdefault(question["conversation"], {})
        for turn in (question, *question["window"]):
            known[turn["sender"]] = pseudonyms.person(turn["sender"])
    for question, label in rows:
        known = names[question["conversation"]]
        window = [_hidden(turn, known) for turn in question["window"]]
        yield Imported({**_hidden(question, known), "window": window}, label)


def _hidden(turn: Mapping[str, Any], known: Mapping[str, str]) -> dict[str, Any]:
    text = turn["text"]
    address = _ADDRESS.match(text)
    if address and address[1] in known:
        text = f"@{known[address[1]]} {text[address.end() :]}"
    return {**turn, "sender": known[turn["sender"]], "text": mask(text, Counter())}


def import_labelled(source: Path, out: Path, *, only_with_history: bool) -> dict[str, int]:
    """Write ``questions.parquet`` and ``annotations/round_1/imported.jsonl`` into a new folder.

    Args:
        source: JSON lines of labelled questions.
        out: Folder to make; must not hold anything yet, since annotations are never overwritten.
        only_with_history: Leave out questions without history, which cannot need it.

    Returns:
        Counts: ``questions``, ``needed``, ``conversations`` and ``without_history`` (left out).

    Raises:
        DataError: If a line cannot be used, nothing is left, or ``out`` holds something.
    """
    if out.exists() and any(out.iterdir()):
        raise DataError(f"{out}: expected a new or empty folder; annotations are never overwritten. Name another.")
    everything = read_labelled(source)
    rows = [row for row in everything if row.question["window"] or not only_with_history]
    if not rows:
        raise DataError(f"{source}: expected questions with a history, all {len(everything)} have none.")
    hidden = list(hide_names(tqdm(rows, unit="row", disable=None), Pseudonyms()))
    at = now()
    answers = [Answer(row.question["item_id"], ANNOTATOR, 1, row.label, at) for row in hidden]
    with whole_folder(out) as folder:
        write_rows(folder / "questions.parquet", [row.question for row in hidden], QUESTIONS)
        create(log_path(folder / "annotations", 1, ANNOTATOR), answers)
    return {
        "questions": len(hidden),
        "needed": sum(row.label is Label.NEEDED for row in hidden),
        "conversations": len({row.question["conversation"] for row in hidden}),
        "without_history": len(everything) - len(hidden),
    }


@click.command(
    name="import",
    short_help="Bring in questions labelled elsewhere.",
    context_settings=SETTINGS,
    epilog=example(__doc__),
)
@click.argument("source", metavar="FILE", type=InputFile)
@click.option("--out", type=OutputFolder, required=True, help="New folder for questions and annotations.")
@click.option("--only-with-history", is_flag=True, help="Leave out questions that have no history.")
def import_command(source: Path, out: Path, only_with_history: bool) -> None:
    """Turn questions labelled elsewhere (JSON lines) into questions and an annotation log."""
    counts = import_labelled(source, out, only_with_history=only_with_history)
    left_out = f", {counts['without_history']:,} without history left out" if only_with_history else ""
    click.echo(
        f"{out}: {counts['questions']:,} questions ({counts['needed']:,} needed) of "
        f"{counts['conversations']:,} conversations{left_out}"
    )


if __name__ == "__main__":
    import_command()

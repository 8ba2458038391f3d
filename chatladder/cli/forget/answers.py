"""What people answered about a member's questions: out of the logs, the reviews and the marks."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.compute as pc

from chatladder.io.console import DataError
from chatladder.io.files import whole_file, write_json
from chatladder.io.rows import QUESTIONS, TURNS, Rows
from chatladder.labels.log import LogWriter, replay
from chatladder.labels.review import FILE, read_review
from chatladder.labels.rounds import every_log, round_folders
from chatladder.privacy.replacing import PLACEHOLDER
from chatladder.questions.marks import read_marks


class Items(NamedTuple):
    """Ids of what is a member's."""

    questions: set[str]
    turns: set[str]
    read_again: list[str]  # answered questions of others that show something of theirs
    others: list[dict[str, Any]]  # answered questions of others, without their windows


def items_of(data: Path, people: Collection[str]) -> Items:
    """The questions and turns of some pseudonyms, as the pipeline has them now.

    Raises:
        DataError: If a table is not there though there are answers or marks, which then belong to nobody.
    """
    logs = every_log(data / "annotations")
    marks = read_marks(data / "marks") if (data / "marks").is_dir() else None
    answered = {item_id for path in logs for item_id in replay(path).answers}
    found = Items(set(), set(), [], [])
    if logs or (data / "questions.parquet").exists():
        for part in _rows(data / "questions.parquet", QUESTIONS).parts():
            for row in part.to_pylist():
                if row["sender"] in people:
                    found.questions.add(row["item_id"])
                elif row["item_id"] in answered:
                    if any(turn["sender"] in people for turn in row["window"]):
                        found.read_again.append(row["item_id"])
                    found.others.append(row | {"window": []})
    if marks is not None:
        for part in _rows(data / "turns.parquet", TURNS).parts(["turn_id", "sender"]):
            theirs = part.filter(pc.is_in(part["sender"], value_set=_strings(people)))
            found.turns.update(theirs["turn_id"].to_pylist())
    return found


def without(text: str, people: Collection[str]) -> str:
    """Return a text with ``<name>`` for the pseudonyms of people."""
    for pseudonym in people:
        text = text.replace(pseudonym, PLACEHOLDER)
    return text


def _strings(values: Collection[str]) -> "pc.pa.Array":
    return pc.pa.array(sorted(values), pc.pa.string())


def _rows(path: Path, schema: "pc.pa.Schema") -> Rows:
    if not path.exists():
        raise DataError(
            f"{path}: expected here, since it tells whose the answers are, got nothing; nothing was done. Bring it "
            "back as it was when the answers were given: dvc checkout, dvc pull, or dvc repro."
        )
    return Rows(path, schema)


def remove_answers(data: Path, items: Items) -> int:
    """Take what is about a member's questions and turns out of logs, reviews and marks.

    Returns:
        How many lines went.

    Raises:
        DataError: If a log is damaged, or somebody is writing it.
    """
    removed = 0
    for path in every_log(data / "annotations"):
        replay(path)  # a damaged log is not rewritten
        with LogWriter(path):
            removed += _remove_lines(path, "item_id", items.questions)
    if (data / "annotations").is_dir():
        for torn in (data / "annotations").rglob(".*.torn"):
            if any(item in torn.read_text(encoding="utf-8", errors="replace") for item in items.questions):
                torn.unlink()  # pieces of lines, which no stage reads
        for folder in round_folders(data / "annotations").values():
            review = read_review(folder)
            if review is not None and not items.questions.isdisjoint(review.items):
                kept = [item for item in review.items if item not in items.questions]
                controls = sorted(review.controls - items.questions)
                if kept:
                    write_json(folder / FILE, {"items": kept, "controls": controls}, answers=True)
                else:
                    (folder / FILE).unlink()
    for path in sorted((data / "marks").glob("*.jsonl")):
        removed += _remove_lines(path, "turn_id", items.turns)
    return removed


def _remove_lines(path: Path, field: str, ids: Collection[str]) -> int:
    """Rewrite a file of JSON lines without those of some ids; one of which nothing is left goes."""
    lines = [line for line in path.read_bytes().split(b"\n") if line.strip()]
    kept = [line for line in lines if json.loads(line)[field] not in ids]
    if len(kept) == len(lines):
        return 0
    if kept:
        with whole_file(path, answers=True) as temporary:
            temporary.write_bytes(b"".join(line + b"\n" for line in kept))
    else:
        path.unlink()
    return len(lines) - len(kept)

"""The texts of the few items that a page shows."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from chatladder.cli.annotate.display import shortened
from chatladder.io.rows import QUESTIONS, Rows

#: Turns of the window shown before a question.
LAST_TURNS = 4
#: Characters of one turn that are shown.
MOST_CHARACTERS = 400


class Said(NamedTuple):
    """A turn as it is shown: how many characters were left out is ``hidden``."""

    sender: str
    timestamp: int | None
    text: str
    hidden: int


class Quoted(NamedTuple):
    """A question, the turns before it, and how many earlier ones its window has."""

    window: list[Said]
    question: Said
    earlier: int


def read_texts(questions: Path, item_ids: Sequence[str]) -> dict[str, Quoted]:
    """The texts of some questions, by id.

    Raises:
        DataError: If the file is damaged.
    """
    wanted = pa.array(item_ids, pa.string())
    found: dict[str, Quoted] = {}
    for part in Rows(questions, QUESTIONS).parts():
        for row in part.filter(pc.is_in(part["item_id"], value_set=wanted)).to_pylist():
            window = row["window"] or []
            shown = [_said(turn) for turn in window[-LAST_TURNS:]]
            found[row["item_id"]] = Quoted(shown, _said(row), len(window) - len(shown))
    return found


def _said(turn: dict[str, Any]) -> Said:
    text, hidden = shortened(turn["text"] or "", MOST_CHARACTERS)
    return Said(turn["sender"] or "", turn["timestamp"], text, hidden)

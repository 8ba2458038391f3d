"""The queue of labels to look at again, as the pipeline made it, held against the ranking that it was made from."""

from collections.abc import Collection
from pathlib import Path

import pyarrow as pa

from stages.annotation.review import Review
from stages.cli import DataError
from stages.files import read_jsonl
from stages.rows import RANKING, Rows

SUSPECT, CONTROL = "suspect", "control"
_AGAIN = "Queue, ranking and questions must be of one run: run dvc repro."


def queued_items(queue: Path) -> dict[str, int]:
    """The items of a queue in its order, and the line that each stands on, from 1.

    Raises:
        DataError: If it is malformed, or names an item twice.
    """
    lines: dict[str, int] = {}
    for number, row in read_jsonl(queue):
        item_id = row.get("item_id")
        if not isinstance(item_id, str):
            raise DataError(f'{queue}:{number}: expected a field "item_id" with a text in it. {_AGAIN}')
        if item_id in lines:
            raise DataError(f"{queue}:{number}: expected every item once, got that of line {lines[item_id]}. {_AGAIN}")
        lines[item_id] = number
    return lines


def read_queue(queue: Path, ranking: Path, known: Collection[str]) -> Review:
    """The queue as the pipeline made it, held against the ranking it was made from.

    Args:
        queue: JSON lines with an ``item_id``, in the order in which they are looked at.
        ranking: Rows of ``RANKING``; their ``role`` says which items of the queue are controls.
        known: Ids of the questions.

    Raises:
        DataError: If one is missing, malformed or empty, or they do not fit together.
    """
    for path in (queue, ranking):
        if not path.is_file():
            raise DataError(f"{path}: expected what a review looks at; there is none yet. Run dvc repro.")
    roles = _roles(ranking)
    lines = queued_items(queue)
    for item_id, number in lines.items():
        fault = _fault(roles.get(item_id), item_id in known)
        if fault:
            raise DataError(f"{queue}:{number}: {fault} ({ranking}). {_AGAIN}")
    queued = sum(role in (SUSPECT, CONTROL) for _, role in roles.values())
    if len(lines) < queued:
        raise DataError(f"{queue}: expected all {queued:,} items queued by {ranking}, got {len(lines):,}. {_AGAIN}")
    if not lines:
        raise DataError(f"{queue}: expected items to look at again, got none: no label is suspected of anything.")
    return Review(tuple(lines), frozenset(item_id for item_id in lines if roles[item_id][1] == CONTROL))


def _roles(ranking: Path) -> dict[str, tuple[str | None, str | None]]:
    """Item -> split and role."""
    roles: dict[str, tuple[str | None, str | None]] = {}
    rows = 0
    try:
        for part in Rows(ranking, RANKING).parts(["item_id", "split", "role"]):
            columns = (part[name].to_pylist() for name in ("item_id", "split", "role"))
            roles.update((item_id, (split, role)) for item_id, split, role in zip(*columns, strict=True))
            rows += part.num_rows
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise DataError(f"{ranking}: expected rows of a ranking: {type(error).__name__}. {_AGAIN}") from error
    if len(roles) < rows:
        raise DataError(f"{ranking}: expected every item once, got {rows:,} rows of {len(roles):,} items. {_AGAIN}")
    return roles


def _fault(ranked: tuple[str | None, str | None] | None, is_question: bool) -> str | None:
    """What is wrong with an item of the queue, or None."""
    if not is_question:
        return "expected an item of the questions, got one that is no longer there"
    if ranked is None:
        return "expected an item of the ranking, got one that is not there"
    split, role = ranked
    if split == "test":
        return "expected no item of the test split, which no model may help to label, got one"
    if role not in (SUSPECT, CONTROL):
        return f"expected an item whose role is {SUSPECT} or {CONTROL}, got one that is neither"
    return None

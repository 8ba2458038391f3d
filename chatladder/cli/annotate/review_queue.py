"""The queue of labels to look at again, as the pipeline made it: held against its ranking, put into a round, shared."""

from collections.abc import Collection
from pathlib import Path

from chatladder.cli.annotate.round_records import Sharing, own_share
from chatladder.io.console import DataError
from chatladder.io.files import read_jsonl
from chatladder.io.rows import RANKING, Rows
from chatladder.labels.review import FILE, Review

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


def is_queue_of(queue: Path, review: Review) -> bool:
    """Whether a queue is still the one that a review was begun with.

    Raises:
        DataError: As ``queued_items`` does.
    """
    return tuple(queued_items(queue)) == review.items


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
    except UnicodeDecodeError as error:
        raise DataError(f"{ranking}: expected rows of a ranking, got text that is no UTF-8. {_AGAIN}") from error
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


def next_round(asked: int | None, answered: int, annotations: Path) -> int:
    """The round that a review begins: after the latest that has answers.

    Args:
        asked: The one that was asked for, if any.
        answered: The latest that has answers, 0 if none has.
        annotations: Where the rounds are.

    Raises:
        DataError: If nothing was answered yet, or another round was asked for.
    """
    if not answered:
        raise DataError(f"{annotations}: expected answers to look at again, got none. Begin with chatladder annotate.")
    if asked not in (None, answered + 1):
        raise DataError(
            f"{annotations}: expected --round to be that of a review, or {answered + 1}, after the latest that has "
            f"answers; got {asked}."
        )
    return answered + 1


def own_items(review: Review, known: frozenset[str], annotator: str, shared: Sharing | None, folder: Path) -> list[str]:
    """The items of a review that one annotator gets, in its order, less those that are no longer questions.

    Raises:
        DataError: If there are none, or the round is shared by others.
    """
    there = [item_id for item_id in review.items if item_id in known]
    if not there:
        raise DataError(
            f"{folder / FILE}: none of the {len(review.items):,} items of this review is among the questions. "
            "Bring back the questions that it was begun with; if nobody answered yet, remove the file and begin anew."
        )
    return own_share(there, annotator, shared, folder)

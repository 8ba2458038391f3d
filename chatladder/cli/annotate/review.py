r"""Look again, blind, at the labels that are probably wrong, in the terminal or in a browser.

Example:
    chatladder review --annotator li
    chatladder review --annotator li --annotators li,wu,chen --overlap 2

The queue that dvc repro made, suspects with some controls among them, is asked as if for the first time: neither
labels, nor answers, nor what speaks against them are shown. The review is a round of its own, after the latest that
has answers; data/annotations/round_N/review.json keeps its items, whatever dvc repro makes of the queue meanwhile.
Starting again goes on where one left off; once it is done and counted, the next queue begins the next round.
"""

from collections.abc import Collection
from pathlib import Path

import click

from chatladder.cli.annotate.options import ReviewOptions, names
from chatladder.cli.annotate.round_records import Sharing, own_share, settle_assignment
from chatladder.cli.annotate.running import follow_guidelines, in_browser, launch, own_task, tell, told, work
from chatladder.cli.annotate.session import SessionItems
from chatladder.io.console import SETTINGS, DataError, example
from chatladder.io.files import read_jsonl
from chatladder.io.options import options_of
from chatladder.io.rows import RANKING, Rows
from chatladder.labels.log import replay
from chatladder.labels.review import FILE, Review, begin, read_review
from chatladder.labels.rounds import latest_answered, latest_round, log_path

SUSPECT, CONTROL = "suspect", "control"
_AGAIN = "Queue, ranking and questions must be of one run: run dvc repro."


def queued_items(queue: Path) -> dict[str, int]:
    """Read the items of a queue in its order, and the line that each stands on, from 1.

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
    """Read the queue as the pipeline made it, and compare it with the ranking that it was made from.

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
    ranked = _read_ranking(ranking)
    lines = queued_items(queue)
    for item_id, number in lines.items():
        if problem := _problem(*ranked.get(item_id, ("", "unranked")), item_id in known):
            raise DataError(f"{queue}:{number}: {problem} ({ranking}). {_AGAIN}")
    queued = sum(role in (SUSPECT, CONTROL) for _, role in ranked.values())
    if len(lines) < queued:
        raise DataError(f"{queue}: expected all {queued:,} items queued by {ranking}, got {len(lines):,}. {_AGAIN}")
    if not lines:
        raise DataError(f"{queue}: expected items to look at again, got none: no label is suspected of anything.")
    return Review(tuple(lines), frozenset(item_id for item_id in lines if ranked[item_id][1] == CONTROL))


def _read_ranking(ranking: Path) -> dict[str, tuple[str, str]]:
    """Read the split and the role of each item."""
    ranked: dict[str, tuple[str, str]] = {}
    rows = 0
    try:
        for part in Rows(ranking, RANKING).parts(["item_id", "split", "role"]):
            rows += part.num_rows
            ranked |= {row["item_id"]: (row["split"], row["role"]) for row in part.to_pylist()}
    except UnicodeDecodeError as error:
        raise DataError(f"{ranking}: expected rows of a ranking, got text that is no UTF-8. {_AGAIN}") from error
    if len(ranked) < rows:
        raise DataError(f"{ranking}: expected every item once, got {rows:,} rows of {len(ranked):,} items. {_AGAIN}")
    return ranked


def _problem(split: str, role: str, is_question: bool) -> str | None:
    """Say what is wrong with an item of the queue, if anything."""
    if not is_question:
        return "expected an item of the questions, got one that is no longer there"
    if role == "unranked":
        return "expected an item of the ranking, got one that is not there"
    if split == "test":
        return "expected no item of the test split, which no model may help to label, got one"
    if role not in (SUSPECT, CONTROL):
        return f"expected an item whose role is {SUSPECT} or {CONTROL}, got one that is neither"
    return None


def next_round(asked: int | None, answered: int, annotations: Path) -> int:
    """Return the round that a review begins: the one after the latest that has answers.

    Args:
        asked: The one that was asked for, if any.
        answered: The latest that has answers, 0 if none has.
        annotations: Folder of the rounds.

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


def own_items(
    review: Review, known: Collection[str], annotator: str, shared: Sharing | None, folder: Path
) -> list[str]:
    """Return the items of a review that one annotator gets, in its order, less those that are no longer questions.

    Raises:
        DataError: If there are none, or the round is shared by others.
    """
    items = [item_id for item_id in review.items if item_id in known]
    if not items:
        raise DataError(
            f"{folder / FILE}: none of the {len(review.items):,} items of this review is among the questions. "
            "Bring back the questions that it was begun with; if nobody answered yet, remove the file and begin anew."
        )
    return own_share(items, annotator, shared, folder)


def choose(options: ReviewOptions, known: Collection[str]) -> tuple[int, Review] | None:
    """Return the review to go on with, or the one to begin, and its round; None if the annotator finished the latest.

    Args:
        options: The command's.
        known: Ids of the questions.

    Raises:
        DataError: If there is nothing to look at again, or queue, rounds and questions do not fit together.
    """
    annotations, asked = options.annotations, options.round
    # Counted before a review is looked for: whoever begins it between the two may answer at once.
    answered = latest_answered(annotations)
    number = asked or latest_round(annotations)
    log = log_path(annotations, number, options.person)
    begun = read_review(log.parent)
    if begun is not None:
        if asked:
            return number, begun
        own = own_items(begun, known, options.person, settle_assignment(log.parent), log.parent)
        if not replay(log).answers.keys() >= {*own}:
            return number, begun
        if not options.queue.exists() or is_queue_of(options.queue, begun):
            return None
    return next_round(asked, answered, annotations), read_queue(options.queue, options.ranking, known)


def review(options: ReviewOptions) -> None:
    """Run the app on one annotator's share of a review.

    Raises:
        DataError: If the questions, the queue, the log or the round do not allow it.
    """
    items = SessionItems(options.questions)
    known = frozenset(items.ids)
    chosen = choose(options, known)
    if chosen is None:
        tell(_what_next(latest_round(options.annotations)))
        return
    number, wanted = chosen
    log = log_path(options.annotations, number, options.person)
    guidelines = follow_guidelines(options, [log.parent])
    frozen = begin(log.parent, wanted)
    shared = settle_assignment(log.parent, names(options.annotators), options.overlap)
    order = own_items(frozen, known, options.person, shared, log.parent)
    lost = sum(item_id not in known for item_id in frozen.items)
    notices = told([(lost, "{:,} items of the review are no longer questions.")])
    session = work(own_task(order, log, guidelines, notices), items, options)
    if session.is_finished and not in_browser():
        tell(_what_next(number))


def _what_next(number: int) -> str:
    return (
        f"Every item of yours in the review, round {number}, is answered. Once the others are done as well: set "
        f"annotation.round to {number} in params.yaml, and dvc repro, then dvc metrics diff show what it changed; "
        f"the next queue begins the next review. To see these answers again: --round {number}."
    )


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@options_of(ReviewOptions, "options")
@click.pass_context
def review_command(context: click.Context, options: ReviewOptions) -> None:
    """Look again, blind, at the labels that are probably wrong."""
    launch(context, "chatladder.cli.annotate.review", review, options)


if __name__ == "__main__":
    review_command()

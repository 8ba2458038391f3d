r"""Look again, blind, at the labels that are probably wrong and at a random share of all.

Example:
    chatladder review --annotator li
    chatladder review --annotator li --annotators li,wu,chen --overlap 2

The suspects that dvc repro queued are asked as if for the first time, mixed with a random share of all labelled
questions (review.queue.random in params.yaml), which no model chose. Labels, answers and the evidence against them are
not shown. The review is a round of its own, after the latest with answers. Its first answer begins it:
data/annotations/round_N/review.json freezes its items, even if dvc repro changes the queue later. The same command
resumes the work; once the review is done and counted, the next queue begins the next round.
"""

from collections.abc import Collection
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path

import click

from chatladder.cli.annotate.options import ReviewOptions, names
from chatladder.cli.annotate.round_records import Sharing, begun_rounds, own_share, settle_assignment
from chatladder.cli.annotate.running import follow_guidelines, launch, own_task, told, work
from chatladder.cli.annotate.session import SessionItems
from chatladder.io.console import SETTINGS, DataError, example
from chatladder.io.files import read_jsonl
from chatladder.io.options import options_of
from chatladder.io.params import PARAMS, read_section
from chatladder.io.rows import LABELLED, Rows
from chatladder.labels.log import replay
from chatladder.labels.review import FILE, Review, begin, mix, random_part, read_review
from chatladder.labels.rounds import latest_answered, log_path

_AGAIN = "Queue, labels and questions must come from one run: run dvc repro."


def queued_items(queue: Path) -> dict[str, int]:
    """Read the items of a queue in its order, with their line numbers, from 1.

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
    """Return True if a queue is still the one that a review was begun with.

    Raises:
        DataError: As ``queued_items`` does.
    """
    return [item_id for item_id in queued_items(queue) if item_id not in review.random] == [*review.suspects]


def read_queue(queue: Path, labelled: Path, known: Collection[str], number: int) -> Review:
    """Return the review that a round begins with: the pipeline's queue, and the round's random part.

    Args:
        queue: JSON lines with an ``item_id``, the most suspicious first.
        labelled: Rows of ``LABELLED``, which the queue and the random part are taken from.
        known: Ids of the questions.
        number: The number of the round.

    Raises:
        DataError: If one is missing, malformed or empty, they do not fit together, or params.yaml names no share.
    """
    for path in (queue, labelled):
        if not path.is_file():
            raise DataError(f"{path}: expected the input of a review, got nothing. Run dvc repro.")
    splits = _read_splits(labelled)
    lines = queued_items(queue)
    for item_id, line in lines.items():
        if problem := _problem(splits.get(item_id), item_id in known):
            raise DataError(f"{queue}:{line}: {problem} ({labelled}). {_AGAIN}")
    if not lines:
        raise DataError(f"{queue}: expected items to review, got none: no label is suspicious.")
    random = frozenset(random_part((item_id for item_id in splits if item_id in known), number, random_share()))
    suspects = tuple(item_id for item_id in lines if item_id not in random)
    return Review(mix(suspects, random, number), suspects, random)


def random_share() -> float:
    """Return the random share of all labels in a review, from this folder's params.yaml.

    Raises:
        DataError: If there is none, or it is not a number from 0 to 1.
    """
    share = read_section(PARAMS, "review.queue").get("random")
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
        raise DataError(
            f"{PARAMS}: expected review.queue.random, the share of all labels that a review looks at whatever models "
            f"say, from 0 to 1, got {share!a}. Write 0.2, for instance."
        )
    return float(share)


def _read_splits(labelled: Path) -> dict[str, str]:
    """Read the split of each labelled item."""
    splits: dict[str, str] = {}
    rows = 0
    try:
        for part in Rows(labelled, LABELLED).parts(["item_id", "split"]):
            rows += part.num_rows
            splits |= {row["item_id"]: row["split"] for row in part.to_pylist()}
    except UnicodeDecodeError as error:
        raise DataError(f"{labelled}: expected labelled items, got text that is not UTF-8. {_AGAIN}") from error
    if len(splits) < rows:
        raise DataError(f"{labelled}: expected every item once, got {rows:,} rows of {len(splits):,} items. {_AGAIN}")
    return splits


def _problem(split: str | None, is_question: bool) -> str | None:
    """Return what is wrong with an item of the queue, or None."""
    if not is_question:
        return "expected an item of the questions, got one that is no longer among them"
    if split is None:
        return "expected a labelled item, got one without a label"
    if split == "test":
        return "expected no item of the test split, since no model may help to label it, got one"
    return None


def next_round(asked: int | None, answered: int, annotations: Path) -> int:
    """Return the round that a review begins: the one after the latest that has answers.

    Args:
        asked: The requested round, if any.
        answered: The latest round with answers, 0 if there is none.
        annotations: Folder of the rounds.

    Raises:
        DataError: If nothing was answered yet, or another round was requested.
    """
    if not answered:
        raise DataError(f"{annotations}: expected answers to review, got none. Begin with chatladder annotate.")
    if asked not in (None, answered + 1):
        raise DataError(
            f"{annotations}: expected --round to be that of a review, or {answered + 1}, after the latest that has "
            f"answers; got {asked}."
        )
    return answered + 1


def own_items(
    review: Review, known: Collection[str], annotator: str, shared: Sharing | None, folder: Path
) -> list[str]:
    """Return the items of a review that one annotator gets, in its order, without those that are no longer questions.

    Raises:
        DataError: If there are none, or the round is shared by others.
    """
    items = [item_id for item_id in review.items if item_id in known]
    if not items:
        raise DataError(
            f"{folder / FILE}: none of the {len(review.items):,} items of this review is among the questions. "
            "Restore the questions that it was begun with; if nobody answered yet, remove the file and start again."
        )
    return own_share(items, annotator, shared, folder)


def choose(options: ReviewOptions, known: Collection[str]) -> tuple[int, Review] | None:
    """Return the review to resume or to begin, and its round; None if the annotator finished the latest.

    Args:
        options: The command's options.
        known: Ids of the questions.

    Raises:
        DataError: If there is nothing to look at again, or queue, rounds and questions do not fit together.
    """
    annotations, asked = options.annotations, options.round
    # Read before looking for a review: somebody may begin one and answer between the two.
    answered = latest_answered(annotations)
    number = asked or begun_rounds(annotations)[-1]
    log = log_path(annotations, number, options.person)
    begun = read_review(log.parent)
    # A list that people drew is not resumed, unless it is requested.
    if begun is not None and (asked or begun.is_queue):
        if asked:
            return number, begun
        own = own_items(begun, known, options.person, settle_assignment(log.parent), log.parent)
        if not replay(log).answers.keys() >= {*own}:
            return number, begun
        if not options.queue.exists() or is_queue_of(options.queue, begun):
            return None
    following = next_round(asked, answered, annotations)
    if following in begun_rounds(annotations):
        raise DataError(
            f"{annotations}: expected answers in round {following} before a review, got none: annotate began it. "
            f"Answer it, or remove its folder, round_{following}."
        )
    return following, read_queue(options.queue, options.labelled, known, following)


def review(options: ReviewOptions) -> None:
    """Run the app on one annotator's share of a review.

    Raises:
        DataError: If the questions, the queue, the log or the round do not allow it.
    """
    items = SessionItems(options.questions)
    known = frozenset(items.ids)
    chosen = choose(options, known)
    if chosen is None:
        click.echo(_what_next(begun_rounds(options.annotations)[-1]))
        return
    number, wanted = chosen
    log = log_path(options.annotations, number, options.person)
    guidelines = follow_guidelines(options, [log.parent], begin=False)
    sharing = names(options.annotators), options.overlap
    shared = settle_assignment(log.parent, *sharing, begin=False)
    order = own_items(wanted, known, options.person, shared, log.parent)
    lost = sum(item_id not in known for item_id in wanted.items)
    notices = told([(lost, "{:,} items of the review are no longer questions.")])

    @cache
    def begin_round() -> None:
        """Freeze the review with its first answer: whoever leaves without one has begun nothing."""
        if begin(log.parent, wanted) != wanted or settle_assignment(log.parent, *sharing) != shared:
            raise DataError(f"{log.parent}: somebody else began another review in the meantime. Start again.")
        follow_guidelines(options, [log.parent])

    [session] = work([replace(own_task(order, log, guidelines, notices), begin=begin_round)], items, options)
    with suppress(OSError):  # it is not empty, unless nobody answered
        log.parent.rmdir()
    if session.is_finished:
        click.echo(_what_next(number))


def _what_next(number: int) -> str:
    return (
        f"Every item of yours in the review, round {number}, is answered. Once the others are done as well: set "
        f"annotation.round to {number} in params.yaml, and dvc repro, then dvc metrics diff show what it changed; "
        f"the next queue begins the next review. To see these answers again: --round {number}."
    )


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@options_of(ReviewOptions, "options")
def review_command(options: ReviewOptions) -> None:
    """Review labels that are probably wrong, mixed with a random share of all, without seeing the labels."""
    launch(review, options)


if __name__ == "__main__":
    review_command()

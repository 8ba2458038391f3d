r"""Annotate the questions by hand, in the terminal or in a browser: one key an answer.

Example:
    chatladder annotate --annotator li --sample 400
    chatladder annotate --annotator li --new-round --annotators li,wu,chen --overlap 2 --keys needed=a,not_needed=l

Every answer is on the disk before the next question is shown, in data/annotations/round_N/NAME.jsonl; starting
again goes on where one left off. Everybody gets the same questions in the same order, whole conversations of them.
With --sample the round asks so many of all, with --annotators and --overlap each question goes to so many of them:
whoever begins the round says it once, and a larger --sample later holds the smaller one. Nobody sees what others or
a model answered.
"""

from pathlib import Path

import click

from chatladder.cli.annotate.options import AnnotateOptions, names
from chatladder.cli.annotate.round_records import (
    SAMPLE_FILE,
    begun_rounds,
    check_round,
    next_round,
    order_items,
    own_share,
    read_sample,
    settle_assignment,
    settle_sample,
)
from chatladder.cli.annotate.running import follow_guidelines, launch, own_task, told, work
from chatladder.cli.annotate.session import SessionItems, listed_items
from chatladder.io.console import SETTINGS, DataError, example
from chatladder.io.options import options_of
from chatladder.labels.log import replay
from chatladder.labels.review import read_review, refuse_review
from chatladder.labels.rounds import log_path


def choose_round(options: AnnotateOptions, items: SessionItems) -> tuple[int, int]:
    """Return the round to work in, and how many questions of theirs in it kept the person from beginning another.

    So whoever starts the same command again, or after another who said the same, goes on with the round that it began.

    Raises:
        DataError: If the round that is named does not exist.
    """
    annotations, latest = options.annotations, begun_rounds(options.annotations)[-1]
    if options.round:
        check_round(annotations, options.round, new=options.new_round)
        return options.round, 0
    following = next_round(annotations)
    if not options.new_round or following == latest:
        return latest, 0
    waiting = _waiting(log_path(annotations, latest, options.person), items)
    return (latest, waiting) if waiting else (following, 0)


def _waiting(log: Path, items: SessionItems) -> int:
    """Return how many questions of theirs in a round a person has not answered; none of a review, or of others'."""
    shared = settle_assignment(log.parent)
    if read_review(log.parent) is not None or (shared and log.stem not in shared[0]):
        return 0
    order, _ = asked(log.parent, items)
    return len({*own_share(order, log.stem, shared, log.parent)} - replay(log).answers.keys())


def asked(folder: Path, items: SessionItems, size: int | None = None) -> tuple[list[str], int]:
    """Return the questions that a round asks, in its order, and how many of its sample are no longer questions.

    Args:
        folder: ``round_<n>``.
        items: All questions.
        size: How many the round is to ask; None for as many as it does.

    Raises:
        DataError: If the round asks more than ``size``, none is left, or the record is damaged.
    """
    order = order_items(items.ids, items.conversations, int(folder.name.removeprefix("round_")))
    sample = settle_sample(folder, order, size) if size else read_sample(folder)
    if sample is None:
        return order, 0
    known = set(order)
    left = [item_id for item_id in sample if item_id in known]
    if not left:
        raise DataError(
            f"{folder / SAMPLE_FILE}: none of its {len(sample):,} items is among the questions. Bring back the "
            "questions that they were drawn from; if nobody answered yet, remove the file."
        )
    return left, len(sample) - len(left)


def annotate(options: AnnotateOptions) -> None:
    """Run the app on one annotator's share of a round.

    Raises:
        DataError: If the questions, the log or the round do not allow it.
    """
    items = SessionItems(options.questions)
    number, waiting = choose_round(options, items)
    log = log_path(options.annotations, number, options.person)
    refuse_review(log.parent)
    guidelines = follow_guidelines(options, [log.parent])
    shared = settle_assignment(log.parent, names(options.annotators), options.overlap)
    unknown = lost = 0
    if options.items:
        order, unknown = listed_items(options.items, set(items.ids))
    else:
        order, lost = asked(log.parent, items, options.sample)
    notices = told(
        [
            (unknown, "{:,} listed items are not among the questions."),
            (lost, "{:,} items of the sample are no longer questions."),
            (
                waiting,
                f"You have {{:,}} questions left in round {number}, so no other was begun. "
                f"--round {number + 1} --new-round begins one all the same.",
            ),
        ]
    )
    work(own_task(own_share(order, options.person, shared, log.parent), log, guidelines, notices), items, options)


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@options_of(AnnotateOptions, "options")
def annotate_command(options: AnnotateOptions) -> None:
    """Answer whether each question needs the messages before it, one key an answer."""
    launch(annotate, options)


if __name__ == "__main__":
    annotate_command()

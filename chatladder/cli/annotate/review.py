r"""Look again, blind, at the labels that are probably wrong, in the terminal or in a browser.

Example:
    chatladder review --annotator li
    chatladder review --annotator li --annotators li,wu,chen --overlap 2

The queue that dvc repro made, suspects with some controls among them, is asked as if for the first time: neither
labels, nor answers, nor what speaks against them are shown. The review is a round of its own, after the latest that
has answers; data/annotations/round_N/review.json keeps its items, whatever dvc repro makes of the queue meanwhile.
Starting again goes on where one left off; once it is done and counted, the next queue begins the next round.
"""

import click

from chatladder.cli.annotate.items import Items
from chatladder.cli.annotate.options import ReviewOptions, names
from chatladder.cli.annotate.review_queue import is_queue_of, next_round, own_items, read_queue
from chatladder.cli.annotate.round_records import settle_assignment
from chatladder.cli.annotate.running import follow_guidelines, in_browser, launch, own_task, tell, told, work
from chatladder.io.console import SETTINGS, example
from chatladder.io.options import options_of
from chatladder.labels.log import replay
from chatladder.labels.review import Review, begin, read_review
from chatladder.labels.rounds import latest_answered, latest_round, log_path


def choose(options: ReviewOptions, known: frozenset[str]) -> tuple[int, Review] | None:
    """Return the review to go on with, or the one to begin, and its round; None if the annotator finished the latest.

    Args:
        options: Of the command.
        known: Ids of the questions.

    Raises:
        DataError: If there is nothing to look at again, or queue, rounds and questions do not fit together.
    """
    annotations, asked = options.annotations, options.round
    # Counted before a review is looked for: whoever begins it between the two may answer at once.
    answered = latest_answered(annotations) if any(annotations.glob("round_*/[!.]*.jsonl")) else 0
    number = asked or latest_round(annotations)
    log = log_path(annotations, number, options.person)
    begun = read_review(log.parent)
    if begun is not None:
        own = own_items(begun, known, log.stem, settle_assignment(log.parent), log.parent) if not asked else []
        if asked or not replay(log).answers.keys() >= {*own}:
            return number, begun
        if not options.queue.exists() or is_queue_of(options.queue, begun):
            return None
    return next_round(asked, answered, annotations), read_queue(options.queue, options.ranking, known)


def review(options: ReviewOptions) -> None:
    """Run the app on one annotator's share of a review.

    Raises:
        DataError: If the questions, the queue, the log or the round do not allow it.
    """
    items = Items(options.questions)
    known = frozenset(items.ids)
    chosen = choose(options, known)
    if chosen is None:
        tell(_what_next(latest_round(options.annotations)))
        return
    number, wanted = chosen
    log = log_path(options.annotations, number, options.person)
    guidelines = follow_guidelines(options, [log.parent])
    looked_at = begin(log.parent, wanted)
    shared = settle_assignment(log.parent, names(options.annotators), options.overlap)
    order = own_items(looked_at, known, options.person, shared, log.parent)
    lost = sum(item_id not in known for item_id in looked_at.items)
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


@click.command(context_settings=SETTINGS, epilog=example(__doc__), short_help="Look again at labels probably wrong.")
@options_of(ReviewOptions, "options")
@click.pass_context
def review_command(context: click.Context, options: ReviewOptions) -> None:
    """Look again, blind, at the labels that are probably wrong."""
    launch(context, "chatladder.cli.annotate.review", review, options)


if __name__ == "__main__":
    review_command()

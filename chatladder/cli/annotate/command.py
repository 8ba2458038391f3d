r"""Annotate the questions by hand, in the terminal or in a browser: one key an answer.

Example:
    chatladder annotate --annotator li
    chatladder annotate --annotator li --round 1 --annotators li,wu,chen --overlap 2 --keys needed=a,not_needed=l

Every answer is on the disk before the next question is shown, in data/annotations/round_N/NAME.jsonl; starting
again goes on where one left off. With --annotators and --overlap each question goes to so many of them: whoever
begins the round says it once. Nobody sees what others or a model answered.
"""

import click

from chatladder.cli.annotate.options import AnnotateOptions, names
from chatladder.cli.annotate.round_records import order_items, own_share, settle_assignment
from chatladder.cli.annotate.running import follow_guidelines, launch, own_task, told, work
from chatladder.cli.annotate.session import SessionItems, listed_items
from chatladder.io.console import SETTINGS, example
from chatladder.io.options import options_of
from chatladder.labels.review import refuse_review
from chatladder.labels.rounds import latest_round, log_path


def annotate(options: AnnotateOptions) -> None:
    """Run the app on one annotator's share of a round.

    Raises:
        DataError: If the questions, the log or the round do not allow it.
    """
    annotator, number = options.person, options.round or latest_round(options.annotations)
    log = log_path(options.annotations, number, annotator)
    refuse_review(log.parent)
    items = SessionItems(options.questions)
    guidelines = follow_guidelines(options, [log.parent])
    shared = settle_assignment(log.parent, names(options.annotators), options.overlap)
    unknown = 0
    if options.items:
        order, unknown = listed_items(options.items, set(items.ids))
    else:
        order = order_items(items.ids, items.conversations, annotator=annotator, round_number=number)
    notices = told([(unknown, "{:,} listed items are not among the questions.")])
    work(own_task(own_share(order, annotator, shared, log.parent), log, guidelines, notices), items, options)


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@options_of(AnnotateOptions, "options")
@click.pass_context
def annotate_command(context: click.Context, options: AnnotateOptions) -> None:
    """Answer whether each question needs the messages before it, one key an answer."""
    launch(context, "chatladder.cli.annotate.command", annotate, options)


if __name__ == "__main__":
    annotate_command()

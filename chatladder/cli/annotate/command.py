r"""Annotate the questions by hand, in the terminal or in a browser: one key an answer.

Example:
    chatladder annotate --annotator li
    chatladder annotate --annotator li --round 1 --annotators li,wu,chen --overlap 2 --keys needed=a,not_needed=l

Every answer is on the disk before the next question is shown, in data/annotations/round_N/NAME.jsonl; starting
again goes on where one left off. With --annotators and --overlap each question goes to so many of them: whoever
begins the round says it once. Nobody sees what others or a model answered.
"""

from collections.abc import Mapping
from typing import Any

import click

from chatladder.cli.annotate.items import listed_items
from chatladder.cli.annotate.options import (
    check_sharing,
    names,
    place_options,
    screen_options,
    sharing_options,
    web_options,
)
from chatladder.cli.annotate.running import Desk, launch, own_share, set_up, work
from chatladder.io.console import SETTINGS, InputFile, example
from chatladder.labels.assignment import order_items, settle
from chatladder.labels.review import refuse_review
from chatladder.labels.rounds import latest_round, log_path


def own_order(options: Mapping[str, Any], desk: Desk) -> tuple[list[str], list[str]]:
    """The items of one annotator in the order they see them, and what to tell them about it.

    Raises:
        DataError: If there are none, or the round is shared otherwise.
    """
    shared = settle(desk.folder, names(options["annotators"]), options["overlap"])
    items = desk.items
    notices = []
    if options["items"]:
        order, unknown = listed_items(options["items"], set(items.ids))
        if unknown:
            notices.append(f"{unknown:,} listed items are not among the questions.")
    else:
        order = order_items(items.ids, items.conversations, annotator=desk.annotator, round_number=desk.round_number)
    return own_share(order, desk.annotator, shared, desk.folder), notices


def annotate(options: Mapping[str, Any]) -> None:
    """Run the app on one annotator's share of a round.

    Raises:
        DataError: If the questions, the log or the round do not allow it.
    """
    round_number = options["round_number"] or latest_round(options["annotations"])
    refuse_review(log_path(options["annotations"], round_number, options["annotator"]).parent)
    desk = set_up(options, round_number)
    order, notices = own_order(options, desk)
    work(desk, order, options, notices)


@click.command(context_settings=SETTINGS, epilog=example(__doc__), short_help="Label questions by hand, one key each.")
@place_options("The latest that was begun, unless given.")
@click.option("--items", type=InputFile, help="Only these, in their order: JSON lines with an item_id.")
@sharing_options
@screen_options
@web_options
@click.pass_context
def annotate_command(context: click.Context, /, **options: Any) -> None:
    """Answer whether each question needs the messages before it, one key an answer."""
    check_sharing(options)
    launch(context, "chatladder.cli.annotate.command", annotate)


if __name__ == "__main__":
    annotate_command()

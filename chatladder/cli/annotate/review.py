r"""Look again, blind, at the labels that are probably wrong, in the terminal or in a browser.

Example:
    chatladder review --annotator li
    chatladder review --annotator li --annotators li,wu,chen --overlap 2

The queue that dvc repro made, suspects with some controls among them, is asked as if for the first time: neither
labels, nor answers, nor what speaks against them are shown. The review is a round of its own, after the latest that
has answers; data/annotations/round_N/review.json keeps its items, whatever dvc repro makes of the queue meanwhile.
Starting again goes on where one left off; once it is done and counted, the next queue begins the next round.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from chatladder.cli.annotate.items import Items
from chatladder.cli.annotate.options import (
    check_sharing,
    names,
    place_options,
    screen_options,
    sharing_options,
    web_options,
)
from chatladder.cli.annotate.review_queue import is_queue_of, next_round, own_items, read_queue
from chatladder.cli.annotate.running import in_browser, launch, set_up, tell, work
from chatladder.io.console import SETTINGS, example
from chatladder.labels.assignment import settle
from chatladder.labels.log import replay
from chatladder.labels.review import Review, begin, read_review
from chatladder.labels.rounds import latest_answered, latest_round, log_path

#: Not ``InputFile``: a review that was begun needs neither queue nor ranking.
_QueueFile = click.Path(dir_okay=False, path_type=Path)


def is_finished(review: Review, known: frozenset[str], log: Path) -> bool:
    """Whether the annotator of a log answered every item of a review that is theirs.

    Raises:
        DataError: If the log is malformed, or the round is shared by others.
    """
    own = own_items(review, known, log.stem, settle(log.parent, [], None), log.parent)
    return replay(log).answers.keys() >= {*own}


def choose(options: Mapping[str, Any], known: frozenset[str]) -> tuple[int, Review] | None:
    """The review to go on with, or the one to begin, and its round; None if the annotator finished the latest.

    Args:
        options: Of the command.
        known: Ids of the questions.

    Raises:
        DataError: If there is nothing to look at again, or queue, rounds and questions do not fit together.
    """
    annotations, asked = options["annotations"], options["round_number"]
    # Counted before a review is looked for: whoever begins it between the two may answer at once.
    answered = latest_answered(annotations) if any(annotations.glob("round_*/[!.]*.jsonl")) else 0
    number = asked or latest_round(annotations)
    log = log_path(annotations, number, options["annotator"])
    begun = read_review(log.parent)
    if begun is not None and (asked or not is_finished(begun, known, log)):
        return number, begun
    queue = options["queue"]
    if begun is not None and (not queue.exists() or is_queue_of(queue, begun)):
        return None
    return next_round(asked, answered, annotations), read_queue(queue, options["ranking"], known)


def review(options: Mapping[str, Any]) -> None:
    """Run the app on one annotator's share of a review.

    Raises:
        DataError: If the questions, the queue, the log or the round do not allow it.
    """
    items = Items(options["questions"])
    known = frozenset(items.ids)
    chosen = choose(options, known)
    if chosen is None:
        tell(_what_next(latest_round(options["annotations"])))
        return
    number, wanted = chosen
    desk = set_up(options, number, items)
    looked_at = begin(desk.folder, wanted)
    shared = settle(desk.folder, names(options["annotators"]), options["overlap"])
    order = own_items(looked_at, known, desk.annotator, shared, desk.folder)
    lost = sum(item_id not in known for item_id in looked_at.items)
    session = work(desk, order, options, [f"{lost:,} items of the review are no longer questions."] if lost else [])
    if session.is_finished and not in_browser():
        tell(_what_next(number))


def _what_next(number: int) -> str:
    return (
        f"Every item of yours in the review, round {number}, is answered. Once the others are done as well: set "
        f"annotation.round to {number} in params.yaml, and dvc repro, then dvc metrics diff show what it changed; "
        f"the next queue begins the next review. To see these answers again: --round {number}."
    )


@click.command(context_settings=SETTINGS, epilog=example(__doc__), short_help="Look again at labels probably wrong.")
@place_options("The review under way, or else the round after the latest with answers, unless given.")
@click.option("--queue", type=_QueueFile, default="data/review/queue.jsonl", show_default=True)
@click.option("--ranking", type=_QueueFile, default="data/review/ranking.parquet", show_default=True)
@sharing_options
@screen_options
@web_options
@click.pass_context
def review_command(context: click.Context, /, **options: Any) -> None:
    """Look again, blind, at the labels that are probably wrong."""
    check_sharing(options)
    launch(context, "chatladder.cli.annotate.review", review)


if __name__ == "__main__":
    review_command()

r"""Annotate the questions by hand, in the terminal or in a browser: one key an answer.

Example:
    chatladder annotate --annotator li --sample 400
    chatladder annotate --annotator li --new-round --annotators li,wu,chen --overlap 2 --keys needed=a,not_needed=l
    chatladder annotate --web --annotators li,wu,chen --host 192.168.1.5 --expose

Every answer is on disk before the next question is shown, in data/annotations/round_N/NAME.jsonl; the same command
resumes the work. Everybody gets the same questions in the same order, one conversation after another. --sample sets the
number of questions in the round, --annotators and --overlap the number of people who get each question: whoever begins
the round gives them once, and a larger --sample later contains the smaller one. Nobody sees the answers of others or of
a model. With --web and no --annotator, all who share the round can answer at once, each at an address of their own.
"""

from collections.abc import Iterable
from pathlib import Path

import click

from chatladder.cli.annotate.options import AnnotateOptions, names
from chatladder.cli.annotate.round_records import (
    SAMPLE_FILE,
    Sharing,
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
    """Return the round to work in, and the number of its unanswered questions that kept the next from beginning.

    Thus the same command, started again or by somebody else, continues the round that it began.

    Raises:
        DataError: If the named round does not exist.
    """
    annotations, latest = options.annotations, begun_rounds(options.annotations)[-1]
    if options.round:
        check_round(annotations, options.round, new=options.new_round)
        return options.round, 0
    following = next_round(annotations)
    if not options.new_round or following == latest:
        return latest, 0
    shared = settle_assignment(annotations / f"round_{latest}")
    logs = [log_path(annotations, latest, name) for name in people(options, shared)]
    waiting = _waiting(logs, shared, items)
    return (latest, waiting) if waiting else (following, 0)


def people(options: AnnotateOptions, shared: Sharing | None) -> list[str]:
    """Return the annotators of a round: the named person, or else everybody who shares it."""
    if options.person:
        return [options.person]
    return shared[0] if shared else []


def _waiting(logs: Iterable[Path], shared: Sharing | None, items: SessionItems) -> int:
    """Return the number of questions that people have yet to answer in a round; 0 in a review, or if it is others'."""
    own = [log for log in logs if shared is None or log.stem in shared[0]]
    if not own or read_review(own[0].parent) is not None:
        return 0
    order, _ = asked(own[0].parent, items)
    return sum(len({*own_share(order, log.stem, shared, log.parent)} - replay(log).answers.keys()) for log in own)


def asked(folder: Path, items: SessionItems, size: int | None = None) -> tuple[list[str], int]:
    """Return the questions that a round asks, in its order, and the number of its sample that are no longer questions.

    Args:
        folder: The round's folder, ``round_<n>``.
        items: All questions.
        size: The number that the round is to ask; None to keep its present one.

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
            f"{folder / SAMPLE_FILE}: none of its {len(sample):,} items is among the questions. Restore the questions "
            "that they were drawn from; if nobody answered yet, remove the file."
        )
    return left, len(sample) - len(left)


def annotate(options: AnnotateOptions) -> None:
    """Run the app on one annotator's share of a round, or serve everybody's.

    Raises:
        DataError: If the questions, a log or the round do not allow it, or nobody is named.
    """
    items = SessionItems(options.questions)
    number, waiting = choose_round(options, items)
    folder = options.annotations / f"round_{number}"
    sharing = names(options.annotators), options.overlap
    refuse_review(folder)
    who = people(options, settle_assignment(folder, *sharing, begin=False))
    if not who:
        raise DataError(
            f"{folder}: no annotators share this round yet. Name them with --annotators li,wu, or yourself with "
            "--annotator li."
        )
    logs = [log_path(options.annotations, number, name) for name in who]
    guidelines = follow_guidelines(options, [folder])
    shared = settle_assignment(folder, *sharing)
    unknown = lost = 0
    if options.items:
        order, unknown = listed_items(options.items, set(items.ids))
    else:
        order, lost = asked(folder, items, options.sample)
    notices = told(
        [
            (unknown, "{:,} listed items are not among the questions."),
            (lost, "{:,} items of the sample are no longer questions."),
            (
                waiting,
                f"{'You' if options.person else 'People'} have {{:,}} questions left in round {number}, "
                "so no other was begun. "
                f"--round {number + 1} --new-round begins one all the same.",
            ),
        ]
    )
    if not options.person:
        # These are for whoever starts the server, not for the annotators.
        for notice in notices:
            click.echo(notice)
        notices = []
    tasks = [own_task(own_share(order, log.stem, shared, folder), log, guidelines, notices) for log in logs]
    work(tasks, items, options)


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@options_of(AnnotateOptions, "options")
def annotate_command(options: AnnotateOptions) -> None:
    """Label each question: does it need the messages before it? One key per answer."""
    launch(annotate, options)


if __name__ == "__main__":
    annotate_command()

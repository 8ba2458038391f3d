r"""Settle what annotators disagree about, in the terminal or in a browser: one key an answer.

Example:
    chatladder adjudicate --adjudicator chen
    chatladder adjudicate --adjudicator chen --round 2 --all --timezone Asia/Shanghai

It asks about the questions that the votes of all rounds leave undecided, because they tie or most of them are unsure,
and shows everybody's answers: adjudication is not blind. Adjudications go to
data/annotations/round_N/adjudication/NAME.jsonl, where N is the latest round in which the question was answered; the
annotators' answers do not change. An adjudication stands unless answers of later rounds alone are a majority of the
votes.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import click

from chatladder.cli.annotate.options import AdjudicateOptions
from chatladder.cli.annotate.round_records import assigned, chat_order, settle_assignment
from chatladder.cli.annotate.running import Task, follow_guidelines, launch, told, work
from chatladder.cli.annotate.session import SessionItems
from chatladder.io.console import SETTINGS, example
from chatladder.io.options import options_of
from chatladder.labels.rounds import adjudication_path, latest_answered, log_path
from chatladder.labels.verdicts import Case, cases, read_answers, without_orphans


class Adjudication(NamedTuple):
    """The items that one adjudicator is asked.

    Attributes:
        cases: Item -> its answers by others, in the order in which the items are shown.
        notices: Remarks for the adjudicator about them.
    """

    cases: dict[str, Case]
    notices: list[str]


def still_to_annotate(found: Mapping[str, Case], adjudicator: str, annotations: Path) -> set[str]:
    """Return the items that the adjudicator has yet to answer as an annotator of the latest round that asked them.

    Annotation is blind: they must not see others' answers to these. If a round is shared, its assignment decides who
    gets an item; else everybody who has a log in that round gets every item.

    Raises:
        DataError: If an assignment is damaged.
    """
    rounds = sorted({case.round for case in found.values()})
    shared = {number: settle_assignment(annotations / f"round_{number}") for number in rounds}
    takes_part = {number for number in rounds if log_path(annotations, number, adjudicator).exists()}

    def is_theirs(item_id: str, number: int) -> bool:
        sharing = shared[number]
        return number in takes_part if sharing is None else adjudicator in assigned(item_id, *sharing)

    return {
        item_id
        for item_id, case in found.items()
        if adjudicator not in case.annotated_now and is_theirs(item_id, case.round)
    }


def to_adjudicate(
    found: Mapping[str, Case], adjudicator: str, waiting: Collection[str], *, everything: bool
) -> Adjudication:
    """Choose the items that one adjudicator is asked: those that annotators leave open, without the settled ones.

    Args:
        found: Item -> its answers, in the order in which items are shown.
        adjudicator: Name of the adjudicator.
        waiting: Items that the adjudicator must not see yet, from ``still_to_annotate``.
        everything: True to ask also about items on which some were outvoted, or that other adjudicators settled.
    """
    disputed = {id_: case for id_, case in found.items() if case.is_open or (everything and not case.is_unanimous)}
    left = {id_: case for id_, case in disputed.items() if id_ not in waiting}
    asked = {}
    for id_, case in left.items():
        others = {name: label for name, label in case.adjudicators.items() if name != adjudicator}
        # Their own answer about the latest round can be taken back; earlier adjudications are final.
        if everything or case.ruling is None or adjudicator in case.settled_now:
            asked[id_] = replace(case, adjudicators=others)
    own = sum(adjudicator in case.annotators for case in asked.values())
    differ = sum(bool(left[id_].adjudicators) and left[id_].ruling is None for id_ in asked)
    counts = [
        (own, "Items that you annotated yourself, so that your decision is not independent: {:,}."),
        (differ, "Items undecided until the adjudicators agree: {:,}."),
        (len(left) - len(asked), "Settled items left out: {:,}; --all shows them."),
        (len(disputed) - len(left), "Items left out since you have yet to annotate them, blind: {:,}."),
    ]
    return Adjudication(asked, told(counts))


def adjudicate(options: AdjudicateOptions) -> None:
    """Run the app on what the annotators leave undecided.

    Raises:
        DataError: If the questions, the logs or the rounds do not allow it.
    """
    annotations, adjudicator = options.annotations, options.person
    last_round = options.round or latest_answered(annotations) or 1
    adjudication_path(annotations, last_round, adjudicator)  # refuses a name that cannot be a file's before all else
    items = SessionItems(options.questions)
    answers, adjudications, torn = read_answers(annotations, last_round)
    logs = without_orphans(answers, adjudications, items.ids, refuse_orphans=False)
    said = cases(logs.answers, logs.adjudications)
    found = {item_id: said[item_id] for item_id in chat_order(items.ids, items.conversations) if item_id in said}
    waiting = still_to_annotate(found, adjudicator, annotations)
    asked, notices = to_adjudicate(found, adjudicator, waiting, everything=options.all)
    notices += told(
        [
            (logs.orphaned, "{:,} annotated items are no longer questions."),
            (len(torn), "{:,} logs end in an incomplete line, which is left out."),
        ]
    )
    if not asked:
        rounds = "round 1" if last_round == 1 else f"rounds 1 to {last_round}"
        nothing = f"{annotations}: nothing to adjudicate among {len(found):,} items of {rounds}."
        hint = [] if options.all else ["--all also asks about items that a majority decided against others."]
        click.echo(" ".join([nothing, *hint, *notices]))
        return
    work([_task(asked, notices, options)], items, options)


def _task(asked: Mapping[str, Case], notices: list[str], options: AdjudicateOptions) -> Task:
    rounds = {item_id: case.round for item_id, case in asked.items()}
    numbers = sorted({*rounds.values()})
    logs = {number: adjudication_path(options.annotations, number, options.person) for number in numbers}
    # The guidelines of imported answers are unknown: an adjudication must not make them up.
    guidelines = follow_guidelines(options, [path.parent.parent for path in logs.values()], begin=False)
    title = f"{options.person} adjudicates"
    return Task(options.person, title, rounds, logs, guidelines, notices, asked, _now)


def _now() -> str:
    # Finer than annotators' seconds: across logs, only times show which answer undo takes back.
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@options_of(AdjudicateOptions, "options")
def adjudicate_command(options: AdjudicateOptions) -> None:
    """Settle disagreements between annotators, one key per answer."""
    launch(adjudicate, options)


if __name__ == "__main__":
    adjudicate_command()

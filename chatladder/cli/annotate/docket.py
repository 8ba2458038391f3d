"""What an adjudicator is asked, and what they must not see yet."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from chatladder.labels.assignment import assigned, settle
from chatladder.labels.rounds import log_path
from chatladder.labels.verdicts import Case


class Docket(NamedTuple):
    """What one adjudicator is asked.

    Attributes:
        cases: Item -> what others said of it, in the order in which the items are shown.
        notices: What the adjudicator should know about them.
    """

    cases: dict[str, Case]
    notices: list[str]


def chat_order(item_ids: Sequence[str], conversations: Sequence[str]) -> list[str]:
    """The items, conversation after conversation, in the order in which these begin.

    Args:
        item_ids: Shape ``(n,)``, in the order of the chat.
        conversations: The conversation of each, shape ``(n,)``.
    """
    ranks: dict[str, int] = {}
    for conversation in conversations:
        ranks.setdefault(conversation, len(ranks))
    return [item_ids[row] for row in sorted(range(len(item_ids)), key=lambda row: (ranks[conversations[row]], row))]


def still_to_annotate(found: Mapping[str, Case], adjudicator: str, annotations: Path) -> set[str]:
    """The items that the adjudicator has yet to answer as an annotator of the round that decides them.

    Annotating is blind: they must not see what others said of these. Where a round is shared, its assignment says
    whose an item is; else every item is everybody's who has a log in that round.

    Raises:
        DataError: If an assignment is damaged.
    """
    rounds = {case.round for case in found.values()}
    shared = {number: settle(annotations / f"round_{number}", [], None) for number in sorted(rounds)}
    takes_part = {number for number in rounds if log_path(annotations, number, adjudicator).exists()}

    def is_theirs(item_id: str, number: int) -> bool:
        sharing = shared[number]
        return number in takes_part if sharing is None else adjudicator in assigned(item_id, *sharing)

    return {
        item_id
        for item_id, case in found.items()
        if adjudicator not in case.annotators and is_theirs(item_id, case.round)
    }


def docket(found: Mapping[str, Case], adjudicator: str, waiting: Collection[str], *, everything: bool) -> Docket:
    """The items that one adjudicator is asked: what annotators leave open, less what others settled.

    Args:
        found: Item -> what was said of it, in the order in which items are shown.
        adjudicator: Who is asked.
        waiting: Items that they must not see yet, as ``still_to_annotate`` says.
        everything: Ask also what a majority decided against others, and what other adjudicators settled.
    """
    disputed = {id_: case for id_, case in found.items() if case.is_open or (everything and not case.is_unanimous)}
    left = {id_: case for id_, case in disputed.items() if id_ not in waiting}
    others = {
        id_: replace(
            case, adjudicators={name: label for name, label in case.adjudicators.items() if name != adjudicator}
        )
        for id_, case in left.items()
    }
    asked = {
        id_: case
        for id_, case in others.items()
        if everything or case.ruling is None or adjudicator in left[id_].adjudicators
    }
    own = sum(adjudicator in case.annotators for case in asked.values())
    differ = sum(bool(left[id_].adjudicators) and left[id_].ruling is None for id_ in asked)
    counts = [
        (own, "You annotated {:,} of these yourself: settling them is not independent of that."),
        (differ, "Adjudicators differ on {:,}, which stay undecided until they agree."),
        (len(left) - len(asked), "{:,} that others settled are left out; --all shows them."),
        (len(disputed) - len(left), "{:,} are left out that you have yet to annotate, blind."),
    ]
    return Docket(asked, told(counts))


def told(counts: Iterable[tuple[int, str]]) -> list[str]:
    """A notice of each count above zero, put into its text."""
    return [text.format(count) for count, text in counts if count]

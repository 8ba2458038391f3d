"""The labels after each round of annotation, and its changes to the labels before it."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from chatladder.io.console import DataError
from chatladder.labels.agreement import Agreement, Stretch, agreement_by_round, agreement_over_time
from chatladder.labels.answer import Answer, Label
from chatladder.labels.verdicts import Logs, Verdict, decide, read_answers, without_orphans
from chatladder.vocabulary import SCORED

DISAGREED = "disagreed"
#: The states of an answered item, in the order of the tables.
STATES = (*(label.value for label in Label), DISAGREED)
#: The number of parts of a round for agreement over time.
_PARTS = 4
#: Name -> item -> label.
Given = dict[str, dict[str, Label]]


@dataclass(frozen=True)
class Round:
    """A round, about the questions that still exist.

    Attributes:
        number: The round's number.
        answers: Annotator -> item -> label given in this round.
        adjudications: Adjudicator -> item -> label given about this round.
        verdicts: Item -> verdict of this round and all before it.
        agreement: Agreement within this round, None if no two annotators share an item.
        over_time: Agreement in its four quarters, by time.
    """

    number: int
    answers: Given
    adjudications: Given
    verdicts: dict[str, Verdict]
    agreement: Agreement | None
    over_time: list[Stretch]

    def labels(self) -> dict[str, str]:
        """Return item -> label, for the items that models are scored on."""
        return scored_labels(self.verdicts)

    def answered(self) -> set[str]:
        """Return the items that any annotator answered in this round."""
        return {item_id for labels in self.answers.values() for item_id in labels}

    def adjudicated(self) -> int:
        """Return the number of items that an adjudicator answered."""
        return len({item_id for labels in self.adjudications.values() for item_id in labels})


def scored_labels(verdicts: Mapping[str, Verdict]) -> dict[str, str]:
    """Return item -> label, for the items whose label models are scored on."""
    return {item_id: verdict.label.value for item_id, verdict in verdicts.items() if verdict.label in SCORED}


class Rounds(NamedTuple):
    """The rounds that count, in order, the answers that they come from, and lines cut short."""

    rounds: list[Round]
    logs: Logs
    torn: list[str]


class Change(NamedTuple):
    """An item that a round asked about, with its state before (None: never asked) and its state now, of ``STATES``."""

    item_id: str
    old: str | None
    new: str

    @property
    def scored(self) -> tuple[str | None, str | None]:
        """The states before and now, with None for a state that is not a scored label."""
        old, new = (name if name in SCORED else None for name in (self.old, self.new))
        return old, new

    def kind(self) -> str:
        """``new``, ``open``, ``settled``, ``kept`` or ``flipped``, as ``metrics/annotation.json`` counts them."""
        if self.old is None:
            return "new"
        if self.old == DISAGREED:
            return "open" if self.new == DISAGREED else "settled"
        return "kept" if self.new == self.old else "flipped"


def read_rounds(annotations: Path, last_round: int, known: Sequence[str]) -> Rounds:
    """Read rounds 1 to ``last_round``, without those that have no answer.

    Args:
        annotations: Folder of the logs.
        last_round: The last round that counts.
        known: Ids of the questions.

    Raises:
        DataError: If a log is damaged, most answers are about other questions, or ``last_round`` holds none.
    """
    placed, settled, torn = read_answers(annotations, last_round)
    logs = without_orphans(placed, settled, known, refuse_orphans=False)
    numbers = sorted({answer.round for answer in logs.answers})
    if last_round not in numbers:
        raise DataError(
            f"{annotations / f'round_{last_round}'}: expected answers about the questions at hand, got none. "
            "Annotate that round, or report on an earlier one with --round."
        )
    return Rounds([_round(number, logs) for number in numbers], logs, torn)


def _round(number: int, logs: Logs) -> Round:
    earlier = ([each for each in given if each.round <= number] for given in (logs.answers, logs.adjudications))
    answers = [answer for answer in logs.answers if answer.round == number]
    return Round(
        number=number,
        answers=_by_name(answers),
        adjudications=_by_name(answer for answer in logs.adjudications if answer.round == number),
        verdicts=decide(*earlier),
        agreement=agreement_by_round({number: _by_name(answers)}).get(number),
        over_time=agreement_over_time(answers, _PARTS),
    )


def _by_name(answers: Iterable[Answer]) -> Given:
    given: Given = {}
    for answer in answers:
        given.setdefault(answer.annotator, {})[answer.item_id] = answer.label
    return given


def state(verdict: Verdict | None) -> str | None:
    """Return a verdict as one of ``STATES``, or None if nobody answered."""
    if verdict is None:
        return None
    return DISAGREED if verdict.label is None else verdict.label.value


def changes(before: Round | None, after: Round, known: Sequence[str]) -> list[Change]:
    """Return the change of every item that the round asked about, in the order of the questions."""
    earlier: Mapping[str, Verdict] = before.verdicts if before else {}
    asked = after.answered()
    return [
        Change(item_id, state(earlier.get(item_id)), state(after.verdicts[item_id]) or DISAGREED)
        for item_id in known
        if item_id in asked
    ]


def matrix(changed: Sequence[Change]) -> tuple[list[str], list[tuple[str | None, list[int]]]]:
    """Return the states that occur after the round, and for each state before it the items by state after."""
    cells = Counter((change.old, change.new) for change in changed)
    columns = [name for name in STATES if any(new == name for _, new in cells)]
    rows = [name for name in (*STATES, None) if any(old == name for old, _ in cells)]
    return columns, [(old, [cells[old, new] for new in columns]) for old in rows]


def answers_of(rounds: Sequence[Round], item_id: str) -> Iterator[tuple[int, list[tuple[str, str]]]]:
    """Yield each round that asked about an item, with the answers by name, adjudicators last."""
    for each in rounds:
        given = [(who, labels[item_id].value) for who, labels in sorted(each.answers.items()) if item_id in labels]
        settled = [
            (f"{who} (adjudicator)", labels[item_id].value)
            for who, labels in sorted(each.adjudications.items())
            if item_id in labels
        ]
        if given:
            yield each.number, given + settled

"""What the annotators of all rounds say together: one verdict an item, and how far they agree.

The latest round in which anybody answered an item decides it, by majority of that round's annotators; a tie leaves
the item undecided, counted as ``disagreed``.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from stages.annotation.agreement import majority, round_agreement
from stages.annotation.answer import Answer, Label
from stages.annotation.log import log_files, replay
from stages.cli import DataError

#: Labels that models are trained and scored on.
SCORED = (Label.NEEDED, Label.NOT_NEEDED)


class Placed(NamedTuple):
    """An answer and the ``file:line`` it stands on."""

    answer: Answer
    place: str


class Verdict(NamedTuple):
    """What the annotators say of one item: a label (None: disagreed) and the share of them who gave it."""

    label: Label | None
    agreement: float


@dataclass(frozen=True)
class Labelling:
    """The labels of the questions that still exist, with what was left out.

    Attributes:
        verdicts: Item -> verdict, of items that are in the questions.
        counts: What ``metrics/annotation.json`` holds, less the splits.
        first_orphan: ``file:line`` of the first answer about an item that is gone, or None.
    """

    verdicts: dict[str, Verdict]
    counts: dict[str, int | float | None]
    first_orphan: str | None


def read_logs(annotations: Path, last_round: int) -> tuple[list[Placed], list[str]]:
    """The answers that count, one per item, round and annotator, and the places of lines cut short."""
    placed = []
    torn = []
    for path in log_files(annotations, last_round):
        log = replay(path)
        placed += [Placed(answer, f"{path}:{log.lines[item_id]}") for item_id, answer in log.answers.items()]
        if log.torn is not None:
            torn.append(f"{path}:{log.torn}")
    return placed, torn


def decide(answers: Iterable[Answer]) -> dict[str, Verdict]:
    """The verdict on each item: the majority of the latest round in which it was answered."""
    by_item: dict[str, list[Answer]] = {}
    for answer in answers:
        by_item.setdefault(answer.item_id, []).append(answer)
    verdicts = {}
    for item_id, given in by_item.items():
        deciding = max(answer.round for answer in given)
        labels = [answer.label for answer in given if answer.round == deciding]
        label = majority(labels)
        verdicts[item_id] = Verdict(label, 0.0 if label is None else labels.count(label) / len(labels))
    return verdicts


def combine(placed: Sequence[Placed], known: Iterable[str], last_round: int, refuse_orphans: bool) -> Labelling:
    """Decide every item that is among the questions, and count the rest.

    Args:
        placed: The answers of rounds 1 to ``last_round``.
        known: Ids of the questions.
        last_round: How many rounds count.
        refuse_orphans: Whether an answer about an unknown item is an error.

    Raises:
        DataError: If answers are about unknown items and that is refused, or most of them are.
    """
    questions = frozenset(known)
    orphans = [row for row in placed if row.answer.item_id not in questions]
    answers = [row.answer for row in placed if row.answer.item_id in questions]
    verdicts = decide(answers)
    orphaned = len({row.answer.item_id for row in orphans})
    if orphans:
        _check_orphans(orphans[0], orphaned, orphaned + len(verdicts), refuse_orphans)
    before = decide(answer for answer in answers if answer.round < last_round)
    return Labelling(
        verdicts=verdicts,
        counts=_counts(answers, verdicts, before, last_round, orphaned),
        first_orphan=orphans[0].place if orphans else None,
    )


def _check_orphans(first: Placed, orphaned: int, items: int, refuse: bool) -> None:
    what = f"{first.place}: expected an item of the questions, got {first.answer.item_id!a}"
    if refuse:
        raise DataError(
            f"{what}; {orphaned} of {items} annotated items are unknown. "
            "Remove those lines, or let --orphans report count them."
        )
    if 2 * orphaned > items:
        raise DataError(
            f"{what}; {orphaned} of {items} annotated items are unknown, more than half. These annotations "
            "were made on another chat, under another privacy key, or before the filters became stricter: "
            "bring back what changed, or point to the annotations that belong to these questions."
        )


def _counts(
    answers: Sequence[Answer],
    verdicts: Mapping[str, Verdict],
    before: Mapping[str, Verdict],
    last_round: int,
    orphaned: int,
) -> dict[str, Any]:
    labels = Counter(verdict.label for verdict in verdicts.values())
    rounds: dict[int, dict[str, dict[str, Label]]] = {}
    for answer in answers:
        rounds.setdefault(answer.round, {}).setdefault(answer.annotator, {})[answer.item_id] = answer.label
    agreement = round_agreement(rounds)
    changed = [(old.label, verdicts[item_id].label) for item_id, old in before.items()]
    return {
        "round": last_round,
        "items": len(verdicts),
        **{label.value: labels[label] for label in Label},
        "disagreed": labels[None],
        "kappa": _rounded(agreement.kappa),
        "alpha": _rounded(agreement.alpha),
        "annotators": {
            name: {"answers": len(rounds[agreement.round][name]), "kappa": _rounded(kappa)}
            for name, kappa in agreement.annotators.items()
            if agreement.round is not None
        },
        "kappa_round": agreement.round,
        "kappa_items": agreement.items,
        # A disagreement that the last round settled is no change of mind: counted apart.
        "flipped": sum(old is not None and old != new for old, new in changed),
        "settled": sum(old is None and new is not None for old, new in changed),
        "orphaned": orphaned,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 5)

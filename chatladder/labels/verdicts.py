"""The answers of all rounds combined: one verdict per item, and the annotators' agreement.

The votes are pooled: each annotator's answer of the latest round in which they gave one counts, and the label with the
most votes is the verdict. A tie leaves the item undecided, counted as ``disagreed``, until an adjudicator settles it.
The adjudication stands unless more than half of the votes come from later rounds and agree on one label. Adjudicators
who disagree leave the item undecided, too.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from chatladder.io.console import DataError
from chatladder.labels.agreement import agreement_by_round, largest, majority
from chatladder.labels.answer import Answer, Label
from chatladder.labels.log import replay
from chatladder.labels.rounds import adjudication_files, log_files
from chatladder.vocabulary import UNSURE

#: Decimal places in metrics.
DIGITS = 5


class Placed(NamedTuple):
    """An answer and its ``file:line``."""

    answer: Answer
    place: str


class Verdict(NamedTuple):
    """The decision on one item: a label (None: disagreed) and the share of its annotators who gave it."""

    label: Label | None
    agreement: float


@dataclass(frozen=True)
class Case:
    """The votes on one item, and its adjudications.

    Attributes:
        round: The latest round in which an annotator answered the item; it is adjudicated in that round.
        annotators: Annotator -> vote, at least one.
        adjudicators: Adjudicator -> answer, for answers that still stand.
        annotated_now: The annotators whose vote is from that round.
        settled_now: The adjudicators whose answer is about that round.
    """

    round: int
    annotators: Mapping[str, Label]
    adjudicators: Mapping[str, Label] = field(default_factory=dict)
    annotated_now: frozenset[str] = frozenset()
    settled_now: frozenset[str] = frozenset()

    @property
    def is_open(self) -> bool:
        """True if the annotators alone leave the item undecided: they tie, or most of them are unsure."""
        return majority(list(self.annotators.values())) in (None, UNSURE)

    @property
    def is_unanimous(self) -> bool:
        """True if all annotators gave the same answer."""
        return len(set(self.annotators.values())) == 1

    @property
    def ruling(self) -> Label | None:
        """The adjudicators' answer; None if there is none, or they disagree."""
        return next(iter(self.adjudicators.values())) if len(set(self.adjudicators.values())) == 1 else None

    @property
    def verdict(self) -> Verdict:
        """The label that counts, and the share of the annotators who gave it."""
        labels = list(self.annotators.values())
        label = self.ruling if self.adjudicators else majority(labels)
        return Verdict(label, 0.0 if label is None else labels.count(label) / len(labels))


@dataclass(frozen=True)
class Logs:
    """The answers about questions that still exist, and the number of items that are gone.

    Attributes:
        answers: Annotators' answers.
        adjudications: Adjudicators' answers, each about a round in which an annotator answered the item.
        orphaned: The number of answered items that are no longer among the questions.
        first_orphan: ``file:line`` of the first answer about such an item, or None.
    """

    answers: list[Answer]
    adjudications: list[Answer]
    orphaned: int
    first_orphan: str | None


@dataclass(frozen=True)
class Labelling:
    """The labels of the questions that still exist, with counts.

    Attributes:
        verdicts: Item -> verdict, for items that are among the questions.
        counts: The content of ``metrics/annotation.json``, without reviews and splits.
        logs: The answers that the verdicts come from.
    """

    verdicts: dict[str, Verdict]
    counts: dict[str, Any]
    logs: Logs


def read_answers(annotations: Path, last_round: int) -> tuple[list[Placed], list[Placed], list[str]]:
    """Read the answers that count from rounds 1 to ``last_round``, one per item, round and person.

    Returns:
        The annotators' answers, the adjudicators' answers, and ``file:line`` of lines cut short.
    """
    torn: list[str] = []
    return (
        _read(log_files(annotations, last_round), torn),
        _read(adjudication_files(annotations, last_round), torn),
        torn,
    )


def _read(paths: Iterable[Path], torn: list[str]) -> list[Placed]:
    placed = []
    for path in paths:
        log = replay(path)
        placed += [Placed(answer, f"{path}:{log.lines[item_id]}") for item_id, answer in log.answers.items()]
        if log.torn is not None:
            torn.append(f"{path}:{log.torn}")
    return placed


def cases(answers: Iterable[Answer], adjudications: Iterable[Answer] = ()) -> dict[str, Case]:
    """Return the case of each item that an annotator answered."""
    settled = _latest(adjudications)
    return {item_id: _case(votes, settled.get(item_id, {})) for item_id, votes in _latest(answers).items()}


def _latest(answers: Iterable[Answer]) -> dict[str, dict[str, Answer]]:
    """Return item -> person -> their answer of the latest round in which they gave one."""
    latest: dict[str, dict[str, Answer]] = {}
    for answer in answers:
        given = latest.setdefault(answer.item_id, {})
        if answer.annotator not in given or given[answer.annotator].round < answer.round:
            given[answer.annotator] = answer
    return latest


def _case(votes: Mapping[str, Answer], settled: Mapping[str, Answer]) -> Case:
    number = max(vote.round for vote in votes.values())
    standing = {name: answer for name, answer in settled.items() if not _is_overruled(answer, votes)}
    return Case(
        round=number,
        annotators={name: vote.label for name, vote in votes.items()},
        adjudicators={name: answer.label for name, answer in standing.items()},
        annotated_now=frozenset(name for name, vote in votes.items() if vote.round == number),
        settled_now=frozenset(name for name, answer in standing.items() if answer.round == number),
    )


def _is_overruled(ruling: Answer, votes: Mapping[str, Answer]) -> bool:
    """Return True if more than half of all votes come from later rounds and agree on one label."""
    later = Counter(vote.label for vote in votes.values() if vote.round > ruling.round)
    return any(2 * count > len(votes) for count in later.values())


def decide(answers: Iterable[Answer], adjudications: Iterable[Answer] = ()) -> dict[str, Verdict]:
    """Return the verdict on each item."""
    return {item_id: case.verdict for item_id, case in cases(answers, adjudications).items()}


def without_orphans(
    placed: Sequence[Placed], adjudications: Sequence[Placed], known: Iterable[str], *, refuse_orphans: bool
) -> Logs:
    """Return the answers about items that are among the questions.

    Args:
        placed: The annotators' answers of the rounds that count.
        adjudications: The adjudicators' answers.
        known: Ids of the questions.
        refuse_orphans: True if an answer about an unknown item is an error.

    Raises:
        DataError: If items are unknown and that is refused, or most of them are; if an adjudication is about a round
            in which nobody answered its item.
    """
    questions = frozenset(known)
    orphans = [row for row in (*placed, *adjudications) if row.answer.item_id not in questions]
    answers = [row.answer for row in placed if row.answer.item_id in questions]
    orphaned = len({row.answer.item_id for row in orphans})
    if orphans:
        items = orphaned + len({answer.item_id for answer in answers})
        _check_orphans(orphans[0], orphaned, items, refuse_orphans)
    answered = {(answer.item_id, answer.round) for answer in answers}
    settled = [row for row in adjudications if row.answer.item_id in questions]
    for row in settled:
        if (row.answer.item_id, row.answer.round) not in answered:
            raise DataError(
                f"{row.place}: expected an item that an annotator answered in round {row.answer.round}, got "
                f"{row.answer.item_id!a}, which none did. Remove the line, or bring the annotators' logs back."
            )
    return Logs(answers, [row.answer for row in settled], orphaned, orphans[0].place if orphans else None)


def combine(
    placed: Sequence[Placed],
    known: Iterable[str],
    last_round: int,
    refuse_orphans: bool,
    adjudications: Sequence[Placed] = (),
) -> Labelling:
    """Decide every item that is among the questions, and count the rest.

    Args:
        placed: The annotators' answers of rounds 1 to ``last_round``.
        known: Ids of the questions.
        last_round: The number of rounds that count.
        refuse_orphans: True if an answer about an unknown item is an error.
        adjudications: The adjudicators' answers about those rounds.

    Raises:
        DataError: As ``without_orphans`` does.
    """
    logs = without_orphans(placed, adjudications, known, refuse_orphans=refuse_orphans)
    found = cases(logs.answers, logs.adjudications)
    before = cases(*([a for a in given if a.round < last_round] for given in (logs.answers, logs.adjudications)))
    return Labelling(
        verdicts={item_id: case.verdict for item_id, case in found.items()},
        counts=_counts(logs, found, before, last_round),
        logs=logs,
    )


def _check_orphans(first: Placed, orphaned: int, items: int, refuse: bool) -> None:
    if not refuse and 2 * orphaned <= items:
        return
    share, other = ("", "let --orphans report (annotation.orphans in params.yaml) leave these answers out")
    if not refuse:
        share, other = (", more than half", "point to the annotations that belong to these questions")
    raise DataError(
        f"{first.place}: expected an item of the questions, got {first.answer.item_id!a}; {orphaned:,} of {items:,} "
        f"annotated items are unknown{share}. They were picked from another chat, by other judges or filters, under "
        f"another key, or by an earlier release (chatladder carry-answers): bring those back, or {other}."
    )


def _counts(logs: Logs, found: Mapping[str, Case], before: Mapping[str, Case], last_round: int) -> dict[str, Any]:
    verdicts = {item_id: case.verdict for item_id, case in found.items()}
    labels = Counter(verdict.label for verdict in verdicts.values())
    rounds: dict[int, dict[str, dict[str, Label]]] = {}
    for answer in logs.answers:
        rounds.setdefault(answer.round, {}).setdefault(answer.annotator, {})[answer.item_id] = answer.label
    by_round = agreement_by_round(rounds)
    agreement = largest(by_round)
    changed = [(old.verdict.label, verdicts[item_id].label) for item_id, old in before.items()]
    return {
        "round": last_round,
        "items": len(verdicts),
        **{label.value: labels[label] for label in Label},
        "disagreed": labels[None],
        "adjudicated": sum(case.ruling is not None for case in found.values()),
        "kappa": rounded(agreement.kappa),
        "alpha": rounded(agreement.alpha),
        "annotators": {
            name: {"answers": len(rounds[agreement.round][name]), "kappa": rounded(kappa)}
            for name, kappa in agreement.annotators.items()
            if agreement.round is not None
        },
        "kappa_round": agreement.round,
        "kappa_items": agreement.items,
        "rounds": {
            str(number): {"items": one.items, "kappa": rounded(one.kappa), "alpha": rounded(one.alpha)}
            for number, one in by_round.items()
        },
        # A disagreement that the last round settled is not a change of mind, so it is counted separately.
        "flipped": sum(old is not None and old != new for old, new in changed),
        "settled": sum(old is None and new is not None for old, new in changed),
        "orphaned": logs.orphaned,
    }


def rounded(value: float | None) -> float | None:
    """Return a number rounded as in metrics files, so that ``dvc metrics diff`` reads well."""
    # Adding zero turns -0.0, which would look like a change in a diff, into 0.0.
    return None if value is None else round(value, DIGITS) + 0.0

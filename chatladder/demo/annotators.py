"""Simulated annotators: they answer the demo's questions with the errors that people make.

Errors concentrate on hard items: a distant antecedent, a noun that nothing in the window matches. The annotators give
the demo a log to rebuild from and rounds to compare; no result on them says anything about people.
"""

import random
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from chatladder.labels.answer import Answer, Label
from chatladder.labels.review import Review, random_part
from chatladder.labels.verdicts import Case, cases
from chatladder.vocabulary import SCORED, UNSURE

#: The start of round 1, and the time between the starts of two rounds.
FIRST_ROUND, BETWEEN_ROUNDS = datetime(2024, 2, 5, 1, 30, tzinfo=UTC), timedelta(days=28)
ERROR_FLOOR, ERROR_SPAN = 0.03, 0.25
UNSURE_SHARE = 0.02
#: The share of answers whose error depends on the item alone, the same for every annotator.
SHARED_SHARE = 0.6
#: The random share of the items labelled in round 1 that round 2 reviews.
RANDOM_SHARE = 0.2
#: The adjudicator's care relative to the annotators', and the time from a round's start to its adjudication.
ADJUDICATOR_CARE, BEFORE_ADJUDICATION = 3.0, timedelta(days=14)


class TrueItem(NamedTuple):
    """A question as the pipeline picked it, with what the simulator knows about it."""

    item_id: str
    label: str
    hardness: float


def round_one(items: Iterable[TrueItem], annotators: tuple[str, ...], seed: int) -> list[Answer]:
    """Return the answers of round 1: every annotator answers every item, in the order given, independently."""
    return look_again(items, annotators, 1, seed)


def second_look(items: Iterable[TrueItem], first: Iterable[Answer]) -> Review:
    """Choose the items of round 2: those that people dispute in round 1, and a random share of the labelled ones.

    Args:
        items: All items, in the order in which they are shown.
        first: The answers of round 1.
    """
    found = cases(first)
    labelled = [item_id for item_id, case in found.items() if case.verdict.label in SCORED]
    random_items = frozenset(random_part(labelled, 2, RANDOM_SHARE))
    again = (item.item_id for item in items if item.item_id in random_items or is_disputed(found[item.item_id]))
    return Review(tuple(again), random=random_items)


def is_disputed(case: Case) -> bool:
    """Return True if the annotators disagree about an item, or one of them is unsure."""
    return not case.is_unanimous or UNSURE in case.annotators.values()


def look_again(
    items: Iterable[TrueItem], annotators: Sequence[str], number: int, seed: int, care: float = 1.0
) -> list[Answer]:
    """Return the answers of every annotator to every item, in the order given.

    A misreading that annotators share recurs in every round; all else is drawn anew for each round, annotator and item,
    so no item's answer depends on the others.

    Args:
        items: The items to answer.
        annotators: The annotators' names.
        number: The number of the round.
        seed: The seed of all rounds.
        care: Their care relative to round 1: 3 errs a third as often.
    """
    items = list(items)
    begin = FIRST_ROUND + (number - 1) * BETWEEN_ROUNDS
    return [answer for name in annotators for answer in _answers(items, name, number, seed, care, begin)]


def adjudicate(
    items: Iterable[TrueItem], answers: Iterable[Answer], adjudicator: str, number: int, seed: int
) -> list[Answer]:
    """Return an adjudicator's answers to items that the votes leave open, more careful than the annotators'.

    Args:
        items: All items, in the order in which they are shown.
        answers: The answers of all rounds.
        adjudicator: The adjudicator's name.
        number: The number of the latest round, in which all open items were answered.
        seed: The seed of all rounds.
    """
    found = cases(answers)
    asked = [item for item in items if item.item_id in found and found[item.item_id].is_open]
    begin = FIRST_ROUND + (number - 1) * BETWEEN_ROUNDS + BEFORE_ADJUDICATION
    return _answers(asked, adjudicator, number, seed, ADJUDICATOR_CARE, begin)


def _answers(
    items: list[TrueItem], annotator: str, number: int, seed: int, care: float, begin: datetime
) -> list[Answer]:
    clock = begin
    answers = []
    for item in items:
        rng = random.Random(f"answer:{seed}:{number}:{annotator}:{item.item_id}")
        clock += timedelta(seconds=rng.randint(3, 14) if rng.random() < 0.98 else rng.randint(120, 50_000))
        label = _answer(rng, item, seed, 1 / care)
        answers.append(Answer(item.item_id, annotator, number, Label(label), clock.isoformat().replace("+00:00", "Z")))
    return answers


def _answer(rng: random.Random, item: TrueItem, seed: int, carelessness: float) -> str:
    error = carelessness * (ERROR_FLOOR + ERROR_SPAN * item.hardness**2)
    if rng.random() < carelessness * UNSURE_SHARE:
        return "unsure"
    # What misleads one reader misleads another: some errors depend on the item and not on the person.
    shared = rng.random() < SHARED_SHARE
    draws = random.Random(f"misread:{seed}:{item.item_id}") if shared else rng
    if draws.random() >= error:
        return item.label
    if item.label == "not_a_question":
        return draws.choice(("not_needed", "needed"))
    return "not_needed" if item.label == "needed" else "needed"

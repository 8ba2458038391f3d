"""Simulated annotators: they answer the demo's questions with the errors that people make.

Errors gather on hard items: a distant antecedent, a noun that nothing in the window matches. They are here so that
the demo has a log to rebuild from and to compare rounds on; no result on them says anything about people.
"""

import random
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from chatladder.labels.answer import Answer, Label

#: When round 1 began, and how long after it every other one does.
FIRST_ROUND, BETWEEN_ROUNDS = datetime(2024, 2, 5, 1, 30, tzinfo=UTC), timedelta(days=28)
ERROR_FLOOR, ERROR_SPAN = 0.03, 0.25
UNSURE_SHARE = 0.02
#: How often an answer hangs on what is misleading about the item, the same for everybody.
SHARED_SHARE = 0.6
#: Of the items on which round 1 agreed, the share that round 2 looks at again.
SECOND_LOOK = 0.10
#: Errors of a second look, as a share of those of the first.
CARELESSNESS = 0.35


class TrueItem(NamedTuple):
    """A question as the pipeline picked it, with what the simulator knows about it."""

    item_id: str
    label: str
    hardness: float


def round_one(items: Iterable[TrueItem], annotators: tuple[str, ...], seed: int) -> list[Answer]:
    """Every annotator answers every item, in the order given, on their own."""
    items = list(items)
    return [answer for annotator in annotators for answer in _answers(items, annotator, 1, seed, carelessness=1.0)]


def round_two(items: Iterable[TrueItem], first: list[Answer], annotators: tuple[str, ...], seed: int) -> list[Answer]:
    """Both annotators look again, more carefully, at what they disagreed on and at a share of the rest."""
    given: dict[str, set[str]] = {}
    for answer in first:
        given.setdefault(answer.item_id, set()).add(answer.label)
    again = [
        item
        for item in items
        if len(given[item.item_id]) > 1
        or "unsure" in given[item.item_id]
        or random.Random(f"second:{seed}:{item.item_id}").random() < SECOND_LOOK
    ]
    return look_again(again, annotators, 2, seed)


def look_again(items: Iterable[TrueItem], annotators: Sequence[str], number: int, seed: int) -> list[Answer]:
    """Every annotator answers every item in the order given, more carefully than the first time.

    What an item makes everybody misread, it does in every round; all else is drawn anew for each round, annotator and
    item, so no item's answer depends on the others.

    Args:
        items: What they look at.
        annotators: Their names.
        number: The number of the round.
        seed: The seed of all rounds.
    """
    items = list(items)
    return [answer for annotator in annotators for answer in _answers(items, annotator, number, seed, CARELESSNESS)]


def _answers(items: list[TrueItem], annotator: str, number: int, seed: int, carelessness: float) -> list[Answer]:
    clock = FIRST_ROUND + (number - 1) * BETWEEN_ROUNDS
    answers = []
    for item in items:
        rng = random.Random(f"answer:{seed}:{number}:{annotator}:{item.item_id}")
        clock += timedelta(seconds=rng.randint(3, 14) if rng.random() < 0.98 else rng.randint(120, 50_000))
        label = _answer(rng, item, seed, carelessness)
        answers.append(Answer(item.item_id, annotator, number, Label(label), clock.isoformat().replace("+00:00", "Z")))
    return answers


def _answer(rng: random.Random, item: TrueItem, seed: int, carelessness: float) -> str:
    error = carelessness * (ERROR_FLOOR + ERROR_SPAN * item.hardness**2)
    if rng.random() < carelessness * UNSURE_SHARE:
        return "unsure"
    # What misleads one reader misleads another: some errors hang on the item and not on the person.
    shared = rng.random() < SHARED_SHARE
    draws = random.Random(f"misread:{seed}:{item.item_id}") if shared else rng
    if draws.random() >= error:
        return item.label
    if item.label == "not_a_question":
        return draws.choice(("not_needed", "needed"))
    return "not_needed" if item.label == "needed" else "needed"

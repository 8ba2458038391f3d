"""Labels that may be scored, and pairs of label sets to compare under the same models.

A model that selects a label for review influences the answer: scored on it, the model would be rewarded for every label
that changes in its favour. So scores use only answers that no model asked for. They leave out what annotators and
adjudicators answered in a review round about that round's suspects.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import pyarrow as pa

from chatladder.io.rows import LABEL_SETS
from chatladder.labels.answer import Answer, Label
from chatladder.labels.review import Review
from chatladder.labels.verdicts import Logs, Verdict, decide
from chatladder.vocabulary import SCORED


def unasked(answers: Iterable[Answer], reviews: Mapping[int, Review]) -> list[Answer]:
    """Return the answers that no model asked for.

    Args:
        answers: Annotators' or adjudicators' answers.
        reviews: Round -> its review.
    """
    suspects = {(number, item_id) for number, review in reviews.items() for item_id in review.suspects}
    return [answer for answer in answers if (answer.round, answer.item_id) not in suspects]


def check_verdicts(logs: Logs, reviews: Mapping[int, Review], last_round: int | None = None) -> dict[str, Verdict]:
    """Return the verdict on each item from the answers that no model asked for.

    Args:
        logs: The answers.
        reviews: Round -> its review.
        last_round: The last round that counts; None for all.
    """
    given = (unasked(each, reviews) for each in (logs.answers, logs.adjudications))
    return decide(*([answer for answer in each if last_round is None or answer.round <= last_round] for each in given))


def label_sets(questions: pa.Table, logs: Logs, reviews: Mapping[int, Review]) -> pa.Table:
    """Return pairs of label sets of the same items: annotator against annotator, and round against the rounds before.

    A pair of annotators covers the questions that both answered, with the first answer of each; answers about suspects
    do not count. A pair of rounds covers the questions of the round's random part that were answered in it, with the
    label after the round and the label before it, both from answers that no model asked for. Only questions with one of
    the two scored labels on both sides are written.

    Args:
        questions: Rows of ``QUESTIONS``.
        logs: The answers.
        reviews: Round -> its review.

    Returns:
        Rows of ``LABEL_SETS``, annotators by name and then rounds by number, each in the order of the questions.
    """
    conversations = dict(zip(questions["item_id"].to_pylist(), questions["conversation"].to_pylist(), strict=True))
    answers = unasked(logs.answers, reviews)
    rows: list[dict[str, Any]] = []
    for kind, first, second, labels in (*_annotators(answers), *_rounds(logs, answers, reviews)):
        rows += [
            {
                "kind": kind,
                "first": first,
                "second": second,
                "item_id": item_id,
                "conversation": conversation,
                "first_label": str(labels[0][item_id]),
                "second_label": str(labels[1][item_id]),
            }
            for item_id, conversation in conversations.items()
            if all(side.get(item_id) in SCORED for side in labels)
        ]
    return pa.Table.from_pylist(rows, schema=LABEL_SETS)


#: Kind, names of the two sides, and the labels of each by item.
_Pair = tuple[str, str, str, Sequence[Mapping[str, Label | None]]]


def _annotators(answers: Iterable[Answer]) -> Iterator[_Pair]:
    first: dict[str, dict[str, Answer]] = {}
    for answer in answers:
        own = first.setdefault(answer.annotator, {})
        if answer.item_id not in own or answer.round < own[answer.item_id].round:
            own[answer.item_id] = answer
    labels = {name: {item_id: answer.label for item_id, answer in own.items()} for name, own in first.items()}
    for one, other in combinations(sorted(labels), 2):
        yield "annotators", one, other, (labels[one], labels[other])


def _rounds(logs: Logs, answers: Sequence[Answer], reviews: Mapping[int, Review]) -> Iterator[_Pair]:
    for number, review in sorted(reviews.items()):
        asked = {answer.item_id for answer in answers if answer.round == number} & review.random
        after, before = (check_verdicts(logs, reviews, last) for last in (number, number - 1))
        sides = [{item_id: each[item_id].label for item_id in asked if item_id in each} for each in (after, before)]
        yield "rounds", f"round {number}", f"round {number - 1}", sides

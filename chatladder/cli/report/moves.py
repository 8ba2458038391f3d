"""The relabelled items with the largest effects on the models' scores, compared with putting the old label back.

Scores are functions of counts by label and answer, so every counterfactual is a row of counts, and all of them are
scored at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from chatladder.cli.report.models import Models
from chatladder.cli.report.rounds import Change
from chatladder.evaluation.scores import SHORT, Floats, answer_scores
from chatladder.vocabulary import ANSWERS, SCORED

#: Items shown with their text.
MOST_SHOWN = 20
#: The number of cells of the table of counts by label and answer (the labels and unknown); six with two labels.
_CELLS = len(SCORED) * len(ANSWERS)
_REFERENCES, _GIVEN = np.divmod(np.arange(_CELLS), len(ANSWERS))
#: Decimal places of an effect; smaller differences are rounding errors, and tie.
_DECIMALS = 9


class Effect(NamedTuple):
    """Scores of ``SHORT`` minus those with old labels put back: above 0 if models agree with the new labels."""

    first: float
    macro_f1: float

    @property
    def strength(self) -> float:
        """The size of the effect on macro-F1."""
        return abs(round(self.macro_f1, _DECIMALS))


@dataclass(frozen=True)
class Moved:
    """The effects of one relabelled item.

    Attributes:
        change: The item, before and now.
        untouched: The mean effect over the untouched models.
        tuned: The mean effect on the test scores of the tuned models; None if it is not a test item that they answered.
        answers: Answer -> names of the untouched models that gave it.
        sureness: The mean absolute log-odds of the untouched models.
    """

    change: Change
    untouched: Effect
    tuned: Effect | None
    answers: dict[str, list[str]]
    sureness: float


class Together(NamedTuple):
    """All items that changed in one direction, put back at once."""

    old: str | None
    new: str | None
    items: int
    untouched: Effect


class Moves(NamedTuple):
    """The effects of a round's changes on the scores.

    Attributes:
        items: The number of items that changed a scored label.
        models: The number of untouched models that the effects are means over.
        directions: All items of each direction put back at once, the strongest first.
        whole: All of them put back at once.
        strongest: The items with the largest effect on macro-F1; on a tie, those that the models are most certain of.
    """

    items: int
    models: int
    directions: Sequence[Together] = ()
    whole: Effect | None = None
    strongest: Sequence[Moved] = ()


def moves_of(labels: Mapping[str, str], changed: Sequence[Change], models: Models, tuned: Models) -> Moves:
    """Return the effects of every change of a scored label on the models' scores.

    Args:
        labels: Item -> present label.
        changed: The items that the round asked about.
        models: The untouched models.
        tuned: The tuned models, on test items.
    """
    rows = [change for change in changed if change.scored[0] != change.scored[1]]
    if not rows or not models.predictions:
        return Moves(len(rows), len(models.predictions))
    ways = sorted({row.scored for row in rows}, key=lambda way: (str(way[0]), str(way[1])))
    together = np.array([[row.scored == way for row in rows] for way in ways], dtype=np.float64)
    *means, whole = mean_effects(labels, rows, models, [*np.eye(len(rows)), *together, np.ones(len(rows))])
    on_test = [row for row in rows if row.item_id in tuned.rows]
    test_labels = {item_id: labels[item_id] for item_id in tuned.rows}
    tuned_effects = mean_effects(test_labels, on_test, tuned, np.eye(len(on_test))) if on_test else []
    by_item = {row.item_id: effect for row, effect in zip(on_test, tuned_effects, strict=True)}
    moved = [
        Moved(row, effect, by_item.get(row.item_id), *answers)
        for row, effect, answers in zip(rows, means[: len(rows)], _answers(rows, models), strict=True)
    ]
    directions = [
        Together(*way, int(group.sum()), effect)
        for way, group, effect in zip(ways, together, means[len(rows) :], strict=True)
    ]
    return Moves(
        items=len(rows),
        models=len(models.predictions),
        directions=sorted(directions, key=lambda each: -each.untouched.strength),
        whole=whole,
        strongest=sorted(moved, key=lambda each: (-each.untouched.strength, -each.sureness))[:MOST_SHOWN],
    )


def mean_effects(
    labels: Mapping[str, str], rows: Sequence[Change], models: Models, groups: Sequence[Floats] | Floats
) -> list[Effect]:
    """Return the mean effect, over models, of each group of changes together.

    Args:
        labels: Item -> present label, for all scored items.
        rows: The changes; their items need not have a label now.
        models: The models, at least one.
        groups: 1 for the changes in each group, else 0, shape ``(groups, rows)``.
    """
    references = np.array([ANSWERS.index(label) for label in labels.values()], dtype=np.int64)
    total = np.zeros((len(groups), 2))
    for key in models.predictions:
        counts = count_cells(references, models.answers(key, list(labels)).answers)
        back = put_back(rows, models.answers(key, [row.item_id for row in rows]).answers)
        total += effects(counts, np.asarray(groups) @ back)
    return [Effect(*row) for row in (total / len(models.predictions)).tolist()]


def effects(counts: Floats, back: Floats) -> list[Effect]:
    """Return the effect of each counterfactual.

    Args:
        counts: Present counts of items by label and answer, shape ``(cells,)``.
        back: The change of the counts in each counterfactual, shape ``(k, cells)``.
    """
    weights = np.concatenate([counts[None, :], counts + back])
    scored = answer_scores(_REFERENCES, _GIVEN, np.arange(_CELLS), weights)
    moved = (scored[metric][0] - scored[metric][1:] for metric in SHORT)
    return [Effect(*map(float, pair)) for pair in zip(*moved, strict=True)]


def count_cells(references: NDArray[np.int64], answers: NDArray[np.int64]) -> Floats:
    """Return counts of items by label and answer, shape ``(cells,)``."""
    return np.bincount(references * len(ANSWERS) + answers, minlength=_CELLS).astype(np.float64)


def put_back(rows: Sequence[Change], answers: NDArray[np.int64]) -> Floats:
    """Return the change of the counts by putting each old label back, shape ``(len(rows), cells)``.

    Args:
        rows: The changes.
        answers: One model's answer to each item, as codes.
    """
    added = np.zeros((len(rows), _CELLS))
    for number, (row, answer) in enumerate(zip(rows, answers, strict=True)):
        for label, sign in zip(row.scored, (+1, -1), strict=True):
            if label is not None:
                added[number, ANSWERS.index(label) * len(ANSWERS) + answer] += sign
    return added


def _answers(rows: Sequence[Change], models: Models) -> list[tuple[dict[str, list[str]], float]]:
    """Return for each change: answer -> names of the models that gave it, and their mean absolute log-odds."""
    ids = [row.item_id for row in rows]
    named = {key: models.answers(key, ids) for key in models.predictions}
    given: list[tuple[dict[str, list[str]], float]] = []
    for place in range(len(rows)):
        by_answer: dict[str, list[str]] = {}
        for name, predictions in named.items():
            by_answer.setdefault(ANSWERS[predictions.answers[place]], []).append(name)
        sure = float(np.mean([np.abs(predictions.log_odds[place]).max() for predictions in named.values()]))
        given.append((by_answer, round(sure, _DECIMALS)))
    return given

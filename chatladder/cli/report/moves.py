"""Which relabelled items moved the models' scores most: each score against itself with one old label put back.

Scores are functions of counts by label and answer, so every counterfactual is a row of six counts, and all of them
are scored at once.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from chatladder.cli.report.ladder import Answers
from chatladder.cli.report.rounds import Change
from chatladder.cli.report.tuned import Tuned
from chatladder.evaluation.predictions import Predictions
from chatladder.evaluation.scores import Floats, answer_scores
from chatladder.vocabulary import ANSWERS

#: Items shown with their text.
MOST_SHOWN = 20
#: Cells of a table of counts by label (needed, not needed) and answer (those, unknown), flattened.
_CELLS = 6
_REFERENCES, _GIVEN = np.divmod(np.arange(_CELLS), _CELLS // 2)
#: Differences below this are rounding, and tie.
_DECIMALS = 9


class Effect(NamedTuple):
    """Score as it is minus score with old labels put back: above 0 where the models side with the new labels."""

    f1: float
    macro_f1: float


class Relabelled(NamedTuple):
    """An item whose scored label changed: from and to "needed", "not_needed" or None (left out of the scores)."""

    change: Change
    old: str | None
    new: str | None


@dataclass(frozen=True)
class Moved:
    """What one relabelled item did.

    Attributes:
        change: The item, before and now.
        untouched: Mean effect over the untouched models.
        tuned: Mean effect on the test scores of the tuned models; None where it is no test item they answered.
        answers: Answer -> names of the untouched models that gave it.
        sureness: Mean absolute log-odds of the untouched models.
    """

    change: Change
    untouched: Effect
    tuned: Effect | None
    answers: dict[str, list[str]]
    sureness: float


@dataclass(frozen=True)
class Moves:
    """What the round's changes did to the scores.

    Attributes:
        items: How many changed a scored label.
        directions: By direction, all of each put back at once.
        whole: All of them put back at once.
        strongest: The items that did most, alone.
        models: How many untouched models the effects are means over.
    """

    items: int
    directions: list["Together"]
    whole: Effect | None
    strongest: list[Moved]
    models: int


class Together(NamedTuple):
    """All items that changed in one direction, put back at once."""

    old: str | None
    new: str | None
    items: int
    untouched: Effect


def relabelled(changed: Sequence[Change]) -> list[Relabelled]:
    """The changes that a score can see."""
    seen = [Relabelled(change, _scored(change.old), _scored(change.new)) for change in changed]
    return [row for row in seen if row.old != row.new]


def _scored(state: str | None) -> str | None:
    return state if state in ("needed", "not_needed") else None


def effects(counts: Floats, back: Floats) -> list[Effect]:
    """What each counterfactual changes.

    Args:
        counts: Items by label and answer as they are, shape ``(6,)``.
        back: What putting labels back adds to them, shape ``(k, 6)``.
    """
    weights = np.concatenate([counts[None, :], counts + back])
    found = answer_scores(_REFERENCES, _GIVEN, np.arange(_CELLS), weights)
    f1, macro_f1 = (found[metric][0] - found[metric][1:] for metric in ("f1", "macro_f1"))
    return [Effect(*map(float, pair)) for pair in zip(f1, macro_f1, strict=True)]


def count_cells(references: NDArray[np.int64], answers: NDArray[np.int64]) -> Floats:
    """Items by label and answer, shape ``(6,)``."""
    return np.bincount(references * 3 + answers, minlength=_CELLS).astype(np.float64)


def put_back(rows: Sequence[Relabelled], answers: NDArray[np.int64]) -> Floats:
    """What each old label put back adds to the counts, shape ``(len(rows), 6)``.

    Args:
        rows: The changes.
        answers: One model's answer to each.
    """
    added = np.zeros((len(rows), _CELLS))
    for number, (row, answer) in enumerate(zip(rows, answers, strict=True)):
        for label, sign in ((row.new, -1), (row.old, +1)):
            if label is not None:
                added[number, ANSWERS.index(label) * 3 + answer] += sign
    return added


def move_sections(labels: Mapping[str, str], changed: Sequence[Change], answers: Answers, tuned: Tuned) -> Moves:
    """What every change of a scored label did to the models' scores.

    Args:
        labels: Item -> label as it is now.
        changed: What the round changed.
        answers: The untouched models.
        tuned: The tuned models, on test items.
    """
    rows = relabelled(changed)
    models = {rung.key: partial(answers.of, rung) for rung in answers.ladder.rungs()}
    if not rows or not models:
        return Moves(len(rows), [], None, [], len(models))
    alone, joint, whole = mean_effects(labels, rows, list(models.values()))
    given = given_answers(rows, models)
    on_test = [row for row in rows if row.change.item_id in tuned.labels]
    tuned_models = [partial(tuned.of, key) for key in tuned.models]
    tuned_effects = mean_effects(tuned.labels, on_test, tuned_models)[0] if on_test else []
    by_item = {row.change.item_id: effect for row, effect in zip(on_test, tuned_effects, strict=True)}
    moved = [
        Moved(row.change, effect, by_item.get(row.change.item_id), by_answer, sure)
        for row, effect, (by_answer, sure) in zip(rows, alone, given, strict=True)
    ]
    return Moves(len(rows), directions(rows, joint), whole, strongest(moved), len(models))


#: A model's answers to some items, in their order.
Lookup = Callable[[Sequence[str]], Predictions]


def mean_effects(
    labels: Mapping[str, str], rows: Sequence[Relabelled], models: Sequence[Lookup]
) -> tuple[list[Effect], list[Effect], Effect]:
    """Mean effects over models.

    Args:
        labels: Item -> label as it is now, of all that is scored.
        rows: The changes; their items need not have a label now.
        models: The models, at least one.

    Returns:
        For each change its effect alone; for each the effect of all changes of its direction together; and that of
        all changes together.
    """
    references = np.array([ANSWERS.index(label) for label in labels.values()], dtype=np.int64)
    total = np.zeros((2 * len(rows) + 1, 2))
    ways = sorted({(row.old or "", row.new or "") for row in rows})
    way = np.array([ways.index((row.old or "", row.new or "")) for row in rows], dtype=np.int64)
    for model in models:
        counts = count_cells(references, model(list(labels)).answers)
        back = put_back(rows, model([row.change.item_id for row in rows]).answers)
        joint = np.zeros((len(ways), _CELLS))
        np.add.at(joint, way, back)
        total += effects(counts, np.concatenate([back, joint[way], back.sum(axis=0, keepdims=True)]))
    *means, whole = (Effect(*row) for row in (total / len(models)).tolist())
    return means[: len(rows)], means[len(rows) :], whole


def directions(rows: Sequence[Relabelled], joint: Sequence[Effect]) -> list[Together]:
    """The changes by direction, the strongest first."""
    by_direction: dict[tuple[str | None, str | None], Together] = {}
    for row, effect in zip(rows, joint, strict=True):
        known = by_direction.get((row.old, row.new), Together(row.old, row.new, 0, effect))
        by_direction[row.old, row.new] = known._replace(items=known.items + 1)
    ordered = sorted(by_direction.items(), key=lambda entry: (str(entry[0][0]), str(entry[0][1])))
    return sorted((each for _, each in ordered), key=lambda each: -abs(round(each.untouched.macro_f1, _DECIMALS)))


def strongest(moved: Sequence[Moved]) -> list[Moved]:
    """The items that moved macro-F1 most; of equal ones those that the models are surest about."""
    return sorted(moved, key=lambda each: (-abs(round(each.untouched.macro_f1, _DECIMALS)), -each.sureness))[
        :MOST_SHOWN
    ]


def given_answers(rows: Sequence[Relabelled], models: Mapping[str, Lookup]) -> list[tuple[dict[str, list[str]], float]]:
    """For each change: answer -> names of the models that gave it, and their mean absolute log-odds."""
    ids = [row.change.item_id for row in rows]
    named = {name: model(ids) for name, model in models.items()}
    found = []
    for place in range(len(rows)):
        by_answer: dict[str, list[str]] = {}
        for name, predictions in named.items():
            by_answer.setdefault(ANSWERS[predictions.answers[place]], []).append(name)
        sure = float(np.mean([abs(predictions.log_odds[place]) for predictions in named.values()]))
        found.append((by_answer, round(sure, _DECIMALS)))
    return found

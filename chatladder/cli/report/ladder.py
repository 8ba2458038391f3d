"""What untouched models answered, held against the labels of every round.

Untouched models answer each question, labelled or not, so the labels of any round can be scored at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from chatladder.cli.report.provenance import shown_path
from chatladder.evaluation.gate import UNDEFINED_SHARE
from chatladder.evaluation.gate_ladder import Ladder, Reading, read_answers
from chatladder.evaluation.intervals import Bootstrap, bootstrap, interval
from chatladder.evaluation.predictions import (
    Items,
    Predictions,
    Rung,
    centre,
    read_mixtures,
    read_predictions,
    read_rungs,
)
from chatladder.evaluation.rung_scores import Interval, Point
from chatladder.evaluation.scaling import slope_per_doubling
from chatladder.evaluation.scores import Floats
from chatladder.vocabulary import ANSWERS

#: Metrics whose growth the page shows.
SHOWN = ("precision", "macro_f1")
READINGS = ("raw", "centred")


def subset(whole: Predictions, places: Sequence[int]) -> Predictions:
    """Some of a model's answers, in the order of ``places``; its leaning stays that over all its questions."""
    rows = np.array(places, dtype=np.int64)
    return replace(
        whole,
        answers=whole.answers[rows],
        log_odds=whole.log_odds[rows],
        p_unknown=whole.p_unknown[rows],
        parsed=whole.parsed[rows],
    )


class Asked(NamedTuple):
    """Every question: ids and conversations in the order of the chat."""

    ids: list[str]
    conversations: list[str]


@dataclass(frozen=True)
class Answers:
    """The rungs that answered, and their answers.

    Attributes:
        ladder: The rungs.
        rows: Item -> its place in ``predictions``.
        predictions: Rung -> answers to the items of ``rows``.
        waiting: Rungs that have answered nothing yet.
    """

    ladder: Ladder
    rows: dict[str, int]
    predictions: dict[Rung, Predictions]
    waiting: list[str]

    def sizes(self) -> int:
        """How many sizes the dense rungs have."""
        return len({rung.params for rung in self.ladder.dense})

    def of(self, rung: Rung, item_ids: Sequence[str]) -> Predictions:
        """One rung's answers to some items, in their order."""
        return subset(self.predictions[rung], [self.rows[item_id] for item_id in item_ids])


@dataclass(frozen=True)
class Scored:
    """The labels of one round against the untouched models.

    Attributes:
        items: How many labelled items.
        conversations: In how many conversations.
        readings: "raw" and "centred" -> scores, their draws and the gate; empty where they could not be scored.
        why_not: What stands against scoring them, or nothing.
    """

    items: int
    conversations: int
    readings: dict[str, Reading]
    why_not: str = ""


def default_rungs(bases: Path) -> list[str]:
    """The folders under ``bases`` that hold a rung, by name."""
    return sorted(path.parent.name for path in bases.glob("[!.]*/rung.json"))


def read_models(bases: Path, vanilla: Path, keys: Sequence[str], item_ids: Sequence[str]) -> Answers:
    """The answers of every rung that has some.

    Args:
        bases: Folder of base folders.
        vanilla: Folder of predictions.
        keys: The rungs.
        item_ids: Items that must be answered.

    Raises:
        DataError: If a rung's description or its predictions cannot be used.
    """
    waiting = [key for key in keys if not (vanilla / f"{key}.parquet").exists()]
    rungs = read_rungs(bases, [key for key in keys if key not in waiting])
    active = read_mixtures(bases, rungs)
    dense = [rung for rung in rungs if rung.key not in active]
    ladder = Ladder(dense, {rung: active[rung.key] for rung in rungs if rung.key in active})
    predictions = {rung: read_predictions(vanilla / f"{rung.key}.parquet", item_ids) for rung in ladder.rungs()}
    return Answers(ladder, {item_id: row for row, item_id in enumerate(item_ids)}, predictions, waiting)


def labelled_items(asked: Asked, labels: Mapping[str, str]) -> Items:
    """The items that have a label, in the order of the chat, as the gate takes them."""
    rows = [row for row, item_id in enumerate(asked.ids) if item_id in labels]
    ids = [asked.ids[row] for row in rows]
    references = np.array([ANSWERS.index(labels[item_id]) for item_id in ids], dtype=np.int64)
    return Items(ids, [asked.conversations[row] for row in rows], references)


def score(asked: Asked, labels: Mapping[str, str], answers: Answers, draws: int, seed: int) -> Scored:
    """Hold one round's labels against the untouched models, as ``stages.calibrate`` does.

    Raises:
        DataError: If an answer is missing.
    """
    items = labelled_items(asked, labels)
    found = Scored(len(items.ids), len(set(items.conversations)), {})
    if len({*labels.values()}) < 2 or found.conversations < 2:
        return replace(found, why_not="It needs items of both labels, in two conversations or more.")
    if answers.sizes() < 2:
        return replace(found, why_not="It needs predictions of models of two sizes or more.")
    sample = bootstrap(items.conversations, draws, seed)
    return replace(found, readings=read_both(items, sample, answers))


def read_both(items: Items, sample: Bootstrap, answers: Answers) -> dict[str, Reading]:
    """The answers as they are, and centred."""
    raw = [answers.of(rung, items.ids) for rung in answers.ladder.rungs()]
    return {
        "raw": read_answers(items, sample, answers.ladder, raw),
        "centred": read_answers(items, sample, answers.ladder, [centre(each) for each in raw]),
    }


def slope_of(reading: Reading, metric: str) -> Interval | None:
    """Growth of a metric per doubling, None where it is not defined."""
    slope = reading.gates[metric].slope
    return None if slope is None else _interval(slope)


class Shared(NamedTuple):
    """Two rounds on the items that both label: metric -> slope before, slope now, change from one to the other."""

    items: int
    relabelled: int
    slopes: dict[str, tuple[Interval, Interval, Interval]]


def on_shared_items(
    asked: Asked, before: Mapping[str, str], now: Mapping[str, str], answers: Answers, draws: int, seed: int
) -> Shared | None:
    """How the slope changes where only labels change and not the items, None where it is not defined.

    Both rounds are scored under the same draws, so that the change has a paired interval.
    """
    both = [item_id for item_id in before if item_id in now]
    items = labelled_items(asked, {item_id: before[item_id] for item_id in both})
    again = labelled_items(asked, {item_id: now[item_id] for item_id in both})
    one_label = min((len(np.unique(each.references)) for each in (items, again)), default=0) < 2
    if one_label or answers.sizes() < 2 or len(set(items.conversations)) < 2:
        return None
    sample = bootstrap(items.conversations, draws, seed)
    raw = [answers.of(rung, items.ids) for rung in answers.ladder.rungs()]
    readings = [read_answers(each, sample, answers.ladder, raw) for each in (items, again)]
    slopes = {metric: found for metric in SHOWN if (found := _slopes(readings, answers.ladder, metric))}
    return Shared(len(both), int((items.references != again.references).sum()), slopes)


def _slopes(readings: Sequence[Reading], ladder: Ladder, metric: str) -> tuple[Interval, Interval, Interval] | None:
    values = [reading.draws[metric][:, : len(ladder.dense)] for reading in readings]
    defined = np.all([~np.isnan(each).any(axis=1) for each in values], axis=0)
    if not defined[0] or defined[1:].mean() < 1 - UNDEFINED_SHARE:
        return None
    params = [rung.params for rung in ladder.dense]
    before, now = (slope_per_doubling(params, each[defined]) for each in values)
    return _interval(before), _interval(now), _interval(now - before)


def _interval(values: Floats) -> Interval:
    return Interval(*interval("value", values).values())


def fitted(found: Sequence[Point]) -> tuple[float, float] | None:
    """Intercept and slope, against log2(parameters), of the line through the dense rungs."""
    dense = [point for point in found if not point.is_mixture]
    params = [point.rung.params for point in dense]
    if len({*params}) < 2:
        return None
    scores = np.array([point.score.value for point in dense])
    slope = float(slope_per_doubling(params, scores[None, :])[0])
    return float(scores.mean() - slope * np.log2(params).mean()), slope


def need_models(answers: Answers, bases: Path, vanilla: Path) -> str:
    """What is missing for a slope and how to get it, or nothing."""
    if answers.sizes() >= 2:
        return ""
    if answers.waiting:
        return (
            f"{shown_path(vanilla)} lacks predictions of {len(answers.waiting)} untouched model(s). "
            'Run "dvc repro predict_vanilla", then this command again.'
        )
    if not answers.predictions:
        return (
            f'There is no untouched model in {shown_path(bases)}. Run "dvc repro calibrate", then this command again.'
        )
    return (
        "A slope needs untouched models of two sizes or more, mixtures of experts apart; there is one. "
        'Add a rung to the ladder, run "dvc repro calibrate", then this command again.'
    )

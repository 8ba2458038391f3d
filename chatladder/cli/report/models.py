"""The answers of models: untouched ones to every question, compared with any round's labels; tuned ones to the test.

Untouched models answer each question, labelled or not, so the labels of any round can be scored at once.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from chatladder.evaluation.gate import UNDEFINED_SHARE
from chatladder.evaluation.predictions import Items, Predictions, read_predictions
from chatladder.evaluation.rungs import Ladder, read_rungs
from chatladder.evaluation.scaling_check import ScoredReading, read_answers, read_both
from chatladder.evaluation.scores import Draws, Interval, bootstrap, interval, slope_per_doubling
from chatladder.io.console import DataError
from chatladder.io.rows import PREDICTIONS, QUESTIONS, Rows
from chatladder.vocabulary import ANSWERS

#: Metrics whose growth the page shows.
SHOWN = ("precision", "macro_f1")
#: Slopes of a metric: with the labels before, with those now, and the change.
Slopes = tuple[Interval, Interval, Interval]


class AskedItems(NamedTuple):
    """Every question: ids and conversations in the order of the chat."""

    ids: list[str]
    conversations: list[str]

    def labelled(self, labels: Mapping[str, str]) -> Items:
        """Return the items that have a label, in the order of the chat, as the gate takes them."""
        rows = [row for row, item_id in enumerate(self.ids) if item_id in labels]
        ids = [self.ids[row] for row in rows]
        references = np.array([ANSWERS.index(labels[item_id]) for item_id in ids], dtype=np.int64)
        return Items(ids, [self.conversations[row] for row in rows], references)


def read_asked(questions: Path) -> AskedItems:
    """Return ids and conversations of all questions.

    Raises:
        DataError: If an id is missing or there twice, or a conversation is missing.
    """
    asked = AskedItems([], [])
    for part in Rows(questions, QUESTIONS).parts(["item_id", "conversation"]):
        asked.ids.extend(part["item_id"].to_pylist())
        asked.conversations.extend(part["conversation"].to_pylist())
    if len({*asked.ids}) < len(asked.ids) or None in asked.ids or None in asked.conversations:
        raise DataError(
            f"{questions}: expected an id of its own, and a conversation, for every question. Pick them again."
        )
    return asked


@dataclass(frozen=True)
class Models:
    """Models that answered the same items.

    Attributes:
        rows: Item -> its place in ``predictions``.
        predictions: Rung -> its answers.
        ladder: The rungs, where they are untouched.
        waiting: Rungs that have answered nothing yet.
        missing: Items that not all of them answered, left out.
    """

    rows: dict[str, int] = field(default_factory=dict)
    predictions: dict[str, Predictions] = field(default_factory=dict)
    ladder: Ladder = field(default_factory=lambda: Ladder([], {}))
    waiting: Sequence[str] = ()
    missing: int = 0

    def sizes(self) -> int:
        """Return how many sizes the dense rungs have."""
        return len({rung.params for rung in self.ladder.dense})

    def answers(self, key: str, item_ids: Sequence[str]) -> Predictions:
        """Return one model's answers to some items, in their order; its leaning stays that over all its questions."""
        whole, rows = self.predictions[key], np.array([self.rows[item_id] for item_id in item_ids], dtype=np.int64)
        parts = {name: getattr(whole, name)[rows] for name in ("answers", "log_odds", "p_unknown", "parsed")}
        return replace(whole, **parts)

    def all_answers(self, item_ids: Sequence[str]) -> list[Predictions]:
        """Return the answers of every untouched model, in the order of ``ladder.rungs()``."""
        return [self.answers(rung.key, item_ids) for rung in self.ladder.rungs()]


def default_rungs(bases: Path) -> tuple[str, ...]:
    """Return the folders under ``bases`` that hold a rung, by name."""
    return tuple(sorted(path.parent.name for path in bases.glob("[!.]*/rung.json")))


def read_models(bases: Path, vanilla: Path, keys: Sequence[str], item_ids: Sequence[str]) -> Models:
    """Return the answers of every rung that has some.

    Args:
        bases: Folder of base folders.
        vanilla: Folder of predictions.
        keys: The rungs.
        item_ids: Items that must be answered.

    Raises:
        DataError: If a rung's description or its predictions cannot be used.
    """
    waiting = [key for key in keys if not (vanilla / f"{key}.parquet").exists()]
    ladder = read_rungs(bases, [key for key in keys if key not in waiting])
    predictions = {rung.key: read_predictions(vanilla / f"{rung.key}.parquet", item_ids) for rung in ladder.rungs()}
    return Models({item_id: row for row, item_id in enumerate(item_ids)}, predictions, ladder, waiting)


def read_tuned(folder: Path, keys: Sequence[str], test_items: Iterable[str]) -> Models:
    """Return the answers of every rung that was tuned already, to the test items that all of them answered.

    Raises:
        DataError: If predictions cannot be used.
    """
    present = [key for key in sorted(keys) if (folder / f"{key}.parquet").exists()]
    known = test = list(test_items)
    for key in present:
        parts = Rows(folder / f"{key}.parquet", PREDICTIONS).parts(["item_id"])
        answered = {item_id for part in parts for item_id in part["item_id"].to_pylist()}
        known = [item_id for item_id in known if item_id in answered]
    if not present or not known:
        return Models()
    predictions = {key: read_predictions(folder / f"{key}.parquet", known) for key in present}
    return Models({item_id: row for row, item_id in enumerate(known)}, predictions, missing=len(test) - len(known))


@dataclass(frozen=True)
class ScoredRound:
    """The labels of one round against the untouched models.

    Attributes:
        items: The number of labelled items.
        conversations: The number of conversations that they are in.
        readings: "raw" and "centred" -> scores, their draws and the gate; empty where they could not be scored.
        why_not: The reason for that, or nothing.
    """

    items: int
    conversations: int
    readings: dict[str, ScoredReading] = field(default_factory=dict)
    why_not: str = ""

    def slope(self, reading: str, metric: str) -> Interval | None:
        """Return the growth of a metric per doubling, None where it is not defined."""
        slope = self.readings[reading].gates[metric].slope
        return None if slope is None else interval(slope)


def score(asked: AskedItems, labels: Mapping[str, str], models: Models, draws: Draws) -> ScoredRound:
    """Hold one round's labels against the untouched models, as ``stages.check_scaling`` does.

    Raises:
        DataError: If an answer is missing.
    """
    items = asked.labelled(labels)
    scored = ScoredRound(len(items.ids), len(set(items.conversations)))
    if len({*labels.values()}) < 2 or scored.conversations < 2:
        return replace(scored, why_not="It needs items of both labels, in two conversations or more.")
    if models.sizes() < 2:
        return replace(scored, why_not="It needs predictions of models of two sizes or more.")
    sample = bootstrap(items.conversations, draws)
    return replace(scored, readings=read_both(items, sample, models.ladder, models.all_answers(items.ids)))


class Shared(NamedTuple):
    """Two rounds on the items that both label: metric -> slope before, slope now, change from one to the other."""

    items: int
    relabelled: int
    slopes: dict[str, Slopes]


def on_shared_items(
    asked: AskedItems, before: Mapping[str, str], now: Mapping[str, str], models: Models, draws: Draws
) -> Shared | None:
    """Return how the slope changes where only labels change and not the items, None where it is not defined.

    Both rounds are scored under the same draws, so that the change has a paired interval.
    """
    both = [item_id for item_id in before if item_id in now]
    items, again = (asked.labelled({item_id: labels[item_id] for item_id in both}) for labels in (before, now))
    one_label = min(len(np.unique(each.references)) for each in (items, again)) < 2
    if one_label or models.sizes() < 2 or len(set(items.conversations)) < 2:
        return None
    sample, answers = bootstrap(items.conversations, draws), models.all_answers(items.ids)
    readings = [read_answers(each, sample, models.ladder, answers) for each in (items, again)]
    slopes = {metric: three for metric in SHOWN if (three := _slopes(readings, models.ladder, metric))}
    return Shared(len(both), int((items.references != again.references).sum()), slopes)


def _slopes(readings: Sequence[ScoredReading], ladder: Ladder, metric: str) -> Slopes | None:
    values = [reading.draws[metric][:, : len(ladder.dense)] for reading in readings]
    defined = np.all([~np.isnan(each).any(axis=1) for each in values], axis=0)
    if not defined[0] or defined[1:].mean() < 1 - UNDEFINED_SHARE:
        return None
    before, now = (slope_per_doubling([rung.params for rung in ladder.dense], each[defined]) for each in values)
    return interval(before), interval(now), interval(now - before)

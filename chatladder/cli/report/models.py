"""The answers of untouched models to all questions, scored on any round's labels, and of tuned models to test items.

Untouched models answer each question, labelled or not, so the labels of any round can be scored at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from chatladder.evaluation.gate import GateSettings
from chatladder.evaluation.predictions import Items, Predictions, read_predictions
from chatladder.evaluation.rungs import Ladder, read_rungs
from chatladder.evaluation.scaling_check import Model, Scaling, read_untouched, scaling_check
from chatladder.evaluation.threshold import choose, decide
from chatladder.io.console import DataError
from chatladder.io.rows import QUESTIONS, Rows
from chatladder.vocabulary import ANSWERS, prediction_schema


class AskedItems(NamedTuple):
    """Every question: ids and conversations in the order of the chat."""

    ids: list[str]
    conversations: list[str]

    def labelled(self, labels: Mapping[str, str]) -> Items:
        """Return the items that have a label, in the order of the chat, for the gate."""
        rows = [row for row, item_id in enumerate(self.ids) if item_id in labels]
        ids = [self.ids[row] for row in rows]
        references = np.array([ANSWERS.index(labels[item_id]) for item_id in ids], dtype=np.int64)
        return Items(ids, [self.conversations[row] for row in rows], references)


def read_asked(questions: Path) -> AskedItems:
    """Return ids and conversations of all questions.

    Raises:
        DataError: If an id is missing or occurs twice, or a conversation is missing.
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
        rows: Item -> its row in ``predictions``.
        predictions: Model -> its answers; each seed of a rung is a model.
        untouched: The same models, if they are untouched.
        ladder: The rungs, if the models are untouched.
        waiting: Rungs without predictions yet.
        missing: The number of items that were left out because not all models answered them.
    """

    rows: dict[str, int] = field(default_factory=dict)
    predictions: dict[str, Predictions] = field(default_factory=dict)
    untouched: Sequence[Model] = ()
    ladder: Ladder = field(default_factory=lambda: Ladder([], {}))
    waiting: Sequence[str] = ()
    missing: int = 0

    def sizes(self) -> int:
        """Return the number of different sizes of the dense rungs."""
        return len({rung.params for rung in self.ladder.dense})

    def answers(self, name: str, item_ids: Sequence[str]) -> Predictions:
        """Return one model's answers to some items, in their order; the mean log-odds stay those of all questions."""
        return self._only(self.predictions[name], item_ids)

    def all_answers(self, item_ids: Sequence[str]) -> list[Model]:
        """Return every untouched model with its answers to some items, in their order."""
        return [model._replace(answers=self._only(model.answers, item_ids)) for model in self.untouched]

    def _only(self, whole: Predictions, item_ids: Sequence[str]) -> Predictions:
        rows = np.array([self.rows[item_id] for item_id in item_ids], dtype=np.int64)
        parts = {name: getattr(whole, name)[rows] for name in ("answers", "log_odds", "p_unknown", "parsed", "known")}
        return replace(whole, **parts)


def default_rungs(bases: Path) -> tuple[str, ...]:
    """Return the folders under ``bases`` that hold a rung, by name."""
    return tuple(sorted(path.parent.name for path in bases.glob("[!.]*/rung.json")))


def read_models(bases: Path, vanilla: Path, keys: Sequence[str], item_ids: Sequence[str]) -> Models:
    """Return the answers of every rung that has predictions.

    Args:
        bases: Folder of base folders.
        vanilla: Folder of predictions.
        keys: The rungs.
        item_ids: The items that must be answered.

    Raises:
        DataError: If a rung's description or its predictions cannot be used.
    """
    waiting = [key for key in keys if not (vanilla / f"{key}.parquet").exists()]
    ladder = read_rungs(bases, [key for key in keys if key not in waiting])
    untouched = read_untouched(ladder, vanilla, item_ids)
    predictions = {name_of(model, untouched): model.answers for model in untouched}
    return Models({item_id: row for row, item_id in enumerate(item_ids)}, predictions, untouched, ladder, waiting)


def name_of(model: Model, models: Sequence[Model]) -> str:
    """Return a model's name: its rung's, with the seed if the rung has several."""
    seeds = sum(each.rung == model.rung for each in models)
    return model.rung.key if seeds == 1 else f"{model.rung.key} seed {model.seed}"


def read_tuned(folder: Path, keys: Sequence[str], labels: Mapping[str, str], splits: Mapping[str, str]) -> Models:
    """Return the answers of every tuned rung, to the test items that all of them answered.

    Answers are decided at thresholds, as in evaluate.

    Args:
        folder: Folder of predictions.
        keys: The rungs.
        labels: Item -> label.
        splits: Item -> split.

    Raises:
        DataError: If predictions cannot be used.
    """
    present = [key for key in sorted(keys) if (folder / f"{key}.parquet").exists()]
    known = test = [item_id for item_id in labels if splits.get(item_id) == "test"]
    validation = [item_id for item_id in labels if splits.get(item_id) == "validation"]
    for key in present:
        parts = Rows(folder / f"{key}.parquet", prediction_schema()).parts(["item_id"])
        answered = {item_id for part in parts for item_id in part["item_id"].to_pylist()}
        known, validation = ([each for each in items if each in answered] for items in (known, validation))
    if not present or not known:
        return Models()
    references = np.array([ANSWERS.index(labels[item_id]) for item_id in validation], dtype=np.int64)
    predictions = {}
    for key in present:
        path = folder / f"{key}.parquet"
        threshold = choose(read_predictions(path, validation), references)
        predictions[key] = decide(read_predictions(path, known), threshold)
    return Models({item_id: row for row, item_id in enumerate(known)}, predictions, missing=len(test) - len(known))


@dataclass(frozen=True)
class ScoredRound:
    """The labels of one round against the untouched models.

    Attributes:
        items: The number of labelled items.
        conversations: The number of conversations that they are in.
        scaling: The scaling check; None if the labels could not be scored.
        why_not: The reason why they could not be scored, or empty.
    """

    items: int
    conversations: int
    scaling: Scaling | None = None
    why_not: str = ""


def score(asked: AskedItems, labels: Mapping[str, str], models: Models, settings: GateSettings) -> ScoredRound:
    """Score the untouched models on one round's labels, as ``stages.check_scaling`` does.

    Raises:
        DataError: If an answer is missing.
    """
    items = asked.labelled(labels)
    scored = ScoredRound(len(items.ids), len(set(items.conversations)))
    if len({*labels.values()}) < 2 or scored.conversations < 2:
        return replace(scored, why_not="It needs items of two labels, in two conversations or more.")
    if models.sizes() < 2:
        return replace(scored, why_not="It needs predictions of models of two sizes or more.")
    return replace(scored, scaling=scaling_check(items, models.all_answers(items.ids), settings))

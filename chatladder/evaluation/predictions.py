"""A model's predictions, aligned with the labelled items."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from chatladder.evaluation.scores import UNKNOWN, Floats
from chatladder.io.console import DataError
from chatladder.io.rows import LABELLED, read_rows
from chatladder.vocabulary import ANSWERS, CHANCES, IS_BINARY, SCORED, prediction_schema

#: Baselines by the names of their files: those that know no words, and classifiers of words. The rule about names
#: separates needed from not needed, and knows no third label.
CHEAP_BASELINES, WORD_BASELINES = ("naming", "counts") if IS_BINARY else ("counts",), ("line", "trees")
#: Probabilities are clipped to this minimum, so that a single certain answer cannot dominate the mean log-odds.
_SMALLEST = 1e-9


@dataclass(frozen=True)
class Items:
    """Labelled items: ids, conversations, and labels (indices into ``SCORED``), shape ``(n,)`` each."""

    ids: list[str]
    conversations: list[str]
    references: NDArray[np.int64]


@dataclass(frozen=True)
class Predictions:
    """One model's answers to items, shape ``(n,)`` each.

    Attributes:
        answers: Indices into ``ANSWERS``; an unparsed answer is UNKNOWN.
        log_odds: log(p_needed / p_not_needed); with more than two labels the log-odds of each against the rest, shape
            ``(n, labels)``. If the probabilities are missing, the mean of the others, which is evidence for no label.
        p_unknown: The probability of "do not know".
        parsed: False if the answer could not be parsed.
        mean_log_odds: The mean over all questions that the model answered with probabilities, scored or not; with more
            than two labels shape ``(labels,)``.
        known: False if the probabilities are missing.
    """

    answers: NDArray[np.int64]
    log_odds: Floats
    p_unknown: Floats
    parsed: NDArray[np.bool_]
    mean_log_odds: float | Floats
    known: NDArray[np.bool_]

    @property
    def has_probabilities(self) -> bool:
        """True if at least half of the items have probabilities; with fewer, items cannot be ranked."""
        return bool(2 * self.known.sum() >= max(1, len(self.known)))

    @property
    def evidence(self) -> Floats:
        """The log-odds, by which items are ranked; NaN if the probabilities are missing."""
        return np.where(self.known, self.log_odds.T, np.nan).T


def read_items(path: Path, split: str | None, column: str = "label", *, is_small: bool = False) -> Items:
    """Return the labelled items of one split, or of all splits.

    Args:
        path: Rows of ``LABELLED``.
        split: The split; None for all of them.
        column: ``label``, or ``check_label`` for the labels that no model requested.
        is_small: True to accept items of a single label, or no items.

    Raises:
        DataError: If a label is not scored, or fewer than two labels occur and ``is_small`` is False.
    """
    table = read_rows(path, LABELLED).select(["item_id", "conversation", column, "split"])
    if split is not None:
        table = table.filter(pc.equal(table["split"], split))
    table = table.filter(pc.is_valid(table[column]))
    labels = _texts(table, column, path)
    unknown = next((label for label in labels if label not in SCORED), None)
    if unknown is not None:
        raise DataError(f"{path}: expected {' or '.join(SCORED)}, got {unknown!a}. Run stages.label again.")
    references = np.array([ANSWERS.index(label) for label in labels], dtype=np.int64)
    if len(np.unique(references)) < 2 and not is_small:
        raise DataError(
            f"{path}: expected {' and '.join(SCORED)} among {split or 'all'} items, got {len(references)} items "
            "of one label or none. Annotate more conversations."
        )
    return Items(_texts(table, "item_id", path), _texts(table, "conversation", path), references)


def read_texts(path: Path, item_ids: Sequence[str]) -> list[str]:
    """Return the question of each of some labelled items.

    Args:
        path: Rows of ``LABELLED``.
        item_ids: The items.

    Raises:
        DataError: If a text is not UTF-8, or missing.
    """
    table = read_rows(path, LABELLED).select(["item_id", "text"])
    texts = dict(zip(_texts(table, "item_id", path), _texts(table, "text", path), strict=True))
    if any(texts[item_id] is None for item_id in item_ids):
        raise DataError(f"{path}: expected a text of every item, got none of some. Run stages.label again.")
    return [texts[item_id] for item_id in item_ids]


def _texts(table: pa.Table, name: str, path: Path) -> list[str]:
    """Return a column of texts.

    Raises:
        DataError: If a text is not UTF-8.
    """
    try:
        texts: list[str] = table[name].to_pylist()
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: expected texts in UTF-8 as {name}, got others. Write the file again.") from error
    return texts


def read_predictions(path: Path, item_ids: Sequence[str], stage: str = "the stage that writes it") -> Predictions:
    """Return the predictions of a rung's first seed for ``item_ids``, in that order; see ``read_seeds``."""
    return next(iter(read_seeds(path, item_ids, stage).values()))


def read_seeds(path: Path, item_ids: Sequence[str], stage: str = "the stage that writes it") -> dict[int, Predictions]:
    """Return each seed's predictions for ``item_ids``, in that order; predictions for other items are skipped.

    Args:
        path: Rows of ``PREDICTIONS``.
        item_ids: The items.
        stage: The stage that an error names if the file is missing.

    Raises:
        DataError: If there are no rows, an item has no prediction or more than one, or an answer is not in ``ANSWERS``.
    """
    if not path.is_file():
        raise DataError(f"{path}: expected predictions, got no file. Run {stage}.")
    table = read_rows(path, prediction_schema())
    seeds = dict.fromkeys(table["seed"].to_pylist())
    if not seeds:
        raise DataError(f"{path}: expected predictions, got no rows. Run {stage}.")
    return {seed: _read(path, table.filter(pc.equal(table["seed"], seed)), item_ids) for seed in seeds}


def _read(path: Path, table: pa.Table, item_ids: Sequence[str]) -> Predictions:
    place = {item_id: row for row, item_id in enumerate(_texts(table, "item_id", path))}
    if len(place) < table.num_rows:
        raise DataError(f"{path}: expected one prediction an item, got {table.num_rows} for {len(place)} items.")
    missing = [item_id for item_id in item_ids if item_id not in place]
    if missing:
        raise DataError(
            f"{path}: expected predictions for all {len(item_ids)} items, {len(missing)} are missing, first "
            f"{missing[0]!a}. Predict again on the current labelled items."
        )
    rows = np.array([place[item_id] for item_id in item_ids], dtype=np.int64)
    *shares, p_unknown = (_column(table, name) for name in CHANCES)
    log_odds = log_odds_of(*shares)
    known: NDArray[np.bool_] = ~np.logical_or.reduce(np.isnan(shares))
    mean = log_odds[known].mean(axis=0) if known.any() else 0.0
    log_odds[~known] = mean
    parsed = np.array(table["parsed"].to_pylist(), dtype=np.bool_)
    return Predictions(
        answers=np.where(parsed, _answer_codes(table, path), UNKNOWN)[rows],
        log_odds=log_odds[rows],
        p_unknown=np.nan_to_num(p_unknown)[rows],
        parsed=parsed[rows],
        mean_log_odds=mean if log_odds.ndim > 1 else float(mean),
        known=known[rows],
    )


def _column(table: pa.Table, name: str) -> Floats:
    return np.array(table[name].to_pylist(), dtype=np.float64)


def log_odds_of(*shares: Floats) -> Floats:
    """Return log(p_needed / p_not_needed), or with more than two labels the log-odds of each against the rest.

    Args:
        shares: The probability of each label, shape ``(n,)`` each.

    Returns:
        The log-odds, shape ``(n,)``, or with more than two labels ``(n, labels)``; NaN if a probability is NaN.
    """
    held = np.maximum(shares, _SMALLEST)
    of_each = [np.log(own) - np.log(np.delete(held, label, axis=0).sum(axis=0)) for label, own in enumerate(held)]
    return of_each[0] if len(held) == 2 else np.stack(of_each, axis=1)


def _answer_codes(table: pa.Table, path: Path) -> NDArray[np.int64]:
    answers = _texts(table, "answer", path)
    for item_id, answer in zip(_texts(table, "item_id", path), answers, strict=True):
        if answer not in ANSWERS:
            raise DataError(f"{path}: item {item_id!a}: expected one of {', '.join(ANSWERS)}, got {answer!a}.")
    return np.array([ANSWERS.index(answer) for answer in answers], dtype=np.int64)


def centre(predictions: Predictions) -> Predictions:
    """Return the predictions without the model's bias towards a label: a calibration that needs no labels.

    The mean log-odds over all of the model's questions are subtracted from each item's. The probability of "do not
    know" stays, and the most probable option is the answer. A tie or an unparsed answer becomes unknown.
    """
    log_odds = predictions.log_odds - predictions.mean_log_odds
    decided = 1 - predictions.p_unknown
    if log_odds.ndim == 1:
        needed = decided / (1 + np.exp(-log_odds))
        shares = np.stack([needed, decided - needed], axis=1)
    else:
        shares = 1 / (1 + np.exp(-log_odds))
        shares *= (decided / shares.sum(axis=1))[:, None]
    stacked = np.column_stack([shares, predictions.p_unknown])
    is_tie = (stacked == stacked.max(axis=1, keepdims=True)).sum(axis=1) > 1
    answers = np.where(predictions.parsed & ~is_tie, stacked.argmax(axis=1), UNKNOWN)
    return replace(predictions, answers=answers, log_odds=log_odds, mean_log_odds=0.0)


def always(label: int, count: int) -> Predictions:
    """Return the floor: the same label, as a code, for all items, without evidence."""
    log_odds = np.zeros(count if IS_BINARY else (count, len(SCORED)))
    ones = np.ones(count, dtype=np.bool_)
    answers = np.full(count, label, dtype=np.int64)
    return Predictions(answers, log_odds, np.zeros(count), ones, mean_log_odds=0.0, known=ones)

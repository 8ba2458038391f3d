"""Labels that are probably wrong: evidence combined into one probability, its reasons, and the queue of suspects.

Evidence comes from models that never saw the label: untouched models of all sizes, adapters tuned on other
conversations, and classifiers of words. A regression fitted on other conversations weighs it.

With two labels a source gives the log-odds of "needed", shape ``(n,)``, and the labels are 1 and 0. With more it gives
the log-odds of each label against the rest, shape ``(n, labels)``, and the labels are indices into ``SCORED``.
"""

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from chatladder.evaluation.predictions import WORD_BASELINES, centre, read_predictions
from chatladder.evaluation.rungs import Ladder
from chatladder.evaluation.scores import Floats, auroc_of, rounded
from chatladder.evaluation.word_baselines import Deals, Labels, cross_fitted, overlap, shares_of, targets_of
from chatladder.io.console import DataError
from chatladder.io.options import setting
from chatladder.io.rows import RANKING
from chatladder.vocabulary import IS_BINARY, KINDS, NEGATIVE, POSITIVE, SCORED

#: Probabilities are clipped to this distance from 0 and 1, since no model is that certain.
_SUREST = 1e-4
#: Digits of a probability; beyond them processors differ.
_DIGITS = 9
#: Folds and repeats of the cross-validation that learns the weights of the sources.
_FOLDS, _REPEATS = 5, 4


#: The number of sources that a reason names, the most certain ones first.
_NAMED = 3
_BY_SIZE = "larger untouched models contradict the label more"
SUSPECT = "suspect"
#: Metric of each label's suspects -> the label in a sentence.
SUSPECTS = (
    {"suspects_needed": KINDS[POSITIVE].words, "suspects_not_needed": KINDS[NEGATIVE].words}
    if IS_BINARY
    else {f"suspects_{name}": KINDS[name].words for name in SCORED}
)


@dataclass(frozen=True)
class QueueSettings:
    """The settings of the review queue."""

    share: float = setting("Share of the items that become suspects.", above=0, most=1)
    seed: int = setting("Seed of the folds.", least=0)


class Evidence(NamedTuple):
    """The answers of the sources to each item.

    Attributes:
        vanilla: Rung, smallest first -> log-odds by the untouched model, centred so that a model's bias towards one
            answer is not evidence.
        tuned: Rung -> log-odds by adapters that did not see the item's conversation.
        baselines: Baseline -> log-odds by a classifier that did not see it either.
    """

    vanilla: dict[str, Floats]
    tuned: dict[str, Floats]
    baselines: dict[str, Floats]

    @property
    def sources(self) -> dict[str, Floats]:
        """All sources by name: ``untouched <rung>``, ``tuned <rung>``, ``words: <baseline>``."""
        return {
            **{f"untouched {rung}": values for rung, values in self.vanilla.items()},
            **{f"tuned {rung}": values for rung, values in self.tuned.items()},
            **{f"words: {name}": values for name, values in self.baselines.items()},
        }


def log_odds(shares: Floats) -> Floats:
    """Return the log-odds of probabilities, clipped to 1 in 10,000."""
    held = np.clip(shares, _SUREST, 1 - _SUREST)
    return np.log(held / (1 - held))


def probability_needed(
    evidence: Evidence,
    overlap: Floats,
    labels: Labels,
    conversations: Sequence[str],
    *,
    seed: int,
) -> Floats:
    """Return the probability of "needed", or of each label, on all evidence except the item's own label.

    A logistic regression learns the weight of each source from the labels of other conversations: an uninformative
    rung gets no weight, and a rung whose size helps gets more. So no special rule is needed for labels with which
    larger models agree less.

    Args:
        evidence: Log-odds of every source.
        overlap: Features of each question, shape ``(n, features)``.
        labels: The labels, shape ``(n,)``.
        conversations: The conversation of each item.
        seed: Seed of the folds.

    Returns:
        The probabilities, shape ``(n,)`` or ``(n, labels)``, to nine digits.

    Source:
        Stacked generalization (Wolpert, 1992), cross-fitted by conversation.
    """
    limit = float(log_odds(np.array([1.0]))[0])
    columns = [np.clip(values, -limit, limit) for values in evidence.sources.values()]
    features = np.column_stack([*columns, overlap])
    deals = Deals(_FOLDS, _REPEATS, seed)
    return np.round(cross_fitted(features, labels, conversations, _standardized, deals), _DIGITS)


def _standardized(learned: Floats, labels: Labels, asked: Floats) -> Floats:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=2000)).fit(learned, labels)
    return shares_of(model, asked)


def support(log_odds: Floats, labels: Labels) -> Floats:
    """Return a source's margin for each label over the likeliest other label, in log-odds, shape ``(n,)``."""
    if log_odds.ndim == 1:
        return log_odds * np.where(labels == 1, 1, -1)
    is_label = np.eye(log_odds.shape[1], dtype=np.bool_)[labels]
    margins: Floats = log_odds[is_label] - np.where(is_label, -np.inf, log_odds).max(axis=1)
    return margins


def growth(vanilla: Mapping[str, Floats], params: Mapping[str, int], labels: Labels) -> Floats:
    """Return the change of the untouched models' support for each label per doubling, in log-odds, shape ``(n,)``.

    It is below 0 if larger models contradict the label more, and 0 with fewer than two sizes.
    """
    rungs = [rung for rung in vanilla if rung in params]
    doublings = np.log2([params[rung] for rung in rungs])
    if len(rungs) < 2 or np.ptp(doublings) == 0:
        return np.zeros(len(labels))
    centred = doublings - doublings.mean()
    supports = np.stack([support(vanilla[rung], labels) for rung in rungs])
    slopes: Floats = centred @ supports / (centred @ centred)
    return slopes


def contradicted_by_size(vanilla: Mapping[str, Floats], params: Mapping[str, int], labels: Labels) -> NDArray[np.bool_]:
    """Return True for each label that larger untouched models contradict more and the largest contradicts, ``(n,)``.

    Args:
        vanilla: Rung, smallest first -> log-odds.
        params: Rung -> its number of parameters; rungs without an entry are skipped.
        labels: The labels, shape ``(n,)``.
    """
    falling = growth(vanilla, params, labels) < 0
    if not falling.any():
        return falling
    largest = max((rung for rung in vanilla if rung in params), key=lambda rung: params[rung])
    return falling & (support(vanilla[largest], labels) < 0)


def reasons(evidence: Evidence, labels: Labels, by_size: NDArray[np.bool_]) -> Iterator[str]:
    """Yield for each item the sources that contradict its label, and whether larger untouched models do so more.

    Args:
        evidence: Log-odds of every source.
        labels: The labels, shape ``(n,)``.
        by_size: The result of ``contradicted_by_size``.
    """
    supports = {name: support(log_odds, labels) for name, log_odds in evidence.sources.items()}
    said = {name: _said(log_odds, labels) for name, log_odds in evidence.sources.items()}
    for row in range(len(labels)):
        own = {name: float(values[row]) for name, values in supports.items()}
        against = sorted((name for name in own if own[name] < 0), key=lambda name: (own[name], name))
        words = _worded(against, len(own), {name: said[name][row] for name in against})
        yield f"{words}; {_BY_SIZE}" if by_size[row] else words


def _said(log_odds: Floats, labels: Labels) -> list[str]:
    """Return the likeliest label, by a source, among those that each item does not have."""
    if log_odds.ndim == 1:
        return [SCORED[label] for label in labels.tolist()]  # 1 codes the first label, so this indexes the other one
    others = np.where(np.eye(log_odds.shape[1], dtype=np.bool_)[labels], -np.inf, log_odds)
    return [SCORED[place] for place in others.argmax(axis=1).tolist()]


def _worded(against: list[str], sources: int, said: Mapping[str, str]) -> str:
    if not against:
        return f"all {sources} sources agree with the label"
    parts = []
    for label in dict.fromkeys(said.values()):
        names = [name for name in against if said[name] == label]
        named = ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")
        parts.append(f"{len(names)} of {sources} sources say {label}: {named}")
    return "; ".join(parts)


def same_text(text: str) -> str:
    """Return a text without its width, case and spaces, so that texts which read the same are equal."""
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())


def make_queue(item_ids: Sequence[str], texts: Sequence[str], suspicion: Floats, share: float) -> list[int]:
    """Choose the suspects, at least one.

    Args:
        item_ids: The id of each item.
        texts: The text of each question.
        suspicion: The probability that each label is wrong, shape ``(n,)``.
        share: The share of the items that become suspects.

    Returns:
        The rows of the suspects, the most suspicious first, each followed by the suspects with the same text.
    """
    ranked = sorted(range(len(item_ids)), key=lambda row: (-suspicion[row], item_ids[row]))
    by_text: dict[str, list[int]] = {}
    for row in ranked[: max(1, round(share * len(ranked)))]:
        by_text.setdefault(same_text(texts[row]), []).append(row)
    return [row for rows in by_text.values() for row in rows]


def read_evidence(item_ids: Sequence[str], predictions: Path, ladder: Ladder, judges: Ladder) -> Evidence:
    """Return the answers of every source to the items.

    Args:
        item_ids: The items, in the order of the result.
        predictions: The folder with ``vanilla``, ``out_of_fold`` and ``words``.
        ladder: The rungs with untouched predictions.
        judges: The rungs with out-of-fold predictions.

    Raises:
        DataError: If predictions are missing or invalid.
    """

    def read(folder: str, name: str, stage: str) -> Floats:
        path = predictions / folder / f"{name}.parquet"
        answers = read_predictions(path, item_ids, f"stages.{stage}")
        if not (np.isfinite(answers.log_odds).all() and np.isfinite(answers.mean_log_odds).all()):
            raise DataError(
                f"{path}: expected probabilities from 0 to 1, got one without an end. Run stages.{stage} again."
            )
        return (centre(answers) if folder == "vanilla" else answers).log_odds

    return Evidence(
        vanilla={rung.key: read("vanilla", rung.key, "predict") for rung in ladder.ascending()},
        tuned={rung.key: read("out_of_fold", rung.key, "out_of_fold") for rung in judges.ascending()},
        baselines={name: read("words", name, "word_baselines") for name in WORD_BASELINES},
    )


class Ranking(NamedTuple):
    """The labels, ranked by the probability that they are wrong.

    Attributes:
        table: Rows of ``RANKING``, the most suspicious first.
        queue: The ids of the items to review, in the order in which they are shown.
        metrics: The numbers of ranked ``items``, of ``contradicted`` labels (more likely wrong than right by the
            evidence) and of ``suspects``, also by label (``SUSPECTS``); and ``auroc``, how well the evidence separates
            the labels: at 0.5 the queue is no better than chance.
    """

    table: pa.Table
    queue: list[str]
    metrics: dict[str, Any]


def rank(items: Sequence[dict[str, Any]], evidence: Evidence, ladder: Ladder, settings: QueueSettings) -> Ranking:
    """Rank labelled questions, and choose those to review.

    Args:
        items: Rows of ``LABELLED``, none from the test split.
        evidence: The answers of the sources.
        ladder: The rungs; only the dense ones are compared by size.
        settings: The settings of the queue.
    """
    labels = targets_of([item["label"] for item in items])
    conversations = [item["conversation"] for item in items]
    shares = probability_needed(evidence, overlap(items), labels, conversations, seed=settings.seed)
    suspicion: Floats = _doubt(shares, labels).round(_DIGITS)
    why = list(reasons(evidence, labels, contradicted_by_size(evidence.vanilla, dict(ladder.dense), labels)))
    ids, texts = ([item[name] for item in items] for name in ("item_id", "text"))
    queue = make_queue(ids, texts, suspicion, settings.share)
    suspects = frozenset(queue)
    p_label = np.round(1 - suspicion, _DIGITS)
    rows = [
        {
            **{name: items[row][name] for name in ("item_id", "split", "label")},
            "p_label": float(p_label[row]),
            "suspicion": float(suspicion[row]),
            "reason": why[row],
            "role": SUSPECT if row in suspects else "",
        }
        for row in sorted(range(len(items)), key=lambda row: (-suspicion[row], ids[row]))
    ]
    table = pa.Table.from_pylist(rows, schema=RANKING)
    return Ranking(table, [ids[row] for row in queue], _counts(labels, shares, suspicion, queue))


def _doubt(shares: Floats, labels: Labels) -> Floats:
    """Return the probability that each label is wrong, shape ``(n,)``."""
    return np.abs(labels - shares) if shares.ndim == 1 else 1 - shares[np.arange(len(labels)), labels]


def _counts(labels: Labels, shares: Floats, suspicion: Floats, queue: Sequence[int]) -> dict[str, Any]:
    from sklearn.metrics import roc_auc_score

    suspects = np.isin(np.arange(len(labels)), queue)
    by_label = zip(SUSPECTS, targets_of(SCORED), strict=True)
    return {
        "items": len(labels),
        "contradicted": int((suspicion > 0.5).sum()),
        "suspects": int(suspects.sum()),
        **{key: int((suspects & (labels == label)).sum()) for key, label in by_label},
        "auroc": rounded(roc_auc_score(labels, shares) if IS_BINARY else auroc_of(labels, shares)[0]),
    }

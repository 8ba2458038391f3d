"""Labels that are probably wrong: evidence put together into one probability, its reasons, and the queue of suspects.

Evidence is what models say that never saw the label: untouched models of all sizes, adapters tuned on other
conversations, classifiers of words. A regression over other conversations weighs it.

With two labels a source says the log-odds of "needed", shape ``(n,)``, and the labels are 1 and 0. With more it says
those of each label against the rest, shape ``(n, labels)``, and the labels are places in ``SCORED``.
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
from chatladder.vocabulary import IS_BINARY, KINDS, SCORED

#: Probabilities are held this far from 0 and 1: no model is that sure.
_SUREST = 1e-4
#: Digits of a probability that are kept: beyond them processors differ.
_DIGITS = 9
#: Folds and repeats by which the weights of the sources are learned.
_FOLDS, _REPEATS = 5, 4


#: Sources that are named, the surest ones.
_NAMED = 3
_BY_SIZE = "larger untouched models contradict the label more"
SUSPECT = "suspect"
#: Keys of their numbers in the metrics, label by label, and the label in a sentence.
SUSPECTS = (
    {"suspects_needed": "needed", "suspects_not_needed": "not needed"}
    if IS_BINARY
    else {f"suspects_{name}": KINDS[name].words for name in SCORED}
)


@dataclass(frozen=True)
class QueueSettings:
    """The numbers of labels that are looked at again."""

    share: float = setting("Share of the items that become suspects.", above=0, most=1)
    seed: int = setting("Seed of the folds.", least=0)


class Evidence(NamedTuple):
    """The answers of the sources to each item.

    Attributes:
        vanilla: Rung, smallest first -> log-odds by the untouched model; centred, so that a model's leaning to one
            answer is no evidence.
        tuned: Rung -> the same by adapters that did not see the item's conversation.
        baselines: Baseline -> the same.
    """

    vanilla: dict[str, Floats]
    tuned: dict[str, Floats]
    baselines: dict[str, Floats]

    @property
    def sources(self) -> dict[str, Floats]:
        """All of them by name: ``untouched <rung>``, ``tuned <rung>``, ``words: <baseline>``."""
        return {
            **{f"untouched {rung}": values for rung, values in self.vanilla.items()},
            **{f"tuned {rung}": values for rung, values in self.tuned.items()},
            **{f"words: {name}": values for name, values in self.baselines.items()},
        }


def log_odds(shares: Floats) -> Floats:
    """Of probabilities, none of them surer than 1 in 10,000."""
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
    """The probability that each item is "needed", or of each label, on all evidence, whatever its own label says.

    A logistic regression learns how much each source is worth from the labels of other conversations: a rung that knows
    nothing gets no weight, and one whose size helps gets more. So correctness that falls as models grow counts against
    a label without a rule of its own.

    Args:
        evidence: Log-odds of every source.
        overlap: Figures of each question, shape ``(n, figures)``.
        labels: The labels, shape ``(n,)``.
        conversations: The conversation of each item.
        seed: Seed of the folds.

    Returns:
        Shape ``(n,)``, or ``(n, labels)``, to nine digits.

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
    """Return by how much a source says each label rather than the likeliest other one, shape ``(n,)``; log-odds."""
    if log_odds.ndim == 1:
        return log_odds * np.where(labels == 1, 1, -1)
    is_label = np.eye(log_odds.shape[1], dtype=np.bool_)[labels]
    margins: Floats = log_odds[is_label] - np.where(is_label, -np.inf, log_odds).max(axis=1)
    return margins


def growth(vanilla: Mapping[str, Floats], params: Mapping[str, int], labels: Labels) -> Floats:
    """Return how the untouched models' support of each label changes per doubling of their parameters, shape ``(n,)``.

    Below 0, the larger models are, the more they contradict. Log-odds; 0 with fewer than two sizes.
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
    """Return whether larger untouched models contradict each label more, and the largest does; shape ``(n,)``.

    Args:
        vanilla: Rung, smallest first -> log-odds.
        params: Rung -> its parameters; rungs that are left out here have no size to go by.
        labels: The labels, shape ``(n,)``.
    """
    falling = growth(vanilla, params, labels) < 0
    if not falling.any():
        return falling
    largest = max((rung for rung in vanilla if rung in params), key=lambda rung: params[rung])
    return falling & (support(vanilla[largest], labels) < 0)


def reasons(evidence: Evidence, labels: Labels, by_size: NDArray[np.bool_]) -> Iterator[str]:
    """For each item which sources contradict its label, and whether larger untouched models do so more.

    Args:
        evidence: Log-odds of every source.
        labels: The labels, shape ``(n,)``.
        by_size: As ``contradicted_by_size`` gives it.
    """
    supports = {name: support(log_odds, labels) for name, log_odds in evidence.sources.items()}
    said = {name: _said(log_odds, labels) for name, log_odds in evidence.sources.items()}
    for row in range(len(labels)):
        own = {name: float(values[row]) for name, values in supports.items()}
        against = sorted((name for name in own if own[name] < 0), key=lambda name: (own[name], name))
        words = _worded(against, len(own), {name: said[name][row] for name in against})
        yield f"{words}; {_BY_SIZE}" if by_size[row] else words


def _said(log_odds: Floats, labels: Labels) -> list[str]:
    """Return the likeliest of the labels that each item does not have, by a source."""
    if log_odds.ndim == 1:
        return [SCORED[label] for label in labels.tolist()]  # 1 is the first label, so the other one has this place
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
    """Return a text without what two that read the same may differ in: width, case and spaces."""
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())


def make_queue(item_ids: Sequence[str], texts: Sequence[str], suspicion: Floats, share: float) -> list[int]:
    """Choose the suspects, at least one.

    Args:
        item_ids: The id of each item.
        texts: The question's own text.
        suspicion: The probability that each label is wrong, shape ``(n,)``.
        share: Share of the items that become suspects.

    Returns:
        Their rows, from the most suspicious on, each followed by the suspects with its text.
    """
    ranked = sorted(range(len(item_ids)), key=lambda row: (-suspicion[row], item_ids[row]))
    by_text: dict[str, list[int]] = {}
    for row in ranked[: max(1, round(share * len(ranked)))]:
        by_text.setdefault(same_text(texts[row]), []).append(row)
    return [row for rows in by_text.values() for row in rows]


def read_evidence(item_ids: Sequence[str], predictions: Path, ladder: Ladder, judges: Ladder) -> Evidence:
    """Return what every source says of the items.

    Args:
        item_ids: The items, in this order.
        predictions: Folder of the folders ``vanilla``, ``out_of_fold`` and ``words``.
        ladder: The rungs with untouched predictions.
        judges: The rungs with out-of-fold predictions.

    Raises:
        DataError: If predictions do not fit.
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
    """The labels by how likely they are wrong.

    Attributes:
        table: Rows of ``RANKING``, the most suspicious first.
        queue: The ids of those to look at again, in the order in which they are shown.
        metrics: ``items`` that were ranked, ``contradicted`` (labels that the evidence holds for more likely wrong
            than right), ``suspects``, of them those of each label (``SUSPECTS``), and ``auroc``, how well the evidence
            tells the labels apart: at 0.5 the queue is no better than chance.
    """

    table: pa.Table
    queue: list[str]
    metrics: dict[str, Any]


def rank(items: Sequence[dict[str, Any]], evidence: Evidence, ladder: Ladder, settings: QueueSettings) -> Ranking:
    """Rank labelled questions, and choose those to look at again.

    Args:
        items: Rows of ``LABELLED``, none of the test split.
        evidence: The answers of the sources.
        ladder: The rungs; the dense ones have a size to go by.
        settings: The size of the queue.
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

"""The scaling check: a set of labels compared with the answers of untouched models of growing size."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import norm

from chatladder.evaluation.gate import CODES, Gate, GateSettings, Scores, advice, gate_of, slope_of
from chatladder.evaluation.predictions import Items, Predictions, read_seeds
from chatladder.evaluation.rungs import Ladder, Rung
from chatladder.evaluation.scores import (
    TAIL,
    Floats,
    Interval,
    auroc_of,
    clustered_variance,
    clusters_of,
    precision_of,
    rounded,
    rounded_or_none,
)

#: The score that the gate uses, and the one that the paper uses.
METRICS = ("auroc", "precision")
RUNG_COLUMNS = ("metric", "rung", "params", "kind", "seed", "value", "lo", "hi")


class Model(NamedTuple):
    """An untouched model: its rung, its training seed, whether it is a mixture of experts, and its answers."""

    rung: Rung
    seed: int
    is_mixture: bool
    answers: Predictions


class Score(NamedTuple):
    """A model's score, with its 95 % interval over conversations."""

    model: Model
    value: Interval


@dataclass(frozen=True)
class Scaling:
    """The result of the scaling check.

    Attributes:
        items: The number of labelled items.
        gate: The verdict, by AUROC.
        precision: The slope of precision as answered, the paper's signal; None if undefined.
        scores: Metric -> the models with that score, dense ones first.
        unmeasured: Rungs with too few probabilities for an AUROC; they do not count in the verdict.
    """

    items: int
    gate: Gate
    precision: Interval | None
    scores: dict[str, list[Score]]
    unmeasured: list[str]

    def slope(self, metric: str) -> Interval | None:
        """Return the slope of a metric per doubling; None if undefined."""
        return self.gate.slope if metric == METRICS[0] else self.precision

    def metrics(self) -> dict[str, Any]:
        """Return the content of a metrics file; every key is always present, None if it has no value."""
        gate = self.gate
        metrics: dict[str, Any] = {
            "gate": gate.verdict,
            "gate_code": CODES[gate.verdict],
            "items": self.items,
            "conversations": gate.conversations,
            "rungs": len({model.rung for model, _ in self.scores["auroc"] if not model.is_mixture}),
            "models": gate.models,
            "unmeasured": len(self.unmeasured),
        }
        for metric in METRICS:
            metrics[metric] = _named("slope", self.slope(metric))
        metrics["models_needed"] = gate.models_needed
        metrics["items_needed"] = gate.items_factor and math.ceil(gate.items_factor * self.items)
        mixtures: dict[str, Any] = {}
        for metric in METRICS:
            for (rung, _, is_mixture, _), value in self.scores[metric]:
                if is_mixture:
                    mixtures.setdefault(rung.key, {"params": rung.params}).update(value.named(metric))
        return {**metrics, "mixtures": mixtures} if mixtures else metrics


def _named(name: str, value: Interval | None) -> dict[str, float | None]:
    figures = value or (math.nan,) * 3
    ends = ("", "_lo", "_hi")
    return {name + end: rounded_or_none(each) for end, each in zip(ends, figures, strict=True)}


def read_untouched(ladder: Ladder, vanilla: Path, item_ids: Sequence[str]) -> list[Model]:
    """Return the untouched models of a ladder, every seed of a rung, dense ones first.

    Args:
        ladder: The rungs.
        vanilla: The folder of their predictions.
        item_ids: The items that must be answered.

    Raises:
        DataError: If predictions cannot be used.
    """
    return [
        Model(rung, seed, rung in ladder.mixtures, answers)
        for rung in ladder.rungs()
        for seed, answers in read_seeds(vanilla / f"{rung.key}.parquet", item_ids).items()
    ]


def scaling_check(items: Items, models: Sequence[Model], settings: GateSettings) -> Scaling:
    """Compare labels with the answers of untouched models.

    Args:
        items: Labelled items, with at least two labels and from at least two conversations.
        models: The models, with their answers to ``items``.
        settings: The settings of the gate.
    """
    clusters = clusters_of(items.conversations)
    scores: dict[str, list[Score]] = {metric: [] for metric in METRICS}
    added: dict[str, list[Floats]] = {metric: [] for metric in METRICS}
    for model in models:
        scored = {"precision": precision_of(items.references, model.answers.answers)}
        if model.answers.has_probabilities:
            scored["auroc"] = auroc_of(items.references, model.answers.evidence)
        for metric, (value, influence) in scored.items():
            if not math.isnan(value):
                half = float(norm.ppf(1 - TAIL)) * math.sqrt(clustered_variance(influence, clusters))
                scores[metric].append(Score(model, Interval(value, max(0.0, value - half), min(1.0, value + half))))
                if not model.is_mixture:
                    added[metric].append(influence)
    dense = {
        metric: Scores(
            [model.rung.params for model, _ in scores[metric] if not model.is_mixture],
            np.array([value.value for model, value in scores[metric] if not model.is_mixture]),
            np.array(added[metric]),
            clusters,
        )
        for metric in METRICS
    }
    measured = {model.rung.key for model, _ in scores["auroc"]}
    return Scaling(
        items=len(items.ids),
        gate=gate_of(dense["auroc"], settings),
        precision=slope_of(dense["precision"]),
        scores=scores,
        unmeasured=[key for key in dict.fromkeys(model.rung.key for model in models) if key not in measured],
    )


def rung_rows(scaling: Scaling) -> Iterator[tuple[Any, ...]]:
    """Yield rows of ``RUNG_COLUMNS``: one per metric and model."""
    for metric, scored in scaling.scores.items():
        for (rung, seed, is_mixture, _), value in scored:
            yield (metric, *rung, "mixture" if is_mixture else "dense", seed, *map(rounded, value))


def in_words(scaling: Scaling, settings: GateSettings) -> Iterator[str]:
    """Yield the result of the check, line by line."""
    yield from advice(scaling.gate, settings)
    if scaling.precision:
        value, low, high = scaling.precision
        ends = "" if math.isnan(low) else f" [{low:+.3f}, {high:+.3f}]"
        yield f"Precision as answered, the paper's own signal: {value:+.3f} per doubling{ends}."
    for (rung, _, is_mixture, _), score in scaling.scores["auroc"]:
        if is_mixture:
            yield f"{rung.key}: AUROC {score.value:.3f}; shown, not fitted: a mixture of experts."
    if scaling.unmeasured:
        yield f"Not measured, for want of probabilities: {', '.join(scaling.unmeasured)}."

"""The scaling check: the labels against the answers of untouched models, as they are or centred.

``scaling_check`` gives what ``metrics/scaling.json`` holds, and the readings that plots and pages are made from.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from chatladder.evaluation.gate import (
    CODES,
    GATED,
    Gate,
    SampleSize,
    advice,
    gate_of,
    isotonic_residual,
    kendall_tau,
    leaning,
    measured,
    overview,
    page_p,
    simultaneous,
    with_gaps,
)
from chatladder.evaluation.predictions import Items, Predictions, centre
from chatladder.evaluation.rungs import Ladder, Rung
from chatladder.evaluation.scores import (
    Bootstrap,
    Floats,
    Interval,
    answer_scores,
    auroc,
    interval,
    rounded,
    slope_per_doubling,
)
from chatladder.io.console import DataError

RUNG_COLUMNS = ("answers", "metric", "rung", "params", "kind", "value", "lo", "hi")


class ScoredReading(NamedTuple):
    """The answers of the whole ladder, as they are or centred.

    Attributes:
        draws: Metric of ``GATED`` -> values of the dense rungs, then of the mixtures, shape ``(1 + draws, rungs)``.
        gates: Metric -> the gate over the dense rungs.
        page_p: Page's test of the dense rungs' accuracy.
    """

    draws: dict[str, Floats]
    gates: dict[str, Gate]
    page_p: float | None


class Point(NamedTuple):
    """A rung's score, with an interval that holds together with those of the other rungs."""

    rung: Rung
    is_mixture: bool
    score: Interval


def need_two_sizes(ladder: Ladder) -> None:
    """Refuse a ladder whose dense rungs are not of two sizes.

    Raises:
        DataError: If they are not.
    """
    sizes = sorted({rung.params for rung in ladder.dense})
    if len(sizes) < 2:
        mixtures = len(ladder.mixtures)
        apart = f" beside {mixtures} mixture(s) of experts, which are not fitted" if mixtures else ""
        raise DataError(f"slope: expected rungs of at least two sizes, got {sizes}{apart}. Add one to the ladder.")


def read_answers(items: Items, sample: Bootstrap, ladder: Ladder, predictions: Sequence[Predictions]) -> ScoredReading:
    """Score one reading of the answers, and judge it.

    Args:
        items: The labelled items.
        sample: Weights of their conversations, the same for every rung, so that differences are paired.
        ladder: The rungs.
        predictions: Their predictions for ``items``, in the order of ``ladder.rungs()``.
    """
    scored = []
    for each in predictions:
        values = answer_scores(items.references, each.answers, sample.clusters, sample.weights)
        scored.append(with_gaps(items.references, each.answers, sample, values))
    draws = {metric: np.stack([values[metric] for values in scored], axis=1) for metric in GATED}
    size = SampleSize(len(items.references), sample.weights.shape[1])
    dense = len(ladder.dense)
    correct = np.stack([each.answers == items.references for each in predictions[:dense]], axis=1)
    return ScoredReading(
        draws=draws,
        gates={metric: gate_of(ladder.dense, values[:, :dense], size) for metric, values in draws.items()},
        page_p=page_p(ladder.dense, correct, sample.clusters),
    )


def read_both(
    items: Items, sample: Bootstrap, ladder: Ladder, predictions: Sequence[Predictions]
) -> dict[str, ScoredReading]:
    """Score the answers as they are ("raw"), and "centred"; arguments as of ``read_answers``."""
    return {
        "raw": read_answers(items, sample, ladder, predictions),
        "centred": read_answers(items, sample, ladder, [centre(each) for each in predictions]),
    }


def scaling_check(
    items: Items, sample: Bootstrap, ladder: Ladder, predictions: Sequence[Predictions]
) -> tuple[dict[str, Any], dict[str, ScoredReading]]:
    """Return what ``metrics/scaling.json`` holds, and the readings it comes from; arguments as of ``read_answers``."""
    # The slope of AUROC, which centring does not change: it moves no item past another.
    areas = [
        auroc(items.references, each.log_odds, sample.clusters, sample.weights)
        for each in tqdm(predictions[: len(ladder.dense)], unit="rung", disable=None)
    ]
    growth = slope_per_doubling([rung.params for rung in ladder.dense], np.stack(areas, axis=1))
    readings = read_both(items, sample, ladder, predictions)
    verdict = readings["raw"].gates[GATED[0]].verdict
    metrics = {
        "items": len(items.references),
        "conversations": sample.weights.shape[1],
        "rungs": len(ladder.dense),
        "gate": verdict,
        "gate_code": CODES[verdict],
        **_reading_metrics(readings["raw"]),
        "auroc": interval(growth).named("slope"),
        "centred": _reading_metrics(readings["centred"]),
    }
    if ladder.mixtures:
        metrics["mixtures"] = mixture_metrics(ladder, readings["raw"])
    return metrics, readings


def _reading_metrics(reading: ScoredReading) -> dict[str, Any]:
    """Each metric's gate and what stands beside it."""
    metrics: dict[str, Any] = {}
    for metric, gate in reading.gates.items():
        metrics[metric] = {
            **gate_metrics(gate),
            "kendall_tau": kendall_tau(gate.sizes) if gate.sizes else None,
            "isotonic_residual": isotonic_residual(gate.sizes) if gate.sizes else None,
        }
    return {**metrics, "page_p": reading.page_p}


def gate_metrics(gate: Gate) -> dict[str, Any]:
    """Return what a metrics file holds of one metric's gate; every key is always there, None where it has no value."""
    worst = dict.fromkeys(("larger", "smaller")) | _undefined("difference")
    if gate.worst is not None:
        smaller, larger, *figures = gate.worst
        worst = {"larger": larger, "smaller": smaller, **Interval(*figures).named("difference")}
    return {
        **(_undefined("slope") if gate.slope is None else interval(gate.slope).named("slope")),
        "verdict": gate.verdict,
        "verdict_code": CODES[gate.verdict],
        "worst_pair": worst,
        "more_items": gate.more_items,
        "undefined_draws": gate.undefined_draws,
    }


def mixture_metrics(ladder: Ladder, reading: ScoredReading) -> dict[str, Any]:
    """Return the scores of the mixtures of experts, each with its interval; None where not defined."""
    metrics: dict[str, Any] = {}
    for place, (rung, active) in enumerate(ladder.mixtures.items(), start=len(ladder.dense)):
        metrics[rung.key] = {"params": rung.params, "active_params": active}
        for metric in GATED:
            values = reading.draws[metric][:, [place]]
            usable, whole = measured(values)
            metrics[rung.key] |= interval(values[whole, 0]).named(metric) if usable[0] else _undefined(metric)
    return metrics


def _undefined(name: str) -> dict[str, Any]:
    return dict.fromkeys((name, f"{name}_lo", f"{name}_hi"))


def points(reading: ScoredReading, ladder: Ladder, metric: str) -> list[Point]:
    """Return the score of every rung that has one, dense ones first.

    Args:
        reading: The scores and their draws.
        ladder: The rungs that were scored.
        metric: The score's name, of ``GATED``.
    """
    draws = reading.draws[metric]
    usable, whole = measured(draws)
    if not usable.any():
        return []
    values = draws[np.ix_(whole, usable)]
    rungs = [rung for rung, use in zip(ladder.rungs(), usable, strict=True) if use]
    rows = zip(rungs, values[0], *simultaneous(values), strict=True)
    return [Point(rung, rung in ladder.mixtures, Interval(*map(float, figures))) for rung, *figures in rows]


def rung_rows(ladder: Ladder, readings: Mapping[str, ScoredReading]) -> Iterator[tuple[Any, ...]]:
    """Yield rows of ``RUNG_COLUMNS``: one a reading, metric and rung; intervals hold together over the rungs."""
    for name, reading in readings.items():
        for metric in reading.draws:
            for rung, is_mixture, score in points(reading, ladder, metric):
                yield (name, metric, *rung, "mixture" if is_mixture else "dense", *map(rounded, score))


def in_words(metrics: Mapping[str, Any], ladder: Ladder, readings: Mapping[str, ScoredReading]) -> Iterator[str]:
    """Yield the verdicts in words, line by line."""
    raw, centred = readings["raw"].gates, readings["centred"].gates
    yield overview("as answered", raw)
    yield overview("centred", centred)
    for rung, active in ladder.mixtures.items():
        value = metrics["mixtures"][rung.key]["precision"]
        score = "not defined" if value is None else f"{value:.3f}"
        yield (
            f"{rung.key}: precision {score}; shown, not fitted: a mixture of experts, {rung.params:,} parameters, "
            f"{active:,} a token"
        )
    yield from advice(raw[GATED[0]], GATED[0])
    yield from leaning(raw[GATED[0]], centred[GATED[0]])

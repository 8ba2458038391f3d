"""The answers of a whole ladder, as they are or centred: scores, gates, and what ``metrics/calibration.json`` holds."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from chatladder.evaluation.gate import CODES, GATED, Evidence, Gate, judge, measured, with_gaps
from chatladder.evaluation.gate_ranks import isotonic_residual, kendall_tau, page_p
from chatladder.evaluation.intervals import DIGITS, Bootstrap, interval
from chatladder.evaluation.predictions import Items, Predictions, Rung, centre, read_mixtures, read_rungs
from chatladder.evaluation.scaling import slope_per_doubling
from chatladder.evaluation.scores import Floats, answer_scores, auroc
from chatladder.io.console import DataError


class Reading(NamedTuple):
    """The answers of the whole ladder, as they are or centred.

    Attributes:
        draws: Metric of ``GATED`` -> values of the dense rungs, then of the mixtures, shape ``(1 + draws, rungs)``.
        gates: Metric -> the gate over the dense rungs.
        page_p: Page's test of the dense rungs' accuracy.
    """

    draws: dict[str, Floats]
    gates: dict[str, Gate]
    page_p: float | None


class Ladder(NamedTuple):
    """Rungs in ascending order: those that are fitted, and the mixtures of experts (with their active parameters)."""

    dense: list[Rung]
    mixtures: dict[Rung, int]

    def rungs(self) -> list[Rung]:
        """All of them, the dense ones first."""
        return [*self.dense, *self.mixtures]


def read_ladder(bases: Path, keys: Sequence[str]) -> Ladder:
    """The rungs, mixtures of experts apart.

    Raises:
        DataError: If a rung's description cannot be used, or the dense ones are not of two sizes.
    """
    rungs = read_rungs(bases, keys)
    active = read_mixtures(bases, rungs)
    dense = [rung for rung in rungs if rung.key not in active]
    sizes = sorted({rung.params for rung in dense})
    if len(sizes) < 2:
        apart = f" beside {len(active)} mixture(s) of experts, which are not fitted" if active else ""
        raise DataError(f"slope: expected rungs of at least two sizes, got {sizes}{apart}. Add one to the ladder.")
    return Ladder(dense, {rung: active[rung.key] for rung in rungs if rung.key in active})


def read_answers(items: Items, sample: Bootstrap, ladder: Ladder, predictions: Sequence[Predictions]) -> Reading:
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
    evidence = Evidence(len(items.references), sample.weights.shape[1])
    dense = len(ladder.dense)
    correct = np.stack([each.answers == items.references for each in predictions[:dense]], axis=1)
    return Reading(
        draws=draws,
        gates={metric: judge(ladder.dense, values[:, :dense], evidence) for metric, values in draws.items()},
        page_p=page_p(ladder.dense, correct, sample.clusters),
    )


def gate_metrics(gate: Gate) -> dict[str, Any]:
    """What a metrics file holds of one metric's gate; every key is always there, None where it has no value."""
    slope = dict.fromkeys(("slope", "slope_lo", "slope_hi"))
    worst = dict.fromkeys(("larger", "smaller", "difference", "difference_lo", "difference_hi"))
    if gate.slope is not None:
        slope |= interval("slope", gate.slope)
    if gate.worst is not None:
        smaller, larger, *figures = gate.worst
        named = zip(("difference", "difference_lo", "difference_hi"), figures, strict=True)
        worst |= {"larger": larger, "smaller": smaller, **{name: round(figure, DIGITS) + 0.0 for name, figure in named}}
    return {
        **slope,
        "verdict": gate.verdict,
        "verdict_code": CODES[gate.verdict],
        "worst_pair": worst,
        "more_items": gate.more_items,
        "undefined_draws": gate.undefined_draws,
    }


def reading_metrics(reading: Reading) -> dict[str, Any]:
    """What ``metrics/calibration.json`` holds of one reading: each metric's gate and what stands beside it."""
    found: dict[str, Any] = {}
    for metric, gate in reading.gates.items():
        found[metric] = {
            **gate_metrics(gate),
            "kendall_tau": kendall_tau(gate.sizes) if gate.sizes else None,
            "isotonic_residual": isotonic_residual(gate.sizes) if gate.sizes else None,
        }
    return {**found, "page_p": reading.page_p}


def auroc_slope(
    items: Items, sample: Bootstrap, ladder: Ladder, predictions: Sequence[Predictions]
) -> dict[str, float]:
    """The slope of AUROC, which centring does not change: it moves no item past another."""
    values = [
        auroc(items.references, each.log_odds, sample.clusters, sample.weights)
        for each in tqdm(predictions[: len(ladder.dense)], unit="rung", disable=None)
    ]
    return interval("slope", slope_per_doubling([rung.params for rung in ladder.dense], np.stack(values, axis=1)))


def calibration(
    items: Items, sample: Bootstrap, ladder: Ladder, predictions: Sequence[Predictions]
) -> tuple[dict[str, Any], dict[str, Reading]]:
    """What ``metrics/calibration.json`` holds, and the readings it comes from: "raw" and "centred".

    Args:
        items: The labelled items.
        sample: Weights of their conversations.
        ladder: The rungs.
        predictions: Their predictions for ``items``, in the order of ``ladder.rungs()``.
    """
    growth = auroc_slope(items, sample, ladder, predictions)
    raw = read_answers(items, sample, ladder, predictions)
    centred = read_answers(items, sample, ladder, [centre(each) for each in predictions])
    verdict = raw.gates[GATED[0]].verdict
    metrics = {
        "items": len(items.references),
        "conversations": sample.weights.shape[1],
        "rungs": len(ladder.dense),
        "gate": verdict,
        "gate_code": CODES[verdict],
        **reading_metrics(raw),
        "auroc": growth,
        "centred": reading_metrics(centred),
    }
    if ladder.mixtures:
        metrics["mixtures"] = mixture_metrics(ladder, raw)
    return metrics, {"raw": raw, "centred": centred}


def mixture_metrics(ladder: Ladder, reading: Reading) -> dict[str, Any]:
    """Scores of the mixtures of experts, each with its interval; None where not defined."""
    found: dict[str, Any] = {}
    for place, (rung, active) in enumerate(ladder.mixtures.items(), start=len(ladder.dense)):
        found[rung.key] = {"params": rung.params, "active_params": active}
        for metric in GATED:
            values = reading.draws[metric][:, [place]]
            usable, whole = measured(values)
            named = (
                interval(metric, values[whole, 0])
                if usable[0]
                else dict.fromkeys([metric, f"{metric}_lo", f"{metric}_hi"])
            )
            found[rung.key] |= named
    return found

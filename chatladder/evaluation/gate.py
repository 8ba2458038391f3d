"""The gate: does agreement with the labels grow with the size of untouched models?

The score is the AUROC of "needed": whether a model ranks needed questions above the others, wherever its threshold
lies, since small untouched models often give one answer to everything. With more than two labels it is the mean
one-vs-rest AUROC. The rule:

- **pass**: the whole 95 % interval of the slope, AUROC per doubling of the parameters, is above the margin.
- **fail**: the whole interval is below minus the margin.
- **inconclusive**: neither. The gate then estimates how many models, or how many items, would decide if the figures
  stayed the same.

The margin is the smallest change that counts; params.yaml fixes it before any model answers. Without a margin, a pass
would be nearly blind to label noise: wrong labels shrink the slope, and with it the spread that it is compared with.

Models are a sample: another training seed gives another score at the same size. So the interval is that of a least
squares line through all models (every seed of every rung), with Student's t and two degrees of freedom fewer than
models. Its variance is a sum: the variance of the models around the line, and the variance of the slope over
conversations. The first includes a little of the second, so the interval errs on the wide side.

Source:
    Checking labels by model size is from arXiv 2405.02817, which judges precision by eye; the rule is ours.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from chatladder.evaluation.scores import TAIL, Floats, Interval, clustered_variance
from chatladder.io.options import setting

PASS, INCONCLUSIVE, FAIL = "pass", "inconclusive", "fail"
#: Verdicts as numbers, so that ``dvc metrics diff`` shows a change.
CODES = {PASS: 1, INCONCLUSIVE: 0, FAIL: -1}
#: With fewer conversations, the variance over them is not known well enough to decide anything.
FEWEST_CONVERSATIONS = 30
#: The advice names no number of models or items above this multiple of the present one.
MOST_TIMES = 20


@dataclass(frozen=True)
class GateSettings:
    """The settings of the gate, fixed before any model answers."""

    margin: float = setting("Least change of AUROC per doubling of the parameters that counts.", least=0, most=0.1)


class Scores(NamedTuple):
    """The scores of models on the same items.

    Attributes:
        params: The number of parameters of each model, shape ``(m,)``.
        values: Their scores, shape ``(m,)``.
        influence: The influence of each item on each score, shape ``(m, n)``; see
            ``chatladder.evaluation.scores.auroc_of``.
        clusters: Index of each item's conversation, shape ``(n,)``.
    """

    params: Sequence[int]
    values: Floats
    influence: Floats
    clusters: NDArray[np.int64]

    @property
    def doublings(self) -> Floats:
        """The log2 of the number of parameters, shape ``(m,)``."""
        return np.log2(np.asarray(self.params, dtype=np.float64))


@dataclass(frozen=True)
class Gate:
    """The verdict on the labels, and its basis.

    Attributes:
        verdict: PASS, INCONCLUSIVE or FAIL.
        slope: The slope per doubling of the parameters; None with fewer than two sizes. Its ends are NaN with two
            models.
        models: The number of models; each seed counts.
        sizes: The number of distinct sizes.
        conversations: The number of conversations.
        models_needed: The number of models of the same sizes that would decide; None if the gate is decided, or no
            number up to ``MOST_TIMES`` the present one would decide.
        items_factor: The multiple of the items that would decide with the same models; None likewise.
    """

    verdict: str
    slope: Interval | None
    models: int
    sizes: int
    conversations: int
    models_needed: int | None = None
    items_factor: float | None = None


def gate_of(scores: Scores, settings: GateSettings) -> Gate:
    """Apply the rule.

    Args:
        scores: The AUROC of every dense model, all seeds.
        settings: The smallest change that counts.
    """
    models, sizes = len(scores.params), len({*scores.params})
    conversations = len(np.unique(scores.clusters))
    slope = slope_of(scores)
    if slope is None:
        return Gate(INCONCLUSIVE, None, models, sizes, conversations)
    if math.isnan(slope.lo) or conversations < FEWEST_CONVERSATIONS:
        return Gate(INCONCLUSIVE, slope, models, sizes, conversations)
    if slope.lo > settings.margin:
        return Gate(PASS, slope, models, sizes, conversations)
    if slope.hi < -settings.margin:
        return Gate(FAIL, slope, models, sizes, conversations)
    weights, by_items = slope_weights(scores.doublings), _by_items(scores)
    spread = float(_residual_variance(scores.doublings, scores.values) * (weights @ weights))
    aim = abs(slope.value) - settings.margin
    return Gate(
        INCONCLUSIVE,
        slope,
        models,
        sizes,
        conversations,
        models_needed=_models_needed(aim, spread, by_items, models),
        items_factor=_items_factor(aim, spread, by_items, models),
    )


def slope_of(scores: Scores) -> Interval | None:
    """Return the slope per doubling, or None with fewer than two sizes; its ends are NaN with two models."""
    if len({*scores.params}) < 2:
        return None
    return Interval(*map(float, slope_interval(scores.doublings, scores.values, _by_items(scores))))


def _by_items(scores: Scores) -> float:
    """Return the variance of the slope over conversations."""
    return clustered_variance(slope_weights(scores.doublings) @ scores.influence, scores.clusters)


def slope_weights(doublings: Floats) -> Floats:
    """Return the weight of each model's score in the least squares slope, shape ``(m,)``."""
    centred = doublings - doublings.mean()
    weights: Floats = centred / (centred @ centred)
    return weights


def slope_interval(doublings: Floats, values: Floats, by_items: Floats | float) -> tuple[Floats, Floats, Floats]:
    """Return slopes of scores against log2(parameters), with their 95 % intervals.

    Args:
        doublings: The log2 of the models' parameters, shape ``(m,)``, with at least two distinct values.
        values: The scores of one ladder, shape ``(m,)``, or of several, shape ``(k, m)``.
        by_items: The variance of the slope over conversations, one for each ladder.

    Returns:
        The slope, its lower and its upper end, shape ``()`` or ``(k,)``; the ends are NaN with two models, which leave
        no residual.
    """
    from scipy.stats import t

    weights = slope_weights(doublings)
    slope = values @ weights
    free = len(doublings) - 2
    if free < 1:
        nothing = np.full_like(slope, np.nan)
        return slope, nothing, nothing
    variance = _residual_variance(doublings, values) * (weights @ weights) + by_items
    half = t.ppf(1 - TAIL, free) * np.sqrt(variance)
    return slope, slope - half, slope + half


def _residual_variance(doublings: Floats, values: Floats) -> Floats:
    """Return the variance of scores around the line, with two degrees of freedom fewer than models."""
    centred = doublings - doublings.mean()
    fitted = values.mean(axis=-1, keepdims=True) + (values @ slope_weights(doublings))[..., None] * centred
    variance: Floats = ((values - fitted) ** 2).sum(axis=-1) / (len(doublings) - 2)
    return variance


def _models_needed(aim: float, spread: float, by_items: float, models: int) -> int | None:
    from scipy.stats import t

    for more in range(models + 1, models * MOST_TIMES + 1):
        if aim > t.ppf(1 - TAIL, more - 2) * math.sqrt(spread * models / more + by_items):
            return more
    return None


def _items_factor(aim: float, spread: float, by_items: float, models: int) -> float | None:
    from scipy.stats import t

    room = (aim / t.ppf(1 - TAIL, models - 2)) ** 2 - spread
    factor = by_items / room if aim > 0 and room > 0 else math.inf
    return factor if factor <= MOST_TIMES else None


def advice(gate: Gate, settings: GateSettings) -> Iterator[str]:
    """Yield the verdict, the reason and the next step."""
    if gate.verdict == PASS:
        yield f"gate: PASS. Larger models agree better with the labels: AUROC {slope_text(gate)}."
        yield (
            "Go on and train. A pass does not say that few labels are wrong: errors spread evenly flatten the slope "
            "and seldom turn it. How many are wrong, compare two label sets for."
        )
    elif gate.verdict == FAIL:
        yield f"gate: FAIL. Larger models agree less with the labels: AUROC {slope_text(gate)}."
        yield f"A fall by {settings.margin:g} counts, and this is more. Look at the definition of the labels first."
    else:
        yield f"gate: INCONCLUSIVE. {_undecided(gate, settings)}"


def _undecided(gate: Gate, settings: GateSettings) -> str:
    if gate.slope is None:
        return (
            "It takes untouched models of two sizes or more, mixtures of experts apart, whose AUROC is measured. Add a "
            "rung to the ladder, or go on without this check."
        )
    if gate.models < 3:
        return "Two models cannot tell growth from luck: at least three are needed, four or more are better."
    if gate.conversations < FEWEST_CONVERSATIONS:
        return f"Fewer than {FEWEST_CONVERSATIONS} conversations decide nothing."
    ways = []
    if gate.models_needed:
        ways.append(f"{gate.models_needed} models of these sizes (other seeds count) in place of {gate.models}")
    if gate.items_factor:
        ways.append(f"{gate.items_factor:.1f} times the items")
    would = f"{' or '.join(ways)} would decide" if ways else "no number of models or items near these would decide"
    return f"AUROC {slope_text(gate)}; a change of {settings.margin:g} counts. If the figures stayed, {would}."


def slope_text(gate: Gate) -> str:
    """Return the slope and its basis, as ``+0.038 per doubling [+0.030, +0.046] over 12 models of 4 sizes``."""
    if gate.slope is None:
        return "not defined"
    value, low, high = gate.slope
    ends = "" if math.isnan(low) else f" [{low:+.3f}, {high:+.3f}]"
    return f"{value:+.3f} per doubling{ends} over {gate.models} models of {gate.sizes} sizes"

"""Two label sets of the same items, compared under the same models: which of them has fewer errors?

Two rounds, two annotators, or two wordings of the guidelines label the same items, which no model chose. Where the
sets differ, one of them is wrong, and the models, which saw neither label, lean to the right one more often than not.
How far they lean on these items, relative to items that both sets label alike, tells how many more errors one set has
than the other. The noise of the models is the same for both sets and cancels, so a few models and a few hundred items
give more precision than any slope.

The figure is in points: errors in 100 labels. It errs on the small side, since errors concentrate on hard items, where
models lean less. It comes with its power: the probability of detecting 15 points more errors.
Untouched models have seen no label. If they know too little of the task, models tuned on other conversations do
better; but these have learned from the labels of all rounds and annotators, and so favour whoever gave the most.

Only tasks of two labels are compared: with more, models separate some pairs of labels better than others, and no
single distance converts their evidence into errors.
"""

import math
from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from chatladder.evaluation.predictions import Predictions, read_seeds
from chatladder.evaluation.scores import NEEDED, TAIL, Floats, Interval, clustered_variance, clusters_of, rounded
from chatladder.io.rows import read_rows
from chatladder.vocabulary import ANSWERS, IS_BINARY, prediction_schema

Codes = NDArray[np.int64]

#: The share of additional errors that the power refers to.
WORSE = 0.15
#: Differing items from fewer conversations decide nothing.
FEWEST_DIFFERING = 10
#: The number of random sets with additional errors that estimate the power, and their seed.
_TRIALS, _SEED = 8, 0
#: Power from which untouched models are enough.
_ENOUGH = 0.8
UNTOUCHED, OUT_OF_FOLD = "untouched", "out_of_fold"


class LabelSets(NamedTuple):
    """Two label sets of the same items.

    Attributes:
        kind: "rounds" or "annotators".
        names: The names of the two sets.
        item_ids: The n items.
        conversations: The conversation of each item.
        labels: The labels by each set, NEEDED or NOT_NEEDED, shape ``(2, n)``.
    """

    kind: str
    names: tuple[str, str]
    item_ids: list[str]
    conversations: list[str]
    labels: Codes

    @property
    def title(self) -> str:
        """The names in one phrase, as ``round 2 against round 1``."""
        return " against ".join(self.names)

    def of(self, item_ids: Container[str]) -> "LabelSets":
        """Return the label sets restricted to the given items."""
        rows = [row for row, item_id in enumerate(self.item_ids) if item_id in item_ids]
        ids, conversations = ([texts[row] for row in rows] for texts in (self.item_ids, self.conversations))
        return self._replace(item_ids=ids, conversations=conversations, labels=self.labels[:, rows])


@dataclass(frozen=True)
class Comparison:
    """The comparison of two label sets under some models.

    Attributes:
        models: The number of models.
        items: The number of items.
        differing: The number of items on which the two sets differ.
        points: The errors of the second set minus those of the first, in 100 labels; None if the sets differ in too
            few conversations, or the models do not separate the labels.
        agreeing: The number of models that on their own lean to the same set as all of them together.
        power: The probability that a set with ``WORSE`` more errors would be detected.
    """

    models: int
    items: int
    differing: int
    points: Interval | None = None
    agreeing: int = 0
    power: float = 0.0

    def metrics(self) -> dict[str, Any]:
        """Return the content of a metrics file; every key is always present."""
        figures: dict[str, Any] = dict.fromkeys(("points", "points_lo", "points_hi"))
        if self.points:
            figures = self.points.named("points")
        counts = {"items": self.items, "differing": self.differing, "models": self.models}
        return {**figures, "power": rounded(self.power), "agreeing": self.agreeing, **counts}


def label_sets_of(table: pa.Table) -> list[LabelSets]:
    """Return the label sets of rows of ``LABEL_SETS``, in their order."""
    pairs: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in table.to_pylist():
        pairs.setdefault((row["kind"], row["first"], row["second"]), []).append(row)
    return [
        LabelSets(
            kind,
            (first, second),
            [row["item_id"] for row in rows],
            [row["conversation"] for row in rows],
            np.array([[ANSWERS.index(row[f"{which}_label"]) for row in rows] for which in ("first", "second")]),
        )
        for (kind, first, second), rows in pairs.items()
    ]


def compare_all(
    pairs: Sequence[LabelSets], untouched: Sequence[Path], out_of_fold: Sequence[Path]
) -> list[tuple[LabelSets, dict[str, Comparison]]]:
    """Compare each pair of label sets under untouched models, and under models tuned on other conversations.

    Args:
        pairs: The pairs of label sets.
        untouched: Files of predictions by untouched rungs, for all items of the label sets.
        out_of_fold: Files of predictions by out-of-fold adapters, which skip test items: so these are not compared.

    Returns:
        Each pair with its comparisons under ``UNTOUCHED`` and ``OUT_OF_FOLD`` models, if there are such models.

    Raises:
        DataError: If predictions cannot be used.
    """
    asked = list(dict.fromkeys(item_id for sets in pairs for item_id in sets.item_ids))
    answered = [set(read_rows(path, prediction_schema())["item_id"].to_pylist()) for path in out_of_fold]
    common = [item_id for item_id in asked if all(item_id in each for each in answered)]
    found: list[dict[str, Comparison]] = [{} for _ in pairs]
    for name, paths, ids in ((UNTOUCHED, untouched, asked), (OUT_OF_FOLD, out_of_fold, common)):
        models = [each for path in paths for each in read_seeds(path, ids).values()]
        rows = {item_id: row for row, item_id in enumerate(ids)}
        for comparisons, comparison in zip(found, compare_under(pairs, models, rows), strict=False):
            comparisons[name] = comparison
    return list(zip(pairs, found, strict=True))


def compare_under(
    pairs: Sequence[LabelSets], models: Sequence[Predictions], rows: Mapping[str, int]
) -> Iterator[Comparison]:
    """Yield the comparison of each pair of label sets, on the items that the models answered; none without models.

    Args:
        pairs: The pairs of label sets.
        models: The models; those with too few probabilities are skipped.
        rows: Item -> its index in each model's answers.
    """
    evidence = np.array([each.log_odds for each in models if each.has_probabilities])
    kinds = Counter(sets.kind for sets in pairs)
    for sets in pairs if IS_BINARY and len(evidence) else ():
        known = sets.of(rows)
        answers = evidence[:, [rows[item_id] for item_id in known.item_ids]]
        yield compare(known.labels, answers, known.conversations, kinds[sets.kind])


def compare(labels: Codes, evidence: Floats, conversations: Sequence[str], pairs: int = 1) -> Comparison:
    """Compare two label sets of the same items under the same models.

    Args:
        labels: NEEDED or NOT_NEEDED by either set, shape ``(2, n)``.
        evidence: The answers of m models, larger for "needed", shape ``(m, n)``.
        conversations: The conversation of each item.
        pairs: The number of pairs that are compared together. Their intervals jointly cover 95 % (Bonferroni), since
            among ten annotators somebody would stand out by chance.
    """
    tail = TAIL / pairs
    models, items = evidence.shape
    first, second = labels
    differs = first != second
    if not models or len(set(conversations)) < 2 or any(len(np.unique(each)) < 2 for each in labels):
        return Comparison(models, items, int(differs.sum()))
    clusters = clusters_of(conversations)
    spread = evidence.std(axis=1, keepdims=True)
    standard = (evidence - evidence.mean(axis=1, keepdims=True)) / np.where(spread > 0, spread, 1)
    together = standard.mean(axis=0)
    differing = len(np.unique(clusters[differs]))
    power = _power(labels, together, clusters, tail)
    points = _points(lean(labels, together), clusters, differing, tail)
    each_leans = [lean(labels, values).difference for values in standard] if points else []
    return Comparison(
        models,
        items,
        int(differs.sum()),
        points,
        agreeing=sum(points is not None and value * points.value > 0 for value in each_leans),
        power=power,
    )


class Lean(NamedTuple):
    """The lean of evidence to one of two label sets.

    Attributes:
        difference: The errors of the second set minus those of the first, as a share of the items.
        influence: The influence of each item on the difference, shape ``(n,)``.
        known: The lean of the evidence to the labels on items that both sets label alike, in the unit of the evidence.
        known_influence: The influence of each item on ``known``, shape ``(n,)``.
    """

    difference: float
    influence: Floats
    known: float
    known_influence: Floats


def lean(labels: Codes, evidence: Floats) -> Lean:
    """Return which of two label sets the evidence leans to on the items on which they differ.

    Let c be the midpoint between the mean evidence of needed and of other items, and h half their distance, both on
    items that the two sets label alike. An item that one set labels rightly and the other wrongly then lies on average
    h from c, on the side of the right label: the sum over differing items, divided by h, is the difference of the
    errors. Unlike a difference of AUROC, it does not depend on which label the errors favour.

    Args:
        labels: NEEDED or NOT_NEEDED by either set, shape ``(2, n)``.
        evidence: The evidence, larger for "needed", shape ``(n,)``.

    Returns:
        The lean; all NaN if the two sets agree on no needed item, or on no other item.
    """
    items = len(evidence)
    first, second = labels == NEEDED
    groups = (first & second, ~first & ~second)
    if not all(group.any() for group in groups):
        nothing = np.full(items, math.nan)
        return Lean(math.nan, nothing, math.nan, nothing)
    means = [float(evidence[group].mean()) for group in groups]
    added = [np.where(group, evidence - mean, 0) / group.sum() for group, mean in zip(groups, means, strict=True)]
    middle, known = (means[0] + means[1]) / 2, (means[0] - means[1]) / 2
    known_influence = (added[0] - added[1]) / 2
    sides = first.astype(float) - second
    leans = sides * (evidence - middle)
    total = float(leans.mean())
    influence = (leans - total) / items - sides.mean() * (added[0] + added[1]) / 2
    difference = total / known if known else math.nan
    return Lean(difference, (influence - difference * known_influence) / (known or math.nan), known, known_influence)


def _points(leans: Lean, clusters: Codes, differing: int, tail: float) -> Interval | None:
    from scipy.stats import norm, t

    known = leans.known - norm.ppf(1 - TAIL) * math.sqrt(clustered_variance(leans.known_influence, clusters))
    if differing < FEWEST_DIFFERING or not known > 0:
        return None
    half = t.ppf(1 - tail, differing - 1) * math.sqrt(clustered_variance(leans.influence, clusters))
    return Interval(*(100 * float(end) for end in (leans.difference, leans.difference - half, leans.difference + half)))


def _power(labels: Codes, evidence: Floats, clusters: Codes, tail: float) -> float:
    """Return the probability of detecting a set with ``WORSE`` more errors than the second one.

    Random errors are put into the second set. Their variance adds to that of the observed difference, since the two
    sets already differ.
    """
    from scipy.stats import norm

    noise = np.random.Generator(np.random.PCG64(_SEED))
    losses, variances = [], []
    for _ in range(_TRIALS):
        worse = np.where(noise.random(labels.shape[1]) < WORSE, 1 - labels[1], labels[1])
        if len(np.unique(worse)) < 2:
            return 0.0
        drawn = lean(np.stack([labels[1], worse]), evidence)
        losses.append(drawn.difference)
        variances.append(clustered_variance(drawn.influence, clusters))
    at_hand = clustered_variance(lean(labels, evidence).influence, clusters)
    error = math.sqrt(at_hand + float(np.mean(variances)))
    return float(norm.cdf(float(np.mean(losses)) / error - norm.ppf(1 - tail))) if error > 0 else 0.0


def lead(power: Mapping[str, float]) -> str:
    """Return the models to report: the untouched ones if their power is enough, else those with the larger power.

    Power does not depend on which set is better, so this does not select for a result.
    """
    return UNTOUCHED if power.get(UNTOUCHED, 0) >= _ENOUGH else max(power, key=lambda name: power[name])


def compared_in_words(names: tuple[str, str], found: Mapping[str, Comparison]) -> Iterator[str]:
    """Yield a line about two label sets: which has more errors, by which models, and the power.

    Args:
        names: The names of the two sets.
        found: The comparisons under ``UNTOUCHED`` and ``OUT_OF_FOLD`` models; empty without such models.
    """
    if not found:
        return
    name = lead({name: each.power for name, each in found.items()})
    each = found[name]
    kind = "untouched model(s)" if name == UNTOUCHED else "model(s) tuned on other conversations"
    first, second = names
    counts = f"{each.differing:,} of {each.items:,} labels differ; {each.models} {kind}"
    basis = f"{counts}; power to find 15 points {each.power:.2f}"
    if each.points is None:
        yield f"{first} and {second} differ in too little to compare, or the models know too little ({basis})."
        return
    value, low, high = each.points
    if value < 0:
        first, second = second, first
        value, low, high = -value, -high, -low
    luck = "" if low > 0 else ", no more than luck could"
    yield (
        f"{second}'s labels hold about {value:.1f} more errors in 100 [{low:.1f}, {high:.1f}] than {first}'s{luck} "
        f"({basis})."
    )

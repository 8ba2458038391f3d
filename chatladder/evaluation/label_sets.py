"""Two sets of labels under the same models: which of them holds fewer errors?

Round against round, annotator against annotator, one wording of the guidelines against another: both label the same
items, and no model chose those. Where the two differ, one of them is wrong, and the models, which saw neither label,
lean to the right one more often than not. How far they lean there, against how far they lean on items that both label
alike, says how many more errors the one set holds than the other. The luck of the models is the same on both sides and
cancels, so a few models and a few hundred items say more here than any slope.

The figure is in points: errors in 100 labels. It is rather too small than too large, since errors gather on hard items,
where models lean less. Its power is given with it: how likely it is that 15 points more errors would have been found.
Untouched models know nothing of any label. Where they know too little of the task, models tuned on other conversations
do better; but those have learned from the labels of all rounds and annotators, and so lean to whoever gave most.

Only sets of two labels are compared: of more, models know some labels from each other better than others, and no one
distance turns what they say into errors.
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
from chatladder.vocabulary import ANSWERS, IS_BINARY, PREDICTIONS

Codes = NDArray[np.int64]

#: Share of further errors that a comparison is asked to find.
WORSE = 0.15
#: Differing items over fewer conversations decide nothing.
FEWEST_DIFFERING = 10
#: Random sets with so many more errors by which the power is estimated.
_TRIALS, _SEED = 8, 0
#: Power from which untouched models are enough.
_ENOUGH = 0.8
UNTOUCHED, OUT_OF_FOLD = "untouched", "out_of_fold"


class LabelSets(NamedTuple):
    """Two label sets of the same items.

    Attributes:
        kind: "rounds" or "annotators".
        names: Those of the two.
        item_ids: The items, n.
        conversations: Their conversations.
        labels: The labels of each, NEEDED or NOT_NEEDED, shape ``(2, n)``.
    """

    kind: str
    names: tuple[str, str]
    item_ids: list[str]
    conversations: list[str]
    labels: Codes

    @property
    def title(self) -> str:
        """As ``round 2 against round 1``."""
        return " against ".join(self.names)

    def of(self, item_ids: Container[str]) -> "LabelSets":
        """Return the same for the items that are among these alone."""
        rows = [row for row, item_id in enumerate(self.item_ids) if item_id in item_ids]
        ids, conversations = ([texts[row] for row in rows] for texts in (self.item_ids, self.conversations))
        return self._replace(item_ids=ids, conversations=conversations, labels=self.labels[:, rows])


@dataclass(frozen=True)
class Comparison:
    """What some models say of two label sets.

    Attributes:
        models: The number of models.
        items: The number of items.
        differing: On how many of them the two differ.
        points: Errors of the second set less those of the first, in 100 labels; None where the two differ in too few
            conversations, or where the models do not tell the labels apart.
        agreeing: How many models, each by itself, lean to the set that all of them together lean to.
        power: Chance that a set with ``WORSE`` more errors would be found.
    """

    models: int
    items: int
    differing: int
    points: Interval | None = None
    agreeing: int = 0
    power: float = 0.0

    def metrics(self) -> dict[str, Any]:
        """Return what a metrics file holds; every key is always there."""
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
    """Compare every two label sets under untouched models, and under models tuned on other conversations.

    Args:
        pairs: The label sets.
        untouched: Files of predictions of untouched rungs, all items of the label sets among them.
        out_of_fold: Those of out-of-fold adapters, which answer no test item: the others are compared.

    Returns:
        The label sets with what ``UNTOUCHED`` and ``OUT_OF_FOLD`` models say, each if there are any.

    Raises:
        DataError: If predictions cannot be used.
    """
    asked = list(dict.fromkeys(item_id for sets in pairs for item_id in sets.item_ids))
    answered = [set(read_rows(path, PREDICTIONS)["item_id"].to_pylist()) for path in out_of_fold]
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
    """Yield what models say of each pair of label sets, on the items that they answered; nothing without models.

    Args:
        pairs: The label sets.
        models: The models; those that gave too few probabilities are passed over.
        rows: Item -> its place in each model's answers.
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
        evidence: The answers of m models, the larger, the more "needed", shape ``(m, n)``.
        conversations: The conversation of each item.
        pairs: How many pairs of sets are compared side by side. Their intervals hold together with 95 % (Bonferroni):
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
    """How far evidence leans to one of two label sets.

    Attributes:
        difference: Errors of the second set less those of the first, as a share of the items.
        influence: What each item adds to it, shape ``(n,)``.
        known: How far the evidence leans to the labels, on items that both sets label alike, in its own unit.
        known_influence: What each item adds to that.
    """

    difference: float
    influence: Floats
    known: float
    known_influence: Floats


def lean(labels: Codes, evidence: Floats) -> Lean:
    """Return which of two label sets the evidence leans to, where they differ.

    Let c be halfway between the mean evidence of needed and of other items, and h half their distance, both on items
    that the two sets label alike. Then an item that one set labels rightly and the other wrongly adds h on average,
    towards the right one: the sum over differing items, over h, is the difference of the errors. Unlike a difference
    of AUROC, it does not depend on which label the errors lean to.

    Args:
        labels: NEEDED or NOT_NEEDED by either set, shape ``(2, n)``.
        evidence: The larger, the more "needed", shape ``(n,)``.

    Returns:
        NaN throughout where the two label no item alike as needed, or none as not needed.
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
    """The chance of finding a set with ``WORSE`` more errors than the second one.

    Errors are drawn into the second set. Their variance adds to that of the difference at hand, for the two sets differ
    already.
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
    """Return which models to go by: the untouched ones where their power is enough, else those with the larger power.

    Power does not depend on which of the two sets is better, so this chooses no result.
    """
    return UNTOUCHED if power.get(UNTOUCHED, 0) >= _ENOUGH else max(power, key=lambda name: power[name])


def compared_in_words(names: tuple[str, str], found: Mapping[str, Comparison]) -> Iterator[str]:
    """Yield a line on two label sets: which holds more errors, which models say so, and the power.

    Args:
        names: Those of the two sets.
        found: What ``UNTOUCHED`` and ``OUT_OF_FOLD`` models say, each if there are such models; nothing without any.
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

r"""How often models detect which of two label sets of one task has more errors: power, and false alarms.

It needs the answers of ``benchmarks.same_size`` and runs no model.

Example:
    python -m benchmarks.annotators --draws 1000 --seed 0

Each draw makes 1,000 items in conversations as long as the demo's, their true labels, and the evidence of nine models:
three rungs of three seeds. All are right on the given share of the items, or the share rises from rung to rung. A
model's evidence is the label, plus noise that the models share (an item's and its conversation's, as large as measured
on the answers of ``benchmarks.same_size``), plus noise of its own. Two annotators err at the rates of a row: on any
item, on needed ones only (missed), or on others only (invented). Then ``compare`` judges, as ``stages.check_scaling``
does.

"Measured evidence" takes the items of drawn conversations with the models' real evidence in place of the simulated one,
and their labels as the truth.

"Found" is an interval on the right side of 0; if both err equally often, on either side. The last columns use the
difference of AUROC instead. Brackets hold exact 95 % binomial intervals.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
from tqdm import tqdm

from benchmarks.results import publish, save_option
from benchmarks.same_size import (
    ANSWERS_FILE,
    Bools,
    Codes,
    Models,
    influences,
    measured_on,
    read_models,
    row,
    standardized,
)
from chatladder.evaluation.label_sets import compare
from chatladder.evaluation.scores import NEEDED, TAIL, Floats, clustered_variance
from chatladder.io.console import SETTINGS, InputFile, example

ITEMS, RUNGS, SEEDS = 1000, 3, 3
ACCURACIES = (0.55, 0.62, 0.70)


class Errors(NamedTuple):
    """The errors of an annotator: the share of all labels that are wrong, and the items they occur on."""

    rate: float
    kind: str

    def answer(self, generator: np.random.Generator, truth: Bools) -> Codes:
        """Label items."""
        among = {"any": np.ones_like(truth), "missed": truth, "invented": ~truth}[self.kind]
        wrong = among & (generator.random(len(truth)) < self.rate / among.mean())
        return np.where(truth ^ wrong, NEEDED, 1 - NEEDED)

    def __str__(self) -> str:
        return f"{self.rate:.0%}" + (f" {self.kind}" if self.kind != "any" else "")


#: Two annotators; the first never errs more often.
PAIRS = (
    (Errors(0.10, "any"), Errors(0.25, "any")),
    (Errors(0.10, "invented"), Errors(0.25, "missed")),
    (Errors(0.10, "missed"), Errors(0.25, "invented")),
    (Errors(0.15, "any"), Errors(0.15, "any")),
    (Errors(0.15, "any"), Errors(0.15, "missed")),
    (Errors(0.15, "missed"), Errors(0.15, "invented")),
)


class Sample(NamedTuple):
    """Items: True if truly needed, shape ``(n,)``, their conversations, and evidence, shape ``(models, n)``."""

    truth: Bools
    clusters: Codes
    evidence: Floats


Draw = Callable[[np.random.Generator], Sample]


class Shared(NamedTuple):
    """Shares of the variance of a model's evidence, within a label: that of the item, which all models share, and of it
    the part that all items of a conversation share."""

    item: float
    conversation: float


def measure_shared(models: Models) -> Shared:
    """Measure how much of their evidence models share, and how much items of a conversation share."""
    evidence = standardized(models.evidence)
    for label in (True, False):
        of_label = models.needed == label
        evidence[:, of_label] -= evidence[:, of_label].mean(axis=1, keepdims=True)
    between = np.asarray(np.corrcoef(evidence))[np.triu_indices(len(evidence), k=1)].mean()
    sizes = np.bincount(models.clusters)
    sums = np.add.reduceat(evidence, np.cumsum(sizes) - sizes, axis=1)
    pairs = (sums**2).sum(axis=1) - (evidence**2).sum(axis=1)
    within = (pairs / (sizes * (sizes - 1)).sum() / evidence.var(axis=1)).mean()
    return Shared(float(between), float(within))


def simulated(sizes: Codes, needed: float, shared: Shared, accuracies: Sequence[float]) -> Draw:
    """Return a draw of items with normal evidence.

    Args:
        sizes: The numbers of items of conversations.
        needed: The share of needed items.
        shared: The shares that models and items have in common.
        accuracies: How often the models of each rung are right, if they answer "needed" to evidence above 0.
    """
    from scipy.stats import norm

    signal = np.repeat(norm.ppf(accuracies), SEEDS)[:, None]

    def draw(generator: np.random.Generator) -> Sample:
        drawn = generator.choice(sizes, ITEMS)
        clusters = np.repeat(np.arange(ITEMS), drawn)[:ITEMS]
        truth = generator.random(ITEMS) < needed
        alike = np.sqrt(shared.item - shared.conversation) * generator.standard_normal(ITEMS)
        alike += np.sqrt(shared.conversation) * generator.standard_normal(ITEMS)[clusters]
        own = np.sqrt(1 - shared.item) * generator.standard_normal((RUNGS * SEEDS, ITEMS))
        return Sample(truth, clusters, signal * np.where(truth, 1, -1) + alike + own)

    return draw


def measured(models: Models) -> Draw:
    """Return a draw of the demo's conversations, with the evidence of three drawn seeds of every size."""
    sizes = np.bincount(models.clusters)
    starts = np.cumsum(sizes) - sizes

    def draw(generator: np.random.Generator) -> Sample:
        drawn = generator.integers(0, len(sizes), ITEMS)
        rows = np.concatenate([np.arange(starts[each], starts[each] + sizes[each]) for each in drawn[:ITEMS]])[:ITEMS]
        clusters = np.repeat(np.arange(ITEMS), sizes[drawn])[:ITEMS]
        seeds = [
            size * models.seeds + seed
            for size in range(len(models.sizes))
            for seed in generator.permutation(models.seeds)[:SEEDS]
        ]
        return Sample(models.needed[rows], clusters, models.evidence[np.ix_(seeds, rows)])

    return draw


def by_compare(labels: Codes, sample: Sample) -> int:
    """Return which of two label sets has fewer errors: 1 the first, -1 the second, 0 undecided."""
    points = compare(labels, sample.evidence, list(map(str, sample.clusters))).points
    return 0 if points is None else int(points.lo > 0) - int(points.hi < 0)


def by_auroc(labels: Codes, sample: Sample) -> int:
    """Return the same as ``by_compare``, by the difference of the mean AUROC of all models."""
    from scipy.stats import t

    order, once = np.argsort(sample.evidence, axis=1), np.ones(len(sample.truth))
    first, second = (influences(order, references == NEEDED, once) for references in labels)
    mean = float((first[0] - second[0]).mean())
    influence = (first[1] - second[1]).mean(axis=0)
    differing = len(np.unique(sample.clusters[labels[0] != labels[1]]))
    half = t.ppf(1 - TAIL, differing - 1) * np.sqrt(clustered_variance(influence, sample.clusters))
    return int(mean > half) - int(mean < -half)


def share(count: int, of: int) -> str:
    """Return a share in percent with its exact binomial interval."""
    from scipy.stats import binomtest

    ends = binomtest(count, of).proportion_ci()
    return f"{100 * count / of:.1f} [{100 * ends.low:.1f}, {100 * ends.high:.1f}]"


def table(worlds: dict[str, Draw], draws: int, seed: int) -> str:
    """Return a Markdown table of how often each pair of annotators is distinguished."""
    head = ("models right on", "errors of one", "of the other", "found, %", "false alarms, %")
    lines = [row(*head, "by AUROC: found, %", "false alarms, %"), "| --- | --- | --- | --- | --- | --- | --- |"]
    for name, draw in worlds.items():
        for pair in PAIRS:
            is_null = pair[0].rate == pair[1].rate
            said = np.zeros((draws, 2), dtype=np.int64)
            for number in tqdm(range(draws), desc=name, leave=False, disable=None):
                generator = np.random.default_rng([seed, number])
                sample = draw(generator)
                labels = np.stack([each.answer(generator, sample.truth) for each in pair])
                said[number] = by_compare(labels, sample), by_auroc(labels, sample)
            cells = []
            for column in said.T:
                found = share(int((column > 0).sum()), draws)
                alarms = share(int((column != 0 if is_null else column < 0).sum()), draws)
                cells += ["" if is_null else found, alarms]
            lines.append(row(name, *pair, *cells))
    return "\n".join(lines)


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@click.option("--draws", type=click.IntRange(100), required=True, help="Of every row.")
@click.option("--seed", type=click.IntRange(0), required=True, help="Of all draws.")
@click.option("--answers", type=InputFile, default=ANSWERS_FILE, show_default=True)
@click.option("--labelled", type=InputFile, default="data/labelled.parquet", show_default=True)
@save_option
def main(draws: int, seed: int, answers: Path, labelled: Path, save: Path | None) -> None:
    """Print how often two label sets are told apart that differ in their errors, and that do not."""
    models, rests_on = read_models(answers, labelled), measured_on(answers, labelled)
    shared = measure_shared(models)
    sizes, needed = np.bincount(models.clusters), float(models.needed.mean())
    worlds = {f"{accuracy:.0%}": simulated(sizes, needed, shared, [accuracy] * RUNGS) for accuracy in ACCURACIES}
    ladder = ", ".join(f"{accuracy:.0%}" for accuracy in ACCURACIES)
    worlds[ladder] = simulated(sizes, needed, shared, ACCURACIES)
    worlds["measured evidence"] = measured(models)
    text = (
        f"Models share {shared.item:.2f} of the variance of their evidence within a label, items of a conversation "
        f"{shared.conversation:.2f}.\n\n{table(worlds, draws, seed)}"
    )
    publish(save, __spec__.name, text, rests_on)


if __name__ == "__main__":
    main()

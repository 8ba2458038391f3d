"""How often the gate is right: its verdicts on ladders whose truth is known, made from the demo's real predictions.

Run it in the repository's root, after ``dvc repro``; it trains nothing.

Example:
    python -m benchmarks.gate --simulations 400 --seed 0

Each simulation draws conversations of the labelled items with replacement, as many as hold about so many items, with
the labels and all rungs' answers to them, and changes them as its row says:

- flat: in each conversation the rungs change places at random, so none is better than another;
- even: each rung answers a conversation like the demo's best rung with a probability that grows evenly with
  log2(parameters), from 0 to 1, and else like the smallest, so every rung is truly better than the one below;
- demo: nothing is changed, so what is true is what the demo's estimates say, reversals included;
- noise: each label is flipped with that probability, the same for all rungs;
- reversed: the largest and the smallest rung change places.

Then the gate judges as ``stages.check_scaling`` does. Its draws are those of one seed in all simulations, as they are
in use. Brackets hold exact 95 % binomial intervals of a share; those of a ratio are normal, over the simulations.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from chatladder.evaluation.gate import (
    CODES,
    FAIL,
    GATED,
    INCONCLUSIVE,
    PASS,
    Gate,
    SampleSize,
    gate_of,
    page_p,
    shown,
    with_gaps,
)
from chatladder.evaluation.predictions import centre, read_items, read_predictions
from chatladder.evaluation.rungs import Rung, read_rungs
from chatladder.evaluation.scores import (
    Bootstrap,
    Draws,
    Floats,
    answer_scores,
    bootstrap,
    interval,
    slope_per_doubling,
)
from chatladder.io.console import SETTINGS, InputFile, InputFolder, example

Codes = NDArray[np.int64]
RUNGS = ("embedded_150k", "embedded_331k", "embedded_700k", "embedded_1576k")
NOISE = (0.1, 0.2)
DRAWS = 2000
#: Simulations of the slope alone, which needs no draws, for each with the gate.
SLOPES = 10
GATE_SEED = 0
#: Simulations in which more items are labelled because the gate said so, and the most items that they may reach.
FOLLOWED, MOST_FOLLOWED = 100, 20_000


class Answered(NamedTuple):
    """Items by conversation: labels and conversations, shape ``(n,)``, and answers, shape ``(n, rungs)``."""

    references: Codes
    answers: Codes
    clusters: Codes


class Demo(NamedTuple):
    """The demo's items in the order of their conversations, and where each conversation's items start."""

    rungs: list[Rung]
    items: Answered
    starts: Codes
    sizes: Codes

    def conversations(self, items: int) -> int:
        """How many conversations hold about so many items."""
        return round(items * len(self.starts) / len(self.items.references))

    def draw(self, generator: np.random.Generator, conversations: int) -> Answered:
        """So many conversations, with replacement; one that is drawn twice is two."""
        drawn = generator.integers(0, len(self.starts), conversations)
        sizes = self.sizes[drawn]
        before = np.cumsum(sizes) - sizes
        rows = np.arange(sizes.sum()) + np.repeat(self.starts[drawn] - before, sizes)
        clusters = np.repeat(np.arange(conversations), sizes)
        return Answered(self.items.references[rows], self.items.answers[rows], clusters)


Change = Callable[[np.random.Generator, Answered], Answered]


def as_it_is(_: np.random.Generator, sampled: Answered) -> Answered:
    return sampled


def flat(generator: np.random.Generator, sampled: Answered) -> Answered:
    rungs = np.tile(np.arange(sampled.answers.shape[1]), (sampled.clusters[-1] + 1, 1))
    places = generator.permuted(rungs, axis=1)[sampled.clusters]
    return sampled._replace(answers=np.take_along_axis(sampled.answers, places, axis=1))


def upside_down(_: np.random.Generator, sampled: Answered) -> Answered:
    order = np.arange(sampled.answers.shape[1])
    order[[0, -1]] = order[[-1, 0]]
    return sampled._replace(answers=sampled.answers[:, order])


def evenly(demo: Demo) -> Change:
    scores = [answer_scores(*pick(demo.items, rung), np.ones((1, len(demo.starts)))) for rung in range(len(demo.rungs))]
    best = int(np.argmax([score["precision"][0] for score in scores]))
    doublings = np.log2([rung.params for rung in demo.rungs])
    shares = (doublings - doublings[0]) / np.ptp(doublings)

    def change(generator: np.random.Generator, sampled: Answered) -> Answered:
        like_best = (generator.random((sampled.clusters[-1] + 1, len(shares))) < shares)[sampled.clusters]
        return sampled._replace(answers=np.where(like_best, sampled.answers[:, [best]], sampled.answers[:, [0]]))

    return change


def noisy(rate: float) -> Change:
    def change(generator: np.random.Generator, sampled: Answered) -> Answered:
        flipped = generator.random(len(sampled.references)) < rate
        return sampled._replace(references=np.where(flipped, 1 - sampled.references, sampled.references))

    return change


def pick(sampled: Answered, rung: int) -> tuple[Codes, Codes, Codes]:
    """Labels, one rung's answers, and conversations."""
    return sampled.references, sampled.answers[:, rung], sampled.clusters


def verdicts(rungs: Sequence[Rung], sampled: Answered, weights: Floats) -> dict[str, Gate]:
    """The gate on every metric."""
    sample = Bootstrap(sampled.clusters, weights)
    scored = []
    for rung in range(len(rungs)):
        references, answers, clusters = pick(sampled, rung)
        scores = answer_scores(references, answers, clusters, weights)
        scored.append(with_gaps(references, answers, sample, scores))
    size = SampleSize(len(sampled.references), weights.shape[1])
    return {metric: gate_of(rungs, np.stack([one[metric] for one in scored], axis=1), size) for metric in GATED}


class Cell(NamedTuple):
    """What the simulations of one row gave: gates by metric, and p-values of Page's test."""

    gates: list[dict[str, Gate]]
    page: list[float]

    def share(self, metric: str, verdict: str) -> str:
        return share_text(sum(gates[metric].verdict == verdict for gates in self.gates), len(self.gates))


def share_text(count: int, of: int) -> str:
    """A share in percent with its exact binomial interval."""
    from scipy.stats import binomtest

    ends = binomtest(count, of).proportion_ci()
    return f"{100 * count / of:.1f} [{100 * ends.low:.1f}, {100 * ends.high:.1f}]"


def simulate(demo: Demo, change: Change, weights: Floats, simulations: int, seed: int) -> Cell:
    """Judge so many changed samples; equal seeds draw equal conversations, so rows can be compared."""
    cell = Cell([], [])
    for number in tqdm(range(simulations), leave=False, disable=None):
        generator = np.random.default_rng([seed, weights.shape[1], number])
        sampled = change(generator, demo.draw(generator, weights.shape[1]))
        cell.gates.append(verdicts(demo.rungs, sampled, weights))
        cell.page.append(page_p(demo.rungs, sampled.answers == sampled.references[:, None], sampled.clusters))
    return cell


def read_demo(labelled: Path, bases: Path, vanilla: Path, keys: Sequence[str], reading: str) -> Demo:
    """The labelled items with the rungs' answers, as they are or centred."""
    rungs = read_rungs(bases, keys).ascending()
    items = read_items(labelled, None)
    predictions = [read_predictions(vanilla / f"{rung.key}.parquet", items.ids) for rung in rungs]
    if reading == "centred":
        predictions = [centre(one) for one in predictions]
    _, clusters = np.unique(items.conversations, return_inverse=True)
    order = np.argsort(clusters, kind="stable")
    answers = np.stack([one.answers for one in predictions], axis=1)[order]
    sizes = np.bincount(clusters)
    sorted_items = Answered(items.references[order], answers, clusters[order])
    return Demo(rungs, sorted_items, np.cumsum(sizes) - sizes, sizes)


def draws_of(conversations: int) -> Floats:
    """The weights that the gate gives to so many conversations."""
    return bootstrap([str(number) for number in range(conversations)], Draws(GATE_SEED, DRAWS)).weights


def follow(demo: Demo, change: Change, cell: Cell, conversations: int, seed: int) -> list[str]:
    """Label as many more items as the gate asked for: how often it is decided then, as cells of a row."""
    after: Counter[str] = Counter()
    asked: list[int] = []
    refused = 0
    for number, gates in enumerate(cell.gates):
        if gates["precision"].verdict != INCONCLUSIVE or len(asked) == FOLLOWED:
            continue
        more = gates["precision"].more_items
        further = demo.conversations(more) if more else 0
        if more is None or (conversations + further) * len(demo.items.references) / len(demo.starts) > MOST_FOLLOWED:
            refused += 1
            continue
        asked.append(more)
        generator = np.random.default_rng([seed, conversations, number])
        sampled = change(generator, demo.draw(generator, conversations))
        if further:
            sampled = joined(sampled, change(generator, demo.draw(generator, further)))
        after[verdicts(demo.rungs, sampled, draws_of(conversations + further))["precision"].verdict] += 1
    if not asked:
        return ["0", str(refused), "", "", ""]
    decided = [share_text(after[verdict], len(asked)) for verdict in (PASS, FAIL)]
    return [str(len(asked)), str(refused), f"{np.median(asked):,.0f}", *decided]


def joined(first: Answered, more: Answered) -> Answered:
    """Two samples as one."""
    moved = more._replace(clusters=more.clusters + first.clusters[-1] + 1)
    return Answered(*(np.concatenate(parts) for parts in zip(first, moved, strict=True)))


def width_ratio(demo: Demo) -> str:
    """How much wider the slope's interval is over conversations than over single items, by metric."""
    clusters, single = demo.items.clusters, np.arange(len(demo.items.references))
    widths: dict[str, list[float]] = {metric: [] for metric in GATED}
    for places in (clusters, single):
        gates = verdicts(demo.rungs, demo.items._replace(clusters=places), draws_of(places[-1] + 1))
        for metric, gate in gates.items():
            _, low, high = interval(gate.slope)
            widths[metric].append(high - low)
    return ", ".join(
        f"{shown(metric)} {conversations / items:.2f}" for metric, (conversations, items) in widths.items()
    )


def row(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def verdict_table(cells: dict[tuple[int, str], Cell]) -> str:
    """Markdown: the verdicts of every row and metric, and Page's test."""
    lines = [row("items", "ladder", "metric", "pass, %", "inconclusive, %", "fail, %", "Page's p <= .05, %")]
    lines.append("| ---: | --- | --- | --- | --- | --- | --- |")
    for (items, name), cell in cells.items():
        trend = share_text(sum(p <= 0.05 for p in cell.page), len(cell.page))
        for metric in GATED:
            page = trend if metric == GATED[0] else ""
            lines.append(row(f"{items:,}", name, shown(metric), *(cell.share(metric, each) for each in CODES), page))
    return "\n".join(lines)


def slopes(demo: Demo, change: Change, conversations: int, simulations: int, seed: int) -> dict[str, Floats]:
    """The slope of every metric in so many changed samples, without the gate: metric -> shape ``(simulations,)``."""
    params = [rung.params for rung in demo.rungs]
    scores = []
    for number in range(simulations):
        generator = np.random.default_rng([seed, conversations, number])
        sampled = change(generator, demo.draw(generator, conversations))
        once = np.ones((1, conversations))
        scores.append([answer_scores(*pick(sampled, rung), once) for rung in range(len(params))])
    return {
        metric: slope_per_doubling(params, np.array([[one[metric][0] for one in rungs] for rungs in scores]))
        for metric in GATED
    }


def noise_table(demo: Demo, sizes: Sequence[int], simulations: int, seed: int) -> str:
    """Markdown: the mean slope under noise as a part of that without, on the same conversations."""
    lines = [row("items", "noise", "metric", "slope without", "slope with", "ratio [95 %]", "1 - 2e")]
    lines.append("| ---: | ---: | --- | ---: | ---: | --- | ---: |")
    for size in sizes:
        conversations = demo.conversations(size)
        clean = slopes(demo, as_it_is, conversations, simulations, seed)
        for rate in NOISE:
            found = slopes(demo, noisy(rate), conversations, simulations, seed)
            for metric in GATED:
                before, after = clean[metric].mean(), found[metric].mean()
                ratio = after / before
                # Delta method; both slopes are of the same conversations.
                half = 1.96 * (found[metric] - ratio * clean[metric]).std() / abs(before) / np.sqrt(simulations)
                shrunk = (f"{before:+.4f}", f"{after:+.4f}", f"{ratio:.3f} [{ratio - half:.3f}, {ratio + half:.3f}]")
                lines.append(row(f"{size:,}", rate, shown(metric), *shrunk, f"{1 - 2 * rate:.1f}"))
    return "\n".join(lines)


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@click.option("--simulations", type=click.IntRange(200), required=True, help="Of every row.")
@click.option("--seed", type=click.IntRange(0), required=True, help="Of the simulations.")
@click.option("--items", "sizes", type=click.IntRange(200), multiple=True, default=(500, 2302), show_default=True)
@click.option("--rung", "keys", multiple=True, default=RUNGS, show_default=True, help="Key of a rung; repeat it.")
@click.option("--answers", "reading", type=click.Choice(["raw", "centred"]), default="raw", show_default=True)
@click.option("--labelled", type=InputFile, default="data/labelled.parquet", show_default=True)
@click.option("--bases", type=InputFolder, default="data/bases", show_default=True)
@click.option("--vanilla", type=InputFolder, default="data/predictions/vanilla", show_default=True)
def main(
    simulations: int,
    seed: int,
    sizes: tuple[int, ...],
    keys: tuple[str, ...],
    reading: str,
    labelled: Path,
    bases: Path,
    vanilla: Path,
) -> None:
    """Print how often the gate passes, fails and leaves open ladders whose truth is known."""
    demo = read_demo(labelled, bases, vanilla, keys, reading)
    changes: dict[str, Change] = {"flat": flat, "even": evenly(demo), "demo": as_it_is}
    changes |= {f"noise {rate}": noisy(rate) for rate in NOISE}
    changes["reversed"] = upside_down
    cells = {}
    heads = ("items", "ladder", "followed", "no number, or too large", "median of more items", "pass, %", "fail, %")
    followed = [row(*heads), "| ---: | --- | ---: | ---: | ---: | --- | --- |"]
    for size in sizes:
        weights = draws_of(demo.conversations(size))
        for name, change in changes.items():
            cells[size, name] = simulate(demo, change, weights, simulations, seed)
            if name in ("flat", "even"):
                found = follow(demo, change, cells[size, name], weights.shape[1], seed)
                followed.append(row(f"{size:,}", name, *found))
    click.echo(f"{simulations} simulations a row, {reading} answers.\n")
    click.echo(
        verdict_table(cells)
        + "\n\n"
        + noise_table(demo, sizes, SLOPES * simulations, seed)
        + "\n\n"
        + "\n".join(followed)
    )
    click.echo(f"\nSlope's interval over conversations, in widths of that over single items: {width_ratio(demo)}.")


if __name__ == "__main__":
    main()

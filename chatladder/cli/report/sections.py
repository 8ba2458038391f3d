"""The parts of a page: its headline, changes from round to round, growth with size, plots."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from chatladder.cli.report.ladder import READINGS, SHOWN, Answers, Asked, Scored, Shared, slope_of
from chatladder.cli.report.plots import ForestPlot, ScalingPlot, forest_plot, scaling_plot
from chatladder.cli.report.rounds import Change, Round, Rounds, changes, matrix
from chatladder.cli.report.words import signed
from chatladder.evaluation.gate import GATED
from chatladder.evaluation.gate_words import advice, leaning, shown
from chatladder.evaluation.rung_scores import Interval, points

_DARKEST = 4
#: Kinds of change, in the words that a count stands before.
KINDS = (
    ("kept", "kept their label"),
    ("flipped", "were turned over"),
    ("settled", "had been disagreed on and were settled"),
    ("open", "are still disagreed on"),
    ("new", "had not been asked before"),
)
#: How a reading of the answers is called.
NAMES = {"raw": "as answered", "centred": "centred"}


@dataclass(frozen=True)
class Headline:
    """The gate's verdict on this round's labels.

    Attributes:
        verdict: "pass", "inconclusive", "fail", or "none" where there is nothing to judge by.
        lines: What it means and what to do next.
        slopes: Metric -> reading -> its verdict and slope.
    """

    verdict: str
    lines: list[str]
    slopes: list[tuple[str, list[tuple[str, Interval | None]]]]


def headline(scored: Scored, missing: str) -> Headline:
    """The verdict in words.

    Args:
        scored: This round's labels, scored.
        missing: What stands against it, or nothing.
    """
    if not scored.readings:
        return Headline("none", [missing or scored.why_not], [])
    gates = {name: reading.gates for name, reading in scored.readings.items()}
    first = GATED[0]
    lines = [*advice(gates["raw"][first], first), *leaning(gates["raw"][first], gates["centred"][first])]
    verdict = gates["raw"][first].verdict
    lines[0] = lines[0].removeprefix(f"gate: {verdict.upper()}. ")
    slopes = [
        (shown(metric), [(gates[name][metric].verdict, slope_of(scored.readings[name], metric)) for name in READINGS])
        for metric in GATED
    ]
    return Headline(verdict, lines, slopes)


def since_before(rounds: Rounds, scored: Sequence[Scored], shared: Shared | None) -> str:
    """How the slope of precision compares with that of the round before, in words; nothing where either has none."""
    if len(scored) < 2 or not (scored[-2].readings and scored[-1].readings):
        return ""
    metric = GATED[0]
    then, now = (slope_of(each.readings["raw"], metric) for each in scored[-2:])
    if then is None or now is None:
        return ""
    text = (
        f"Against round {rounds.rounds[-2].number}: {shown(metric)} per doubling was {signed(then.value, 4)} and is "
        f"{signed(now.value, 4)}"
    )
    if not shared or metric not in shared.slopes:
        return f"{text}, not on the same items."
    rest = "items that came in or left"
    both = f"{shared.items:,} items that both rounds label"
    if not shared.relabelled:
        return f"{text}. None of the {both} has another label now: the difference comes from {rest}."
    value, low, high = (signed(figure, 4) for figure in shared.slopes[metric][2])
    return (
        f"{text}. On the {both}, relabelling {shared.relabelled:,} of them moved it by {value} [{low}, {high}]; "
        f"the rest comes from {rest}."
    )


class Transition(NamedTuple):
    """What became of the items that a round asked about again."""

    before: Round
    after: Round
    changed: list[Change]
    columns: list[str]
    rows: list[tuple[str | None, list[int]]]

    @property
    def counts(self) -> Counter[str]:
        """How many items of each kind of change."""
        return Counter(change.kind() for change in self.changed)

    def heat(self, cell: int) -> int:
        """How dark a cell is, 0 to ``_DARKEST``; by its root, so that a single item is still seen."""
        most = max(max(row) for _, row in self.rows)
        return math.ceil(_DARKEST * math.sqrt(cell / most))


def transitions(rounds: Rounds, asked: Asked) -> Iterator[Transition]:
    """From each round to the next, the latest first."""
    for before, after in reversed(list(pairwise(rounds.rounds))):
        changed = changes(before, after, asked.ids)
        yield Transition(before, after, changed, *matrix(changed))


@dataclass(frozen=True)
class Growth:
    """Slopes per doubling by round.

    Attributes:
        rows: Round, its labels scored, and for each reading its name and the slope of each metric.
        plots: A plot of the slopes for each metric.
        shared: The two latest rounds on the items that both label.
        missing: What to run for it, or nothing.
    """

    rows: list[tuple[Round, Scored, list[tuple[str, list[Interval | None]]]]]
    plots: list[ForestPlot]
    shared: Shared | None
    missing: str


def growth(rounds: Rounds, scored: Sequence[Scored], shared: Shared | None, missing: str) -> Growth:
    """The slopes of every round."""
    rows = [
        (each, found, [(NAMES[name], _slopes(found, name)) for name in found.readings])
        for each, found in zip(rounds.rounds, scored, strict=True)
    ]
    plots = []
    for place, metric in enumerate(SHOWN):
        forest = [
            (f"round {each.number}, {name}", "now" if each is rounds.rounds[-1] else "before", slopes[place])
            for each, _, readings in rows
            for name, slopes in readings
        ]
        plots.append(forest_plot(f"slope-{metric}", shown(metric), forest))
    return Growth(rows, [plot for plot in plots if plot], shared, missing)


def _slopes(scored: Scored, name: str) -> list[Interval | None]:
    return [slope_of(scored.readings[name], metric) for metric in SHOWN]


@dataclass(frozen=True)
class Scaling:
    """Scores by size.

    Attributes:
        plots: One for each metric.
        rows: Rung, parameters, active parameters of a mixture, and its scores: metric by metric, round by round.
        rounds: The rounds that are shown.
        legend: Their names and styles.
    """

    plots: list[ScalingPlot]
    rows: list[tuple[str, int, int | None, list[Interval | None]]]
    rounds: list[int]
    legend: list[tuple[str, str]]

    @property
    def mixed(self) -> bool:
        """Whether any rung is a mixture of experts."""
        return any(active for _, _, active, _ in self.rows)


def scaling(rounds: Rounds, scored: Sequence[Scored], answers: Answers) -> Scaling:
    """The latest round, and the one before it, against size."""
    latest = [(each, found) for each, found in zip(rounds.rounds, scored, strict=True) if found.readings][-2:]
    named = [(f"round {each.number}", "now" if each is rounds.rounds[-1] else "before") for each, _ in latest]
    plots = []
    table: dict[str, list[Interval | None]] = {rung.key: [] for rung in answers.ladder.rungs()}
    for metric in SHOWN:
        drawn = []
        for (name, style), (_, found) in zip(named, latest, strict=True):
            here = points(found.readings["raw"], answers.ladder, metric)
            drawn.append((name, style, here))
            by_key = {point.rung.key: point.score for point in here}
            for key, figures in table.items():
                figures.append(by_key.get(key))
        if plot := scaling_plot(f"scaling-{metric}", shown(metric), drawn):
            plots.append(plot)
    rows = [
        (rung.key, rung.params, answers.ladder.mixtures.get(rung), table[rung.key]) for rung in answers.ladder.rungs()
    ]
    return Scaling(plots, rows, [each.number for each, _ in latest], named)

"""The positions of a plot's marks; the template (plots.html) draws them as SVG, in colours of the page's style sheet.

A plotting library is not used, so that marks follow the reader's light or dark scheme, text is text for a screen
reader, and equal numbers give equal bytes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from chatladder.cli.report.page import signed
from chatladder.evaluation.gate import slope_weights
from chatladder.evaluation.scaling_check import Score
from chatladder.evaluation.scores import Interval
from chatladder.evaluation.summary import short_count

#: Width of the drawing in units of about a pixel on a phone.
WIDTH = 400
SCALING_HEIGHT = 300
ROW_HEIGHT = 24
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 14, 12, 52
#: Width of the strip next to the axis, for models that have no place on it.
_STRIP = 56
#: The distance between marks of two rounds at one size, so that neither hides the other's interval.
_APART = 9
#: Tick labels closer than this would overlap.
_LABEL_WIDTH = 46
_FOREST_LEFT = 136


class Tick(NamedTuple):
    """A position on an axis, and its label (empty if it would overlap another)."""

    at: float
    label: str


class PlotMark(NamedTuple):
    """A value with its interval, and its text for tooltips and screen readers."""

    x: float
    y: float
    low: float
    high: float
    title: str
    kind: str


class Series(NamedTuple):
    """The marks of one round, and the two ends of the line through its dense rungs, if there is one."""

    style: str
    marks: list[PlotMark]
    line: tuple[float, ...]


@dataclass(frozen=True)
class Plot:
    """A score against size, or slopes with their intervals against zero, one per row.

    Attributes:
        name: Prefix of the drawing's ids.
        metric: The metric that is drawn, in words.
        left: The beginning of the axis.
        right: The end of the axis, after which comes the strip of the mixtures of experts.
        bottom: The height of the axis.
        x_ticks: One per size, or round values.
        y_ticks: Round values of the score.
        series: The round before, if any, then this one.
        mixtures: True if there are mixtures of experts.
        zero: The position of a slope of zero.
        rows: Label, position and mark of each slope.
    """

    name: str
    metric: str
    left: int
    right: float
    bottom: int
    x_ticks: list[Tick]
    y_ticks: Sequence[Tick] = ()
    series: Sequence[Series] = ()
    mixtures: bool = False
    zero: float = 0.0
    rows: Sequence[tuple[str, float, PlotMark | None]] = ()
    width: int = WIDTH
    top: int = _TOP

    @property
    def height(self) -> int:
        """The height of the drawing, with room for labels below the axis."""
        return self.bottom + _BOTTOM


class Scale(NamedTuple):
    """A linear map from values to positions."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Return the position of a value, to a tenth of a unit."""
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1) + 0.0


def round_values(low: float, high: float, most: int = 6) -> list[float]:
    """Return values from ``low`` to ``high`` in at most ``most`` steps of 1, 2 or 5 times a power of ten."""
    span = max(high - low, 1e-9)
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next(step for step in (power, 2 * power, 5 * power, 10 * power, 20 * power) if span / step <= most)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 9) + 0.0 for number in range(first, last + 1)]


def decimals(values: Sequence[float]) -> int:
    """Return the number of decimal places that distinguish round values."""
    step = min((after - before for before, after in pairwise(values)), default=0.1)
    return max(0, -math.floor(math.log10(step) + 1e-9))


def spread_labels(ticks: Sequence[Tick]) -> list[Tick]:
    """Return the ticks with labels only where there is room for them; the last label takes precedence."""
    kept: list[Tick] = []
    free = math.inf
    for tick in reversed(ticks):
        has_room = tick.at <= free
        kept.append(tick if has_room else Tick(tick.at, ""))
        free = tick.at - _LABEL_WIDTH if has_room else free
    return kept[::-1]


def fit_ends(scores: Sequence[Score]) -> list[tuple[float, float]]:
    """Return log2(parameters) and score of both ends of the line through the dense models; empty for one size."""
    dense = [each for each in scores if not each.model.is_mixture]
    sizes = np.log2([each.model.rung.params for each in dense])
    if not dense or np.ptp(sizes) == 0:
        return []
    values = np.array([each.value.value for each in dense])
    slope = float(values @ slope_weights(sizes))
    start = float(values.mean() - slope * sizes.mean())
    return [(float(size), start + slope * float(size)) for size in (sizes.min(), sizes.max())]


def scaling_plot(name: str, metric: str, rounds: Sequence[tuple[str, str, list[Score]]]) -> Plot | None:
    """Return the plot of a metric against log2(parameters), or None with fewer than two sizes.

    Args:
        name: Prefix of the drawing's ids.
        metric: The metric, in words.
        rounds: Name, style and scores of each round to draw, the one on top last.
    """
    every = [point for _, _, points in rounds for point in points]
    sizes = sorted({each.model.rung.params for each in every if not each.model.is_mixture})
    if len(sizes) < 2:
        return None
    mixtures = sorted({each.model.rung.key for each in every if each.model.is_mixture})
    right = WIDTH - _RIGHT - (_STRIP if mixtures else 0)
    ends = [score for _, _, points in rounds for _, score in fit_ends(points)]
    low, high = min(*(each.value.lo for each in every), *ends), max(*(each.value.hi for each in every), *ends)
    pad = max(0.06 * (high - low), 0.005)
    y = Scale(low - pad, high + pad, SCALING_HEIGHT - _BOTTOM, _TOP)
    margin = max(0.3, 0.06 * math.log2(sizes[-1] / sizes[0]))
    x = Scale(math.log2(sizes[0]) - margin, math.log2(sizes[-1]) + margin, _LEFT, right)
    values = round_values(y.low, y.high)
    digits = decimals(values)
    return Plot(
        name, metric, _LEFT, right, SCALING_HEIGHT - _BOTTOM,
        spread_labels([Tick(x(math.log2(size)), short_count(size)) for size in sizes]),
        y_ticks=[Tick(y(value), f"{value:.{digits}f}") for value in values],
        series=[
            _series(title, style, points, (x, y), (number - (len(rounds) - 1) / 2) * _APART, mixtures)
            for number, (title, style, points) in enumerate(rounds)
        ],
        mixtures=bool(mixtures),
    )  # fmt: skip


def _series(
    name: str, style: str, points: Sequence[Score], scales: tuple[Scale, Scale], shift: float, mixtures: Sequence[str]
) -> Series:
    x, y = scales
    marks = []
    for ((key, params), seed, is_mixture, _), (value, low, high) in points:
        at = x(math.log2(params))
        if is_mixture:
            at = WIDTH - _RIGHT - _STRIP * (1 - (mixtures.index(key) + 0.5) / len(mixtures))
        title = f"{key} (seed {seed}), {name}: {value:.3f} [{low:.3f}, {high:.3f}]"
        kind = "mixture" if is_mixture else "dense"
        marks.append(PlotMark(round(at + shift, 1), y(value), y(low), y(high), title, kind))
    return Series(style, marks, tuple(place for size, score in fit_ends(points) for place in (x(size), y(score))))


def forest_plot(name: str, metric: str, rows: Sequence[tuple[str, str, Interval | None]]) -> Plot | None:
    """Return the plot of slopes per doubling, or None if none is defined.

    Args:
        name: Prefix of the drawing's ids.
        metric: The metric, in words.
        rows: Label, style and slope of each row, from the top.
    """
    defined = [slope for _, _, slope in rows if slope]
    if not defined:
        return None
    low, high = min(0.0, *(slope.lo for slope in defined)), max(0.0, *(slope.hi for slope in defined))
    pad = max(0.08 * (high - low), 1e-4)
    x = Scale(low - pad, high + pad, _FOREST_LEFT, WIDTH - _RIGHT)
    values = round_values(x.low, x.high, 5)
    digits = decimals(values)
    marks: list[tuple[str, float, PlotMark | None]] = []
    for number, (label, style, slope) in enumerate(rows):
        at, mark = _TOP + ROW_HEIGHT * (number + 0.5), None
        if slope is not None:
            title = f"{label}: {signed(slope.value)} [{signed(slope.lo)}, {signed(slope.hi)}] per doubling"
            mark = PlotMark(x(slope.value), at, x(slope.lo), x(slope.hi), title, style)
        marks.append((label, at, mark))
    ticks = [Tick(x(value), signed(value, digits) if value else "0") for value in values]
    bottom = _TOP + ROW_HEIGHT * len(rows)
    return Plot(name, metric, _FOREST_LEFT, WIDTH - _RIGHT, bottom, ticks, zero=x(0.0), rows=marks)

"""Where the marks of a plot go; the template (plots.html) draws them as SVG, in colours of the page's style sheet.

Drawn here and not by a plotting library: the marks then follow the reader's light or dark scheme, its text is text for
a screen reader, and equal numbers give equal bytes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from chatladder.cli.report.ladder import fitted
from chatladder.cli.report.words import signed
from chatladder.evaluation.figures import short_count
from chatladder.evaluation.rung_scores import Interval, Point

#: Units of the drawing, about a pixel on a phone.
WIDTH = 400
SCALING_HEIGHT = 300
ROW_HEIGHT = 24
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 14, 12, 52
#: Beside the axis, for models that have no place on it.
_STRIP = 56
#: Marks of two rounds at one size stand so far apart, so that neither hides the other's interval.
_APART = 9
#: Tick labels closer than this would run into each other.
_LABEL_WIDTH = 46
_FOREST_LEFT = 136


class Tick(NamedTuple):
    """A place on an axis, and its label (empty where it would run into the one before it)."""

    at: float
    label: str


class Mark(NamedTuple):
    """A value with its interval, and what it says to whoever points at it or listens."""

    x: float
    y: float
    low: float
    high: float
    title: str
    kind: str


class Line(NamedTuple):
    """A straight line."""

    x1: float
    y1: float
    x2: float
    y2: float


@dataclass(frozen=True)
class Series:
    """The marks of one round."""

    name: str
    style: str
    marks: list[Mark]
    line: Line | None


@dataclass(frozen=True)
class ScalingPlot:
    """A score against size.

    Attributes:
        x_ticks: One a size.
        y_ticks: Round values.
        series: The round before, if any, then this one.
        strip: Where the strip of the mixtures of experts begins, None without any.
    """

    name: str
    metric: str
    width: int
    height: int
    left: int
    right: float
    top: int
    bottom: int
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    series: list[Series]
    strip: float | None


@dataclass(frozen=True)
class ForestPlot:
    """Slopes with their intervals, one a row, against zero."""

    name: str
    metric: str
    width: int
    height: int
    left: int
    right: float
    bottom: int
    zero: float
    x_ticks: list[Tick]
    rows: list[tuple[str, float, Mark | None]]


class Scale(NamedTuple):
    """Values to places."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Place of a value, to a tenth of a unit."""
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1) + 0.0


def round_values(low: float, high: float, most: int = 6) -> list[float]:
    """Values 1, 2 or 5 times a power of ten apart that lie from ``low`` to ``high``, at most ``most`` steps."""
    span = max(high - low, 1e-9)
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next(step for step in (power, 2 * power, 5 * power, 10 * power, 20 * power) if span / step <= most)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 9) + 0.0 for number in range(first, last + 1)]


def decimals(values: Sequence[float]) -> int:
    """Digits after the point that tell round values apart."""
    step = min((after - before for before, after in pairwise(values)), default=0.1)
    return max(0, -math.floor(math.log10(step) + 1e-9))


def spread_labels(ticks: Sequence[Tick]) -> list[Tick]:
    """The ticks with labels only where there is room for them, the last one first in line."""
    kept: list[Tick] = []
    free = math.inf
    for tick in reversed(ticks):
        has_room = tick.at <= free
        kept.append(tick if has_room else Tick(tick.at, ""))
        free = tick.at - _LABEL_WIDTH if has_room else free
    return kept[::-1]


def scaling_plot(name: str, metric: str, rounds: Sequence[tuple[str, str, list[Point]]]) -> ScalingPlot | None:
    """The plot of a metric against log2(parameters), None with fewer than two sizes.

    Args:
        name: Prefix of the drawing's ids.
        metric: What is drawn, in words.
        rounds: Name, style and scores of each round to draw, the one on top last.
    """
    found = [point for _, _, points in rounds for point in points]
    sizes = sorted({point.rung.params for point in found if not point.is_mixture})
    if len(sizes) < 2:
        return None
    mixtures = sorted({point.rung.key for point in found if point.is_mixture})
    right = WIDTH - _RIGHT - (_STRIP if mixtures else 0)
    ends = [at for _, _, points in rounds if (fit := fitted(points)) for at in _ends(fit, points)]
    low = min(*(point.score.lo for point in found), *(score for _, score in ends))
    high = max(*(point.score.hi for point in found), *(score for _, score in ends))
    pad = max(0.06 * (high - low), 0.005)
    y = Scale(low - pad, high + pad, SCALING_HEIGHT - _BOTTOM, _TOP)
    margin = max(0.3, 0.06 * math.log2(sizes[-1] / sizes[0]))
    x = Scale(math.log2(sizes[0]) - margin, math.log2(sizes[-1]) + margin, _LEFT, right)
    values = round_values(y.low, y.high)
    digits = decimals(values)
    series = [
        _series(title, style, points, (x, y), (number - (len(rounds) - 1) / 2) * _APART, mixtures)
        for number, (title, style, points) in enumerate(rounds)
    ]
    return ScalingPlot(
        name, metric, WIDTH, SCALING_HEIGHT, _LEFT, right, _TOP, SCALING_HEIGHT - _BOTTOM,
        spread_labels([Tick(x(math.log2(size)), short_count(size)) for size in sizes]),
        [Tick(y(value), f"{value:.{digits}f}") for value in values],
        series,
        right if mixtures else None,
    )  # fmt: skip


def _series(
    name: str, style: str, points: Sequence[Point], scales: tuple[Scale, Scale], shift: float, mixtures: Sequence[str]
) -> Series:
    x, y = scales
    marks = []
    for point in points:
        if point.is_mixture:
            place = (mixtures.index(point.rung.key) + 0.5) / len(mixtures)
            at = WIDTH - _RIGHT - _STRIP * (1 - place)
        else:
            at = x(math.log2(point.rung.params))
        value, low, high = point.score
        kind = "mixture" if point.is_mixture else "dense"
        title = f"{point.rung.key}, {name}: {value:.3f} [{low:.3f}, {high:.3f}]"
        marks.append(Mark(round(at + shift, 1), y(value), y(low), y(high), title, kind))
    line = None
    if fit := fitted(points):
        (x1, y1), (x2, y2) = _ends(fit, points)
        line = Line(x(x1), y(y1), x(x2), y(y2))
    return Series(name, style, marks, line)


def _ends(fit: tuple[float, float], points: Sequence[Point]) -> list[tuple[float, float]]:
    """Where the fitted line begins and ends: log2(parameters) and score."""
    sizes = [math.log2(point.rung.params) for point in points if not point.is_mixture]
    return [(size, fit[0] + fit[1] * size) for size in (min(sizes), max(sizes))]


def forest_plot(name: str, metric: str, rows: Sequence[tuple[str, str, Interval | None]]) -> ForestPlot | None:
    """The plot of slopes per doubling, None where none is defined.

    Args:
        name: Prefix of the drawing's ids.
        metric: What is drawn, in words.
        rows: Label, style and slope of each row, from the top.
    """
    defined = [slope for _, _, slope in rows if slope]
    if not defined:
        return None
    low, high = min(0.0, *(slope.lo for slope in defined)), max(0.0, *(slope.hi for slope in defined))
    pad = max(0.08 * (high - low), 1e-4)
    x = Scale(low - pad, high + pad, _FOREST_LEFT, WIDTH - _RIGHT)
    bottom = _TOP + ROW_HEIGHT * len(rows)
    values = round_values(x.low, x.high, 5)
    digits = decimals(values)
    marks: list[tuple[str, float, Mark | None]] = []
    for number, (label, style, slope) in enumerate(rows):
        at = _TOP + ROW_HEIGHT * (number + 0.5)
        if slope is None:
            marks.append((label, at, None))
            continue
        title = f"{label}: {signed(slope.value)} [{signed(slope.lo)}, {signed(slope.hi)}] per doubling"
        marks.append((label, at, Mark(x(slope.value), at, x(slope.lo), x(slope.hi), title, style)))
    return ForestPlot(
        name, metric, WIDTH, bottom + _BOTTOM, _FOREST_LEFT, WIDTH - _RIGHT, bottom, x(0.0),
        [Tick(x(value), signed(value, digits) if value else "0") for value in values],
        marks,
    )  # fmt: skip

"""The graph of ``dvc.yaml`` as a picture: stages in layers, arrows from who writes a file to who reads it, as SVG.

An arrow that follows from others is left out. The same graph gives the same bytes.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from html import escape
from itertools import pairwise
from typing import Any, NamedTuple

#: Width and height of a box, distance of layers, and of boxes beside each other, in pixels.
BOX, LAYER, GAP = (124, 28), 62, 22
#: What a person owns, and which of it the picture shows.
YOURS = ("data/raw", "data/annotations")
_SWEEPS = 24

Edges = dict[str, set[str]]  # node -> nodes that read what it writes


class Place(NamedTuple):
    """Middle of a box, in pixels."""

    x: float
    y: float


def active(pipeline: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """The stages that run, by name; one whose ``foreach`` goes over nothing does not."""
    stages = {}
    for name, stage in pipeline["stages"].items():
        if "foreach" not in stage:
            stages[name] = stage
        elif value_at(params, stage["foreach"].strip("${}")):
            stages[name] = stage["do"]
    return stages


def value_at(params: Any, dotted: str) -> Any:
    """What params hold under ``a.b.c``."""
    for key in dotted.split("."):
        params = params[key]
    return params


def names(files: Iterable[str | dict[str, Any]]) -> list[str]:
    """Paths of deps or outs, whose options are left off."""
    return [file if isinstance(file, str) else next(iter(file)) for file in files]


def edges_of(stages: Mapping[str, Any]) -> Edges:
    """Who reads what whom writes, among stages and ``YOURS``, without what follows from others."""
    writers = [(_pattern(path), path) for path in YOURS]
    for name, stage in stages.items():
        writers += [(_pattern(out), name) for out in names([*stage.get("outs", []), *stage.get("metrics", [])])]
    edges: Edges = {name: set() for name in (*YOURS, *stages)}
    for name, stage in stages.items():
        for dep in names(stage.get("deps", [])):
            for pattern, writer in writers:
                if pattern.fullmatch(dep):
                    edges[writer].add(name)
    return {node: {to for to in after if not _roundabout(edges, node, to)} for node, after in edges.items()}


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\\$\\\{\w+\\\}", "[^/]+", re.escape(path)))


def _roundabout(edges: Edges, start: str, end: str) -> bool:
    """Whether a way of several arrows leads from start to end."""
    seen, waiting = set(), [node for node in edges[start] if node != end]
    while waiting:
        node = waiting.pop()
        if node == end:
            return True
        if node not in seen:
            seen.add(node)
            waiting += edges[node]
    return False


def layers_of(edges: Edges) -> dict[str, int]:
    """Layer of each node: below all that it reads; what reads nothing stands just above its first reader."""
    layer = dict.fromkeys(edges, 0)
    for _ in edges:
        for node, after in edges.items():
            for to in after:
                layer[to] = max(layer[to], layer[node] + 1)
    read = {to for after in edges.values() for to in after}
    for node, after in edges.items():
        if node not in read and after:
            layer[node] = min(layer[to] for to in after) - 1
    return layer


def ways_of(edges: Edges, layer: Mapping[str, int]) -> dict[tuple[str, str], list[str]]:
    """Each arrow as the nodes it passes, with a stand-in ``from>to>layer`` in every layer between."""
    ways = {}
    for node in sorted(edges):
        for to in sorted(edges[node]):
            between = [f"{node}>{to}>{at}" for at in range(layer[node] + 1, layer[to])]
            ways[node, to] = [node, *between, to]
    return ways


def places_of(layer: Mapping[str, int], ways: Mapping[tuple[str, str], list[str]]) -> dict[str, Place]:
    """Where boxes and stand-ins are: each drawn to the middle of its neighbours, layer by layer, up and down."""
    rows: dict[int, list[str]] = {}
    beside: dict[str, tuple[list[str], list[str]]] = {}
    for node, at in layer.items():
        rows.setdefault(at, []).append(node)
    for way in ways.values():
        for at, node in enumerate(way):
            if node not in layer:
                rows.setdefault(layer[way[0]] + at, []).append(node)
        for above, below in pairwise(way):
            beside.setdefault(below, ([], []))[0].append(above)
            beside.setdefault(above, ([], []))[1].append(below)
    x = {node: float(at * (BOX[0] + GAP)) for row in rows.values() for at, node in enumerate(row)}
    for sweep in range(_SWEEPS):
        for at in sorted(rows, reverse=bool(sweep % 2)):
            wanted = {node: _middle(x, beside.get(node, ([], [])), sweep) for node in rows[at]}
            rows[at].sort(key=lambda node: (wanted[node], node))
            _spread(rows[at], wanted, x)
    left = min(x[node] - _half(node) for node in x)
    return {node: Place(x[node] - left, at * LAYER + BOX[1] / 2) for at, row in rows.items() for node in row}


def _middle(x: Mapping[str, float], beside: tuple[list[str], list[str]], sweep: int) -> float:
    near = beside[sweep % 2] or beside[1 - sweep % 2]
    # The last sweeps look both ways, so that boxes end up between what they read and what reads them.
    near = [*beside[0], *beside[1]] if sweep >= _SWEEPS - 4 else near
    return sum(x[node] for node in near) / len(near) if near else 0.0


def _half(node: str) -> float:
    return BOX[0] / 2 if ">" not in node else 4.0


def _spread(row: list[str], wanted: Mapping[str, float], x: dict[str, float]) -> None:
    """Put a row where it wants to be, but for what would overlap: such boxes share what they must give way."""
    blocks: list[tuple[list[str], float]] = []  # nodes side by side, and where the first one's middle is
    for node in row:
        blocks.append(([node], wanted[node]))
        while len(blocks) > 1:
            (left, start), (right, begin) = blocks[-2:]
            reach = _offsets([*left, right[0]])[-1]
            if start + reach <= begin:
                break
            both = [*left, *right]
            offsets = _offsets(both)
            mean = sum(wanted[each] - offset for each, offset in zip(both, offsets, strict=True)) / len(both)
            blocks[-2:] = [(both, mean)]
    for nodes, start in blocks:
        for node, offset in zip(nodes, _offsets(nodes), strict=True):
            x[node] = start + offset


def _offsets(nodes: list[str]) -> list[float]:
    offsets = [0.0]
    for one, other in pairwise(nodes):
        offsets.append(offsets[-1] + _half(one) + _half(other) + GAP)
    return offsets


def draw(stages: Mapping[str, Any], link: Callable[[str], str]) -> str:
    """The picture as one line of SVG.

    Args:
        stages: As ``active`` gives them.
        link: Where a stage's box leads.
    """
    edges = edges_of(stages)
    layer = layers_of(edges)
    ways = ways_of(edges, layer)
    places = places_of(layer, ways)
    width = max(place.x + _half(node) for node, place in places.items())
    height = max(place.y for place in places.values()) + BOX[1] / 2
    parts = [_arrow([places[node] for node in way]) for way in ways.values()]
    parts += [_box(node, places[node], link) for node in sorted(layer)]
    marker = (
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 1L7 4L0 7z"/></marker></defs>'
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-2 -2 {width + 4:.0f} {height + 4:.0f}" '
        f'width="{width + 4:.0f}" role="img" aria-label="The stages and what they hand on">'
        f"{marker}{''.join(parts)}</svg>"
    )


def _box(node: str, place: Place, link: Callable[[str], str]) -> str:
    x, y = place.x - BOX[0] / 2, place.y - BOX[1] / 2
    shape = f'<rect x="{x:.1f}" y="{y:.1f}" width="{BOX[0]}" height="{BOX[1]}" rx="5"/>'
    text = f'<text x="{place.x:.1f}" y="{place.y + 4:.1f}">{escape(node)}</text>'
    if node in YOURS:
        return f'<g class="yours">{shape}{text}</g>'
    return f'<a href="{escape(link(node))}">{shape}{text}</a>'


def _arrow(way: list[Place]) -> str:
    start, end = way[0], way[-1]
    points = [Place(start.x, start.y + BOX[1] / 2), *way[1:-1], Place(end.x, end.y - BOX[1] / 2 - 2)]
    path = f"M{points[0].x:.1f} {points[0].y:.1f}"
    for one, other in pairwise(points):
        bend = (other.y - one.y) / 2
        path += f"C{one.x:.1f} {one.y + bend:.1f} {other.x:.1f} {other.y - bend:.1f} {other.x:.1f} {other.y:.1f}"
    return f'<path d="{path}" marker-end="url(#tip)"/>'

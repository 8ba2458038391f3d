"""The graph of ``dvc.yaml`` as SVG: stages in layers, arrows from the writer of a file to its readers.

networkx removes the arrows implied by others, grandalf (which ``dvc dag`` draws with) places the boxes. The same graph
gives the same bytes.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from html import escape
from itertools import pairwise
from typing import Any, NamedTuple

import networkx as nx
from grandalf.graphs import Edge, Graph, Vertex
from grandalf.layouts import DummyVertex, SugiyamaLayout

#: Width and height of a box, distance between layers, and between boxes of a layer, in pixels.
BOX, LAYER, GAP = (124, 28), 34, 22
#: The user's own data in the picture.
YOURS = ("data/raw", "data/annotations")


class Place(NamedTuple):
    """The centre of a box, in pixels."""

    x: float
    y: float


class View:
    """The size of a box, and the position that grandalf gives it."""

    def __init__(self) -> None:
        self.w, self.h = BOX
        self.xy = (0.0, 0.0)


def active(pipeline: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the stages that run, by name; one with an empty ``foreach`` does not."""
    stages = {}
    for name, stage in pipeline["stages"].items():
        if "foreach" not in stage:
            stages[name] = stage
        elif value_at(params, stage["foreach"].strip("${}")):
            stages[name] = stage["do"]
    return stages


def value_at(params: Any, dotted: str) -> Any:
    """Return the value of params at ``a.b.c``."""
    for key in dotted.split("."):
        params = params[key]
    return params


def names(files: Iterable[str | dict[str, Any]]) -> list[str]:
    """Return the paths of deps or outputs, without their options."""
    return [file if isinstance(file, str) else next(iter(file)) for file in files]


def edges_of(stages: Mapping[str, Any]) -> nx.DiGraph:
    """Return the edges from writers to readers among stages and ``YOURS``, without those implied by others."""
    writers = [(path, path) for path in YOURS]
    for name, stage in stages.items():
        writers += [(out, name) for out in names([*stage.get("outs", []), *stage.get("metrics", [])])]
    graph = nx.DiGraph()
    graph.add_nodes_from((*YOURS, *stages))
    for name, stage in stages.items():
        for dep in names(stage.get("deps", [])):
            graph.add_edges_from((writer, name) for out, writer in writers if _holds(dep, out) or _holds(out, dep))
    return nx.transitive_reduction(graph)


def _holds(folder: str, path: str) -> bool:
    """Return True if a path equals a folder or lies in it; a ``foreach`` key matches any name."""
    pattern = re.sub(r"\\\$\\\{\w+\\\}", "[^/]+", re.escape(folder))
    return re.match(rf"{pattern}(/|$)", re.sub(r"\$\{\w+\}", "KEY", path)) is not None


def places_of(graph: nx.DiGraph) -> tuple[dict[str, Place], dict[tuple[str, str], list[Place]]]:
    """Return the centre of each box, and the points on each arrow."""
    vertices = {node: Vertex(node) for node in sorted(graph)}
    for vertex in vertices.values():
        vertex.view = View()
    edges = [Edge(vertices[one], vertices[other]) for one, other in sorted(graph.edges)]
    ways: dict[tuple[str, str], list[Place]] = {}
    for part in Graph(list(vertices.values()), edges).C:
        layout = SugiyamaLayout(part)
        layout.xspace, layout.yspace = GAP, LAYER
        layout.init_all()
        for row in layout.layers:  # grandalf starts with an order by memory address
            row.sort(key=_name)
            row.setup(layout)
        layout.draw(8)
        for edge in part.sE:
            passed = layout.ctrls.get(edge) or dict(enumerate(edge.v))  # the ends, and a dummy in each layer between
            ways[edge.v[0].data, edge.v[1].data] = [Place(*passed[rank].view.xy) for rank in sorted(passed)]
    return {node: Place(*vertex.view.xy) for node, vertex in vertices.items()}, ways


def _name(vertex: Vertex | DummyVertex) -> str:
    """Return the name of a stage, or of the arrow to which a dummy belongs."""
    if not isinstance(vertex, DummyVertex):
        return vertex.data
    return ">".join(vertex.ctrl[rank].data for rank in (min(vertex.ctrl), max(vertex.ctrl)))


def draw(stages: Mapping[str, Any], link: Callable[[str], str]) -> str:
    """Return the picture as one line of SVG.

    Args:
        stages: The stages that ``active`` returns.
        link: Returns the address of a stage's box.
    """
    places, ways = places_of(edges_of(stages))
    points = [point.x for way in ways.values() for point in way]
    left, right = min(points) - BOX[0] / 2, max(points) + BOX[0] / 2
    places = {node: Place(place.x - left, place.y) for node, place in places.items()}
    width = right - left
    height = max(place.y for place in places.values()) + BOX[1] / 2
    parts = [_arrow([Place(place.x - left, place.y) for place in ways[ends]]) for ends in sorted(ways)]
    parts += [_box(node, places[node], link) for node in sorted(places)]
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

"""Where things stand in the text of a YAML file, so that a part can be replaced and every other byte be left alone.

A file that people write is edited at the places that ruamel.yaml's composer reports, and not dumped anew: its dumper
keeps comments, and would still fold long lines and move what nobody asked it to.
"""

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from chatladder.io.console import DataError

if TYPE_CHECKING:
    from ruamel.yaml.nodes import MappingNode, Node, ScalarNode

#: What replaces the characters from the first index up to the second.
Edit = tuple[int, int, str]


@lru_cache(maxsize=8)
def compose(text: str, place: str) -> "MappingNode":
    """The nodes of a YAML file that holds a mapping; kept for the next who asks, so for reading alone.

    Args:
        text: Of the file, with line feeds alone.
        place: Name of the file, for errors.

    Raises:
        DataError: If it is no YAML, or no mapping.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError
    from ruamel.yaml.nodes import MappingNode

    try:
        # Refused with the YAML that is none: keys that are written twice, and what holds itself.
        json.dumps(plain(text), default=str, skipkeys=True)
        node = YAML().compose(text)
    except (YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{place}:{mark.line + 1}" if mark else place
        raise DataError(f"{where}: expected YAML: {getattr(error, 'problem', None) or error}.") from error
    if not isinstance(node, MappingNode):
        raise DataError(f"{place}: expected sections, such as ladder, got none.")
    return node


def plain(text: str) -> Any:
    """What YAML makes of a text that ``compose`` took."""
    from ruamel.yaml import YAML

    return YAML(typ="safe", pure=True).load(text)


def child(node: "MappingNode", path: str, place: str) -> "tuple[ScalarNode, Node]":
    """Key and value of a dotted path.

    Raises:
        DataError: If a part of it is not there.
    """
    from ruamel.yaml.nodes import MappingNode

    here: Any = node
    key: Any = None
    for part in path.split("."):
        pairs = here.value if isinstance(here, MappingNode) else []
        found = next(((k, v) for k, v in pairs if k.value == part), None)
        if found is None:
            where = place if key is None else f"{place}:{key.start_mark.line + 1}"
            raise DataError(f"{where}: expected {path}, got no {part} there.")
        key, here = found
    return key, here


def block(node: "MappingNode", path: str, place: str) -> "tuple[ScalarNode, MappingNode]":
    """Key and value of a section that is written one entry a line.

    Raises:
        DataError: If it is something else, or empty.
    """
    from ruamel.yaml.nodes import MappingNode

    key, value = child(node, path, place)
    if not isinstance(value, MappingNode) or value.flow_style or not value.value:
        raise DataError(f"{place}:{key.start_mark.line + 1}: expected {path} as a section, one entry a line.")
    return key, value


def keys(node: "MappingNode") -> list[str]:
    """The keys of a section, in order."""
    return [str(key.value) for key, _ in node.value]


def span(text: str, key: "Node", value: "Node") -> tuple[int, int]:
    """First and last character of an entry's lines; the last line feed is left out."""
    start = text.rfind("\n", 0, key.start_mark.index) + 1
    end = text.find("\n", _end(value))
    return start, len(text) if end < 0 else end


def section_span(text: str, section: "MappingNode") -> tuple[int, int]:
    """As ``span``, of all entries of a section."""
    (first, _), (last, value) = section.value[0], section.value[-1]
    return span(text, first, first)[0], span(text, last, value)[1]


def _end(node: "Node") -> int:
    """Where the text of a node ends: a block's own mark lies behind the comments that follow it."""
    from ruamel.yaml.nodes import CollectionNode

    if not isinstance(node, CollectionNode) or node.flow_style or not node.value:
        return int(node.end_mark.index)
    last = node.value[-1]
    return _end(last[1] if isinstance(last, tuple) else last)


def replace(text: str, edits: Sequence[Edit]) -> str:
    """Carry out edits that do not overlap."""
    for start, end, new in sorted(edits, reverse=True):
        text = text[:start] + new + text[end:]
    return text

"""How labels look on the screen: the keys that give them, and who gave which."""

from collections.abc import Mapping, Sequence

from textual.content import Content

from chatladder.cli.annotate.display import literal
from chatladder.cli.annotate.keys import shown
from chatladder.labels.answer import Label
from chatladder.labels.verdicts import Case
from chatladder.vocabulary import KINDS


def label_keys(keys: Mapping[str, Sequence[str]]) -> Content:
    """Which key gives which label.

    Args:
        keys: Names of the keys of each action, as ``parse_keys`` gives them.
    """
    parts: list[str | tuple[str, str]] = []
    for label in Label:
        parts += [_tag(label, shown(keys[label.value][0])), f"{KINDS[label].screen} "]
    return Content.assemble(*parts)


def said(case: Case) -> Content:
    """What each annotator, and each adjudicator, said of an item: ``round 2  li: needed  wu: unsure``."""
    parts: list[str | tuple[str, str]] = [(f"round {case.round}  ", "$text-muted")]
    for who, given in (("", case.annotators), ("adjudicator ", case.adjudicators)):
        for name, label in sorted(given.items()):
            parts += [f"{who}{literal(name)}: ".replace("\n", " "), _tag(label, KINDS[label].screen), "  "]
    return Content.assemble(*parts)


def _tag(label: Label, text: str) -> tuple[str, str]:
    return f" {text} ", f"bold #ffffff on {KINDS[label].colour}"

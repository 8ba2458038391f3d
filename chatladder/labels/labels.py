"""How labels look on the screen: the keys that give them, and who gave which."""

from collections.abc import Mapping, Sequence

from textual.content import Content

from chatladder.cli.annotate.display import literal
from chatladder.cli.annotate.keys import shown
from chatladder.labels.answer import Label
from chatladder.labels.verdicts import Case

#: The ground on which a label is written, wherever it is.
LABEL_COLOURS = {
    Label.NEEDED: "#2f6fb5",
    Label.NOT_NEEDED: "#2d7d46",
    Label.NOT_A_QUESTION: "#8a5a1c",
    Label.UNSURE: "#6a4a8c",
}
LABEL_WORDS = {
    Label.NEEDED: "needed 需要",
    Label.NOT_NEEDED: "not needed 不需要",
    Label.NOT_A_QUESTION: "not a question 非问题",
    Label.UNSURE: "unsure 不确定",
}


def label_keys(keys: Mapping[str, Sequence[str]]) -> Content:
    """Which key gives which label.

    Args:
        keys: Names of the keys of each action, as ``parse_keys`` gives them.
    """
    parts: list[str | tuple[str, str]] = []
    for label, words in LABEL_WORDS.items():
        parts += [_tag(label, shown(keys[label.value][0])), f"{words} "]
    return Content.assemble(*parts)


def said(case: Case) -> Content:
    """What each annotator, and each adjudicator, said of an item: ``round 2  li: needed  wu: unsure``."""
    parts: list[str | tuple[str, str]] = [(f"round {case.round}  ", "$text-muted")]
    for who, given in (("", case.annotators), ("adjudicator ", case.adjudicators)):
        for name, label in sorted(given.items()):
            parts += [f"{who}{literal(name)}: ".replace("\n", " "), _tag(label, LABEL_WORDS[label]), "  "]
    return Content.assemble(*parts)


def _tag(label: Label, text: str) -> tuple[str, str]:
    return f" {text} ", f"bold #ffffff on {LABEL_COLOURS[label]}"

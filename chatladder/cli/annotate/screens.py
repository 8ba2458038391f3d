"""The parts of the annotator's screen: the chat, the labels, and the dialogs over them."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import tzinfo
from typing import Any, ClassVar

from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, Markdown, Static

from chatladder.cli.annotate.display import clock, literal, notes, shortened
from chatladder.cli.annotate.options import shown
from chatladder.labels.verdicts import Case
from chatladder.vocabulary import KINDS, LABELS


class Definition(ModalScreen[None]):
    """The guidelines, over the chat; any of a few keys closes them."""

    def __init__(self, text: str, keys: Iterable[str]) -> None:
        super().__init__()
        self._text = text
        self._leaving_keys = {*keys, "escape", "enter", "q"}

    def compose(self) -> ComposeResult:
        """Yield the text, which scrolls."""
        with VerticalScroll(id="definition"):
            yield Markdown(self._text, open_links=False)

    def on_key(self, event: Any) -> None:
        """Close on one of the keys; the others scroll or do nothing."""
        if event.key in self._leaving_keys:
            event.stop()
            self.dismiss()


class Ask(ModalScreen[str | None]):
    """A dialog for one line of text; Escape returns None."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", show=False)]

    def __init__(self, what: str, text: str = "") -> None:
        super().__init__()
        self._what = what
        self._text = text

    def compose(self) -> ComposeResult:
        """Yield the prompt, and the input, which may hold a text to edit."""
        with Vertical(id="ask"):
            yield Static(Content(self._what))
            yield Input(self._text, select_on_focus=False)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Return the line on Enter."""
        event.stop()
        self.dismiss(event.value)


class WriteOut(Ask):
    """A line under the question, which stays visible."""


class Failure(ModalScreen[None]):
    """A dialog about an answer that could not be recorded, until a key is pressed."""

    def __init__(self, message: str) -> None:
        super().__init__()
        self._message = message

    def compose(self) -> ComposeResult:
        """Yield the error and what it means."""
        with Vertical(id="failure"):
            yield Static(Content.styled("Not recorded", "bold"))
            yield Static(Content(literal(self._message)), id="reason")
            yield Static(Content("The question is unchanged. Press Escape or Enter."))

    def on_key(self, event: Any) -> None:
        """Close, but not on a label's key typed ahead: the error would go unread."""
        event.stop()
        if event.key in ("escape", "enter"):
            self.dismiss()


def label_keys(keys: Mapping[str, Sequence[str]]) -> Content:
    """Return the key of each label.

    Args:
        keys: Names of the keys of each action, as ``parse_keys`` returns them.
    """
    parts: list[str | tuple[str, str]] = []
    for label in LABELS:
        parts += [_tag(label, shown(keys[label][0])), f"{KINDS[label].screen} "]
    return Content.assemble(*parts)


def said(case: Case) -> Content:
    """Return the round to adjudicate, and the votes and adjudications on an item.

    As in ``round 2  li: needed  wu: unsure  adjudicator chen: needed``; a vote may be from an earlier round.
    """
    parts: list[str | tuple[str, str]] = [(f"round {case.round}  ", "$text-muted")]
    for who, given in (("", case.annotators), ("adjudicator ", case.adjudicators)):
        for name, label in sorted(given.items()):
            parts += [f"{who}{literal(name)}: ".replace("\n", " "), _tag(label, KINDS[label].screen), "  "]
    return Content.assemble(*parts)


def _tag(label: str, text: str) -> tuple[str, str]:
    return f" {text} ", f"bold #ffffff on {KINDS[label].colour}"


def chat_table(
    turns: Sequence[Mapping[str, Any]],
    tints: Mapping[str, str],
    zone: tzinfo,
    *,
    before: int | None = None,
    is_question: bool = False,
    expand_key: str | None,
) -> Table:
    """Return a table of messages: time, sender, text. ``Text`` takes a string literally and interprets no markup.

    Args:
        turns: Messages, oldest first: sender, text, timestamp.
        tints: The colour of each sender.
        zone: The time zone of the times.
        before: Time of the message before the first (UTC seconds).
        is_question: True for bold text without the date, which is in the question's frame.
        expand_key: The key that shows long messages whole, named where one is cut; None to cut none.
    """
    table = Table.grid(padding=(0, 1))
    table.add_column(width=5, no_wrap=True)
    table.add_column(width=11, no_wrap=True, overflow="ellipsis")
    table.add_column(ratio=1, overflow="fold")
    for turn, note in zip(turns, notes(turns, zone, before, with_days=not is_question), strict=True):
        if note:
            table.add_row("", "", Text(note, style="dim italic"))
        sender = turn["sender"] or ""
        name = Text(literal(sender).replace("\n", " "), style=tints[sender])
        text = _text(turn["text"] or "", "bold" if is_question else "", expand_key)
        table.add_row(Text(clock(turn["timestamp"], zone), style="dim"), name, text)
    return table


def _text(text: str, style: str, expand_key: str | None) -> Text:
    text, left_out = (text, 0) if expand_key is None else shortened(text)
    whole = Text(literal(text), style=style)
    if left_out:
        whole.append(f" … {left_out:,} more characters: {expand_key}", style="dim italic")
    return whole

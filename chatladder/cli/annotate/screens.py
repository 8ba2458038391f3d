"""What lies over the annotator's chat for a while: the definition, a question to the annotator, an error."""

from collections.abc import Iterable
from typing import Any, ClassVar

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, Markdown, Static

from chatladder.cli.annotate.display import literal


class Definition(ModalScreen[None]):
    """The guidelines, over the chat; any of a few keys closes them."""

    DEFAULT_CSS = """
    Definition { align: center middle; }
    #definition { width: 90%; max-width: 110; height: 90%; background: $surface; border: round $accent; padding: 0 1; }
    """

    def __init__(self, text: str, keys: Iterable[str]) -> None:
        super().__init__()
        self._text = text
        self._leaving_keys = {*keys, "escape", "enter", "q"}

    def compose(self) -> ComposeResult:
        """The text, which scrolls."""
        with VerticalScroll(id="definition"):
            yield Markdown(self._text, open_links=False)

    def on_key(self, event: Any) -> None:
        """Close on a key that asks for it; the others scroll or do nothing."""
        if event.key in self._leaving_keys:
            event.stop()
            self.dismiss()


class Ask(ModalScreen[str | None]):
    """One line to type; Escape gives None."""

    DEFAULT_CSS = """
    Ask { align: center middle; }
    #ask { width: 80%; max-width: 80; height: auto; background: $surface; border: round $accent; padding: 0 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", show=False)]

    def __init__(self, what: str) -> None:
        super().__init__()
        self._what = what

    def compose(self) -> ComposeResult:
        """What is asked, and where to type."""
        with Vertical(id="ask"):
            yield Static(Content(self._what))
            yield Input()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter hands the line back."""
        event.stop()
        self.dismiss(event.value)


class Failure(ModalScreen[None]):
    """An answer that could not be recorded: said once, clearly, until a key is pressed."""

    DEFAULT_CSS = """
    Failure { align: center middle; }
    #failure { width: 80%; max-width: 90; height: auto; background: $surface; border: heavy $error; padding: 1 2; }
    #reason { margin: 1 0; }
    """

    def __init__(self, message: str) -> None:
        super().__init__()
        self._message = message

    def compose(self) -> ComposeResult:
        """The error and what it means."""
        with Vertical(id="failure"):
            yield Static(Content.styled("Not recorded", "bold"))
            yield Static(Content(literal(self._message)), id="reason")
            yield Static(Content("The question stays as it was. Press Escape or Enter."))

    def on_key(self, event: Any) -> None:
        """Close, but not on a label typed ahead, which would go unread."""
        event.stop()
        if event.key in ("escape", "enter"):
            self.dismiss()


class Refusal(App[None]):
    """Says in a browser why the annotator could not begin, where no terminal shows it."""

    ENABLE_COMMAND_PALETTE = False

    def __init__(self, message: str) -> None:
        super().__init__()
        self._message = message

    def compose(self) -> ComposeResult:
        """The error."""
        yield Static(Content(literal(self._message)))

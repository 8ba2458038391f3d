"""A person's steps through the questions, each of which returns a remark; independent of any screen."""

from chatladder.cli.annotate.display import literal
from chatladder.cli.annotate.session import Session, SessionItems
from chatladder.cli.annotate.writing import masked_line, phone_regions
from chatladder.labels.answer import Label
from chatladder.labels.rewrites import one_line


class Desk:
    """The questions, and one person's work on them.

    Every step raises ``DataError`` if an answer cannot be recorded or the questions cannot be read; the state is then
    unchanged.

    Attributes:
        session: The answers so far.
        items: The questions.
    """

    def __init__(self, session: Session, items: SessionItems) -> None:
        self.session = session
        self.items = items
        self._sought: str | None = None
        self._hits: set[str] = set()

    def answer(self, label: str) -> str:
        """Answer, and go to the next unanswered question."""
        place = self.session.position
        self.session.answer(Label(label))
        if self.session.is_finished:
            return "Every item is answered. Look back, or quit: all answers are saved."
        return f"{place + 1:,}: {label}."

    def undo(self) -> str:
        """Take the latest answer back."""
        taken = self.session.undo()
        if taken is None:
            return "Nothing to undo."
        what = "the rewrite" if self.session.label(taken.item_id) == taken.label else taken.label
        return f"Took back {what} of {self.session.position + 1:,}."

    def skip(self) -> str:
        """Leave the question for later."""
        return "" if self.session.skip() else "No other item is open."

    def step(self, by: int) -> str:
        """Go forward by some questions, or back."""
        if self.session.step(by):
            return ""
        return "This is the first item." if by < 0 else "This is the last item."

    def jump(self, target: str) -> str:
        """Go to a number or an id."""
        if self.session.jump(target.strip()):
            return ""
        return f"Expected a number from 1 to {len(self.session.order):,}, or the start of an id."

    def search(self, text: str | None, *, again: bool = False) -> str:
        """Go to the next question that contains a text.

        Args:
            text: The text to search for; None for the previous one.
            again: True to search from the question after the current one.
        """
        if text is not None and text != self._sought:
            self._hits = self.items.containing(text).intersection(self.session.order)
            self._sought = text
        if self._sought is None:
            return "Nothing was searched yet."
        found = self.session.find(self._hits.__contains__, again=again)
        return f"{len(self._hits):,} questions match." if found else "No question matches."

    def line(self) -> str:
        """Return the line that a person edits into a rewrite: their earlier rewrite, or else the question."""
        written = self.session.rewrite(self.session.current)
        return self._question() if written is None else literal(written)

    def write_out(self, typed: str) -> str:
        """Record a typed rewrite, masked; an empty line, or one that repeats the question, removes the rewrite."""
        text, masked = masked_line(typed, phone_regions())
        if not self.session.write_out(text if text not in ("", self._question()) else None):
            return "Unchanged."
        what = "written out" if self.session.rewrite(self.session.current) else "no longer written out"
        return f"{self.session.position + 1:,}: {what}{f', {masked:,} masked' if masked else ''}."

    def _question(self) -> str:
        return literal(one_line(self.items.get(self.session.current)["text"] or ""))

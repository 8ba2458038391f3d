"""The annotator's screen: a chat, the question set apart, one key for an answer. Its state is a ``Session``."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, tzinfo
from functools import partial
from typing import Any

from textual.app import App, ComposeResult
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.widgets import ProgressBar, Static

from chatladder.cli.annotate.desk import Desk
from chatladder.cli.annotate.display import colours, day, duration, literal
from chatladder.cli.annotate.options import KEYS, shown
from chatladder.cli.annotate.running import Task
from chatladder.cli.annotate.screens import Ask, Definition, Failure, WriteOut, chat_table, label_keys, said
from chatladder.cli.annotate.session import AHEAD, NOT_WRITTEN_OUT, Session, SessionItems
from chatladder.io.console import DataError
from chatladder.vocabulary import TASK

#: The other keys at the foot of the screen; "write out", "next hit" and "all text" are named when they are of use.
_ALWAYS_SHOWN = ("definition", "undo", "skip", "previous", "next", "jump", "search", "quit")
_SCROLLING = ("up", "down", "page_up", "page_down", "home", "end")


class AnnotateApp(App[None]):
    """Shows one item after another and hands the annotator's keys to the session.

    Attributes:
        session: The answers so far.
        work: The items, the person, and the notices.
        error: The error that stopped the app, if one did.
    """

    ENABLE_COMMAND_PALETTE = False
    CSS_PATH = "app.tcss"

    def __init__(
        self, session: Session, items: SessionItems, task: Task, keys: Mapping[str, Sequence[str]], zone: tzinfo = UTC
    ) -> None:
        super().__init__()
        self.session = session
        self.error: DataError | None = None
        self.work = task
        self._desk = Desk(session, items)
        self._items = items
        self._keys = keys
        self._zone = zone
        self._is_whole = False
        self._reads_ahead = False
        for name, key in KEYS.items():
            names = keys[name]
            # A key does the same with Caps Lock on.
            capitals = [each.upper() for each in names if len(each) == 1 and each.isalpha()]
            self.bind(",".join([*names, *capitals]), key.action, description=key.words)
        for name in _SCROLLING:
            self.bind(name.replace("_", ""), f"scroll('{name}')", show=False)

    def compose(self) -> ComposeResult:
        """Yield the progress, the chat with the question under it, the latest remark, and the keys."""
        with Horizontal(id="head"):
            yield Static(id="where")
            yield ProgressBar(id="bar", total=len(self.session.order), show_percentage=False, show_eta=False)
            yield Static(id="pace")
        with VerticalScroll(id="chat", can_focus=False):
            yield Static(id="history")
            yield Static(id="question")
        if self.work.cases:
            yield Static(id="said")
        yield Static(id="say")
        yield Static(label_keys(self._keys), id="labels")
        yield Static(self._other_keys(), id="keys")

    def on_mount(self) -> None:
        """Show the first item, and the notices of the task."""
        self._show()
        if self.work.notices:
            self._say(" ".join(self.work.notices), "bold $warning")
        self.set_timer(0.2, self._read_ahead)

    def action_answer(self, label: str) -> None:
        """Answer, and go to the next unanswered item."""
        self._act(partial(self._desk.answer, label))

    def action_write_out(self) -> None:
        """Ask for a rewrite of a question whose answer is the positive label: the one just answered, or this one."""
        item_id = self.session.to_write_out()
        if item_id is None:
            self._say(NOT_WRITTEN_OUT)
            return
        place = self.session.position
        self.session.jump(item_id)
        self._show()
        with self._stopping():
            what = "Write it out so that it stands alone. Enter saves, Escape cancels."
            self.push_screen(WriteOut(what, self._desk.line()), partial(self._write_out, place))

    def action_undo(self) -> None:
        """Take the latest answer back."""
        self._act(self._desk.undo)

    def action_skip(self) -> None:
        """Leave the item for later."""
        self._act(self._desk.skip)

    def action_step(self, by: int) -> None:
        """Go forward by some items, or back."""
        self._act(partial(self._desk.step, by))

    def action_jump(self) -> None:
        """Ask for a number or an id and go there."""

        def go(target: str | None) -> None:
            if target is not None:
                self._act(partial(self._desk.jump, target))

        self.push_screen(Ask("Go to: number, or start of an id"), go)

    def action_search(self) -> None:
        """Ask for a text and go to the next question that has it."""

        def search(text: str | None) -> None:
            if text:
                self._find(text)

        self.push_screen(Ask("Search the questions"), search)

    def action_again(self) -> None:
        """Go to the next hit."""
        self._find(None, again=True)

    def action_expand(self) -> None:
        """Show long messages whole."""
        self._is_whole = True
        self._show(keep_whole=True)

    def action_definition(self) -> None:
        """Show what the labels mean."""
        self.push_screen(Definition(self.work.guidelines, self._keys["definition"]))

    async def action_quit(self) -> None:
        """Quit; all answers are on disk."""
        self.exit()

    def action_scroll(self, where: str) -> None:
        """Scroll the chat."""
        getattr(self.query_one("#chat", VerticalScroll), f"scroll_{where}")(animate=False)

    def _write_out(self, place: int, typed: str | None) -> None:
        """Record the typed text, unless it is None, and return to the earlier position."""

        def write() -> str:
            try:
                return "Unchanged." if typed is None else self._desk.write_out(typed)
            finally:
                self.session.go(place)

        self._act(write)

    def _act(self, step: Callable[[], str]) -> None:
        """Take a step, and show the item that it leads to with the remark on the step."""
        given = self.session.given
        try:
            remark = step()
        except DataError as error:
            self._show()
            self.push_screen(Failure(error.message))
            return
        self._show()
        if self.session.given == given:
            self._say(remark)
            return
        item_id = self.session.to_write_out()
        is_open = item_id is not None and self.session.rewrite(item_id) is None
        writes = f"{shown(self._keys['rewrite'][0])} writes it out, " if is_open else ""
        remark = f"{remark} {writes}{shown(self._keys['undo'][0])} takes it back."
        self._say(remark, "bold $success" if self.session.is_finished else "$text-muted")

    def _find(self, text: str | None, *, again: bool = False) -> None:
        with self._stopping():
            remark = self._desk.search(text, again=again)
            self._show()
            self._say(remark.replace("match.", f"match; {shown(self._keys['again'][0])} goes to the next."))

    def _read_ahead(self) -> None:
        """Read the next items once the first, which loads faster alone, is on the screen."""
        self._reads_ahead = True
        with self._stopping():
            self._items.get(self.session.upcoming(2)[-1], self.session.upcoming(AHEAD))

    @contextmanager
    def _stopping(self) -> Iterator[None]:
        """Quit if the questions cannot be read."""
        try:
            yield
        except DataError as error:
            self.error = error
            self.exit()

    def _say(self, text: str, style: str = "$text-muted") -> None:
        self.query_one("#say", Static).update(Content.styled(literal(text), style))

    def _show(self, *, keep_whole: bool = False) -> None:
        """Put the current item on the screen."""
        self._is_whole = self._is_whole and keep_whole
        session = self.session
        with self._stopping():
            upcoming = session.upcoming(AHEAD if self._reads_ahead else 1)
            self._show_item(self._items.get(session.current, upcoming))

    def _show_item(self, item: Mapping[str, Any]) -> None:
        window = item["window"] or []
        tints = colours([item["sender"] or "", *(turn["sender"] or "" for turn in reversed(window))])
        cut_until = None if self._is_whole else shown(self._keys["expand"][0])
        zone = self._zone
        self.query_one("#history", Static).update(chat_table(window, tints, zone, expand_key=cut_until))
        before = window[-1]["timestamp"] if window else None
        question = self.query_one("#question", Static)
        question.update(chat_table([item], tints, zone, before=before, is_question=True, expand_key=cut_until))
        question.border_title = f"{' '.join(TASK.item)} {day(item['timestamp'], zone)}"
        label = self.session.label(self.session.current)
        written = ", written out" if self.session.rewrite(self.session.current) else ""
        question.border_subtitle = f"your answer: {label.value}{written}" if label is not None else ""
        if self.work.cases:
            self.query_one("#said", Static).update(said(self.work.cases[self.session.current]))
        self._show_progress()
        self._say("")
        self.call_after_refresh(self._scroll_to_question)

    def _show_progress(self) -> None:
        progress = self.session.progress()
        where = f"{self.work.title} · {self.session.position + 1:,} of {progress.total:,}"
        self.query_one("#where", Static).update(Content(where))
        self.query_one("#bar", ProgressBar).update(progress=progress.done)
        pace = f"{progress.done:,} done, {progress.total - progress.done:,} left"
        if progress.per_hour and progress.seconds_left is not None:
            pace += f" · {progress.per_hour:,.0f}/h · {duration(progress.seconds_left)}"
        self.query_one("#pace", Static).update(Content(pace))

    def _scroll_to_question(self) -> None:
        chat, question = self.query_one("#chat", VerticalScroll), self.query_one("#question", Static)
        if question.outer_size.height >= chat.size.height:
            chat.scroll_to_widget(question, top=True, animate=False)
        else:
            chat.scroll_end(animate=False)

    def _other_keys(self) -> Content:
        return Content("  ".join(f"{shown(self._keys[name][0])} {KEYS[name].words}" for name in _ALWAYS_SHOWN))

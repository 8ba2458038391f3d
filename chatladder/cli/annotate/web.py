"""Annotation in browsers: a page, and its requests to the session of the one person whom its address is for.

A printed address ends in a token after a #, which browsers do not send; the page sends it with every request. Each step
names the question on the page, so that neither a second tab nor an answer sent twice affects another question, and an
undo names the number of answers that stand.
"""

import hmac
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from threading import Lock, Timer
from typing import Annotated, Any, Literal

import click
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from pydantic import BaseModel, ConfigDict, Field, model_validator

from chatladder.cli.annotate.desk import Desk
from chatladder.cli.annotate.display import People, clock, colours, duration, literal, notes
from chatladder.cli.annotate.options import SIGNS, ScreenOptions, parse_keys, shown, zone
from chatladder.cli.annotate.running import Task
from chatladder.cli.annotate.session import AHEAD, NOT_WRITTEN_OUT
from chatladder.cli.listening import Guard, api, listen, listening_address, problem, serve, spellings
from chatladder.io.console import DataError
from chatladder.labels.answer import Label
from chatladder.privacy.secret import SHORTEST, create
from chatladder.vocabulary import KINDS, LABELS, POSITIVE, TASK

#: Timeout for a request to arrive, in seconds.
SECONDS = 20
#: Seconds between two lines about people's progress.
QUIET_SECONDS = 60
#: The secret that the addresses of several people are derived from, so that they stay the same.
LINKS_FILE = Path(".chatladder") / "links_key"
#: The most characters of a typed line.
MOST_TYPED = 10_000
#: Keys that have other names in browsers.
_KEYS = {name: sign for sign, name in SIGNS.items()} | {
    "left": "ArrowLeft", "right": "ArrowRight", "backspace": "Backspace",
}  # fmt: skip


class Step(BaseModel):
    """An action on the question that the page shows."""

    model_config = ConfigDict(extra="forbid")

    item_id: str


class Answered(Step):
    """An answer."""

    label: Label


class Written(Step):
    """The question written out; null or "" where it should not be."""

    text: str | None = Field(max_length=MOST_TYPED)


class Undone(Step):
    """The latest answer taken back, if so many stand."""

    standing: int


class Gone(Step):
    """To another question: one on or back, to a number or an id, to the next open one, or to one that has a text."""

    by: Literal[-1, 1] | None = None
    to: str | None = Field(None, max_length=MOST_TYPED)
    skip: Literal[True] | None = None
    search: str | None = Field(None, min_length=1, max_length=MOST_TYPED)
    again: bool = False

    @model_validator(mode="after")
    def _check_one_way(self) -> "Gone":
        if sum(way is not None for way in (self.by, self.to, self.skip, self.search)) != 1:
            raise ValueError("expected one of by, to, skip and search.")
        return self


@dataclass
class Page:
    """The page of one person, which takes one step at a time.

    Attributes:
        desk: The questions and the answers.
        task: The work.
        options: The command's options.
        tell: Called after each step with the person's name, the number of questions that they answered, and the total.
    """

    desk: Desk
    task: Task
    options: ScreenOptions
    tell: Callable[[str, int, int], object] = lambda *_: None
    _lock: Lock = field(default_factory=Lock)

    def __post_init__(self) -> None:
        """Read the options once."""
        self._keys, self._zone = parse_keys(self.options.keys), zone(self.options.timezone)

    def begin(self) -> dict[str, Any]:
        """Return the first state of the page."""
        with self._lock:
            return self._state(" ".join(self.task.notices))

    def take(self, step: Step, act: Callable[[], str]) -> dict[str, Any]:
        """Take a step from the question on the page, and return the page's new state.

        Raises:
            HTTPException: If the question is not in this task.
            DataError: If an answer could not be recorded or the questions cannot be read.
        """
        with self._lock:
            if step.item_id not in self.task.rounds:
                raise HTTPException(422, "expected a question of this work, got another; load the page again.")
            self.desk.session.jump(step.item_id)
            return self._state(act())

    def undo(self, standing: int) -> str:
        """Take the latest answer back, unless that was done already or something was answered since."""
        if standing != self.desk.session.standing:
            return "The answers changed in the meantime: look, and undo again if you still want to."
        return self.desk.undo()

    def write_out(self, text: str | None) -> str:
        """Record a rewrite of the question, with names turned back into pseudonyms."""
        if self.desk.session.label(self.desk.session.current) != POSITIVE or not TASK.is_written_out:
            return NOT_WRITTEN_OUT
        return self.desk.write_out(self._people().unnamed(literal(text or "")))

    def go(self, to: Gone) -> str:
        """Go to the question that a step names."""
        if to.by:
            return self.desk.step(to.by)
        if to.to is not None:
            return self.desk.jump(to.to)
        return self.desk.search(to.search, again=to.again) if to.search else self.desk.skip()

    def _turns(self) -> list[dict[str, Any]]:
        """Return the messages before the question, and the question."""
        session = self.desk.session
        item = self.desk.items.get(session.current, session.upcoming(AHEAD))
        return [*(item["window"] or []), item]

    def _people(self) -> People:
        turns = self._turns()[::-1]
        return People([turn["sender"] or "" for turn in turns], [turn["text"] or "" for turn in turns])

    def _state(self, remark: str) -> dict[str, Any]:
        session, turns, people = self.desk.session, self._turns(), self._people()
        tints = colours(turn["sender"] or "" for turn in reversed(turns))
        progress = session.progress()
        self.tell(self.task.person, progress.done, progress.total)
        pace = ""
        if progress.per_hour and progress.seconds_left is not None:
            pace = f"{progress.per_hour:,.0f}/h · {duration(progress.seconds_left)} left"
        return {
            "title": self.task.title,
            "item_id": session.current,
            "place": session.position + 1,
            "done": progress.done,
            "total": progress.total,
            "pace": pace,
            "turns": [
                {
                    "who": _one_line(people.named(turn["sender"] or "")),
                    "colour": tints[turn["sender"] or ""],
                    "time": clock(turn["timestamp"], self._zone).strip(),
                    "note": note,
                    "text": people.named(literal(turn["text"] or "")),
                }
                for turn, note in zip(turns, notes(turns, self._zone), strict=True)
            ],
            "answer": session.label(session.current),
            "line": people.named(self.desk.line()),
            "is_written": session.rewrite(session.current) is not None,
            "write_out": session.to_write_out(),
            "not_written_out": NOT_WRITTEN_OUT,
            "ask": TASK.ask,
            "standing": session.standing,
            "said": [*self._said()],
            "labels": [
                {"name": name, "words": KINDS[name].screen, "colour": KINDS[name].colour} for name in LABELS
            ],
            "keys": {_KEYS.get(key, key): name for name, keys in self._keys.items() for key in keys},
            "shown": {name: shown(keys[0]) for name, keys in self._keys.items()},
            "guidelines": self.task.guidelines,
            "remark": remark,
        }  # fmt: skip

    def _said(self) -> Iterator[dict[str, str]]:
        """Yield everybody's answers, for an adjudicator."""
        case = self.task.cases.get(self.desk.session.current)
        for role, given in (("", case.annotators), ("adjudicator ", case.adjudicators)) if case else ():
            for name, label in sorted(given.items()):
                yield {"who": _one_line(f"{role}{name}"), "words": KINDS[label].screen}


def _one_line(text: str) -> str:
    return literal(text).replace("\n", " ")


class Tally:
    """Prints people's progress for whoever serves the pages: once a minute, but at once when one begins or finishes."""

    def __init__(self, tell: Callable[[str], object] = click.echo) -> None:
        """Store the function that takes a line."""
        self._tell = tell
        self._done: dict[str, int] = {}
        self._news: dict[str, str] = {}
        self._lock = Lock()
        self._timer: Timer | None = None

    def __call__(self, person: str, done: int, total: int) -> None:
        """Note a person's progress."""
        with self._lock:
            before = self._done.get(person)
            self._done[person] = done
            if before is None:
                self._say(f"{person} opened the page, {done:,} of {total:,} answered.")
            elif done == total > before:
                self._news.pop(person, None)
                self._say(f"{person} answered all {total:,}.")
            elif done != before:
                self._news[person] = f"{person} {done:,} of {total:,}"
                self._report_later()

    def report(self) -> None:
        """Print the progress of those who answered since the last line."""
        with self._lock:
            self._timer = None
            if self._news:
                self._say(f"{', '.join(self._news.values())}.")
            self._news = {}

    def close(self) -> None:
        """Stop printing."""
        with self._lock:
            if self._timer:
                self._timer.cancel()

    def _report_later(self) -> None:
        if self._timer is None:
            self._timer = Timer(QUIET_SECONDS, self.report)
            self._timer.start()

    def _say(self, line: str) -> None:
        with suppress(OSError):  # a closed terminal must not keep people from answering
            self._tell(f"{datetime.now().astimezone():%H:%M} {line}")


async def whose(request: Request) -> Page:
    """Return the page of the person whose token is in a request."""
    page: Page = request.user
    return page


#: The one page that a request can reach.
Own = Annotated[Page, Depends(whose)]


def create_app(pages: Mapping[str, Page], hosts: list[str]) -> Guard:
    """Return the app behind the pages, guarded.

    Args:
        pages: Token, which every request below /v1/ must contain -> the page of its person.
        hosts: Spellings of the address that the server listens on, the printed one first.
    """
    app: FastAPI = api("Questions of a group chat, for people to answer.", "chatladder.cli.annotate")

    @app.exception_handler(DataError)
    async def tell(request: Request, error: DataError) -> Response:
        return problem(500, error.message)

    @app.get("/v1/state")
    def state(page: Own) -> dict[str, Any]:
        """Say what is shown."""
        return page.begin()

    @app.post("/v1/answer")
    def answer(step: Answered, page: Own) -> dict[str, Any]:
        """Answer a question, and go on to the next open one."""
        return page.take(step, lambda: page.desk.answer(step.label))

    @app.post("/v1/write")
    def write(step: Written, page: Own) -> dict[str, Any]:
        """Write out a question whose answer is "needed"."""
        return page.take(step, lambda: page.write_out(step.text))

    @app.post("/v1/undo")
    def undo(step: Undone, page: Own) -> dict[str, Any]:
        """Take the latest answer back, and go to its question."""
        return page.take(step, lambda: page.undo(step.standing))

    @app.post("/v1/go")
    def go(step: Gone, page: Own) -> dict[str, Any]:
        """Go to another question."""
        return page.take(step, lambda: page.go(step))

    return Guard(app, hosts=hosts, users=pages, seconds=SECONDS)


def lasting_token(task: Task) -> str:
    """Return the token of a person's work in a round: the same at each start, until ``LINKS_FILE`` is removed.

    Raises:
        DataError: If the file cannot be read or holds no secret, or is missing and cannot be written.
    """
    if not LINKS_FILE.exists():
        create(LINKS_FILE)
    try:
        key = LINKS_FILE.read_bytes().strip()
    except OSError as error:
        raise DataError(f"{LINKS_FILE}: cannot be read: {error.strerror or error}.") from error
    if len(key) < SHORTEST:
        raise DataError(
            f"{LINKS_FILE}: expected a secret, got {len(key)} characters. Remove it; the addresses then change."
        )
    return urlsafe_b64encode(hmac.digest(key, task.title.encode(), "sha256")).decode().rstrip("=")


def serve_pages(desks: Sequence[tuple[Desk, Task]], options: ScreenOptions) -> None:
    """Serve a page for each person until Ctrl+C.

    Args:
        desks: Each person's questions and answers, and the work.
        options: The command's options.

    Raises:
        DataError: If the address is refused or taken.
    """
    address = listening_address(options.host, is_exposed=options.expose)
    with listen(address, options.port) as listening, closing(Tally()) as tally:
        hosts = spellings(listening, address)
        if options.person:
            [(desk, task)] = desks
            pages = {secrets.token_urlsafe(32): Page(desk, task, options)}
        else:
            pages = {lasting_token(task): Page(desk, task, options, tally) for desk, task in desks}

        def tell() -> None:
            for token, page in pages.items():
                click.echo(f"{'' if options.person else f'{page.task.title}: '}http://{hosts[0]}/#{token}")
            click.echo("Ctrl+C stops the server; all answers are saved.")

        serve(create_app(pages, hosts), listening, tell)

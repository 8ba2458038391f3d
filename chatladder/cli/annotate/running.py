"""One person's work, from the command line to the screen: in this terminal or in a browser.

A command decides what is asked, as a ``Task``, and ``work`` shows it until the person leaves. ``launch`` runs that
where the person wants the screen.
"""

import os
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime
from heapq import merge
from pathlib import Path
from typing import TypeVar

import click
from click.core import ParameterSource

from chatladder.cli.annotate import round_records
from chatladder.cli.annotate.options import ScreenOptions, parse_keys, zone
from chatladder.cli.annotate.session import Session, SessionItems
from chatladder.io.console import DataError, stoppable
from chatladder.labels.answer import Answer, now
from chatladder.labels.log import HeldError, LogWriter, replay
from chatladder.labels.rounds import owner
from chatladder.labels.verdicts import Case

#: How long a browser's app waits for the log.
_RELOAD_SECONDS = 5
_OF_WEB = ("web", "host", "port", "expose")
Options = TypeVar("Options", bound=ScreenOptions)


@dataclass(frozen=True)
class Task:
    """The work that one person is asked to do.

    Attributes:
        person: Their name.
        title: Over the items.
        rounds: Item -> round whose log takes its answer, in the order in which items are shown.
        logs: Round -> log of the person.
        guidelines: The meaning of the labels, Markdown.
        notices: Remarks to show at the start.
        cases: The answers of others to each item, for who settles it; empty for who annotates, which is blind.
        clock: Gives the time of an answer.
        begin: Called before each answer is recorded; where it raises, none is.
    """

    person: str
    title: str
    rounds: Mapping[str, int]
    logs: Mapping[int, Path]
    guidelines: str
    notices: Sequence[str]
    cases: Mapping[str, Case] = field(default_factory=dict)
    clock: Callable[[], str] = now
    begin: Callable[[], object] = lambda: None


def own_task(order: Iterable[str], log: Path, guidelines: str, notices: Sequence[str]) -> Task:
    """Return the task of an annotator in one round.

    Args:
        order: Ids of the items in the order in which they are shown.
        log: Theirs.
        guidelines: The meaning of the labels, Markdown.
        notices: Remarks to show at the start.
    """
    number, name, _ = owner(log)
    return Task(name, f"{name} · round {number}", dict.fromkeys(order, number), {number: log}, guidelines, notices)


def follow_guidelines(options: ScreenOptions, folders: Iterable[Path], *, begin: bool = True) -> str:
    """Return the guidelines; a round keeps the wording that it began with.

    Args:
        options: The command's.
        folders: ``round_<n>`` of each round that is worked in.
        begin: Whether a round without a record gets one.

    Raises:
        DataError: If they cannot be read, or a round follows others.
    """
    file = options.guidelines or round_records.GUIDELINES
    text = round_records.read_guidelines(file)
    for folder in folders:
        if begin or (folder / round_records.GUIDELINES_FILE).exists():
            round_records.settle_guidelines(
                folder, file, round_records.version_of(text), allow_changed=options.allow_changed_guidelines
            )
    return text


def told(counts: Iterable[tuple[int, str]]) -> list[str]:
    """Return a notice of each count above zero, put into its text."""
    return [text.format(count) for count, text in counts if count]


def work(task: Task, items: SessionItems, options: ScreenOptions) -> Session:
    """Show one item after another until the person leaves, and say how far they are.

    Args:
        task: The work.
        items: The questions.
        options: The command's.

    Raises:
        DataError: If a log or the questions do not allow it.
    """
    with ExitStack() as stack:
        logs = {number: stack.enter_context(open_log(path)) for number, path in task.logs.items()}

        def record(answer: Answer) -> None:
            task.begin()
            logs[answer.round].append(answer)

        session = Session(
            task.rounds,
            own_history(task.logs.values()),
            record,
            annotator=task.person,
            clock=task.clock,
        )
        cut = "The last line of the log was cut short ({:,} bytes) and moved aside; it is asked again."
        notices = told(
            [
                *((log.set_aside, cut) for log in logs.values()),
                (session.elsewhere, "{:,} answers in the log are about items not shown here."),
            ]
        )
        show(session, items, replace(task, notices=[*task.notices, *notices]), options)
    done, total, *_ = session.progress()
    if not in_browser():
        places = ", ".join(map(str, task.logs.values()))
        click.echo(f"{places}: {session.given:,} answers added, {done:,} of {total:,} items done.")
    return session


def own_history(paths: Iterable[Path]) -> list[Answer]:
    """Read what a person answered and did not take back, in logs of several rounds, oldest first.

    Each log keeps its own order, whatever a clock that was set back says.
    """
    histories = [replay(path).history for path in paths]
    return list(merge(*histories, key=lambda answer: datetime.fromisoformat(answer.at)))


def open_log(path: Path) -> LogWriter:
    """Open the log to add answers to.

    Raises:
        HeldError: If another window of the annotator holds it.
        DataError: If it cannot be written.
    """
    # A page that is loaded again starts its app before the one it had is gone.
    deadline = time.monotonic() + (_RELOAD_SECONDS if in_browser() else 0)
    while True:
        try:
            return LogWriter(path)
        except HeldError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.1)


def show(session: Session, items: SessionItems, task: Task, options: ScreenOptions) -> None:
    """Run the screen until whoever answers leaves it.

    Args:
        session: The answers so far.
        items: The questions.
        task: The work.
        options: The command's.

    Raises:
        DataError: If the questions cannot be read.
    """
    from chatladder.cli.annotate.app import AnnotateApp

    app = AnnotateApp(session, items, task, parse_keys(options.keys), zone(options.timezone))
    app.run()
    if app.error:
        raise app.error
    if app.return_code:
        raise click.exceptions.Exit(app.return_code)


def tell(message: str) -> None:
    """Say something to a person who has no screen of questions before them."""
    if in_browser():
        from chatladder.cli.annotate.screens import Refusal

        Refusal(message).run()
    else:
        click.echo(message)


@stoppable("Every answer is in the log; the same command goes on.")
def launch(context: click.Context, module: str, run: Callable[[Options], None], options: Options) -> None:
    """Run a command in the terminal, serve it to a browser, or be what a browser shows.

    Args:
        context: The command's.
        module: Its name, as in ``python -m``.
        run: The command's work in a terminal or behind a page.
        options: The command's.

    Raises:
        DataError: If there is no terminal, or as ``run`` does.
    """
    if options.web:
        from chatladder.cli.annotate.web import serve

        serve(_command_line(context, module), options.host, options.port, is_exposed=options.expose)
    elif in_browser():
        try:
            run(options)
        except DataError as error:
            tell(error.message)
    elif in_terminal():
        run(options)
    else:
        raise DataError("expected a terminal to annotate in, got a file or a pipe. Or try --web.")


def in_browser() -> bool:
    """Whether the screen is a page, whose app this process is."""
    return "TEXTUAL_DRIVER" in os.environ


def in_terminal() -> bool:
    """Whether the screen is a terminal."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def _command_line(context: click.Context, module: str) -> str:
    """Return the command line that a browser's app is started with: this one, with the options that were given."""
    words = [sys.executable, "-m", module]
    for option in context.command.params:
        name = option.name or ""
        if name in _OF_WEB or context.get_parameter_source(name) == ParameterSource.DEFAULT:
            continue
        value = context.params[name]
        if isinstance(value, bool):
            words.append((option.opts if value else option.secondary_opts)[0])
        else:
            words += [option.opts[0], str(value)]
    return shlex.join(words)

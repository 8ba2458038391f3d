"""The work from the command line to the screen: one person's in this terminal, or that of several in browsers.

A command decides what is asked, as a ``Task`` for each person, and ``work`` shows it until they leave.
"""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime
from heapq import merge
from pathlib import Path
from typing import TypeVar

import click

from chatladder.cli.annotate import round_records
from chatladder.cli.annotate.desk import Desk
from chatladder.cli.annotate.options import ScreenOptions, parse_keys, zone
from chatladder.cli.annotate.session import Session, SessionItems
from chatladder.io.console import DataError, stoppable
from chatladder.labels.answer import Answer, now
from chatladder.labels.log import LogWriter, replay
from chatladder.labels.rounds import owner
from chatladder.labels.verdicts import Case

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


def work(tasks: Sequence[Task], items: SessionItems, options: ScreenOptions) -> list[Session]:
    """Show one item after another until whoever answers leaves, and say how far each person is.

    Args:
        tasks: Each person's work; several for --web alone.
        items: The questions.
        options: The command's.

    Raises:
        DataError: If a log or the questions do not allow it, or the page cannot be served where it should be.
    """
    with ExitStack() as stack:
        opened = [_open(task, stack) for task in tasks]
        if options.web:
            from chatladder.cli.annotate.web import serve_pages

            serve_pages([(Desk(session, items.reopened()), task) for session, task in opened], options)
        else:
            [(session, task)] = opened
            show(session, items, task, options)
    for session, task in opened:
        done, total, *_ = session.progress()
        places = ", ".join(map(str, task.logs.values()))
        click.echo(f"{places}: {session.given:,} answers added, {done:,} of {total:,} items done.")
    return [session for session, _ in opened]


def _open(task: Task, stack: ExitStack) -> tuple[Session, Task]:
    """Hold a person's logs and go on where they end; return what was found as notices of the task, too."""
    logs = {number: stack.enter_context(LogWriter(path)) for number, path in task.logs.items()}

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
    return session, replace(task, notices=[*task.notices, *notices])


def own_history(paths: Iterable[Path]) -> list[Answer]:
    """Read what a person answered and did not take back, in logs of several rounds, oldest first.

    Each log keeps its own order, whatever a clock that was set back says.
    """
    histories = [replay(path).history for path in paths]
    return list(merge(*histories, key=lambda answer: datetime.fromisoformat(answer.at)))


def show(session: Session, items: SessionItems, task: Task, options: ScreenOptions) -> None:
    """Run the screen in the terminal until whoever answers leaves it.

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


@stoppable("Every answer is in the log; the same command goes on.")
def launch(run: Callable[[Options], None], options: Options) -> None:
    """Run a command, if there is a screen for it.

    Args:
        run: The command's work.
        options: The command's.

    Raises:
        DataError: If there is no terminal, or as ``run`` does.
    """
    if not options.web and not in_terminal():
        raise DataError("expected a terminal to annotate in, got a file or a pipe. Or try --web.")
    run(options)


def in_terminal() -> bool:
    """Whether the screen is a terminal."""
    return sys.stdin.isatty() and sys.stdout.isatty()

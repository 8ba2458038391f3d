"""Run the tasks of a command: one person's in this terminal, or those of several people in browsers.

A command makes a ``Task`` for each person, and ``work`` shows it until they leave.
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
        person: The person's name.
        title: The title over the items.
        rounds: Item -> round whose log takes its answer, in the order in which items are shown.
        logs: Round -> log of the person.
        guidelines: The meaning of the labels, Markdown.
        notices: Remarks to show at the start.
        cases: The answers of others to each item, for an adjudicator; empty for an annotator, who answers blind.
        clock: Returns the time of an answer.
        begin: Called before each answer is recorded; if it raises, the answer is not recorded.
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
        log: The annotator's log.
        guidelines: The meaning of the labels, Markdown.
        notices: Remarks to show at the start.
    """
    number, name, _ = owner(log)
    return Task(name, f"{name} · round {number}", dict.fromkeys(order, number), {number: log}, guidelines, notices)


def follow_guidelines(options: ScreenOptions, folders: Iterable[Path], *, begin: bool = True) -> str:
    """Return the guidelines; a round keeps the version that it began with.

    Args:
        options: The command's options.
        folders: The folder ``round_<n>`` of each round to work in.
        begin: True to write a record for a round that has none.

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
    """Return the text for each count above zero, with the count filled in."""
    return [text.format(count) for count, text in counts if count]


def work(tasks: Sequence[Task], items: SessionItems, options: ScreenOptions) -> list[Session]:
    """Show one item after another until the annotators leave, and print each person's progress.

    Args:
        tasks: Each person's work; several for --web alone.
        items: The questions.
        options: The command's options.

    Raises:
        DataError: If a log or the questions do not allow it, or the page cannot be served at its address.
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
    """Open a person's logs and resume where they end; return the task with notices about the logs added."""
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
    cut = "The last line of the log was incomplete ({:,} bytes) and was moved aside; its question is asked again."
    notices = told(
        [
            *((log.set_aside, cut) for log in logs.values()),
            (session.elsewhere, "{:,} answers in the log are about items not shown here."),
        ]
    )
    return session, replace(task, notices=[*task.notices, *notices])


def own_history(paths: Iterable[Path]) -> list[Answer]:
    """Read a person's answers that were not taken back, in logs of several rounds, oldest first.

    Each log keeps its own order, even if a clock was set back.
    """
    histories = [replay(path).history for path in paths]
    return list(merge(*histories, key=lambda answer: datetime.fromisoformat(answer.at)))


def show(session: Session, items: SessionItems, task: Task, options: ScreenOptions) -> None:
    """Run the screen in the terminal until the annotator leaves.

    Args:
        session: The answers so far.
        items: The questions.
        task: The work.
        options: The command's options.

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


@stoppable("Every answer is in the log; the same command resumes.")
def launch(run: Callable[[Options], None], options: Options) -> None:
    """Run a command, if there is a terminal or --web is given.

    Args:
        run: The command's work.
        options: The command's options.

    Raises:
        DataError: If there is no terminal, or as ``run`` does.
    """
    if not options.web and not in_terminal():
        raise DataError(
            "expected a terminal to annotate in, got a file or a pipe. Run it in a terminal, or give --web."
        )
    run(options)


def in_terminal() -> bool:
    """Return True if input and output are a terminal."""
    return sys.stdin.isatty() and sys.stdout.isatty()

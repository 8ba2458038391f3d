"""One annotator's work in a round, from the command line to the screen: in this terminal or in a browser.

A command sets up a desk, decides which items lie on it in which order, and works there::

    desk = set_up(options, round_number)
    session = work(desk, own_share(order, desk.annotator, shared, desk.folder), options, notices)

``launch`` runs that where the annotator wants the screen. ``options`` are those of ``chatladder.cli.annotate.options``.
"""

import os
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click
from click.core import ParameterSource

from chatladder.cli.annotate.items import Items
from chatladder.cli.annotate.keys import parse_keys
from chatladder.cli.annotate.options import zone
from chatladder.cli.annotate.session import Session
from chatladder.io.console import DataError, stoppable
from chatladder.labels.assignment import assigned
from chatladder.labels.guidelines import read_guidelines, settle, version_of
from chatladder.labels.log import HeldError, LogWriter, replay
from chatladder.labels.rounds import log_path
from chatladder.labels.verdicts import Case

#: How long a browser's app waits for the log.
_RELOAD_SECONDS = 5
_OF_WEB = ("web", "host", "port", "expose")


class Desk(NamedTuple):
    """What one annotator works on.

    Attributes:
        annotator: Who answers.
        round_number: In which round.
        path: Their log.
        items: The questions.
        guidelines: What the labels mean, Markdown.
    """

    annotator: str
    round_number: int
    path: Path
    items: Items
    guidelines: str

    @property
    def folder(self) -> Path:
        """``round_<n>``, where what the round's annotators share lies beside their logs."""
        return self.path.parent


def set_up(options: Mapping[str, Any], round_number: int, items: Items | None = None) -> Desk:
    """What is needed to work in a round; the round keeps the wording of the guidelines it began with.

    Args:
        options: Of the command.
        round_number: In which round.
        items: The questions, if they are open already.

    Raises:
        DataError: If the questions, the guidelines or the annotator's name cannot be used.
    """
    path = log_path(options["annotations"], round_number, options["annotator"])
    items = items or Items(options["questions"])
    guidelines = read_guidelines(options["guidelines"])
    allow_changed = options["allow_changed_guidelines"]
    settle(path.parent, options["guidelines"], version_of(guidelines), allow_changed=allow_changed)
    return Desk(options["annotator"], round_number, path, items, guidelines)


def own_share(item_ids: list[str], annotator: str, shared: tuple[list[str], int] | None, where: Path) -> list[str]:
    """The items that one annotator gets.

    Args:
        item_ids: Those of the round, in the order in which they are shown.
        annotator: Who answers.
        shared: The annotators and the overlap, or None if everybody gets every item.
        where: What to name in an error: the round's folder.

    Raises:
        DataError: If the round is shared by others, or none is theirs.
    """
    if shared is None:
        return item_ids
    annotators, overlap = shared
    if annotator not in annotators:
        raise DataError(f"{where}: expected one of {', '.join(annotators)}, who share this round; got {annotator!a}.")
    own = [item_id for item_id in item_ids if annotator in assigned(item_id, annotators, overlap)]
    if not own:
        raise DataError(f"{where}: none of {len(item_ids):,} items falls to {annotator!a}. Raise the overlap.")
    return own


def work(desk: Desk, order: Sequence[str], options: Mapping[str, Any], notices: Sequence[str]) -> Session:
    """Show one item after another until the annotator leaves, and say how far they are.

    Args:
        desk: What they work on.
        order: Ids of the items in the order in which they are shown.
        options: Of the command.
        notices: What to tell the annotator at the start.

    Raises:
        DataError: If the log or the questions do not allow it.
    """
    told = list(notices)
    with open_log(desk.path) as log:
        if log.set_aside:
            told.append(
                f"The last line of the log was cut short ({log.set_aside} bytes) and moved aside; it is asked again."
            )
        session = Session(
            order,
            replay(desk.path).history,
            log.append,
            annotator=desk.annotator,
            round_number=desk.round_number,
        )
        if session.elsewhere:
            told.append(f"{session.elsewhere:,} answers in the log are about items not shown here.")
        show(session, desk.items, desk.guidelines, options, told)
    done, total, *_ = session.progress()
    if not in_browser():
        click.echo(f"{desk.path}: {session.given:,} answers added, {done:,} of {total:,} items done.")
    return session


def open_log(path: Path) -> LogWriter:
    """The log to add answers to.

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


def show(
    session: Session,
    items: Items,
    guidelines: str,
    options: Mapping[str, Any],
    notices: Sequence[str],
    *,
    title: str | None = None,
    cases: Mapping[str, Case] | None = None,
) -> None:
    """Run the screen until whoever answers leaves it.

    Args:
        session: What is answered, and by whom.
        items: The questions.
        guidelines: What the labels mean, Markdown.
        options: Of the command.
        notices: What to tell at the start.
        title: Over the items; the annotator and the round, unless given.
        cases: What others said of each item, for who settles it; nothing for who annotates, which is blind.

    Raises:
        DataError: If the questions cannot be read.
    """
    from chatladder.cli.annotate.app import AnnotateApp, Look

    look = Look(guidelines, parse_keys(options["keys"]), zone(options["zone"]), tuple(notices), cases or {})
    app = AnnotateApp(session, items, look, title=title or f"{session.annotator} · round {session.round_number}")
    app.run()
    if app.error:
        raise app.error
    if app.return_code:
        raise click.exceptions.Exit(app.return_code)


def tell(message: str) -> None:
    """Say something to an annotator who has no screen of questions before them."""
    if in_browser():
        from chatladder.cli.annotate.screens import Refusal

        Refusal(message).run()
    else:
        click.echo(message)


@stoppable("Every answer is in the log; the same command goes on.")
def launch(context: click.Context, module: str, run: Callable[[Mapping[str, Any]], None]) -> None:
    """Run a command in the terminal, serve it to a browser, or be what a browser shows.

    Args:
        context: Of the command, which has ``web_options``.
        module: Its name, as in ``python -m``.
        run: The command's work in a terminal or behind a page.

    Raises:
        DataError: If there is no terminal, or as ``run`` does.
    """
    options = context.params
    if options["web"]:
        from chatladder.cli.annotate.web import serve

        serve(_command_line(context, module), options["host"], options["port"], is_exposed=options["expose"])
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
    """The command line that a browser's app is started with: this one, with the options that were given."""
    words = [sys.executable, "-m", module]
    for option in context.command.params:
        value = context.params.get(option.name or "")
        if option.name in _OF_WEB or context.get_parameter_source(option.name or "") == ParameterSource.DEFAULT:
            continue
        words += [option.opts[0]] if value is True else [option.opts[0], str(value)]
    return shlex.join(words)

r"""Annotate the questions by hand, in the terminal or in a browser: one key an answer.

Example:
    chatladder annotate --annotator li
    chatladder annotate --annotator li --round 1 --annotators li,wu,chen --overlap 2 --keys needed=a,not_needed=l

Every answer is on the disk before the next question is shown, in data/annotations/round_N/NAME.jsonl; starting
again goes on where one left off. With --annotators and --overlap each question goes to so many of them: whoever
begins the round says it once. Nobody sees what others or a model answered.
"""

import os
import shlex
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import click
from click.core import ParameterSource

from stages.annotation.assignment import assigned, order_items
from stages.annotation.assignment import settle as settle_assignment
from stages.annotation.guidelines import GUIDELINES, read_guidelines, version_of
from stages.annotation.guidelines import settle as settle_guidelines
from stages.annotation.items import Items
from stages.annotation.keys import parse_keys
from stages.annotation.log import HeldError, LogWriter, latest_round, log_path, replay
from stages.annotation.session import Session
from stages.cli import SETTINGS, DataError, InputFile, OutputFolder, example
from stages.files import read_jsonl

#: How long a browser's app waits for the log.
_RELOAD_SECONDS = 5
_OF_WEB = ("web", "host", "port", "expose")


def listed_items(path: Path, known: set[str]) -> tuple[list[str], int]:
    """The items that a list (JSON lines with an ``item_id``) names, in its order, and how many others it names.

    Raises:
        DataError: If it is malformed, or names no question.
    """
    named: dict[str, int] = {}
    for number, row in read_jsonl(path):
        if not isinstance(row.get("item_id"), str):
            raise DataError(f'{path}:{number}: expected a field "item_id" with a text in it.')
        named.setdefault(row["item_id"], number)
    found = [item_id for item_id in named if item_id in known]
    if not found:
        raise DataError(f"{path}: expected ids of the questions; none of the {len(named):,} named there is one.")
    return found, len(named) - len(found)


def own_share(item_ids: list[str], annotator: str, shared: tuple[list[str], int] | None, where: Path) -> list[str]:
    """The items that one annotator gets.

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


def _names(text: str | None) -> list[str]:
    names = [name.strip() for name in text.split(",")] if text else []
    if len(set(names)) < len(names) or "" in names:
        raise ValueError(f"expected different names with commas between them, got {text!a}.")
    return names


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError) as error:
        raise ValueError(f"expected a time zone such as Asia/Shanghai, got {name!a}.") from error


def _checked(parse: Callable[[Any], Any]) -> Callable[[click.Context, click.Parameter, Any], Any]:
    """A callback that checks a value and leaves it as it was typed, so that --web can hand it on."""

    def check(_context: click.Context, _option: click.Parameter, value: Any) -> Any:
        try:
            parse(value)
        except ValueError as error:
            raise click.BadParameter(str(error)) from error
        return value

    return check


def _check_sharing(annotator: str, annotators: list[str], overlap: int | None) -> None:
    if bool(annotators) != bool(overlap):
        raise click.UsageError("--annotators and --overlap belong together: who shares the round, how many get each.")
    if overlap and overlap > len(annotators):
        raise click.UsageError(f"--overlap: expected at most {len(annotators)}, as many as --annotators names.")
    if annotators and annotator not in annotators:
        raise click.UsageError(f"--annotators: expected {annotator!a} among them, the --annotator.")


def own_order(options: Mapping[str, Any], items: Items, folder: Path, round_number: int) -> tuple[list[str], list[str]]:
    """The items of one annotator in the order they see them, and what to tell them about it.

    Args:
        options: Of the command.
        items: The questions.
        folder: ``round_<n>``.
        round_number: Its number.

    Raises:
        DataError: If there are none, or the round is shared otherwise.
    """
    annotator = options["annotator"]
    shared = settle_assignment(folder, _names(options["annotators"]), options["overlap"])
    notices = []
    if options["items"]:
        order, unknown = listed_items(options["items"], set(items.ids))
        if unknown:
            notices.append(f"{unknown:,} listed items are not among the questions.")
    else:
        order = order_items(items.ids, items.conversations, annotator=annotator, round_number=round_number)
    return own_share(order, annotator, shared, folder), notices


def annotate(options: Mapping[str, Any]) -> None:
    """Run the app on one annotator's share of a round.

    Raises:
        DataError: If the questions, the log or the round do not allow it.
    """
    round_number = options["round_number"] or latest_round(options["annotations"])
    path = log_path(options["annotations"], round_number, options["annotator"])
    items = Items(options["questions"])
    guidelines = read_guidelines(options["guidelines"])
    settle_guidelines(
        path.parent,
        options["guidelines"],
        version_of(guidelines),
        allow_changed=options["allow_changed_guidelines"],
    )
    order, notices = own_order(options, items, path.parent, round_number)
    with _open_log(path) as log:
        if log.set_aside:
            notices.append(
                f"The last line of the log was cut short ({log.set_aside} bytes) and moved aside; it is asked again."
            )
        session = Session(
            order,
            replay(path).history,
            log.append,
            annotator=options["annotator"],
            round_number=round_number,
        )
        if session.elsewhere:
            notices.append(f"{session.elsewhere:,} answers in the log are about items not shown here.")
        _run(session, items, guidelines, options, notices)
    done, total, *_ = session.progress()
    if not _in_browser():
        click.echo(f"{path}: {session.given:,} answers added, {done:,} of {total:,} items done.")


def _open_log(path: Path) -> LogWriter:
    # A page that is loaded again starts its app before the one it had is gone.
    deadline = time.monotonic() + (_RELOAD_SECONDS if _in_browser() else 0)
    while True:
        try:
            return LogWriter(path)
        except HeldError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.1)


def _run(session: Session, items: Items, guidelines: str, options: Mapping[str, Any], notices: list[str]) -> None:
    from stages.annotation.app import AnnotateApp, Look

    look = Look(guidelines, parse_keys(options["keys"]), _zone(options["zone"]), tuple(notices))
    app = AnnotateApp(session, items, look, title=f"{session.annotator} · round {session.round_number}")
    app.run()
    if app.error:
        raise app.error
    if app.return_code:
        raise click.exceptions.Exit(app.return_code)


def _in_browser() -> bool:
    return "TEXTUAL_DRIVER" in os.environ


def _in_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def _command(context: click.Context) -> str:
    """The command line that a browser's app is started with: this one, with the options that were given."""
    words = [sys.executable, "-m", "stages.annotate"]
    for option in context.command.params:
        value = context.params.get(option.name or "")
        if option.name in _OF_WEB or context.get_parameter_source(option.name or "") == ParameterSource.DEFAULT:
            continue
        words += [option.opts[0]] if value is True else [option.opts[0], str(value)]
    return shlex.join(words)


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@click.option("--annotator", required=True, help="Your name; also the name of your log.")
@click.option("--round", "round_number", type=click.IntRange(1), help="The latest that was begun, unless given.")
@click.option("--questions", type=InputFile, default="data/questions.parquet", show_default=True)
@click.option("--annotations", type=OutputFolder, default="data/annotations", show_default=True)
@click.option("--items", type=InputFile, help="Only these, in their order: JSON lines with an item_id.")
@click.option("--annotators", callback=_checked(_names), help="Who shares the round, as li,wu,chen; said once.")
@click.option("--overlap", type=click.IntRange(1), help="How many of them get each question.")
@click.option("--guidelines", type=InputFile, default=GUIDELINES, help="What the labels mean, if not as usual.")
@click.option("--allow-changed-guidelines", is_flag=True, help="Go on with a round whose guidelines changed.")
@click.option(
    "--keys", callback=_checked(parse_keys), default="", envvar="CHATLADDER_KEYS", help="Other keys: needed=a,undo=x."
)
@click.option(
    "--timezone", "zone", callback=_checked(_zone), default="UTC", show_default=True, help="Of the times shown."
)
@click.option("--web", is_flag=True, help="In a browser instead of this terminal.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where --web listens.")
@click.option("--port", type=click.IntRange(1, 65535), default=8765, show_default=True)
@click.option("--expose", is_flag=True, help="Let --host be an address that other machines reach.")
@click.pass_context
def annotate_command(context: click.Context, /, **options: Any) -> None:
    """Answer whether each question needs the messages before it, one key an answer."""
    _check_sharing(options["annotator"], _names(options["annotators"]), options["overlap"])
    if options["web"]:
        from stages.annotation.web import serve

        serve(_command(context), options["host"], options["port"], is_exposed=options["expose"])
    elif _in_browser():
        from stages.annotation.screens import Refusal

        try:
            annotate(options)
        except DataError as error:
            Refusal(error.message).run()
    elif _in_terminal():
        annotate(options)
    else:
        raise DataError("expected a terminal to annotate in, got a file or a pipe. Or try --web.")


if __name__ == "__main__":
    annotate_command()

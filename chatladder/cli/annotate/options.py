"""What the commands that show the annotator's screen are told: their options, as decorators."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import click

from chatladder.cli.annotate.keys import parse_keys
from chatladder.io.console import InputFile, OutputFolder
from chatladder.labels.guidelines import GUIDELINES

PARAMS = Path("params.yaml")

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def names(text: str | None) -> list[str]:
    """The names in a list such as ``li,wu,chen``.

    Raises:
        ValueError: If one is empty or there twice.
    """
    found = [name.strip() for name in text.split(",")] if text else []
    if len(set(found)) < len(found) or "" in found:
        raise ValueError(f"expected different names with commas between them, got {text!a}.")
    return found


def zone(name: str) -> ZoneInfo:
    """A time zone by its name.

    Raises:
        ValueError: If it is unknown.
    """
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError) as error:
        raise ValueError(f"expected a time zone such as Asia/Shanghai, got {name!a}.") from error


def project_zone() -> str:
    """The time zone of the project's exports, as params.yaml of this folder names it; UTC where it names none."""
    import yaml  # here: no other command needs it to start

    try:
        params = yaml.safe_load(PARAMS.read_text(encoding="utf-8"))
        return str(params["ingest"]["timezone"])
    except (OSError, ValueError, RecursionError, yaml.YAMLError, TypeError, KeyError):
        return "UTC"


def check_sharing(options: Mapping[str, Any]) -> None:
    """Refuse an annotator, annotators and an overlap that do not fit together.

    Raises:
        click.UsageError: If they do not.
    """
    annotator, annotators, overlap = options["annotator"], names(options["annotators"]), options["overlap"]
    if bool(annotators) != bool(overlap):
        raise click.UsageError("--annotators and --overlap belong together: who shares the round, how many get each.")
    if overlap and overlap > len(annotators):
        raise click.UsageError(f"--overlap: expected at most {len(annotators)}, as many as --annotators names.")
    if annotators and annotator not in annotators:
        raise click.UsageError(f"--annotators: expected {annotator!a} among them, the --annotator.")


def _checked(parse: Callable[[Any], Any]) -> Callable[[click.Context, click.Parameter, Any], Any]:
    """A callback that checks a value and leaves it as it was typed, so that --web can hand it on."""

    def check(_context: click.Context, _option: click.Parameter, value: Any) -> Any:
        try:
            parse(value)
        except ValueError as error:
            raise click.BadParameter(str(error)) from error
        return value

    return check


def _together(*options: Decorator) -> Decorator:
    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def place_options(round_help: str) -> Decorator:
    """Who answers, in which round, where it all lies: --annotator, --round, --questions, --annotations."""
    return _together(
        click.option("--annotator", required=True, help="Your name; also the name of your log."),
        click.option("--round", "round_number", type=click.IntRange(1), help=round_help),
        click.option("--questions", type=InputFile, default="data/questions.parquet", show_default=True),
        click.option("--annotations", type=OutputFolder, default="data/annotations", show_default=True),
    )


#: Who gets which item. A command that has them calls ``check_sharing``.
sharing_options = _together(
    click.option("--annotators", callback=_checked(names), help="Who shares the round, as li,wu,chen; said once."),
    click.option("--overlap", type=click.IntRange(1), help="How many of them get each question."),
)
#: What is on the screen, and which keys it takes.
screen_options = _together(
    click.option("--guidelines", type=InputFile, default=GUIDELINES, help="What the labels mean, if not as usual."),
    click.option("--allow-changed-guidelines", is_flag=True, help="Go on with a round whose guidelines changed."),
    click.option(
        "--keys",
        callback=_checked(parse_keys),
        default="",
        envvar="CHATLADDER_KEYS",
        help="Other keys: needed=a,undo=x.",
    ),
    click.option(
        "--timezone",
        "zone",
        callback=_checked(zone),
        default=project_zone,
        show_default="ingest.timezone of params.yaml, else UTC",
        help="Of the times shown.",
    ),
)
#: Where the screen is: in this terminal, or in a browser.
web_options = _together(
    click.option("--web", is_flag=True, help="In a browser instead of this terminal."),
    click.option("--host", default="127.0.0.1", show_default=True, help="Where --web listens."),
    click.option("--port", type=click.IntRange(1, 65535), default=8765, show_default=True),
    click.option("--expose", is_flag=True, help="Let --host be an address that other machines reach."),
)

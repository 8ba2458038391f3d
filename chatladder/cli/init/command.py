"""Begin a project of your own in an empty folder: the pipeline without the demo, your settings, a secret, your export.

Example:
    mkdir friends && cd friends && chatladder init
    chatladder init friends --export ~/export.zip --timezone Asia/Shanghai --language zh --annotators li,wu
    chatladder init friends --yes

What is not given as an option is asked. The pipeline is that of the checkout that this command belongs to, as git
tracks it. The export is copied and never moved; git passes over it. If anything fails, nothing is left of it.
"""

import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from chatladder.cli.annotate.options import names, zone
from chatladder.io.console import SETTINGS, example, printable
from chatladder.labels.rounds import log_path
from chatladder.presets import names as catalogues

LANGUAGES = ("zh", "en")
LADDERS = f"Which models: {', '.join(catalogues())}; embedded needs no GPU and no hub."


def local_zone() -> str:
    """The machine's time zone by its IANA name; UTC where it does not tell."""
    link = Path("/etc/localtime")
    candidates = [os.environ.get("TZ", "").removeprefix(":")]
    if link.is_symlink():
        candidates.append(str(link.resolve()).partition("/zoneinfo/")[2])
    for name in candidates:
        try:
            if name and zone(name):
                return name
        except ValueError:
            continue
    return "UTC"


def ask(question: str, default: str, check: Callable[[str], Any]) -> str:
    """One answer from the terminal, asked for again until it passes ``check``; an empty one is the default."""

    def checked(value: str) -> str:
        try:
            check(value)
        except (ValueError, click.ClickException) as error:
            raise click.UsageError(getattr(error, "message", str(error))) from error
        return value

    answer: str = click.prompt(question, default=default, value_proc=checked, show_default=bool(default))
    return answer


def one_of(choices: tuple[str, ...]) -> Callable[[str], None]:
    """A check that a value is among some."""

    def check(value: str) -> None:
        if value not in choices:
            raise ValueError(f"expected {', '.join(choices)}, got {value!a}.")

    return check


def people(text: str) -> tuple[str, ...]:
    """The annotators in a list such as ``li,wu``.

    Raises:
        ValueError: If one is empty or there twice.
        DataError: If one cannot name a file.
    """
    found = names(text)
    for name in found:
        log_path(Path("data/annotations"), 1, name)
    return tuple(found)


def settled(given: dict[str, str | None], folder: Path, *, takes_defaults: bool) -> dict[str, str]:
    """The five answers: what was given, else the default or what is asked.

    Raises:
        click.UsageError: If something would have to be asked and there is no terminal.
    """
    from chatladder.cli.init.adapting import EMBEDDED, ladder_here
    from chatladder.cli.init.project import check_export

    def check_path(path: str) -> None:
        if path:
            check_export(Path(path).expanduser(), folder)

    lacking = [name for name, value in given.items() if value is None]
    if lacking and not takes_defaults and not sys.stdin.isatty():
        options = ", ".join(f"--{name}" for name in lacking)
        raise click.UsageError(f"there is no terminal to ask in: give {options}, or --yes to take the defaults.")
    defaults: dict[str, Callable[[], str]] = {
        "export": lambda: "",
        "timezone": local_zone,
        "language": lambda: LANGUAGES[0],
        "ladder": ladder_here,
        "annotators": lambda: "",
    }
    asked: dict[str, tuple[str, Callable[[str], Any]]] = {
        "export": (
            "Export of the chat, a file or folder (copied; empty: later)",
            check_path,
        ),
        "timezone": ("Time zone of the export", zone),
        "language": (f"Language of the chat ({', '.join(LANGUAGES)})", one_of(LANGUAGES)),
        "ladder": (f"Models: {EMBEDDED} runs anywhere ({', '.join(catalogues())})", one_of(tuple(catalogues()))),
        "annotators": ("Who annotates, as li,wu (empty: whoever comes)", people),
    }
    answers = {}
    for name, value in given.items():
        if value is None:
            default = defaults[name]()
            value = default if takes_defaults else ask(asked[name][0], default, asked[name][1])
        answers[name] = value
    return answers


def _parsed(check: Callable[[str], Any]) -> Callable[[click.Context, click.Parameter, str | None], str | None]:
    def callback(_context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
        try:
            if value is not None:
                check(value)
        except ValueError as error:
            raise click.BadParameter(str(error)) from error
        return value

    return callback


@click.command(
    name="init",
    short_help="Begin a project of your own.",
    context_settings=SETTINGS,
    epilog=example(__doc__),
)
@click.argument("folder", type=click.Path(path_type=Path), default=".")
@click.option("--export", metavar="PATH", help="Export of the chat, a file or a folder; it is copied.")
@click.option("--timezone", callback=_parsed(zone), help="Of exports in local time: UTC, Asia/Shanghai.")
@click.option("--language", type=click.Choice(LANGUAGES), help="Of the chat, and so of the prompts.")
@click.option("--ladder", metavar="NAME", callback=_parsed(one_of(tuple(catalogues()))), help=LADDERS)
@click.option("--annotators", callback=_parsed(people), help="Who annotates, as li,wu; two get each question.")
@click.option("--yes", "takes_defaults", is_flag=True, help="Ask nothing: take the default of what is not given.")
def init_command(folder: Path, takes_defaults: bool, **given: str | None) -> None:
    """Begin a project in FOLDER, which must be new or empty; the current one unless given."""
    from chatladder.cli.init.checkout import CHECKOUT
    from chatladder.cli.init.project import Plan, check_folder, make, some_of
    from chatladder.cli.status.standing import Standing, next_step

    path = check_folder(folder)
    order = ("export", "timezone", "language", "ladder", "annotators")
    answers = settled({name: given[name] for name in order}, path, takes_defaults=takes_defaults)
    export = Path(answers["export"]).expanduser() if answers["export"] else None
    sharing = people(answers["annotators"])
    plan = Plan(folder, export, answers["timezone"], answers["language"], answers["ladder"], sharing)
    made = make(plan, CHECKOUT)
    shown = printable(str(folder) if folder.name else path.name)
    if path.is_relative_to(CHECKOUT):
        click.echo(f"{shown} lies in the checkout of chatladder, whose git lists it from now on: better move it out.")
    click.echo(f"{shown}: {made.files} files of the pipeline, a git and DVC repository, and a new secret key.")
    if made.left:
        click.echo(
            f"Left out, since git does not track them in the checkout: {some_of(made.left)}. Stages "
            "that import them take the checkout's, unseen by DVC, or fail: git add them there, and begin again."
        )
    click.echo(f"params.yaml: timezone {plan.timezone}, language {plan.language}, ladder {', '.join(made.rungs)}")
    if made.exports:
        files = "file" if made.exports == 1 else "files"
        click.echo(f"data/raw: {made.exports:,} {files} of the export; the original is where it was.")
    if len(sharing) > 1:
        click.echo(f"Round 1: shared by {printable(', '.join(sharing))}; {made.overlap} get each question.")
    if os.environ.get("CHATLADDER_PRIVACY_KEY"):
        click.echo("CHATLADDER_PRIVACY_KEY is set and goes before the new key; unset it to use the file.")
    step = next_step(Standing(exports=made.exports, private=made.exports, has_secret=True))
    there = "" if path == Path.cwd().resolve() else f"cd {shlex.quote(str(folder))} && "
    click.echo(printable(f"Next: {there}{step.command}   # {step.why}"))


if __name__ == "__main__":
    init_command()

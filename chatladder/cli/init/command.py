"""Begin a project of your own in an empty folder: the graph of stages, your settings, a secret, your export.

Example:
    mkdir friends && cd friends && chatladder init
    chatladder init friends --export ~/export.zip --timezone Asia/Shanghai --language zh --annotators li,wu
    chatladder init friends --yes

Settings that are not given as options are asked for. The models are those that suit the chat's language and this
machine, unless --ladder names others; embedded ones are for the demo. Everything but the export and the secret is
committed. The export is copied and never moved; git ignores it. If anything fails, nothing is left.
"""

import os
import shlex
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

import click

from chatladder.cli.annotate.options import zone
from chatladder.cli.doctor.recommend import RECOMMENDED
from chatladder.cli.init.project import ProjectPlan, check_export, check_folder, make
from chatladder.cli.status import Standing, next_step
from chatladder.io.code import PACKAGE
from chatladder.io.console import SETTINGS, DataError, example, printable
from chatladder.io.options import options_of
from chatladder.models.prompts import LANGUAGES


def local_zone() -> str:
    """Return the machine's time zone by its IANA name; UTC if it has none."""
    link = Path("/etc/localtime")
    candidates = [os.environ.get("TZ", "").removeprefix(":")]
    if link.is_symlink():
        candidates.append(str(link.resolve()).partition("/zoneinfo/")[2])
    for name in filter(None, candidates):
        with suppress(ValueError):
            zone(name)
            return name
    return "UTC"


#: Functions that return the default of each setting.
DEFAULTS: dict[str, Callable[[], str]] = {
    "export": str,
    "timezone": local_zone,
    "language": lambda: LANGUAGES[0],
    "ladder": lambda: RECOMMENDED,
    "annotators": str,
}


def complete_plan(given: Mapping[str, Any], folder: Path, *, takes_defaults: bool) -> ProjectPlan:
    """Return the plan: the given values, and for others the default or an answer from the terminal.

    Raises:
        click.UsageError: If something would have to be asked and there is no terminal.
    """
    lacking = [each for each in fields(ProjectPlan) if each.name not in given and each.default is MISSING]
    if lacking and not takes_defaults and not sys.stdin.isatty():
        options = ", ".join(f"--{each.name}" for each in lacking)
        raise click.UsageError(f"there is no terminal to ask in: give {options}, or --yes to use the defaults.")
    values = dict(given)
    for each in lacking:
        default = DEFAULTS[each.name]()
        values[each.name] = each.metadata["parse"](default) if takes_defaults else _ask(each, default, folder)
    return ProjectPlan(**values)


def _ask(field: "Field[Any]", default: str, folder: Path) -> Any:
    """Ask for a value until it is valid; an empty answer is the default."""

    def read(text: str) -> Any:
        try:
            value = field.metadata["parse"](text)
            if field.name == "export" and value:
                check_export(value, folder)
        except DataError as error:
            raise click.UsageError(error.message) from error
        return value

    question = field.metadata["help"].removesuffix(".")
    return click.prompt(question, default=default, value_proc=read, show_default=bool(default))


@click.command(
    name="init",
    context_settings=SETTINGS,
    epilog=example(__doc__),
)
@click.argument("folder", type=click.Path(path_type=Path), default=".")
@options_of(ProjectPlan, "given", partial=True)
@click.option("--yes", "takes_defaults", is_flag=True, help="Do not ask: use the default of each missing setting.")
def init_command(folder: Path, takes_defaults: bool, given: Mapping[str, Any]) -> None:
    """Start a project in FOLDER, which must be new or empty; the current folder by default."""
    path = check_folder(folder)
    plan = complete_plan(given, path, takes_defaults=takes_defaults)
    made = make(folder, plan)
    shown = printable(str(folder) if folder.name else path.name)
    if path.is_relative_to(PACKAGE.parent):
        click.echo(f"{shown} is in the clone of chatladder, whose git lists it from now on: better move it elsewhere.")
    click.echo(f"{shown}: {made.files} files in a git and DVC repository, and a new secret key.")
    click.echo(f"params.yaml: timezone {plan.timezone}, language {plan.language}, ladder {', '.join(made.rungs)}")
    if made.notes:
        click.echo("\n".join(made.notes))
    if plan.ladder == RECOMMENDED:
        other = "" if plan.language in LANGUAGES else f" --language {plan.language}"
        click.echo(f"Others: chatladder ladder{other} lists them, chatladder ladder NAME chooses one.")
    if made.exports:
        files = "file" if made.exports == 1 else "files"
        click.echo(f"data/raw: {made.exports:,} {files} of the export; the original is unchanged.")
    if len(plan.annotators) > 1:
        click.echo(f"Round 1: shared by {printable(', '.join(plan.annotators))}; 2 get each question.")
    if os.environ.get("CHATLADDER_PRIVACY_KEY"):
        click.echo("CHATLADDER_PRIVACY_KEY is set and overrides the new key; unset it to use the new key.")
    step = next_step(Standing(exports=made.exports, private=made.exports, has_secret=True))
    change = "" if path == Path.cwd().resolve() else f"cd {shlex.quote(str(folder))} && "
    click.echo(printable(f"Next: {change}{step.command}   # {step.why}"))


if __name__ == "__main__":
    init_command()

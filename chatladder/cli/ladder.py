r"""Replace the rungs by those that suit the chat and this machine, or by those of a catalogue.

Example:
    chatladder ladder
    chatladder ladder recommended
    chatladder ladder qwen2_5 --only qwen2_5_0_5b --only qwen2_5_1_5b --dry-run
    chatladder ladder embedded

It rewrites the rungs and the values that the whole ladder shares in params.yaml; everything else in that file stays,
comments included. No other file names a rung.

A model of the hub is pinned to a commit. In order of precedence, it is the one given with --revision, the one that
params.yaml has for the same model already, the one on record in the catalogue, or the hub's newest.
"""

import difflib
import shlex
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from chatladder.cli.doctor.memory import this_machine
from chatladder.cli.doctor.recommend import RECOMMENDED, describe, language_of, misfits, recommend
from chatladder.cli.doctor.setup import own_exports
from chatladder.cli.status import exports
from chatladder.io.console import SETTINGS, DataError, example
from chatladder.io.options import options_of, setting
from chatladder.io.params import PARAMS, read_yaml, section_of
from chatladder.presets import (
    CHAT_LANGUAGES,
    COMMIT,
    Catalogue,
    as_text,
    current_commit,
    ladder_of,
    leftovers,
    names,
    read,
    swap_ladder,
    write_yaml,
)


@dataclass(frozen=True)
class Choice:
    """The rungs to write, and their commits."""

    only: tuple[str, ...] = setting("Write only this rung of the catalogue; repeatable.", default=(), metavar="KEY")
    revision: tuple[str, ...] = setting("Pin a rung to a commit; repeatable.", default=(), metavar="KEY=COMMIT")

    def commits(self) -> dict[str, str]:
        """Return the given commits by key.

        Raises:
            click.UsageError: If one is not of the form KEY=COMMIT.
        """
        for pair in self.revision:
            if not COMMIT.fullmatch(pair.partition("=")[2]):
                raise click.UsageError(f"--revision: expected KEY=COMMIT, 40 hexadecimal digits, got {pair!a}.")
        return {key: commit for key, _, commit in (pair.partition("=") for pair in self.revision)}


def pin(
    catalogue: Catalogue, keys: Sequence[str], present: Mapping[str, Any], given: Mapping[str, str], *, latest: bool
) -> dict[str, tuple[str, str]]:
    """Return the commit of each hub rung, and where it comes from.

    Args:
        catalogue: The catalogue of the rungs.
        keys: The rungs to write.
        present: The present rungs of params.yaml.
        given: Commits by key, which take precedence.
        latest: True to ask the hub even if a commit is on record.

    Raises:
        click.UsageError: If a commit is given for a rung that is not written or not of the hub.
        DataError: If the hub must be asked and does not answer.
    """
    bases = {key: catalogue.rungs[key]["base"] for key in keys}
    bases = {key: base for key, base in bases.items() if base["source"] == "hub"}
    if unknown := [key for key in given if key not in bases]:
        raise click.UsageError(f"--revision: expected a rung that is written ({', '.join(bases)}), got {unknown[0]!a}.")
    return {key: _commit(key, base, present.get(key, {}).get("base", {}), given, latest) for key, base in bases.items()}


def _commit(
    key: str, base: Mapping[str, Any], present: Mapping[str, Any], given: Mapping[str, str], latest: bool
) -> tuple[str, str]:
    if key in given:
        return given[key], "as given"
    if not latest and present.get("repo") == base["repo"] and present.get("revision"):
        return str(present["revision"]), "unchanged"
    if not latest and base.get("revision"):
        return str(base["revision"]), "recorded in the catalogue"
    try:
        return current_commit(base["repo"]), "the hub's newest"
    except DataError as error:
        raise DataError(
            f"{error.message} Nothing was written. Copy the commit of {key} from "
            f"https://huggingface.co/{base['repo']}/commits/main and give it with --revision {key}=COMMIT."
        ) from error


def pinned(catalogue: Catalogue, keys: Sequence[str], commits: Mapping[str, str]) -> dict[str, Any]:
    """Return rungs of a catalogue, those of the hub at these commits."""
    from ruamel.yaml.scalarstring import DoubleQuotedScalarString

    ladder = {key: deepcopy(catalogue.rungs[key]) for key in keys}
    for key, commit in commits.items():
        # In quotes: a commit of digits alone, or with one e among them, would be a number.
        ladder[key]["base"]["revision"] = DoubleQuotedScalarString(commit)
    return ladder


def advise(params: Mapping[str, Any], language: str | None) -> tuple[Catalogue, list[str]]:
    """Return the recommended catalogue for the chat and this machine, with its recommended rungs alone, and lines.

    Args:
        params: The sections of params.yaml.
        language: The language of the chat; None for that of the prompts.
    """
    machine = this_machine()
    advice = recommend(language or language_of(params), machine, params, Path("data"))
    return advice.catalogue, describe(advice, machine)


def listing(present: Sequence[str]) -> str:
    """Return the catalogues, each with its rungs; a star marks the one in use."""
    lines = []
    for name in names():
        catalogue = read(name)
        lines.append(f"{'*' if {*present} <= {*catalogue.rungs} else ' '} {name:<10}{catalogue.title}")
        lines.append(f"{'':12}{', '.join(catalogue.rungs)}")
    return "\n".join(lines)


@click.command(
    name="ladder",
    context_settings=SETTINGS,
    epilog=example(__doc__),
)
@click.argument("name", required=False)
@options_of(Choice, "choice")
@click.option(
    "--language", type=click.Choice(CHAT_LANGUAGES), help="Language of the chat; that of the prompts by default."
)
@click.option("--latest", is_flag=True, help="Pin each model to the newest commit on the hub.")
@click.option("--dry-run", is_flag=True, help="Print the changes without making them.")
def ladder_command(name: str | None, choice: Choice, language: str | None, latest: bool, dry_run: bool) -> None:
    """Replace the rungs of params.yaml by those of catalogue NAME, or by recommended ones for chat and machine.

    Without NAME, it lists the recommended models with their run time on this machine, and the catalogues. NAME can
    also be a .yaml file of the same form. Hand-written rungs are lost: commit params.yaml first.
    """
    params = read_yaml(PARAMS)
    before, old = as_text(params), ladder_of(params, str(PARAMS))
    if name is None:
        _, lines = advise(params, language)
        write = f"  {RECOMMENDED}: chatladder ladder {RECOMMENDED}{f' --language {language}' if language else ''}"
        click.echo("\n".join([*lines, write, "", listing([*old])]))
        return
    catalogue, lines = advise(params, language) if name == RECOMMENDED else (read(name), [])
    rungs = catalogue.choose(choice.only)
    pins = pin(catalogue, rungs, old, choice.commits(), latest=latest)
    ladder = pinned(catalogue, rungs, {key: commit for key, (commit, _) in pins.items()})
    judges = list(section_of(params, "review", str(PARAMS)).get("rungs") or ())
    values = swap_ladder(params, ladder, catalogue.params, str(PARAMS))
    after = as_text(params)
    if after == before:
        click.echo(f"{PARAMS}: nothing to change")
        return
    if dry_run:
        old_lines, new_lines = before.split("\n"), after.split("\n")
        click.echo("\n".join(difflib.unified_diff(old_lines, new_lines, str(PARAMS), f"{PARAMS} (new)", lineterm="")))
    else:
        write_yaml(PARAMS, params)
    click.echo(f"{PARAMS}: ladder: {', '.join(old)} -> {', '.join(rungs)}")
    for value in values:
        click.echo(f"{PARAMS}: {value}")
    if lines:
        click.echo("\n".join(lines))
    for misfit in misfits(
        ladder, language or language_of(params), is_demo=not own_exports(exports(Path("data/raw"))[0])
    ):
        click.echo(misfit)
    for key, (commit, source) in pins.items():
        click.echo(f"{key}: {commit} ({source})")
    gone = [key for key in old if key not in ladder and key not in (params.get("served") or {})]
    if left := leftovers(Path(), gone, [key for key in judges if key not in params["review"]["rungs"]]):
        click.echo(f"Outputs of removed rungs; remove them before dvc repro: rm -r {shlex.join(left)}")
    if dry_run:
        click.echo("Nothing was written.")
    else:
        click.echo(
            'Next: "chatladder doctor" says whether they run here and how long that takes, "dvc repro" runs them.'
        )


if __name__ == "__main__":
    ladder_command()

r"""Swap the rungs that run for those of a catalogue: the published ladder, today's models, or the embedded ones.

Example:
    chatladder ladder qwen2_5 --only qwen2_5_0_5b --only qwen2_5_1_5b --dry-run
    chatladder ladder embedded

It rewrites the rungs, the rungs that judge labels and what the whole ladder shares in params.yaml, and their keys in
dvc.yaml; everything else in the two files, comments included, keeps every byte.

A model of the hub is pinned to a commit. In this order, it is the one given with --revision, the one that params.yaml
has for the same model already, the one that the catalogue has on record, or the hub's newest.
"""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click

from chatladder.io.console import SETTINGS, DataError, InputFile, example
from chatladder.io.files import whole_file
from chatladder.presets import COMMIT, Catalogue, names, read, read_text
from chatladder.presets.edit import Rungs, rungs_of, swap_params, swap_pipeline
from chatladder.presets.nodes import plain

PARAMS = Path("params.yaml")
PIPELINE = Path("dvc.yaml")


class Project(NamedTuple):
    """The two files that name rungs, their texts with line feeds alone."""

    params: Path
    pipeline: Path
    texts: tuple[str, str]

    def rungs(self) -> Rungs:
        """The keys that params.yaml names."""
        return rungs_of(self.texts[0], str(self.params))

    def ladder(self) -> dict[str, Any]:
        """The rungs of params.yaml."""
        ladder: dict[str, Any] = plain(self.texts[0])["ladder"]
        return ladder


def chosen(catalogue: Catalogue, only: Sequence[str]) -> Rungs:
    """The rungs to write, and those of them whose adapters judge labels.

    A choice without the catalogue's own judge takes the largest rung below it, or else the smallest: labels are judged
    by several adapters, so by one that is cheap to train.

    Raises:
        DataError: If a chosen rung is not in the catalogue.
    """
    every = list(catalogue.rungs)
    if unknown := [key for key in only if key not in every]:
        raise DataError(f"--only: expected rungs of {catalogue.name} ({', '.join(every)}), got {', '.join(unknown)}.")
    ladder = [key for key in every if key in only] if only else every
    judges = [key for key in catalogue.review if key in ladder]
    if not judges:
        below = [key for key in ladder if every.index(key) < every.index(catalogue.review[0])]
        judges = [(below or ladder[:1])[-1]]
    return Rungs(ladder, judges)


def pin(
    catalogue: Catalogue,
    keys: Sequence[str],
    present: Mapping[str, Any],
    given: Mapping[str, str],
    *,
    latest: bool,
    offline: bool,
) -> dict[str, tuple[str | None, str]]:
    """Commit of each hub rung, and where it comes from; no commit where none is known and the hub is not asked.

    Args:
        catalogue: Where the rungs come from.
        keys: The rungs that are written.
        present: The rungs that params.yaml has now.
        given: Commits by key, which go before all others.
        latest: Ask the hub, whatever is on record.
        offline: Never ask it.

    Raises:
        DataError: If the hub has to be asked and does not answer.
    """
    from chatladder.presets.hub import current_commit

    pins: dict[str, tuple[str | None, str]] = {}
    for key in keys:
        base = catalogue.rungs[key]["base"]
        if base["source"] != "hub":
            continue
        now = (present.get(key) or {}).get("base") or {}
        kept = now.get("revision") if now.get("repo") == base["repo"] else None
        if key in given:
            pins[key] = given[key], "as given"
        elif kept and not latest:
            pins[key] = str(kept), "as it was"
        elif base.get("revision") and not latest:
            pins[key] = str(base["revision"]), "on record in the catalogue"
        elif offline:
            pins[key] = None, "no commit"
        else:
            try:
                pins[key] = current_commit(base["repo"]), "the hub's newest"
            except DataError as error:
                raise DataError(
                    f"{error.message} Nothing was written. Copy the commit of {key} from "
                    f"https://huggingface.co/{base['repo']}/commits/main and give it with --revision {key}=COMMIT, or "
                    "leave it out for now with --offline."
                ) from error
    return pins


def parse_revisions(pairs: Sequence[str], keys: Sequence[str]) -> dict[str, str]:
    """``KEY=COMMIT`` by key.

    Raises:
        click.UsageError: If one is no such pair, or its rung is not among those that are written.
    """
    found = {}
    for pair in pairs:
        key, _, commit = pair.partition("=")
        if not COMMIT.fullmatch(commit):
            raise click.UsageError(f"--revision: expected KEY=COMMIT, a commit of 40 hexadecimal digits, got {pair!a}.")
        if key not in keys:
            raise click.UsageError(f"--revision: expected a rung that is written ({', '.join(keys)}), got {key!a}.")
        found[key] = commit
    return found


def write_both(project: Project, texts: Sequence[str]) -> None:
    """Write params.yaml and dvc.yaml, with the line ends that each had: both, or neither.

    Raises:
        DataError: If one of them cannot be written.
    """
    before = [path.read_bytes() for path in (project.params, project.pipeline)]
    after = [_as_before(old, new) for old, new in zip(before, texts, strict=True)]
    try:
        with whole_file(project.params) as params, whole_file(project.pipeline) as pipeline:
            params.write_bytes(after[0])
            pipeline.write_bytes(after[1])
    except DataError:
        # dvc.yaml is moved into its place first; params.yaml could not follow.
        if project.pipeline.read_bytes() != before[1]:
            project.pipeline.write_bytes(before[1])
        raise


def _as_before(old: bytes, new: str) -> bytes:
    return new.replace("\n", "\r\n").encode() if b"\r\n" in old else new.encode()


def listing(present: Sequence[str] | None) -> str:
    """The catalogues, each with its rungs; a star marks the one that is in place."""
    lines = []
    for name in names():
        catalogue = read(name)
        in_place = present is not None and {*present} <= {*catalogue.rungs}
        lines.append(f"{'*' if in_place else ' '} {name:<10}{catalogue.title}")
        lines.append(f"{'':12}{', '.join(catalogue.rungs)}")
    return "\n".join(lines)


@click.command(
    name="ladder",
    short_help="Swap the rungs for a catalogue's.",
    context_settings=SETTINGS,
    epilog=example(__doc__),
)
@click.argument("name", required=False)
@click.option("--only", multiple=True, metavar="KEY", help="Write this rung of the catalogue alone; repeat it.")
@click.option("--revision", "pairs", multiple=True, metavar="KEY=COMMIT", help="Pin a rung to a commit; repeat it.")
@click.option("--latest", is_flag=True, help="Pin each model to the hub's newest commit, whatever is on record.")
@click.option("--offline", is_flag=True, help="Never ask the hub; a model with no commit on record is written without.")
@click.option("--dry-run", is_flag=True, help="Show what would change, and write nothing.")
@click.option("--params", type=InputFile, default=PARAMS, show_default=True, help="The project's params.")
@click.option("--pipeline", type=InputFile, default=PIPELINE, show_default=True, help="The project's stages.")
def ladder_command(
    name: str | None,
    only: tuple[str, ...],
    pairs: tuple[str, ...],
    latest: bool,
    offline: bool,
    dry_run: bool,
    params: Path,
    pipeline: Path,
) -> None:
    """Swap the rungs of params.yaml and dvc.yaml for those of catalogue NAME.

    Without NAME, the catalogues are listed; a catalogue of your own is a .yaml file of the same form. Hand-written
    rungs go: commit them first.
    """
    if latest and offline:
        raise click.UsageError("--latest asks the hub and --offline never does: give one of them.")
    project = Project(params, pipeline, (read_text(params), read_text(pipeline)))
    old = project.rungs()
    if name is None:
        click.echo(listing(old.ladder))
        return
    catalogue = read(name)
    new = chosen(catalogue, only)
    given = parse_revisions(pairs, [key for key in new.ladder if catalogue.rungs[key]["base"]["source"] == "hub"])
    pins = pin(catalogue, new.ladder, project.ladder(), given, latest=latest, offline=offline)
    commits = {key: commit for key, (commit, _) in pins.items()}
    first, values = swap_params(project.texts[0], catalogue, new, commits, str(params))
    second, stages = swap_pipeline(project.texts[1], old, new, str(pipeline))
    if dry_run:
        for path, before, after in zip((params, pipeline), project.texts, (first, second), strict=True):
            names_of = (str(path), f"{path} (new)")
            click.echo("\n".join(difflib.unified_diff(before.split("\n"), after.split("\n"), *names_of, lineterm="")))
    elif (first, second) != project.texts:
        write_both(project, (first, second))
    _report(project, old, new, pins, values, stages, changed=(first, second) != project.texts, dry_run=dry_run)


def _report(
    project: Project,
    old: Rungs,
    new: Rungs,
    pins: Mapping[str, tuple[str | None, str]],
    values: Sequence[str],
    stages: Sequence[str],
    *,
    changed: bool,
    dry_run: bool,
) -> None:
    if not changed:
        click.echo(f"{project.params} and {project.pipeline}: nothing to change")
        return
    click.echo(f"{project.params}: ladder: {', '.join(old.ladder)} -> {', '.join(new.ladder)}")
    click.echo(f"{project.params}: review.rungs: {', '.join(old.review)} -> {', '.join(new.review)}")
    for value in values:
        click.echo(f"{project.params}: {value}")
    click.echo(f"{project.pipeline}: the same rungs in {', '.join(stages)}")
    for key, (commit, source) in pins.items():
        click.echo(f"{key}: {commit or 'no commit: its base stage will ask for one'}{f' ({source})' if commit else ''}")
    if dry_run:
        click.echo("Nothing was written.")
    else:
        click.echo('Next: "chatladder doctor" says whether they run here, "dvc repro" runs them.')


if __name__ == "__main__":
    ladder_command()
